"""Attributes of a process: prctl(2), scheduling, memory policy, personality, resource limits."""

from __future__ import annotations

import posix
from sys import byteorder

from libc_bindings.ffi import (
    BYTES,
    INT,
    POINTER,
    UINT,
    ULONG,
    bind,
    bind_syscall,
    check,
    pack,
)

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

SCHED_DEADLINE = 6
SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
SCHED_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": SCHED_DEADLINE,
}

IOPRIO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_SHIFT = 13

_MADV_POPULATE_WRITE = 23

PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}

MPOL_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MPOL_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}

_RLIMITS = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5, "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10, "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip
# These three families number five limits in their own way (asm/resource.h).
_OWN_RLIMITS = {
    "mips": {"RLIMIT_NOFILE": 5, "RLIMIT_AS": 6, "RLIMIT_RSS": 7, "RLIMIT_NPROC": 8,
             "RLIMIT_MEMLOCK": 9},
    "sparc": {"RLIMIT_NOFILE": 6, "RLIMIT_NPROC": 7},
    "alpha": {"RLIMIT_NOFILE": 6, "RLIMIT_AS": 7, "RLIMIT_NPROC": 8, "RLIMIT_MEMLOCK": 9},
}  # fmt: skip

_prctl = bind("prctl", INT, ULONG, ULONG, ULONG, ULONG)


def memset(address: int, byte: int, size: int) -> None:
    """memset(3) of this process's own memory."""
    bind("memset", ULONG, INT, ULONG, returns=None)(address, byte, size)


def populate_write(address: int, size: int) -> None:
    """madvise(2) MADV_POPULATE_WRITE (Linux 5.14): have these pages as if all had been written."""
    check(bind("madvise", ULONG, ULONG, INT)(address, size, _MADV_POPULATE_WRITE), "madvise")


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """prctl(2) for options that take numbers."""
    return check(_prctl(option, arg2, arg3, 0, 0), f"prctl {option}")


def set_user(uid: int, gid: int) -> None:
    """Set real, effective and saved ids; the groups first, while the caller may."""
    check(bind("setresgid", UINT, UINT, UINT)(gid, gid, gid), "setresgid")
    check(bind("setresuid", UINT, UINT, UINT)(uid, uid, uid), "setresuid")


def sched_setattr(
    policy: int, flags: int, nice: int, priority: int, runtime: int, deadline: int, period: int
) -> None:
    """sched_setattr(2) for the caller; the last three in nanoseconds."""
    attr = pack(
        (48, 4), (policy, 4), (flags, 8), (nice, 4), (priority, 4),
        (runtime, 8), (deadline, 8), (period, 8),
    )  # fmt: skip
    call = bind_syscall("sched_setattr", INT, BYTES, UINT)
    check(call(0, attr, 0), "sched_setattr")


def ioprio_set(class_: int, level: int) -> None:
    """ioprio_set(2) for the caller: class 1 to 3, level 0 (first) to 7."""
    call = bind_syscall("ioprio_set", INT, INT, INT)
    check(call(_IOPRIO_WHO_PROCESS, 0, class_ << _IOPRIO_CLASS_SHIFT | level), "ioprio_set")


def personality(persona: int) -> None:
    """personality(2)."""
    check(bind("personality", ULONG)(persona), "personality")


def set_mempolicy(mode: int, nodes: list[int]) -> None:
    """set_mempolicy(2): `mode` with its flags or-ed in, `nodes` the numbers of the NUMA nodes."""
    bits = 0
    for node in nodes:
        bits |= 1 << node
    # The kernel reads maxnode-1 bits, in whole longs.
    width = (bits.bit_length() + 64) // 64 * 8
    mask = bits.to_bytes(width, byteorder) if nodes else None
    call = bind_syscall("set_mempolicy", INT, BYTES, ULONG)
    check(call(mode, mask, width * 8 + 1 if nodes else 0), "set_mempolicy")


def prlimit(pid: int, resource: str, soft: int, hard: int) -> None:
    """prlimit(2): set process `pid`'s limits of `resource`, such as RLIMIT_NOFILE.

    -1 (RLIM_INFINITY) and 2**64-1 mean no limit. Raises KeyError for a resource that is not known.
    """
    machine = posix.uname().machine
    own = next((v for k, v in _OWN_RLIMITS.items() if machine.startswith(k)), {})
    number = own.get(resource, _RLIMITS[resource])
    infinity = 2**64 - 1
    limits = pack((soft & infinity, 8), (hard & infinity, 8))
    # glibc's plain prlimit takes 32-bit limits on 32-bit machines; musl has only 64-bit ones.
    try:
        call = bind("prlimit64", INT, UINT, BYTES, POINTER)
    except AttributeError:
        call = bind("prlimit", INT, UINT, BYTES, POINTER)
    check(call(pid, number, limits, None), "prlimit")
