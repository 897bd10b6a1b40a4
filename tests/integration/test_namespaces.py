"""Namespaces, and what is set in them: host names, sysctls, clocks, keyrings; annotations."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator

import pytest

from tests.integration import ways

if TYPE_CHECKING:
    from tests.conftest import Bundle

FILES = {
    "pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup",
    "user": "user", "time": "time",
}  # fmt: skip


def own(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{FILES[kind]}")


def set_namespaces(bundle: Bundle, *kinds: str) -> None:
    bundle.config["linux"]["namespaces"] = [{"type": kind} for kind in kinds]


def namespace(bundle: Bundle, kind: str, **more: str) -> None:
    """Add a namespace to the config, or change it."""
    entries = bundle.config["linux"]["namespaces"]
    entries[:] = [entry for entry in entries if entry["type"] != kind]
    entries.append({"type": kind, **more})


def inside(bundle: Bundle) -> dict[str, str]:
    """The container's namespaces: type to identity."""
    script = "for n in %s; do readlink /proc/self/ns/$n || echo none; done" % " ".join(
        FILES.values()
    )
    return dict(zip(FILES, bundle.output(script).split()))


def needs(kind: str) -> None:
    if not os.path.exists(f"/proc/self/ns/{FILES[kind]}"):
        pytest.skip(f"this kernel has no {kind} namespaces")


def test_default_namespaces_are_new(bundle: Bundle) -> None:
    found = inside(bundle)
    new = {entry["type"] for entry in bundle.config["linux"]["namespaces"]}
    assert {kind for kind in FILES if found[kind] not in ("none", own(kind))} == new


@pytest.mark.parametrize("kind", ["cgroup", "time"])
def test_more_namespaces(bundle: Bundle, kind: str) -> None:
    needs(kind)
    namespace(bundle, kind)
    assert inside(bundle)[kind] != own(kind)


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "cgroup"])
def test_hosts_namespace(bundle: Bundle, kind: str) -> None:
    entries = bundle.config["linux"]["namespaces"]
    entries[:] = [entry for entry in entries if entry["type"] != kind]
    bundle.config.pop("hostname")
    if kind == "network":
        # A sysfs of a network namespace that is not ours to mount is nothing to test here.
        mounts = bundle.config["mounts"]
        mounts[:] = [mount for mount in mounts if mount["destination"] != "/sys"]
    assert inside(bundle)[kind] == own(kind)


@pytest.fixture
def other() -> Iterator[Path]:
    """/proc/PID/ns of a process in namespaces of its own."""
    command = ["unshare", "-n", "-i", "-u", "-p", "-C", "--fork", "--kill-child", "sleep", "1000"]
    with subprocess.Popen(command) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 10
        while not (found := children.read_text().split()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield Path(f"/proc/{found[0]}/ns")
        process.kill()


@pytest.mark.needs("program:unshare")
@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "cgroup"])
def test_join(bundle: Bundle, other: Path, kind: str) -> None:
    path = other / FILES[kind]
    identity = os.readlink(path)
    namespace(bundle, kind, path=str(path))
    if kind == "uts":
        bundle.config.pop("hostname")
    assert inside(bundle)[kind] == identity


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"type": "nosuch"}, ("linux.namespaces[5].type", "nosuch")),
        ({"type": "pid"}, ("linux.namespaces[5]", "pid")),
        ({"type": "time", "path": "/no/such"}, ("linux.namespaces[5].path", "/no/such")),
        ({"type": "time", "path": "relative"}, ("linux.namespaces[5].path",)),
    ],
)
def test_bad_namespace(bundle: Bundle, entry: Any, words: tuple[str, ...]) -> None:
    entries = bundle.config["linux"]["namespaces"]
    entries[:] = [e for e in entries if e["type"] != "cgroup"]
    assert len(entries) == 5
    entries.append(entry)
    ways.refused(bundle, ways.RUN, *words)


def test_path_of_another_kind(bundle: Bundle) -> None:
    namespace(bundle, "network", path="/proc/self/ns/ipc")
    ways.refused(bundle, ways.RUN, "/proc/self/ns/ipc")


def test_path_that_is_no_namespace(bundle: Bundle) -> None:
    namespace(bundle, "network", path="/etc/passwd")
    ways.refused(bundle, ways.RUN, "/etc/passwd")


# hostname and domainname


@pytest.mark.parametrize("way", [ways.RUN, ways.EXEC])
def test_host_names(bundle: Bundle, way: str) -> None:
    bundle.config.update(hostname="box-ü", domainname="example.org")
    script = "hostname; cat /proc/sys/kernel/domainname"
    assert ways.output(bundle, way, script) == "box-ü\nexample.org"
    assert "box" not in platform.node()


@pytest.mark.parametrize("name", ["hostname", "domainname"])
def test_host_name_without_a_namespace(bundle: Bundle, name: str) -> None:
    entries = bundle.config["linux"]["namespaces"]
    entries[:] = [entry for entry in entries if entry["type"] != "uts"]
    bundle.config.pop("hostname")
    bundle.config[name] = "box"
    ways.refused(bundle, ways.RUN, f"unable to set {name} without a private UTS namespace")


@pytest.mark.parametrize("name", ["hostname", "domainname"])
@pytest.mark.parametrize("value", ["x" * 65, 7])
def test_bad_host_name(bundle: Bundle, name: str, value: Any) -> None:
    bundle.config[name] = value
    ways.refused(bundle, ways.RUN, name)


# sysctl


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kernel.shmmni", "1234"),
        ("kernel/msgmax", "4444"),
        ("net.ipv4.ip_local_port_range", "2000\t3000"),
        ("net/ipv4/conf/lo/forwarding", "1"),
        ("fs.mqueue.msg_max", "5"),
        ("kernel.domainname", "by-sysctl"),
    ],
)
def test_sysctl(bundle: Bundle, key: str, value: str) -> None:
    path = "/proc/sys/" + (key if "/" in key else key.replace(".", "/"))
    if not os.path.exists(path):
        pytest.skip(f"this kernel has no {key}")
    before = Path(path).read_text()
    bundle.config["linux"]["sysctl"] = {key: value}
    assert bundle.output(f"cat {path}").rstrip("\n") == value
    assert Path(path).read_text() == before


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("kernel.hostname", "conflicts with the OCI"),
        ("kernel.panic", "is not in a separate kernel namespace"),
        ("vm.swappiness", "is not in a separate kernel namespace"),
        ("user.max_user_namespaces", "setting ucounts without a user namespace not allowed"),
        ("kernel.shmmax/../panic", "linux.sysctl"),
    ],
)
def test_bad_sysctl(bundle: Bundle, key: str, fault: str) -> None:
    bundle.config["linux"]["sysctl"] = {key: "1"}
    ways.refused(bundle, ways.RUN, "linux.sysctl", fault)


@pytest.mark.parametrize(
    ("kind", "key", "fault"),
    [
        ("ipc", "kernel.shmmax", "is not allowed in the hosts ipc namespace"),
        ("network", "net.ipv4.ip_forward", "not allowed in host network namespace"),
    ],
)
def test_sysctl_without_the_namespace(bundle: Bundle, kind: str, key: str, fault: str) -> None:
    entries = bundle.config["linux"]["namespaces"]
    entries[:] = [entry for entry in entries if entry["type"] != kind]
    bundle.config["linux"]["sysctl"] = {key: "1"}
    ways.refused(bundle, ways.RUN, "linux.sysctl", fault)


def test_sysctl_in_the_hosts_network_namespace_by_path(bundle: Bundle) -> None:
    namespace(bundle, "network", path="/proc/self/ns/net")
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    ways.refused(bundle, ways.RUN, "not allowed in host network namespace")


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("net.ipv4.ip_local_port_range", "nonsense", "Invalid argument"),
        ("net.ipv4.no_such_thing", "1", "No such file or directory"),
    ],
)
def test_sysctl_that_the_kernel_refuses(bundle: Bundle, key: str, value: str, fault: str) -> None:
    bundle.config["linux"]["sysctl"] = {key: value}
    done = bundle.run("true")
    assert done.returncode == 1
    assert key.rpartition(".")[2] in done.stderr
    assert fault.lower() in done.stderr.lower()


# Time namespaces


@pytest.mark.needs("timens")
@pytest.mark.parametrize("way", [ways.RUN, ways.EXEC])
def test_clocks(bundle: Bundle, way: str) -> None:
    namespace(bundle, "time")
    bundle.config["linux"]["timeOffsets"] = {
        "boottime": {"secs": 1337000, "nanosecs": 500000000}, "monotonic": {"secs": -1},
    }  # fmt: skip
    host = float(Path("/proc/uptime").read_text().split()[0])
    shown = ways.output(bundle, way, "cut -d' ' -f1 /proc/uptime; cat /proc/self/timens_offsets")
    uptime, *offsets = shown.split("\n")
    assert 1337000 <= float(uptime) - host < 1337060
    assert [line.split() for line in offsets] == [
        ["monotonic", "-1", "0"], ["boottime", "1337000", "500000000"],
    ]  # fmt: skip


@pytest.mark.needs("timens")
def test_clocks_unchanged(bundle: Bundle) -> None:
    namespace(bundle, "time")
    shown = bundle.output("cat /proc/self/timens_offsets").split()
    assert shown == ["monotonic", "0", "0", "boottime", "0", "0"]


@pytest.mark.needs("timens")
@pytest.mark.parametrize(
    ("offsets", "word"),
    [
        ({"realtime": {"secs": 1}}, "realtime"),
        ({"boottime": {"secs": "1"}}, "linux.timeOffsets"),
        ({"boottime": {"nanosecs": 1000000000}}, "nanosecs"),
        ({"monotonic": {"secs": -(2**62)}}, "linux.timeOffsets"),
    ],
)
def test_bad_offsets(bundle: Bundle, offsets: Any, word: str) -> None:
    namespace(bundle, "time")
    bundle.config["linux"]["timeOffsets"] = offsets
    ways.refused(bundle, ways.RUN, word)


def test_offsets_without_a_namespace(bundle: Bundle) -> None:
    bundle.config["linux"]["timeOffsets"] = {"boottime": {"secs": 1}}
    fault = "time namespace offsets specified, but time namespace isn't enabled in the config"
    ways.refused(bundle, ways.RUN, fault)


# Session keyrings

KEYRING = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    char text[256] = "";
    long serial = syscall(SYS_keyctl, 0, -3, 0);
    if (serial < 0 || syscall(SYS_keyctl, 6, serial, text, sizeof text) < 0)
        return perror("keyctl"), 1;
    printf("%ld %s\n", serial, strrchr(text, ';') + 1);
    return 0;
}
"""


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A static program that tells number and name of the session keyring."""
    path = tmp_path_factory.mktemp("keyring") / "keyring"
    ways.static_program(KEYRING, path)
    if subprocess.run([str(path)], capture_output=True, check=False).returncode:
        pytest.skip("this kernel has no keyrings")
    return str(path)


@pytest.mark.parametrize("mapped", [False, True], ids=["root", "mapped"])
def test_session_keyring(bundle: Bundle, keyring: str, mapped: bool) -> None:
    shutil.copy(keyring, bundle.rootfs / "bin/keyring")
    if mapped:
        linux = bundle.config["linux"]
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = [
            {"containerID": 0, "hostID": 300000, "size": 65536}
        ]
        subprocess.run(["chown", "-R", "300000:300000", str(bundle.rootfs)], check=True)
    bundle.start("sh", "-c", "keyring >/dev/shm/first; exec sleep 1000")
    host = subprocess.run([keyring], capture_output=True, text=True, check=True).stdout
    done = bundle.exec("sh", "-c", "while ! test -s /dev/shm/first; do :; done; cat /dev/shm/first")
    first = done.stdout
    assert first.split()[1] == f"_ses.{bundle.id}"
    assert first.split()[0] != host.split()[0]
    # exec joins the one that is there.
    assert bundle.exec("keyring").stdout == first


def test_no_new_keyring(bundle: Bundle, keyring: str) -> None:
    shutil.copy(keyring, bundle.rootfs / "bin/keyring")
    host = subprocess.run([keyring], capture_output=True, text=True, check=True).stdout
    done = bundle.run("keyring", options=("--no-new-keyring",))
    assert done.stdout.split()[0] == host.split()[0]
    bundle.start("sleep", "100", options=("--no-new-keyring",))
    assert bundle.exec("keyring").stdout.split()[0] == host.split()[0]


def without_user_namespaces(bundle: Bundle, *args: str, init: int = 0) -> None:
    """A verb on a kernel built without them: their files are not in /proc."""
    absent = ["/proc/self/uid_map", "self/setgroups", "/proc/self/ns/user", f"/proc/{init}/ns/user"]
    calls = "open,openat,openat2,stat,newfstatat"
    tracer = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={calls}:error=ENOENT"]
    for path in absent:
        tracer += ["-P", path]
    done = subprocess.run(
        [*tracer, *bundle.command(*args)],
        cwd=bundle.path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("program:strace")
def test_a_kernel_without_user_namespaces(bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["true"]
    bundle.write()
    without_user_namespaces(bundle, "run", bundle.id)
    bundle.start()
    without_user_namespaces(bundle, "exec", bundle.id, "true", init=bundle.state()["pid"])


# Annotations


@pytest.mark.needs("seccomp")
def test_loopback_without_internet_sockets(bundle: Bundle) -> None:
    """As in a unit with RestrictAddressFamilies=AF_UNIX AF_NETLINK, or on a kernel without IPv4."""
    seccomp = pytest.importorskip("pyseccomp")
    restriction = seccomp.SyscallFilter(seccomp.ALLOW)
    for family in (socket.AF_INET, socket.AF_INET6):
        argument = seccomp.Arg(0, seccomp.EQ, int(family))
        restriction.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", argument)
    done = bundle.shell("ip link show lo", preexec_fn=restriction.load)
    assert done.returncode == 0, done
    assert "LOOPBACK,UP" in done.stdout


def test_annotations(bundle: Bundle) -> None:
    annotations = {"org.example.z": "1", "a": "", "k": "x=y", "ü": "ä\n"}
    bundle.config["annotations"] = annotations
    bundle.start()
    assert bundle.state()["annotations"] == annotations
    assert list(bundle.state()["annotations"]) == sorted(annotations)


@pytest.mark.parametrize("annotations", [{"a": 1}, ["a"], {"a": None}])
def test_bad_annotations(bundle: Bundle, annotations: Any) -> None:
    bundle.config["annotations"] = annotations
    done = bundle.run("true")
    if annotations == {"a": None}:
        # null means the same as not there.
        assert done.returncode == 0
        return
    assert done.returncode == 1
    assert "annotations" in done.stderr
