"""ENOSYS for system calls that are newer than the profile.

A profile that refuses what it does not list answers EPERM to calls that did not exist when it was
written. C libraries take ENOSYS for "try the older way" and EPERM for a final no, so each new call
would break containers. As in runc, a stub in front of the filter therefore answers ENOSYS to every
number above the highest one that the profile names for the architecture.
"""

from __future__ import annotations

from errno import ENOSYS
from struct import pack

from libc_bindings.seccomp import SECCOMP_RET_ERRNO

# The stub is for default actions that refuse. A tracer is expected to deal with new calls itself.
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")

AUDIT_ARCH_X86_64 = 0xC000003E
# libseccomp's own number; to the kernel x32 is x86_64 with bit 30 of the call's number set.
SCMP_ARCH_X32 = 0x4000003E
_X32_BIT = 1 << 30

_AUDIT_ARCHES_S390 = (0x00000016, 0x80000016)

# struct seccomp_data (seccomp(2)): int nr; __u32 arch; …
_OFFSET_NR = 0
_OFFSET_ARCH = 4

# linux/bpf_common.h: class | size or operation | mode or source.
_LOAD = 0x00 | 0x00 | 0x20
_JUMP = 0x05 | 0x00
_JUMP_EQUAL = 0x05 | 0x10
_JUMP_GREATER = 0x05 | 0x20
_JUMP_BITS = 0x05 | 0x40
_RETURN = 0x06


def wanted(default_action: str, default_errno: int | None) -> bool:
    """Whether a filter with this default answers new system calls in a way that needs the stub."""
    if default_action == "SCMP_ACT_ERRNO" and default_errno == ENOSYS:
        return False
    return default_action not in _PERMISSIVE


def stub(last: dict[int, int]) -> bytes:
    """The instructions to stand in front of a filter; they end by falling through into it.

    `last` has the highest known system call number for each SCMP_ARCH_* that has one. Other
    architectures go on to the filter, whose answer to them is libseccomp's.
    """
    arches = {AUDIT_ARCH_X86_64 if arch == SCMP_ARCH_X32 else arch for arch in last}
    blocks = b""
    for arch in sorted(arches, reverse=True):
        after = len(blocks) // 8
        if arch == AUDIT_ARCH_X86_64:
            block = _x86_block(last, after)
        else:
            block = _block(last[arch], after, multiplexed=arch in _AUDIT_ARCHES_S390)
        # Each block begins with the load of the number and never ends in the next one, which
        # still finds the architecture in the accumulator.
        blocks = _instruction(_JUMP_EQUAL, 0, len(block) // 8, arch) + block + blocks
    if not blocks:
        return b""
    return _instruction(_LOAD, 0, 0, _OFFSET_ARCH) + blocks


def _block(number: int, after: int, multiplexed: bool) -> bytes:
    """The answer for one architecture; `after` instructions lie between it and the filter."""
    block = _instruction(_LOAD, 0, 0, _OFFSET_NR)
    if multiplexed:
        # s390 passes numbers above 255 in a register. One that the kernel does not know
        # reaches the filter as 0, which is setup(2), gone for decades.
        block += _instruction(_JUMP_EQUAL, 0, 1, 0) + _enosys()
    return block + _limit(number, after)


def _x86_block(last: dict[int, int], after: int) -> bytes:
    """The answer for x86_64 and x32, which are one architecture to the kernel."""
    wide = _limit_or_pass(last.get(SCMP_ARCH_X32), after)
    native = _limit_or_pass(last.get(AUDIT_ARCH_X86_64), after + len(wide) // 8)
    return (
        _instruction(_LOAD, 0, 0, _OFFSET_NR)
        + _instruction(_JUMP_BITS, len(native) // 8, 0, _X32_BIT)
        + native
        + wide
    )


def _limit_or_pass(number: int | None, after: int) -> bytes:
    return _instruction(_JUMP, 0, 0, after) if number is None else _limit(number, after)


def _limit(number: int, after: int) -> bytes:
    """ENOSYS above `number`, else on to the filter, `after` instructions further."""
    return _instruction(_JUMP_GREATER, 0, 1, number) + _enosys() + _instruction(_JUMP, 0, 0, after)


def _enosys() -> bytes:
    return _instruction(_RETURN, 0, 0, SECCOMP_RET_ERRNO | ENOSYS)


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    """struct sock_filter; the jumps count the instructions to leave out."""
    return pack("=HBBI", code, if_true, if_false, value)
