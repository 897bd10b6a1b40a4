"""Namespaces and the processes in them: clone(2), unshare(2), setns(2), pidfd_open(2)."""

from __future__ import annotations

import errno
import posix

from libc_bindings.ffi import (
    BYTES,
    INT,
    POINTER,
    UINT,
    ULONG,
    bind,
    bind_syscall,
    check,
    get_errno,
    pack,
)
from libc_bindings.signals import SIGCHLD

CLONE_FILES = 0x00000400
CLONE_PARENT = 0x00008000
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

_unshare = bind("unshare", INT)
_setns = bind("setns", INT, INT)
_clone = bind_syscall("clone", ULONG, POINTER, POINTER, POINTER, POINTER)
_clone3 = bind_syscall("clone3", BYTES, ULONG)


def unshare(flags: int) -> None:
    """unshare(2): move the caller (for NEWPID and NEWTIME: its next children) to new namespaces."""
    check(_unshare(flags), "unshare")


def setns(fd: int, nstype: int) -> None:
    """setns(2): enter the namespace that `fd` (of /proc/PID/ns/*, or a pidfd) refers to."""
    check(_setns(fd, nstype), "setns")


def clone(flags: int) -> int:
    """A child as fork(2) makes it, in the new namespaces that `flags` name; 0 in the child.

    With CLONE_FILES both have one table of descriptors, until an execve(2). With CLONE_PARENT the
    child becomes the caller's sibling and signals their common parent.
    No atfork handler runs: the caller must be the only thread. clone3(2) is not needed for these
    flags and a seccomp profile around us may deny it, so it is the older call.
    """
    exit_signal = 0 if flags & CLONE_PARENT else SIGCHLD
    machine = posix.uname().machine
    if machine.startswith("s390"):
        # s390 takes the stack first (clone(2), NOTES: C library/kernel differences).
        return check(_clone(0, flags | exit_signal, None, None, None), "clone")
    return check(_clone(flags | exit_signal, None, None, None, None), "clone")


def clone_into(cgroup: int, flags: int) -> int:
    """clone(), with the child born in the cgroup v2 behind a descriptor; -1 where it cannot be.

    That is clone3(2) with CLONE_INTO_CGROUP (Linux 5.7), which a seccomp profile around us may deny,
    as may a cgroup that takes no processes or is not ours.
    """
    exit_signal = 0 if flags & CLONE_PARENT else SIGCHLD
    # struct clone_args: flags, three pointers, exit_signal, five fields that stay 0, cgroup.
    arguments = pack(
        (flags | CLONE_INTO_CGROUP, 8), (0, 24), (exit_signal, 8), (0, 40), (cgroup, 8)
    )  # fmt: skip
    return _clone3(arguments, len(arguments))


def pidfd_open(pid: int) -> int:
    """pidfd_open(2): a close-on-exec descriptor of process `pid`, or -1 before Linux 5.3."""
    fd = bind_syscall("pidfd_open", INT, UINT)(pid, 0)
    if fd == -1 and get_errno() == errno.ENOSYS:
        return -1
    return check(fd, "pidfd_open")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = name.encode()
    check(bind("sethostname", BYTES, ULONG)(encoded, len(encoded)), "sethostname", name)


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    encoded = name.encode()
    check(bind("setdomainname", BYTES, ULONG)(encoded, len(encoded)), "setdomainname", name)


def set_loopback_up() -> None:
    """Bring `lo` of the caller's network namespace up (netdevice(7): SIOCSIFFLAGS)."""
    import _socket

    siocsifflags, iff_up_running = 0x8914, 0x1 | 0x40
    request = b"lo".ljust(16, b"\0") + pack((iff_up_running, 2)) + bytes(22)
    # A unit with RestrictAddressFamilies= may have no other, nor a kernel without IPv4.
    with_socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    try:
        ioctl = bind("ioctl", INT, ULONG, BYTES)
        check(ioctl(with_socket.fileno(), siocsifflags, request), "ioctl SIOCSIFFLAGS", "lo")
    finally:
        with_socket.close()
