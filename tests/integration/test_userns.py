"""User namespaces that root makes or joins: maps, owners, what others see; pods."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.conftest import Bundle

FIRST = 300000
FILES = {"network": "net", "ipc": "ipc", "user": "user", "pid": "pid", "uts": "uts"}


def without_group_5(bundle: Bundle) -> None:
    """The default config's devpts has a group that small mappings lack."""
    for mount in bundle.config["mounts"]:
        mount["options"] = [o for o in mount.get("options", ()) if o != "gid=5"]


def map_ids(bundle: Bundle, first: int = FIRST, count: int = 65536) -> None:
    """A user namespace with `count` ids, and a rootfs that belongs to its root."""
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [
        {"containerID": 0, "hostID": first, "size": count}
    ]
    subprocess.run(["chown", "-R", f"{first}:{first}", str(bundle.rootfs)], check=True)


@pytest.fixture
def mapped(bundle: Bundle) -> Bundle:
    map_ids(bundle)
    return bundle


def test_every_namespace_is_owned_by_the_users(mapped: Bundle) -> None:
    """ioctl_ns(2): NS_GET_USERNS of each is the container's user namespace."""
    if {"type": "cgroup"} not in mapped.config["linux"]["namespaces"]:
        mapped.config["linux"]["namespaces"].append({"type": "cgroup"})
    if os.path.exists("/proc/self/ns/time"):
        mapped.config["linux"]["namespaces"].append({"type": "time"})
    mapped.start()
    import fcntl

    base = f"/proc/{mapped.state()['pid']}/ns"
    user = os.stat(f"{base}/user").st_ino
    names = ["mnt", "pid", "net", "ipc", "uts", "cgroup"]
    if os.path.exists("/proc/self/ns/time"):
        names.append("time")
    for name in names:
        fd = os.open(f"{base}/{name}", os.O_RDONLY)
        owner = fcntl.ioctl(fd, 0xB701)
        assert os.fstat(owner).st_ino == user, name
        os.close(owner)
        os.close(fd)


def test_most_lines(bundle: Bundle) -> None:
    """As many lines as the kernel takes, 340, in one write, which has to be less than a page."""
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    lines = [{"containerID": 2 * n, "hostID": 3 * n, "size": 1} for n in range(340)]
    linux["uidMappings"] = linux["gidMappings"] = lines
    without_group_5(bundle)
    shown = bundle.output("cat /proc/self/uid_map /proc/self/gid_map").splitlines()
    expected = [[str(2 * n), str(3 * n), "1"] for n in range(340)]
    assert [line.split() for line in shown] == expected * 2


def test_one_line_too_many(bundle: Bundle) -> None:
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    lines = [{"containerID": 2 * n, "hostID": FIRST + 3 * n, "size": 1} for n in range(341)]
    linux["uidMappings"] = linux["gidMappings"] = lines
    done = bundle.run("true")
    assert done.returncode == 1
    assert "Mappings" in done.stderr or "_map" in done.stderr
    assert not bundle.state()


def test_owners(mapped: Bundle) -> None:
    """proc, sysfs, devices, /dev/pts, cgroup, stdio: root of the namespace has its own."""
    script = (
        "stat -c %u:%g /proc/1 /dev/pts /dev/shm /dev/mqueue; for f in null zero full random urandom tty; do"
        " test -c /dev/$f || echo missing $f; done; echo x >/dev/null; cat /proc/self/setgroups;"
        " mount | grep -E ' /(dev|dev/null|sys|proc) ' | cut -d' ' -f1,3"
    )
    shown = mapped.output(script).splitlines()
    assert shown[:4] == ["0:0"] * 4
    assert "allow" in shown
    assert not [line for line in shown if "missing" in line]
    assert any(line.endswith(" /dev/null") for line in shown)


def test_console(mapped: Bundle) -> None:
    mapped.config["process"].update(
        terminal=True, args=["sh", "-c", "stat -c %u /dev/console $(tty); echo hi >/dev/tty"]
    )
    mapped.write()
    status, shown = mapped.on_terminal("run", mapped.id)
    assert status == 0, shown
    assert shown.split() == ["0", "0", "hi"]


def test_sysctl_hooks_rlimits(mapped: Bundle) -> None:
    mapped.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"}
    limits = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]
    mapped.config["process"]["rlimits"] = limits
    seen = mapped.path / "seen"
    script = f"pid=$(sed 's/.*\"pid\": *//;s/[^0-9].*//'); cat /proc/$pid/uid_map >{seen}; id -u >>{seen}"
    mapped.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}],
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "id -u >/dev/shm/started"]}],
    }
    script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni /dev/shm/started; ulimit -n"
    assert mapped.output(script).split() == ["1", "77", "0", "77"]
    assert seen.read_text().split() == ["0", str(FIRST), "65536", "0"]


def test_exec(mapped: Bundle) -> None:
    """Before and after `start`, as any user of the mapping, and none outside of it."""
    mapped.create()
    assert mapped.exec("id", "-u").stdout == "0\n"
    mapped.call("start", mapped.id)
    show = ("sh", "-c", "id -u; id -g; grep Groups /proc/self/status")
    done = mapped.exec(*show, options=("--user", "5:6", "--additional-gids", "7"))
    assert done.stdout.split() == ["5", "6", "Groups:", "6", "7"] or done.stdout.split() == [
        "5", "6", "Groups:", "7",
    ]  # fmt: skip
    done = mapped.exec("true", options=("--user", "70000"))
    assert done.returncode == 255
    assert "not mapped in the user namespace" in done.stderr


def test_user_outside_of_the_mapping(mapped: Bundle) -> None:
    mapped.config["process"]["user"] = {"uid": 70000, "gid": 0}
    done = mapped.run("true")
    assert done.returncode == 1
    assert "not mapped in the user namespace" in done.stderr


def test_mapping_without_root(bundle: Bundle) -> None:
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [
        {"containerID": 1000, "hostID": FIRST, "size": 1}
    ]
    done = bundle.run("true")
    assert done.returncode == 1
    assert "user namespaces enabled, but no mapping found for uid 0" in done.stderr


@pytest.fixture
def pod(make_bundle: Any) -> Iterator[tuple[Bundle, Bundle]]:
    """A running container with a user namespace, and a second one to join it."""
    first, second = make_bundle("first"), make_bundle("second")
    map_ids(first)
    first.config.pop("hostname")
    first.start()
    subprocess.run(["chown", "-R", f"{FIRST}:{FIRST}", str(second.rootfs)], check=True)
    second.config.pop("hostname")
    yield first, second


@pytest.mark.parametrize("created", [False, True])
def test_pod(pod: tuple[Bundle, Bundle], created: bool) -> None:
    """Shared network, ipc, user, pid and uts namespaces, and exec in both."""
    first, second = pod
    pid = first.state()["pid"]
    linux = second.config["linux"]
    linux["namespaces"].append({"type": "user"})
    for entry in linux["namespaces"]:
        if entry["type"] in FILES:
            entry["path"] = f"/proc/{pid}/ns/{FILES[entry['type']]}"
    show = "for n in %s; do readlink /proc/self/ns/$n; done" % " ".join(FILES.values())
    expected = [os.readlink(f"/proc/{pid}/ns/{name}") for name in FILES.values()]
    if created:
        assert second.create().returncode == 0
    else:
        second.start()
    done = second.exec(
        "sh", "-c", show + "; id -u; echo x >/dev/null; hostname -s >/dev/null; ps | wc -l"
    )
    assert done.stdout.split()[: len(expected) + 1] == [*expected, "0"], done
    assert int(done.stdout.split()[-1]) >= 4
    # The end of the one is not the other's.
    assert second.call("kill", second.id, "KILL").returncode == 0
    second.wait_for("stopped")
    assert first.state()["status"] == "running"


@pytest.mark.parametrize("hosts", [FIRST, 1])
def test_mapping_of_a_joined_namespace(pod: tuple[Bundle, Bundle], hosts: int) -> None:
    """It may be told once more, but only as it is."""
    first, second = pod
    linux = second.config["linux"]
    path = f"/proc/{first.state()['pid']}/ns/user"
    linux["namespaces"].append({"type": "user", "path": path})
    linux["uidMappings"] = linux["gidMappings"] = [
        {"containerID": 0, "hostID": hosts, "size": 65536}
    ]
    done = second.run("true")
    if hosts == FIRST:
        assert done.returncode == 0, done
    else:
        assert done.returncode == 1
        assert "both namespace path and non-matching mapping specified" in done.stderr


def test_join_where_setgroups_is_denied(bundle: Bundle, scratch: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    command = ["setpriv", "--reuid=65000", "--regid=65000", "--clear-groups", "unshare", "-Ur"]
    with subprocess.Popen([*command, "sleep", "1000"]) as other:
        try:
            own = os.readlink("/proc/self/ns/user")
            while os.readlink(f"/proc/{other.pid}/ns/user") == own or (
                Path(f"/proc/{other.pid}/comm").read_text() != "sleep\n"
            ):
                assert other.poll() is None
            without_group_5(bundle)
            linux = bundle.config["linux"]
            linux["namespaces"].append({"type": "user", "path": f"/proc/{other.pid}/ns/user"})
            assert bundle.output("cat /proc/self/setgroups; echo x >/dev/null") == "deny\n"
        finally:
            other.kill()
