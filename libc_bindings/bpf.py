"""bpf(2): programs that the kernel runs, their instructions, and cgroups they are attached to.

The structures are prefixes of `union bpf_attr` as long as Linux 4.15 knew them: a later kernel takes
the missing rest for zeros, an earlier one would refuse bytes it does not know.
"""

from __future__ import annotations

import errno
import sys

from libc_bindings.ffi import (
    BYTES,
    INT,
    POINTER,
    UINT,
    address,
    bind_syscall,
    buffer,
    check,
    get_errno,
    pack,
)

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6

BPF_F_ALLOW_MULTI = 1 << 1
BPF_F_REPLACE = 1 << 2

# struct bpf_cgroup_dev_ctx: offsets of its fields, and the values of access_type.
DEV_ACCESS_TYPE, DEV_MAJOR, DEV_MINOR = 0, 4, 8
BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR = 1, 2
BPF_DEVCG_ACC_MKNOD, BPF_DEVCG_ACC_READ, BPF_DEVCG_ACC_WRITE = 1, 2, 4

# Instruction codes: bpf(2) and the kernel's Documentation/bpf/standardization/instruction-set.rst.
LOAD_WORD = 0x61  # BPF_LDX | BPF_W | BPF_MEM
MOVE = 0xB7  # BPF_ALU64 | BPF_MOV | BPF_K
MOVE_REGISTER = 0xBF  # BPF_ALU64 | BPF_MOV | BPF_X
AND = 0x57  # BPF_ALU64 | BPF_AND | BPF_K
SHIFT_RIGHT = 0x77  # BPF_ALU64 | BPF_RSH | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_IF_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
JUMP_NOT_EQUAL = 0x55  # BPF_JMP | BPF_JNE | BPF_K
EXIT = 0x95  # BPF_JMP | BPF_EXIT

_bpf = bind_syscall("bpf", INT, BYTES, UINT)


def instruction(
    code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0
) -> bytes:
    """One instruction: registers 0 to 10, a jump's distance, an immediate value of 32 bits."""
    registers = target | source << 4
    if sys.byteorder == "big":
        # The two are bit fields of C, which go the other way round there.
        registers = target << 4 | source
    return pack((code, 1), (registers, 1), (offset, 2), (value, 4))


def prog_load(kind: int, instructions: bytes, license: bytes = b"Apache-2.0") -> int:
    """Load a program and return its descriptor (close-on-exec); OSError if the verifier refuses.

    A program with a license that is not GPL-compatible may not call GPL-only helpers.
    """
    code = buffer(len(instructions))
    code.raw = instructions
    text = buffer(len(license) + 1)
    text.value = license
    attr = pack(
        (kind, 4), (len(instructions) // 8, 4), (address(code), 8), (address(text), 8),
        (0, 4), (0, 4), (0, 8), (0, 4), (0, 4),
    )  # fmt: skip
    return check(_bpf(BPF_PROG_LOAD, attr, len(attr)), "bpf BPF_PROG_LOAD")


def prog_attach(cgroup: int, program: int, kind: int, flags: int, replaced: int = 0) -> None:
    """Attach a program to the cgroup v2 behind a descriptor; OSError.

    With BPF_F_REPLACE (Linux 5.6) it takes the place of `replaced`, a program's descriptor.
    """
    attr = pack((cgroup, 4), (program, 4), (kind, 4), (flags, 4))
    if flags & BPF_F_REPLACE:
        attr += pack((replaced, 4))
    check(_bpf(BPF_PROG_ATTACH, attr, len(attr)), "bpf BPF_PROG_ATTACH")


def prog_detach(cgroup: int, program: int, kind: int) -> None:
    """Detach a program from the cgroup v2 behind a descriptor; OSError."""
    attr = pack((cgroup, 4), (program, 4), (kind, 4), (0, 4))
    check(_bpf(BPF_PROG_DETACH, attr, len(attr)), "bpf BPF_PROG_DETACH")


def prog_query(cgroup: int, kind: int) -> list[int]:
    """The ids of the programs attached to the cgroup itself (Linux 4.15); OSError."""
    room = 64
    query = bind_syscall("bpf", INT, POINTER, UINT)
    while True:
        ids = buffer(4 * room)
        attr = buffer(32)
        attr.raw = pack(
            (cgroup, 4), (kind, 4), (0, 4), (0, 4), (address(ids), 8), (room, 4), (0, 4)
        )
        result = query(BPF_PROG_QUERY, address(attr), 32)
        count = int.from_bytes(attr.raw[24:28], sys.byteorder)
        if result == -1 and get_errno() == errno.ENOSPC and count > room:
            room = count
            continue
        check(result, "bpf BPF_PROG_QUERY")
        raw = ids.raw
        return [int.from_bytes(raw[4 * i : 4 * i + 4], sys.byteorder) for i in range(count)]


def prog_get_fd_by_id(number: int) -> int:
    """A descriptor of a loaded program (close-on-exec); OSError."""
    attr = pack((number, 4), (0, 4), (0, 4))
    return check(_bpf(BPF_PROG_GET_FD_BY_ID, attr, len(attr)), "bpf BPF_PROG_GET_FD_BY_ID")
