"""System call numbers, for the calls that not every libc wraps.

From 424 up the kernel gives new calls one number on all architectures (on MIPS with an offset); the
older ones are listed per architecture, as in the kernel's syscall tables.
"""

from __future__ import annotations

import posix
import sys

_COMMON = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}

_OLD = (
    "pivot_root clone keyctl bpf seccomp ioprio_set sched_setattr set_mempolicy statx renameat2 "
    "memfd_create"
).split()

# One row per architecture, in the order of _OLD.
_GENERIC = "41 220 219 280 277 30 274 237 291 276 279"
_PER_MACHINE = {
    "x86_64": "155 56 250 321 317 251 314 238 332 316 319",
    "i386": "217 120 288 357 354 289 351 276 383 353 356",
    "arm": "218 120 311 386 383 314 380 321 397 382 385",
    "ppc": "203 120 271 361 358 273 355 261 383 357 360",
    "s390": "217 120 280 351 348 282 345 270 379 347 350",
    "mips64": "5151 5055 5241 5315 5312 5273 5309 5228 5326 5311 5314",
    "mips": "4216 4120 4282 4355 4352 4314 4349 4270 4366 4351 4354",
    "sparc64": "146 217 283 349 346 196 343 305 360 345 348",
}


def _table() -> tuple[dict[str, int], int]:
    """The old calls' numbers and the offset of the common ones, for the running program."""
    machine = posix.uname().machine
    wide = sys.maxsize > 2**32
    if machine == "x86_64":
        # A 32-bit Python on a 64-bit kernel speaks the i386 ABI.
        row, offset = _PER_MACHINE["x86_64" if wide else "i386"], 0
    elif machine[0] == "i" and machine.endswith("86"):
        row, offset = _PER_MACHINE["i386"], 0
    elif machine.startswith("arm") or (machine == "aarch64" and not wide):
        row, offset = _PER_MACHINE["arm"], 0
    elif machine.startswith("ppc"):
        row, offset = _PER_MACHINE["ppc"], 0
    elif machine.startswith("s390"):
        row, offset = _PER_MACHINE["s390"], 0
    elif machine.startswith("mips"):
        row, offset = (_PER_MACHINE["mips64"], 5000) if wide else (_PER_MACHINE["mips"], 4000)
    elif machine.startswith("sparc"):
        row, offset = _PER_MACHINE["sparc64"], 0
    else:
        # aarch64, riscv64, loongarch64 and every later port use the generic table.
        row, offset = _GENERIC, 0
    return dict(zip(_OLD, map(int, row.split()))), offset


_old, _offset = _table()


def number_of(name: str) -> int:
    """The number of system call `name` on this machine.  Raises KeyError for an unlisted call."""
    if name in _COMMON:
        return _COMMON[name] + _offset
    return _old[name]
