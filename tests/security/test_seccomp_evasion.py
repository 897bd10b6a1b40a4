"""Ways around a seccomp filter, tried against the built file.

Each test also shows the attack succeeding where the defence is not in its way.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import struct
import subprocess
from typing import Any, Iterator

import pytest

from tests.integration.test_seccomp import MKDIRS, RUNC, SIGSYS, Bundle, allow_but

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.access(RUNC, os.X_OK), reason="dist/runc is not built"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers here are x86_64's"),
]

MAKE = "mkdir /dev/shm/foo"
ALLOW_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)


@pytest.fixture
def bundle(tmp_path: pathlib.Path) -> Iterator[Bundle]:
    made = Bundle(tmp_path)
    yield made
    made.runc("delete", "--force", "c1")


@pytest.fixture
def cached(bundle: Bundle) -> Bundle:
    """A bundle whose profile refuses mkdir, with the filter in the cache."""
    bundle.set(allow_but(MKDIRS), MAKE)
    assert bundle.run()[0] != 0
    return bundle


def entry_of(bundle: Bundle) -> pathlib.Path:
    (entry,) = (bundle.root / "~seccomp").iterdir()
    return entry


def forge(bundle: Bundle) -> bytes:
    """The cached entry with another program in it: one that allows everything."""
    hasher = __import__("hashlib").sha256
    body = entry_of(bundle).read_bytes()[32:]
    end = 34 + int.from_bytes(body[32:34], "big")
    body = body[:end] + ALLOW_ALL
    return bytes(hasher(body).digest()) + body


# ---- the cache of filters


def test_forgery_with_our_own_hand(cached: Bundle) -> None:
    """The attack itself: whoever can write as us into our directory needs no attack any more."""
    entry_of(cached).write_bytes(forge(cached))
    assert cached.run() == (0, "")


def _of_another_user(cached: Bundle) -> None:
    os.chown(entry_of(cached), 1000, 1000)


def _writable_by_others(cached: Bundle) -> None:
    entry_of(cached).chmod(0o606)


def _in_a_directory_of_another_user(cached: Bundle) -> None:
    os.chown(entry_of(cached).parent, 1000, 1000)


def _in_a_directory_that_others_write_to(cached: Bundle) -> None:
    entry_of(cached).parent.chmod(0o1777)


def _linked_from_elsewhere(cached: Bundle) -> None:
    os.link(entry_of(cached), cached.path / "second-name")


def _behind_a_link(cached: Bundle) -> None:
    entry = entry_of(cached)
    target = cached.path / "target"
    entry.rename(target)
    entry.symlink_to(target)


@pytest.mark.parametrize(
    "circumstance",
    [
        _of_another_user,
        _writable_by_others,
        _in_a_directory_of_another_user,
        _in_a_directory_that_others_write_to,
        _linked_from_elsewhere,
        _behind_a_link,
    ],
)
def test_forgery_by_somebody_else(cached: Bundle, circumstance: Any) -> None:
    entry_of(cached).write_bytes(forge(cached))
    circumstance(cached)
    status, output = cached.run()
    assert status != 0
    assert "Operation not permitted" in output


def test_filter_of_another_profile(cached: Bundle) -> None:
    """An entry of ours under the name of another profile."""
    strict = entry_of(cached)
    names = {strict.name}
    cached.set(allow_but(["chroot"]), MAKE)
    assert cached.run() == (0, "")
    (lax,) = (entry for entry in strict.parent.iterdir() if entry.name not in names)
    lax.replace(strict)
    cached.set(allow_but(MKDIRS), MAKE)
    status, output = cached.run()
    assert status != 0
    assert "Operation not permitted" in output


# ---- other doors of the kernel

DOORS = """
#include <unistd.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
static const char *path = "/dev/shm/foo";
int main(int argc, char **argv) {
    long result = -1;
    if (!strcmp(argv[1], "x86_64"))
        result = syscall(83, path, 0755);
    else if (!strcmp(argv[1], "x32"))
        result = syscall(83 | 1 << 30, path, 0755);
    else if (!strcmp(argv[1], "i386"))
        /* 32-bit pointers: the program is linked to low addresses. */
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(39), "b"(path), "c"(0755) : "memory");
    return result == 0 ? 0 : 1;
}
"""


@pytest.fixture
def doors(bundle: Bundle) -> Bundle:
    if not shutil.which("gcc"):
        pytest.skip("needs a C compiler")
    source = bundle.path / "doors.c"
    source.write_text(DOORS)
    command = ["gcc", "-static", "-no-pie", "-o", str(bundle.path / "rootfs" / "doors")]
    subprocess.run([*command, str(source)], check=True)
    return bundle


def _open(doors: Bundle, door: str) -> int:
    doors.config["process"]["args"] = ["/doors", door]
    return int(doors.run()[0])


def test_system_calls_of_another_architecture(doors: Bundle) -> None:
    """mkdir(2) has other numbers on i386 and x32, which a 64-bit process can use."""
    doors.set({"defaultAction": "SCMP_ACT_ALLOW"})
    assert _open(doors, "x86_64") == 0
    # What the attack would do: with the door open, and all calls allowed behind it.
    open_door = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"]}
    doors.set(open_door)
    if _open(doors, "i386") != 0:
        pytest.skip("this kernel has no 32-bit system calls")
    # A profile that says nothing of other architectures closes them altogether…
    doors.set(allow_but(["mkdir"]))
    assert _open(doors, "x86_64") == 1
    assert _open(doors, "i386") == 128 + SIGSYS
    assert _open(doors, "x32") == 128 + SIGSYS
    # … and one that opens them has its rules there, too.
    profile = allow_but(["mkdir"])
    profile["architectures"] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    doors.set(profile)
    for door in ("x86_64", "i386", "x32"):
        assert _open(doors, door) == 1


# ---- processes that come later


@pytest.mark.parametrize("new_privs", [True, False])
def test_exec_cannot_leave_the_filter_behind(bundle: Bundle, new_privs: bool) -> None:
    bundle.set(allow_but(MKDIRS), "sleep 1000", new_privs)
    assert bundle.runc("run", "--detach", "c1") == (0, "")
    show = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status"
    status, output = bundle.runc("exec", "c1", "/bin/sh", "-c", show)
    assert status == 0
    assert output.split() == ["NoNewPrivs:", "0" if new_privs else "1", "Seccomp:", "2"]
    script = "/bin/sh -c 'mkdir /dev/shm/foo &'; sleep 0.2; stat /dev/shm/foo"
    assert bundle.runc("exec", "c1", "/bin/sh", "-c", script)[0] != 0
