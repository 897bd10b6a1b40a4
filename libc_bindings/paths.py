"""Paths and the descriptors they lead to: openat2, renameat2, statx, fstatfs, close_range.

Paths are str (UTF-8 with surrogate escapes) or bytes; descriptors are made close-on-exec.
"""

from __future__ import annotations

import posix
import sys
from errno import EBADF

from libc_bindings.ffi import (
    BYTES,
    INT,
    PATH,
    POINTER,
    UINT,
    ULONG,
    bind,
    bind_syscall,
    buffer,
    check,
    pack,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

STATX_BASIC_STATS = 0x07FF
STATX_MNT_ID = 0x1000

CLOSE_RANGE_CLOEXEC = 4
LAST_DESCRIPTOR = 0xFFFFFFFF

# The types in statfs(2) that decisions hang on.
PROC_SUPER_MAGIC = 0x9FA0
DEVPTS_SUPER_MAGIC = 0x1CD1
AAFS_MAGIC = 0x5A3C69F0

# struct open_how by its fields: packing it takes a fifth of the call's time.
_hows: dict[tuple[int, int, int], bytes] = {}

_openat2 = bind_syscall("openat2", INT, PATH, BYTES, ULONG)
_statx = bind_syscall("statx", INT, PATH, INT, UINT, POINTER)
_close_range = bind_syscall("close_range", UINT, UINT, UINT)
_fstatfs = bind("fstatfs", INT, POINTER)
_fchownat = bind("fchownat", INT, PATH, UINT, UINT, INT)


def openat2(dir_fd: int, path: str | bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2); O_CLOEXEC is added.  `mode` must be 0 without O_CREAT or O_TMPFILE."""
    how = _hows.get((flags, mode, resolve))
    if how is None:
        how = pack((flags | posix.O_CLOEXEC, 8), (mode, 8), (resolve, 8))
        _hows[flags, mode, resolve] = how
    return check(_openat2(dir_fd, path, how, len(how)), "openat2", path)


def renameat2(old_fd: int, old: str | bytes, new_fd: int, new: str | bytes, flags: int = 0) -> None:
    """renameat2(2), with RENAME_NOREPLACE or RENAME_EXCHANGE in `flags`."""
    call = bind_syscall("renameat2", INT, PATH, INT, PATH, UINT)
    check(call(old_fd, old, new_fd, new, flags), "renameat2", old)


def fchownat(
    dir_fd: int, path: str | bytes, uid: int, gid: int, flags: int = AT_EMPTY_PATH
) -> None:
    """fchownat(2); path "" with AT_EMPTY_PATH changes `dir_fd` itself, O_PATH or not."""
    check(_fchownat(dir_fd, path, uid & 0xFFFFFFFF, gid & 0xFFFFFFFF, flags), "fchownat", path)


class Statx:
    """Some fields of struct statx(2); `mask` says which of them are valid."""

    __slots__ = ("ino", "mask", "mnt_id", "mode")

    def __init__(self, raw: bytes) -> None:
        def field(offset: int, width: int) -> int:
            return int.from_bytes(raw[offset : offset + width], sys.byteorder)

        self.mask = field(0, 4)
        self.mode = field(28, 2)
        self.ino = field(32, 8)
        self.mnt_id = field(144, 8)


def statx(
    dir_fd: int,
    path: str | bytes = "",
    flags: int = AT_EMPTY_PATH,
    mask: int = STATX_BASIC_STATS | STATX_MNT_ID,
) -> Statx:
    """statx(2), by default of the descriptor `dir_fd` itself; the mount id needs Linux 5.8."""
    result = buffer(256)
    check(_statx(dir_fd, path, flags, mask, result), "statx", path)
    return Statx(result.raw)


def mount_id(fd: int) -> int:
    """The id, as in /proc/self/mountinfo, of the mount that `fd` was opened through.

    Before Linux 5.8 it is read from /proc/self/fdinfo.
    """
    info = statx(fd, mask=STATX_MNT_ID)
    if info.mask & STATX_MNT_ID:
        return info.mnt_id
    fdinfo = posix.open(f"/proc/self/fdinfo/{fd}", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        text = posix.read(fdinfo, 4096)
    finally:
        posix.close(fdinfo)
    return int(text.partition(b"mnt_id:")[2].split(None, 1)[0])


def fstatfs_type(fd: int) -> int:
    """f_type of fstatfs(2): the magic number of the file system under `fd` (O_PATH will do)."""
    result = buffer(256)
    check(_fstatfs(fd, result), "fstatfs")
    # f_type is a long everywhere but on s390x, where it is an unsigned int.
    wide = sys.maxsize > 2**32 and not posix.uname().machine.startswith("s390")
    kind = int.from_bytes(result.raw[: 8 if wide else 4], sys.byteorder)
    return kind & 0xFFFFFFFF


def close_range(first: int, last: int = LAST_DESCRIPTOR, flags: int = 0) -> None:
    """close_range(2): close every descriptor from `first` to `last`, both included.

    Raises ENOSYS before Linux 5.9 (EINVAL before 5.11 for CLOSE_RANGE_CLOEXEC); then
    open_descriptors() tells what there is to close.
    """
    check(_close_range(first, last, flags), "close_range")


def read_all(fd: int) -> bytes:
    """What is left to be read of `fd`, which is closed.  Raises OSError."""
    try:
        chunks: list[bytes] = []
        while True:
            chunk = posix.read(fd, 1 << 16)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
    finally:
        posix.close(fd)


def read_file(path: str) -> bytes:
    """The whole content of the file `path`.  Raises OSError."""
    return read_all(posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC))


def open_descriptors(first: int = 0, directory: str | int = "/proc/self/fd") -> list[int]:
    """The process's open descriptors from `first` up, in order; `directory` may be an fd of it.

    Where /proc is the container's, hand in a descriptor of /proc/self/fd that was opened before.
    """
    listed: list[Any] = posix.listdir(directory)
    found = []
    for fd in sorted(map(int, listed)):
        if fd < first:
            continue
        try:
            # The descriptor that listdir() itself used is in its list, and closed again.
            posix.get_inheritable(fd)
        except OSError as error:
            if error.errno != EBADF:
                raise
        else:
            found.append(fd)
    return found
