"""For the tests of filters: classic BPF in Python, and processes that try system calls."""

from __future__ import annotations

import ctypes
import mmap
import os
import posix
import signal
import struct
import sys
from typing import Any, Callable

X86_64 = 0xC000003E
I386 = 0x40000003
X32_BIT = 1 << 30

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
TRACE = 0x7FF00000
NOTIFY = 0x7FC00000
ERRNO = 0x00050000
TRAP = 0x00030000
KILL_THREAD = 0x00000000
KILL_PROCESS = 0x80000000


def simulate(program: bytes, number: int, arch: int = X86_64, args: tuple[int, ...] = ()) -> int:
    """What `program` returns for a system call; fails where the kernel would refuse the program."""
    filled = (tuple(args) + (0,) * 6)[:6]
    data = struct.pack("=iIQ6Q", _signed(number), arch, 0, *filled)
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x20:
            assert value % 4 == 0
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x05:
            at += value
        elif operation == 0x06:
            return int(value)
        else:
            holds = {
                0x15: accumulator == value,
                0x25: accumulator > value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[operation]
            at += if_true if holds else if_false


def check_jumps(program: bytes) -> None:
    """Every jump has to end inside, and the last instruction has to return."""
    code = list(struct.iter_unpack("=HBBI", program))
    for at, (operation, if_true, if_false, value) in enumerate(code):
        reach = value if operation == 0x05 else max(if_true, if_false) if operation & 7 == 5 else 0
        assert at + 1 + reach < len(code) or operation == 0x06
    assert code[-1][0] == 0x06


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number


_libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *args: int) -> int:
    """The system call's result, or minus its errno."""
    result = _libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(arg) for arg in args])
    return -ctypes.get_errno() if result == -1 else int(result)


# push rbx; mov eax,edi; mov ebx,esi; mov ecx,edx; xor edx,edx; int 0x80; pop rbx; ret
_INT_80 = bytes.fromhex("5389f889f389d131d2cd805bc3")


def syscall_i386(number: int, arg1: int = 0, arg2: int = 0) -> int:
    """The same through the 32-bit door of an x86_64 kernel."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_INT_80)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
    return int(kind(ctypes.addressof(ctypes.c_char.from_buffer(page)))(number, arg1, arg2))


def attempt(filter_: Any, *calls: Callable[[], int], new_privs: bool = False) -> list[int]:
    """What each call returns in a process under `filter_`, which must let it use memory and end."""
    results, status = attempt_status(filter_, *calls, new_privs=new_privs)
    assert status == 0, status
    return results


def attempt_status(
    filter_: Any, *calls: Callable[[], int], new_privs: bool = False
) -> tuple[list[int], int]:
    """The same, with the process's status as waitpid(2) has it."""
    # Shared memory, because a pipe would have to be allowed by the filter.
    shared = mmap.mmap(-1, 4096)
    pid = os.fork()
    if pid == 0:
        done = 0
        try:
            signal.setitimer(signal.ITIMER_REAL, 20)
            if not new_privs:
                _libc.prctl(38, 1, 0, 0, 0)
            filter_.load()
            for call in calls:
                struct.pack_into("=q", shared, 8 + done * 8, call())
                done += 1
                struct.pack_into("=q", shared, 0, done)
            posix._exit(0)
        except BaseException as error:
            print(error, file=sys.stderr)
            posix._exit(99)
    _, status = os.waitpid(pid, 0)
    (done,) = struct.unpack_from("=q", shared, 0)
    return list(struct.unpack_from("=%dq" % done, shared, 8)), status


def default_allow(*rules: dict[str, Any], **more: Any) -> Any:
    """A profile that allows all but `rules`."""
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **more}


def rule(names: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    """A rule for the space-separated system calls."""
    return {"names": names.split(), "action": action, **more}


def compare(index: int, operator: str, value: int, two: int = 0) -> dict[str, Any]:
    """A comparison with an argument."""
    return {"index": index, "op": "SCMP_CMP_" + operator, "value": value, "valueTwo": two}
