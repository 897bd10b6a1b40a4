"""System call numbers, for the calls that not every libc wraps.

From 424 up the kernel gives new calls one number on all architectures (with MIPS's and Alpha's fixed
offsets); the older ones are listed per architecture, as in the kernel's syscall tables.
"""

from __future__ import annotations

import posix
import sys

_COMMON = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
    "set_mempolicy_home_node": 450,
    "statmount": 457,
    "open_tree_attr": 467,
}

_OLD = (
    "pivot_root clone keyctl add_key bpf seccomp ioprio_set ioprio_get sched_setattr "
    "sched_getattr set_mempolicy statx renameat2 memfd_create execveat getdents64"
).split()

# One row per architecture, in the order of _OLD.
_GENERIC = "41 220 219 217 280 277 30 31 274 275 237 291 276 279 281 61"
_PER_MACHINE = {
    "x86_64": "155 56 250 248 321 317 251 252 314 315 238 332 316 319 322 217",
    "i386": "217 120 288 286 357 354 289 290 351 352 276 383 353 356 358 220",
    "arm": "218 120 311 309 386 383 314 315 380 381 321 397 382 385 387 217",
    "ppc": "203 120 271 269 361 358 273 274 355 356 261 383 357 360 362 202",
    "s390": "217 120 280 278 351 348 282 283 345 346 270 379 347 350 354 220",
    "mips64": "5151 5055 5241 5239 5315 5312 5273 5274 5309 5310 5228 5326 5311 5314 5316 5308",
    "mips": "4216 4120 4282 4280 4355 4352 4314 4315 4349 4350 4270 4366 4351 4354 4356 4219",
    "sparc64": "146 217 283 281 349 346 196 218 343 344 305 360 345 348 350 154",
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
