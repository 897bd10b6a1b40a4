"""The program file of the running process: exchange it in place, or copy it into a sealed memfd.

replace_program_file() makes another open file of the same content the process's /proc/self/exe,
without an execve(2). The kernel does that (PR_SET_MM) only when no mapping of the old file is
left, so every mapping is exchanged first, under the feet of the program that runs from them:

* Pages that are as in the file are mapped from the new file: the same page cache, nothing copied.
* A read-only mapping with private pages (the dynamic linker's relocations, RELRO) is copied into
  anonymous memory. /proc/self/pagemap tells which pages are private.
* A writable mapping (.data) changes whenever Python runs a byte code. memmove() and mremap() must
  follow each other with no Python in between: two chained contexts of makecontext(3) do that.

Everything that may fail is tried before the first mapping is exchanged; what remains is a
series of mremap(2) calls. Should one fail all the same, the process still runs as before, with its
old program file.
"""

from __future__ import annotations

import posix
import sys
from errno import EBUSY, EINVAL, ENOSYS, EPERM

from libc_bindings.ffi import (
    INT,
    LONG,
    PATH,
    POINTER,
    UINT,
    ULONG,
    address,
    bind,
    bind_syscall,
    buffer,
    check,
    pack,
)
from libc_bindings.paths import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

MFD_CLOEXEC = 1
MFD_ALLOW_SEALING = 2
MFD_EXEC = 16

F_ADD_SEALS = 1033
F_GET_SEALS = 1034
F_SEAL_SEAL = 1
F_SEAL_SHRINK = 2
F_SEAL_GROW = 4
F_SEAL_WRITE = 8

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
MAP_PRIVATE, MAP_ANONYMOUS, MAP_POPULATE = 0x02, 0x20, 0x8000
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2

_PR_SET_MM = 35
_PR_SET_MM_EXE_FILE = 13
_PR_SET_MM_MAP = 14
_PR_SET_MM_MAP_SIZE = 15

# Where struct ucontext begins with uc_flags, uc_link, uc_stack, fits into _CONTEXT bytes, and
# makecontext(3) takes 64-bit arguments; each of these was tried.
_MACHINES = ("x86_64",)
_CONTEXT = 8192
_STACK = 1 << 16

# In the highest byte of the 64-bit word that /proc/self/pagemap has for each page.
_PRESENT_OR_SWAPPED = 0xC0
_OF_THE_FILE = 0x20

_memfd_create = bind_syscall("memfd_create", PATH, UINT)
_prctl = bind("prctl", INT, ULONG, POINTER, ULONG, ULONG)
_mmap = bind("mmap", ULONG, ULONG, INT, INT, INT, LONG, returns=LONG)
_munmap = bind("munmap", ULONG, ULONG)
_mprotect = bind("mprotect", ULONG, ULONG, INT)
_mremap = bind("mremap", ULONG, ULONG, ULONG, INT, ULONG, returns=LONG)
_memmove = bind("memmove", ULONG, ULONG, ULONG, returns=ULONG)
_sbrk = bind("sbrk", LONG, returns=ULONG)


def memfd_create(name: str, flags: int = MFD_CLOEXEC) -> int:
    """memfd_create(2): descriptor of a new file that lives in memory."""
    return check(_memfd_create(name, flags), "memfd_create", name)


def exchangeable() -> bool:
    """Whether this C library and architecture know what replace_program_file() needs."""
    if posix.uname().machine not in _MACHINES:
        return False
    try:
        bind("makecontext")
    except AttributeError:
        return False
    return bool(posix.access("/proc/self/pagemap", posix.R_OK))


def replaceable_later() -> bool:
    """Whether replace_program_file() will work with the privileges of a new user namespace."""
    size = buffer(4)
    # EINVAL from kernels that were built without CONFIG_CHECKPOINT_RESTORE.
    known = _prctl(_PR_SET_MM, _PR_SET_MM_MAP_SIZE, address(size), 0, 0) != -1
    return known and exchangeable()


def replace_program_file(fd: int) -> None:
    """Make the file under `fd` this process's program file, /proc/self/exe.

    It must have the content of the present one. It needs CAP_SYS_RESOURCE, or CAP_SYS_ADMIN
    or CAP_CHECKPOINT_RESTORE in the present user namespace; one thread; and no execution of other
    Python code meanwhile. Raises OSError; then nothing has changed that the program could
    notice.
    """
    if not exchangeable():
        raise OSError(ENOSYS, "the program file cannot be exchanged on this system")
    stat = read_file("/proc/self/stat").rpartition(b")")[2].split()
    if stat[_stat("num_threads")] != b"1":
        raise OSError(EBUSY, "the program file cannot be exchanged while other threads run")
    setting = _ExeFile(fd).set
    if not _is_permitted(setting):
        setting = _MmMap(stat, fd).set
        if not _is_permitted(setting):
            raise OSError(EPERM, "prctl(PR_SET_MM): Operation not permitted")
    _exchange(_program_mappings(int(stat[_stat("startcode")])), fd)
    setting()


def _is_permitted(setting: Callable[[], None]) -> bool:
    """Try it while mappings of the old file are left: EBUSY comes after all other checks."""
    try:
        setting()
    except OSError as error:
        if error.errno == EPERM:
            return False
        if error.errno != EBUSY:
            raise
    return True


class _ExeFile:
    """The simple way; it wants CAP_SYS_RESOURCE in the initial user namespace."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def set(self) -> None:
        """PR_SET_MM_EXE_FILE.  Raises OSError."""
        check(_prctl(_PR_SET_MM, _PR_SET_MM_EXE_FILE, self._fd, 0, 0), "prctl(PR_SET_MM)")


_STAT = {
    # proc(5) numbers the fields from 1; what follows the program's name begins with the third.
    "num_threads": 20,
    "startcode": 26,
    "endcode": 27,
    "startstack": 28,
    "start_data": 45,
    "end_data": 46,
    "start_brk": 47,
    "arg_start": 48,
    "arg_end": 49,
    "env_start": 50,
    "env_end": 51,
}


def _stat(field: str) -> int:
    return _STAT[field] - 3


class _MmMap:
    """struct prctl_mm_map with the present values of all fields but the program file."""

    _BRK, _EXE_FD = 40, 100
    _UNCHANGED = b"\xff\xff\xff\xff"

    def __init__(self, stat: list[bytes], fd: int) -> None:
        def values(*names: str) -> list[tuple[int, int]]:
            return [(int(stat[_stat(name)]), 8) for name in names]

        fields = pack(
            *values("startcode", "endcode", "start_data", "end_data", "start_brk"),
            (0, 8),  # brk
            *values("startstack", "arg_start", "arg_end", "env_start", "env_end"),
            (0, 8),  # auxv: left as it is
            (0, 4),
            (fd, 4),
        )
        self._struct = buffer(len(fields))
        self._struct[:] = fields

    def set(self) -> None:
        """PR_SET_MM_MAP, for which less is enough.  Raises OSError."""
        while True:
            # malloc(3) moves the break at any time; a wrong one would end in a segmentation fault.
            brk = _sbrk(0)
            self._struct[self._BRK : self._BRK + 8] = brk.to_bytes(8, sys.byteorder)
            struct = address(self._struct)
            check(
                _prctl(_PR_SET_MM, _PR_SET_MM_MAP, struct, len(self._struct), 0),
                "prctl(PR_SET_MM)",
            )
            self._struct[self._EXE_FD : self._EXE_FD + 4] = self._UNCHANGED
            if _sbrk(0) == brk:
                return


class _Mapping:
    """A line of /proc/self/maps, and what will take its place."""

    __slots__ = ("offset", "prot", "replacement", "size", "start")

    def __init__(self, start: int, end: int, access: bytes, offset: int) -> None:
        self.start = start
        self.size = end - start
        self.prot = (
            (access[0:1] == b"r") * PROT_READ
            | (access[1:2] == b"w") * PROT_WRITE
            | (access[2:3] == b"x") * PROT_EXEC
        )
        self.offset = offset
        self.replacement = 0


def _program_mappings(code: int) -> list[_Mapping]:
    """The mappings of the file that the address `code` belongs to.

    Files are told apart by device and inode: the path in maps may be escaped, or of a deleted file.
    """
    by_file: dict[tuple[bytes, bytes], list[_Mapping]] = {}
    program = None
    for line in read_file("/proc/self/maps").splitlines():
        span, access, offset, device, inode = line.split(None, 5)[:5]
        if inode == b"0":
            continue
        first, _, last = span.partition(b"-")
        mapping = _Mapping(int(first, 16), int(last, 16), access, int(offset, 16))
        by_file.setdefault((device, inode), []).append(mapping)
        if mapping.start <= code < mapping.start + mapping.size:
            program = (device, inode)
    if program is None:
        raise OSError(EINVAL, "the program's code is not mapped from a file")
    return by_file[program]


def _exchange(mappings: list[_Mapping], fd: int) -> None:
    """Put the replacements of all mappings into their places, once every one of them is ready."""
    try:
        _prepare(mappings, fd)
        contexts = _Contexts()
    except OSError:
        for mapping in mappings:
            if mapping.replacement:
                _munmap(mapping.replacement, mapping.size)
        raise
    for mapping in mappings:
        if mapping.prot & PROT_WRITE:
            contexts.copy_and_move(mapping.replacement, mapping.start, mapping.size)
        else:
            size, flags = mapping.size, MREMAP_MAYMOVE | MREMAP_FIXED
            check(_mremap(mapping.replacement, size, size, flags, mapping.start), "mremap")
    contexts.free()


def _prepare(mappings: list[_Mapping], fd: int) -> None:
    pagemap = posix.open("/proc/self/pagemap", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        for mapping in mappings:
            if mapping.prot & PROT_WRITE:
                mapping.replacement = _anonymous(mapping.size, mapping.prot)
            elif _has_private_pages(mapping, pagemap):
                mapping.replacement = _anonymous(mapping.size, PROT_READ | PROT_WRITE)
                _memmove(mapping.replacement, mapping.start, mapping.size)
                check(_mprotect(mapping.replacement, mapping.size, mapping.prot), "mprotect")
            else:
                mapping.replacement = check(
                    _mmap(0, mapping.size, mapping.prot, MAP_PRIVATE, fd, mapping.offset), "mmap"
                )
    finally:
        posix.close(pagemap)


def _anonymous(size: int, prot: int = PROT_READ | PROT_WRITE, more: int = MAP_POPULATE) -> int:
    return check(_mmap(0, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | more, -1, 0), "mmap")


def _has_private_pages(mapping: _Mapping, pagemap: int) -> bool:
    """Whether the mapping differs from the file: a page is there that is not the file's."""
    page = posix.sysconf("SC_PAGESIZE")
    words = posix.pread(pagemap, mapping.size // page * 8, mapping.start // page * 8)
    flags = words[7::8] if sys.byteorder == "little" else words[::8]
    return any(flag & _PRESENT_OR_SWAPPED and not flag & _OF_THE_FILE for flag in set(flags))


class _Contexts:
    """Two contexts of makecontext(3), the first copying memory, the second moving the copy."""

    def __init__(self) -> None:
        self._stacks = _anonymous(2 * _STACK, more=0)
        self._back, self._copying, self._moving = (buffer(_CONTEXT) for _ in range(3))
        self._getcontext = bind("getcontext", POINTER)
        self._swapcontext = bind("swapcontext", POINTER, POINTER)
        self._makecontext = bind("makecontext", POINTER, POINTER, INT, *[ULONG] * 5)

    def copy_and_move(self, copy: int, start: int, size: int) -> None:
        """memmove(copy, start, size), then mremap `copy` to `start`, with no Python in between."""
        flags = MREMAP_MAYMOVE | MREMAP_FIXED
        self._make(self._copying, 0, self._moving, _memmove, 3, copy, start, size, 0, 0)
        self._make(self._moving, 1, self._back, _mremap, 5, copy, size, size, flags, start)
        check(self._swapcontext(self._back, self._copying), "swapcontext")

    def _make(
        self,
        context: Any,
        stack: int,
        following: Any,
        function: Callable[..., int],
        count: int,
        *arguments: int,
    ) -> None:
        check(self._getcontext(context), "getcontext")
        # uc_link, then uc_stack: ss_sp, ss_flags with its padding, ss_size
        head = pack(
            (address(following), 8), (self._stacks + stack * _STACK, 8), (0, 8), (_STACK, 8)
        )
        context[8 : 8 + len(head)] = head
        code = POINTER.from_address(address(function)).value
        self._makecontext(context, code, count, *arguments)

    def free(self) -> None:
        """Give the stacks back."""
        _munmap(self._stacks, 2 * _STACK)
