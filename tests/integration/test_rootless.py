"""An ordinary user's containers, with and without newuidmap(1) and a range of subordinate ids."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Bundle
from tests.integration.callers import Caller
from tests.integration.users import SUBORDINATE, User, UsersBundle, rootless, user

__all__ = ["rootless", "user"]


@pytest.fixture(params=["one id", "range"])
def bundle(request: pytest.FixtureRequest, rootless: UsersBundle) -> UsersBundle:
    """The bundle with its user's id alone, and with the subordinate ids."""
    if request.param == "range":
        if not shutil.which("newuidmap"):
            pytest.skip("newuidmap is not installed (Debian package uidmap)")
        rootless.map_range()
    return rootless


def maps(pid: int) -> list[list[str]]:
    return [
        Path(f"/proc/{pid}/{kind}_map").read_text().split("\n")[0].split()
        for kind in ("uid", "gid")
    ]


def test_life(bundle: UsersBundle) -> None:
    """create, exec in what is only created, start, exec, ps, kill, delete."""
    assert bundle.create().returncode == 0
    state = bundle.state()
    assert state["status"] == "created"
    assert maps(state["pid"]) == [["0", str(bundle.user.uid), "1"]] * 2
    assert bundle.exec("id", "-u").stdout == "0\n"
    assert bundle.call("start", bundle.id).returncode == 0
    assert bundle.state()["status"] == "running"
    done = bundle.exec("sh", "-c", "id -u; readlink /proc/1/exe; cat /proc/1/comm")
    assert done.stdout.split()[::2] == ["0", "sleep"], done
    listed = json.loads(bundle.call("list", "-f", "json").stdout)
    assert [entry["owner"] for entry in listed] == [bundle.user.name]
    assert bundle.call("kill", bundle.id, "KILL").returncode == 0
    bundle.wait_for("stopped")
    assert bundle.call("delete", bundle.id).returncode == 0
    assert not bundle.state()


def test_run_gives_the_status(bundle: UsersBundle) -> None:
    done = bundle.shell("id -u; id -g; exit 7")
    assert (done.returncode, done.stdout) == (7, "0\n0\n"), done


def test_on_a_terminal(bundle: UsersBundle) -> None:
    bundle.config["process"].update(
        terminal=True, args=["sh", "-c", "test -t 0 && stat -c %u /dev/console"]
    )
    bundle.write()
    caller = Caller(
        [shutil.which("setpriv") or "", *bundle.command("run", bundle.id)[1:]], str(bundle.path)
    )
    try:
        status, shown = caller.wait(), caller.shown.decode()
    finally:
        caller.close()
    assert (status, shown.strip()) == (0, "0")


def test_other_user_of_the_range(rootless: UsersBundle) -> None:
    if not shutil.which("newuidmap"):
        pytest.skip("newuidmap is not installed (Debian package uidmap)")
    rootless.map_range()
    rootless.config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [50]}
    rootless.create()
    pid = rootless.state()["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    expected = str(SUBORDINATE[0] + 999)
    assert status.split("Uid:")[1].split()[:4] == [expected] * 4
    assert status.split("Groups:")[1].split("\n")[0].split() == [str(SUBORDINATE[0] + 49)]
    # Its ids have changed, and still its owner may look into its namespaces.
    assert rootless.exec("id", "-u").stdout == "1000\n"
    rootless.call("start", rootless.id)
    assert rootless.exec("id", "-u").stdout == "1000\n"


def test_setgroups_is_denied_with_one_id(rootless: UsersBundle) -> None:
    assert rootless.output("cat /proc/self/setgroups") == "deny\n"
    rootless.config["process"]["user"]["additionalGids"] = [0]
    done = rootless.run("true")
    assert done.returncode == 1
    assert "cannot set any additional groups in a rootless container" in done.stderr


def test_range_of_somebody_else(rootless: UsersBundle) -> None:
    rootless.map_range()
    linux = rootless.config["linux"]
    for line in (linux["uidMappings"][1], linux["gidMappings"][1]):
        line["hostID"] += SUBORDINATE[1]
    done = rootless.run("true")
    assert done.returncode == 1
    if shutil.which("newuidmap"):
        assert "newuidmap failed" in done.stderr
    assert not os.listdir(rootless.root)


def test_without_newuidmap(rootless: UsersBundle) -> None:
    """A range needs it, and the error says so."""
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    rootless.map_range()
    rootless.config["process"]["args"] = ["true"]
    rootless.write()
    hidden = "for f in $(which newuidmap newgidmap); do mount --bind /dev/null $f; done"
    command = ["unshare", "-m", "sh", "-c", hidden + '; exec "$@"', "sh"]
    done = subprocess.run(
        [*command, *rootless.command("run", rootless.id)],
        capture_output=True, text=True, cwd=rootless.path, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "newuidmap" in done.stderr


def test_what_is_created_keeps_its_secrets(rootless: UsersBundle) -> None:
    """A process that is in the container before `start` learns nothing of the host from init."""
    rootless.create()
    look = "ls -l /proc/1/fd/ /proc/1/exe; cat /proc/1/environ; echo x >/proc/1/exe"
    done = rootless.exec("sh", "-c", look)
    assert "can't open '/proc/1/environ': Permission denied" in done.stderr
    assert "->" not in done.stdout
    done = rootless.exec("sh", "-c", look, options=("--cap", "CAP_SYS_PTRACE"))
    # It may look, but neither at the caller's environment nor out of the container.
    assert "->" in done.stdout
    assert "of-the-caller" not in done.stdout + done.stderr
    assert "/proc/1/exe: Read-only file system" in done.stderr or "Text file busy" in done.stderr


def test_hooks_reach_the_namespaces(rootless: UsersBundle) -> None:
    place = rootless.path / "seen"
    script = f"pid=$(sed 's/.*\"pid\": *//;s/[^0-9].*//'); readlink /proc/$pid/ns/net >{place}"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    rootless.config["hooks"] = {"createRuntime": [hook]}
    assert rootless.output("readlink /proc/self/ns/net") == place.read_text()


@pytest.mark.parametrize("value", ["true", "false", "auto"])
def test_rootless_option(rootless: UsersBundle, value: str) -> None:
    """With `false`, cgroups are to be there: who may not make them is refused."""
    rootless.config["process"]["args"] = ["true"]
    rootless.write()
    done = rootless.call("--rootless", value, "run", rootless.id)
    if value == "false":
        assert done.returncode == 1
        assert "permission denied" in done.stderr
    else:
        assert done.returncode == 0, done
    assert not rootless.state()


def test_limits_without_cgroups_are_refused(rootless: UsersBundle) -> None:
    rootless.config["linux"]["resources"] = {"memory": {"limit": 1 << 26}}
    rootless.config["linux"]["cgroupsPath"] = "/nowhere/of/ours"
    done = rootless.run("true")
    assert done.returncode == 1
    assert "cgroup" in done.stderr


def test_sys_of_the_hosts_network(rootless: UsersBundle) -> None:
    """sysfs cannot be mounted in a network namespace that is not ours: it is bound."""
    linux = rootless.config["linux"]
    kept = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    linux["namespaces"] = kept
    for mount in rootless.config["mounts"]:
        if mount["destination"] == "/sys":
            options = ["rbind", "nosuid", "noexec", "nodev", "ro"]
            mount.update(type="none", source="/sys", options=options)
    own = os.readlink("/proc/self/ns/net")
    assert rootless.output("readlink /proc/self/ns/net; test -d /sys/class && echo ok").split() == [
        own, "ok",
    ]  # fmt: skip


def test_ping_group_devices_masks(bundle: UsersBundle) -> None:
    bundle.config["linux"]["namespaces"].append({"type": "network"})
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ping_group_range": "0 0"}
    script = (
        "cat /proc/sys/net/ipv4/ping_group_range; stat -c %t:%T /dev/null; echo x >/dev/null;"
        "cat /proc/timer_list /proc/keys 2>/dev/null | wc -c; cat /proc/self/loginuid | wc -c"
    )
    shown = bundle.output(script).split()
    assert shown[:4] == ["0", "0", "1:3", "0"]
    assert bundle.output("dd if=/dev/zero bs=4 count=1 2>/dev/null | wc -c") == "4\n"


def test_no_set_id_file(user: User) -> None:
    """What gives the privileges is newuidmap; the file itself has none."""
    assert not os.stat(user.runc).st_mode & 0o6000
    with pytest.raises(OSError):
        os.getxattr(user.runc, "security.capability")


@pytest.mark.parametrize("kinds", [("user", "network", "ipc"), ("user", "pid", "uts")])
def test_join(bundle: UsersBundle, rootfs: str, kinds: tuple[str, ...]) -> None:
    """A second container in namespaces of the first one."""
    bundle.config["linux"]["namespaces"].append({"type": "network"})
    bundle.start()
    pid = bundle.state()["pid"]
    files = {"network": "net"}
    second = UsersBundle(bundle.user, rootfs)
    try:
        linux = second.config["linux"]
        del linux["uidMappings"], linux["gidMappings"]
        linux["namespaces"].append({"type": "network"})
        second.config.pop("hostname")
        for entry in linux["namespaces"]:
            if entry["type"] in kinds:
                kind = entry["type"]
                entry["path"] = f"/proc/{pid}/ns/{files.get(kind, kind)}"
        names = [files.get(kind, kind) for kind in kinds]
        script = "for n in %s; do readlink /proc/self/ns/$n; done; echo x >/dev/null" % " ".join(
            names
        )
        expected = [os.readlink(f"/proc/{pid}/ns/{name}") for name in names]
        assert second.output(script).split() == expected
    finally:
        second.clean()
        shutil.rmtree(second.path.parent, ignore_errors=True)


def test_inside_a_user_namespace(user: User, rootless: UsersBundle) -> None:
    """As rootless engines call it: root in a user namespace that has one id."""
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    for line in rootless.config["linux"]["uidMappings"] + rootless.config["linux"]["gidMappings"]:
        line["hostID"] = 0
    rootless.config["process"]["args"] = ["id", "-u"]
    plain = [entry for entry in rootless.config["linux"]["namespaces"] if entry["type"] != "user"]
    for nested in (True, False):
        if not nested:
            rootless.config["linux"]["namespaces"] = plain
            del rootless.config["linux"]["uidMappings"], rootless.config["linux"]["gidMappings"]
        rootless.write()
        inner = Bundle.command(rootless, "run", rootless.id)
        done = subprocess.run(
            user.command("unshare", "-Ur", "-m", *inner),
            capture_output=True, text=True, cwd=rootless.path, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "0\n"), done


def test_idmapped_mounts_are_refused(rootless: UsersBundle) -> None:
    rootless.config["mounts"].append(
        {"destination": "/place", "type": "bind", "source": "/tmp", "options": ["bind", "idmap"]}
    )
    done = rootless.run("true")
    assert done.returncode == 1
    assert "id-mapped mounts are not supported for rootless containers" in done.stderr


@pytest.mark.needs("cgroup2")
def test_delegated_cgroup(rootless: UsersBundle) -> None:
    """Limits, statistics, pause and resume in a cgroup v2 that the user was given."""
    own = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2]
    top = Path("/sys/fs/cgroup") / f"delegated-{os.getpid()}"
    assert own
    for control in ("+pids", "+memory"):
        subprocess.run(
            ["sh", "-c", f"echo {control} >/sys/fs/cgroup/cgroup.subtree_control"], check=True
        )
    top.mkdir()
    (top / "session").mkdir()
    for path in (top, top / "session"):
        for file in (
            path,
            *(path / f"cgroup.{n}" for n in ("procs", "threads", "subtree_control")),
        ):
            os.chown(file, rootless.user.uid, rootless.user.uid)
    inside = ["sh", "-c", f'echo $$ >{top}/session/cgroup.procs; exec "$@"', "sh"]
    plain = rootless.command
    rootless.command = lambda *args: [*inside, *plain(*args)]  # type: ignore[method-assign]
    try:
        rootless.config["linux"]["cgroupsPath"] = f"/{top.name}/box"
        rootless.config["linux"]["resources"] = {
            "pids": {"limit": 20},
            "memory": {"limit": 1 << 28},
        }
        rootless.start()
        assert (top / "box/pids.max").read_text() == "20\n"
        assert (top / "box/memory.max").read_text() == f"{1 << 28}\n"
        done = rootless.call("update", "--pids-limit", "30", rootless.id)
        assert done.returncode == 0, done
        assert (top / "box/pids.max").read_text() == "30\n"
        assert rootless.call("pause", rootless.id).returncode == 0
        assert rootless.state()["status"] == "paused"
        assert rootless.call("resume", rootless.id).returncode == 0
        assert json.loads(rootless.call("events", "--stats", rootless.id).stdout)["type"] == "stats"
        assert rootless.exec("true").returncode == 0
        assert rootless.call("delete", "--force", rootless.id).returncode == 0
        assert not (top / "box").exists()
    finally:
        rootless.clean()
        for path in (top / "box", top / "session", top):
            if path.exists():
                path.rmdir()
