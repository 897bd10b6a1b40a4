"""capabilities(7): names, capset(2), the bounding and the ambient set."""

from __future__ import annotations

import posix
from errno import EINVAL

from libc_bindings.ffi import BYTES, INT, ULONG, bind, check, get_errno, pack

# In the kernel's order: the index is the capability's number.
NAMES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID "
    "CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST "
    "CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO "
    "CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE "
    "CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE "
    "CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM "
    "CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE"
).split()

CAP_SYS_ADMIN = 21

_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_prctl = bind("prctl", INT, ULONG, ULONG, ULONG, ULONG)


def last() -> int:
    """The number of the last capability that this kernel knows."""
    fd = posix.open("/proc/sys/kernel/cap_last_cap", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return int(posix.read(fd, 16))
    finally:
        posix.close(fd)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) for the caller; each set is a bit mask by capability number."""
    header = pack((_LINUX_CAPABILITY_VERSION_3, 4), (0, 4))
    low, high = 0xFFFFFFFF, 32
    data = pack(
        (effective & low, 4), (permitted & low, 4), (inheritable & low, 4),
        (effective >> high, 4), (permitted >> high, 4), (inheritable >> high, 4),
    )  # fmt: skip
    check(bind("capset", BYTES, BYTES)(header, data), "capset")


def drop_bounding(keep: int) -> None:
    """Drop every capability that is not in the mask `keep` from the bounding set.

    Stops at the first number that this kernel does not know (EINVAL), so last() need not be read.
    """
    for number in range(64):
        if not keep >> number & 1 and _prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == -1:
            if get_errno() == EINVAL:
                return
            check(-1, "prctl PR_CAPBSET_DROP")


def clear_ambient() -> None:
    """Empty the ambient set."""
    check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl PR_CAP_AMBIENT")


def raise_ambient(mask: int) -> int:
    """Raise the capabilities in `mask` in the ambient set; returns the mask of those refused.

    The kernel refuses (EPERM) those that are not both permitted and inheritable.
    """
    refused = 0
    for number in range(mask.bit_length()):
        wanted = mask >> number & 1
        if wanted and _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0) == -1:
            refused |= 1 << number
    return refused
