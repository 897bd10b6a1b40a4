"""CVE-2019-16884, CVE-2025-52881: a write to procfs ends in procfs or fails.

Each attack mounts something over a file of /proc in a mount namespace of its own. `plainly` is
how a runtime without the defence writes; there the attack succeeds.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from libcontainer import procfs
from libcontainer.errors import Error

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PROLOGUE = f"""
import errno, sys, posix
sys.path.insert(0, {str(REPOSITORY)!r})
from libc_bindings import ffi, mounts, namespaces, paths
from libcontainer import procfs
from libcontainer.errors import Error
def refuse(*arguments, **options):
    raise OSError(1, "Operation not permitted")
def plainly(path, data):
    with open("/proc/" + path, "w") as file:
        file.write(data)
def content(path):
    with open(path) as file:
        return file.read()
namespaces.unshare(0x20000 | 0x4000000 | 0x8000000)
mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
"""

ROOTS = {
    "private": "",
    "mounted": "procfs._private = refuse",
    "mounted, without openat2": "procfs._private = paths.openat2 = refuse",
    "private, without openat2": "paths.openat2 = refuse",
}


def run(script: str, root: str, *arguments: str) -> None:
    code = "\n".join((PROLOGUE, ROOTS[root], script))
    done = subprocess.run(
        [sys.executable, "-ISB", "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_what_it_writes_arrives() -> None:
    old = procfs.read("self/oom_score_adj")
    procfs.write_self("oom_score_adj", "500")
    try:
        with open("/proc/self/oom_score_adj") as file:
            assert file.read() == "500\n"
        procfs.write_pid(os.getpid(), "oom_score_adj", b"501")
        assert procfs.read("self/oom_score_adj") == b"501\n"
    finally:
        try:
            procfs.write_self("oom_score_adj", old)
        except OSError:
            pass
        procfs.release()


@needs_root
@pytest.mark.parametrize("root", ROOTS)
def test_sysctls(root: str) -> None:
    run(
        """
procfs.write_sysctl("kernel.domainname", "one")
assert content("/proc/sys/kernel/domainname") == "one\\n"
procfs.write_sysctl("kernel/domainname", "two")
assert content("/proc/sys/kernel/domainname") == "two\\n"
before = posix.listdir("/proc/self/fd")
for key in ("kernel.no_such", "kernel.version", "kernel"):
    try:
        procfs.write_sysctl(key, "1")
    except Error as error:
        assert key in str(error) and "linux.sysctl" in str(error)
    else:
        raise SystemExit(key)
try:
    procfs.write_sysctl("kernel.shmmni", "many")
except Error as error:
    assert "Invalid argument" in str(error)
else:
    raise SystemExit("a value")
assert posix.listdir("/proc/self/fd") == before
""",
        root,
    )


ATTACKS = {
    "a file over the file": """
open(base + "/file", "w").close()
mounts.mount(base + "/file", "/proc/self/comm", None, mounts.MS_BIND)
""",
    "another file of procfs over it": """
mounts.mount("/proc/sys/kernel/hostname", "/proc/self/comm", None, mounts.MS_BIND)
""",
    "a tmpfs over the directory": """
mounts.mount("tmpfs", "/proc/self", "tmpfs")
open("/proc/self/comm", "w").close()
""",
    "a link in a tmpfs over the directory": """
mounts.mount("tmpfs", "/proc/self", "tmpfs")
posix.symlink("/proc/sys/kernel/hostname", "/proc/self/comm")
""",
    "a directory of procfs over the directory": """
mounts.mount("/proc/1", "/proc/self", None, mounts.MS_BIND)
""",
    "a tmpfs over /proc": """
pid = str(posix.getpid())
mounts.mount("tmpfs", "/proc", "tmpfs")
for name in (pid, "self"):
    posix.mkdir("/proc/" + name)
    open("/proc/" + name + "/comm", "w").close()
""",
    "a part of procfs over /proc": """
mounts.mount("/proc/1/task", "/proc", None, mounts.MS_BIND)
""",
}


@needs_root
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("root", ROOTS)
def test_a_write_cannot_be_led_astray(attack: str, root: str, tmp_path: pathlib.Path) -> None:
    """comm stands for attr/exec, which does nothing visible on a machine without LSM."""
    script = f"""
base = sys.argv[1]
def comm():
    name = ffi.buffer(16)
    assert get_name(16, ffi.address(name)) == 0
    return name.value
get_name = ffi.bind("prctl", ffi.INT, ffi.ULONG)
hostname = posix.uname().nodename
{ATTACKS[attack]}
try:
    plainly("self/comm", "astray")
except OSError:
    pass
assert comm() != b"astray", "the attack is none"
namespaces.sethostname(hostname)
try:
    procfs.write_self("comm", "arrived")
except (OSError, Error):
    assert {root!r}.startswith("mounted") and comm() != b"arrived"
else:
    assert comm() == b"arrived" and {root!r}.startswith("private")
assert posix.uname().nodename == hostname
"""
    run(script, root, str(tmp_path))


@needs_root
@pytest.mark.parametrize("root", ROOTS)
def test_sysctls_after_pivot_root(root: str, tmp_path: pathlib.Path) -> None:
    """What prepare() has opened is good in a root without any /proc."""
    script = """
base = sys.argv[1]
procfs.prepare()
mounts.mount("tmpfs", base, "tmpfs")
posix.chdir(base)
mounts.pivot_root(".", ".")
mounts.umount(".", 2)
posix.chdir("/")
assert posix.listdir("/") == []
procfs.write_sysctl("kernel.domainname", "inside")
assert procfs.read("sys/kernel/domainname") == b"inside\\n"
procfs.write_self("comm", "inside")
"""
    run(script, root, str(tmp_path))


def test_names_of_sysctls() -> None:
    for key, path in {
        "net.ipv4.ip_forward": "net/ipv4/ip_forward",
        "net/ipv4/ip_forward": "net/ipv4/ip_forward",
        "net.ipv4.conf.eth0/1.mtu": "net/ipv4/conf/eth0.1/mtu",
        "net/ipv4/conf/eth0.1/mtu": "net/ipv4/conf/eth0.1/mtu",
        "kernel": "kernel",
        "fs.mqueue.msg_max": "fs/mqueue/msg_max",
    }.items():
        assert procfs.sysctl_path(key) == path


@pytest.mark.parametrize(
    "key",
    [
        "",
        ".",
        "/",
        "..",
        "net..x",
        "net.",
        ".net",
        "net/../../self/comm",
        "a/./b",
        "/net/x",
        "a\0b",
    ],
)
def test_keys_that_are_no_sysctls(key: str) -> None:
    with pytest.raises(Error, match=r"linux\.sysctl"):
        procfs.write_sysctl(key, "1")


def test_paths_do_not_leave_procfs() -> None:
    for path in ("cwd/x", "root/etc/passwd", "../../../etc/passwd", "exe", "fd/0"):
        with pytest.raises(OSError):
            procfs.read("self/" + path)
    procfs.release()
