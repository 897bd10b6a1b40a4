"""seccomp(2): filters on system calls, and the descriptor that hears of them."""

from __future__ import annotations

from errno import EFAULT, EINVAL, EOPNOTSUPP

from libc_bindings.ffi import (
    BYTES,
    POINTER,
    UINT,
    address,
    bind_syscall,
    buffer,
    check,
    get_errno,
    pack,
)

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_GET_ACTION_AVAIL = 2

SECCOMP_FILTER_FLAG_LOG = 1 << 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5

# What a filter returns; the lower 16 bits of some are data (an errno, a tracer's message).
SECCOMP_RET_KILL_PROCESS = 0x80000000
SECCOMP_RET_KILL_THREAD = 0x00000000
SECCOMP_RET_TRAP = 0x00030000
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_USER_NOTIF = 0x7FC00000
SECCOMP_RET_TRACE = 0x7FF00000
SECCOMP_RET_LOG = 0x7FFC0000
SECCOMP_RET_ALLOW = 0x7FFF0000

# struct sock_filter: code (16 bits), jt, jf (8 bits each), k (32 bits).
INSTRUCTION_SIZE = 8
BPF_MAXINSNS = 4096

_POINTER_SIZE = len(bytes(POINTER()))

_seccomp = bind_syscall("seccomp", UINT, UINT, BYTES)


def load_filter(program: bytes, flags: int = 0) -> int:
    """Load `program`, an array of struct sock_filter, for the caller and all it will execute.

    Returns the descriptor of the listener (close-on-exec) if `flags` asks for one
    (SECCOMP_FILTER_FLAG_NEW_LISTENER), else 0. Raises OSError: EACCES without CAP_SYS_ADMIN and
    no_new_privs, EINVAL for a program or flag that the kernel does not take, EBUSY for a second
    listener.
    """
    instructions = buffer(len(program))
    instructions.raw = program
    fprog = pack(
        (len(program) // INSTRUCTION_SIZE, 2),
        (0, _POINTER_SIZE - 2),
        (address(instructions), _POINTER_SIZE),
    )
    return check(_seccomp(SECCOMP_SET_MODE_FILTER, flags, fprog), "seccomp")


def flags_available(flags: int) -> bool:
    """Whether the kernel takes this combination of filter flags.

    The kernel looks at the flags before it reads the program, so a null pointer asks without
    loading anything: EFAULT if it got that far. Raises OSError where the kernel has no filters
    (ENOSYS; EINVAL although no flag was given).
    """
    result = _seccomp(SECCOMP_SET_MODE_FILTER, flags, None)
    if result != -1 or get_errno() == EFAULT:
        return True
    if get_errno() != EINVAL or not flags:
        check(result, "seccomp")
    return False


def action_available(action: int) -> bool:
    """Whether the kernel knows the filter action `action`, a SECCOMP_RET_* without data.

    Raises OSError where the kernel cannot be asked.
    """
    result = _seccomp(SECCOMP_GET_ACTION_AVAIL, 0, pack((action, 4)))
    if result == -1 and get_errno() == EOPNOTSUPP:
        return False
    check(result, "seccomp")
    return True
