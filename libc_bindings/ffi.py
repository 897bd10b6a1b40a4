"""The one place that knows how Python calls C: prototypes, errno, and system call numbers.

Start-up rules this module. ``import ctypes`` costs about 2 ms more than ``import _ctypes``, the C
module that it is made of (ctypes pulls in os, types and struct), so the few types needed here
are declared on ``_ctypes`` directly. That module is private to CPython: where one of its names is
missing, ``ctypes`` itself takes its place, and nothing outside this file can tell.

Functions are called with the GIL held (as ``ctypes.PyDLL`` does): a container runtime has one
thread, and between clone(2) and execve(2) there must be no one else who could hold a lock.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

__all__ = [
    "BYTES", "CHAR", "INT", "LONG", "PATH", "POINTER", "U64", "UINT", "ULONG",
    "address", "bind", "bind_syscall", "buffer", "check", "get_errno", "library", "pack", "text_at",
]  # fmt: skip

try:
    from _ctypes import (
        FUNCFLAG_CDECL,
        FUNCFLAG_PYTHONAPI,
        FUNCFLAG_USE_ERRNO,
        CFuncPtr,
        _SimpleCData,
        addressof,
        dlopen,
        dlsym,
        get_errno,
    )

    # RTLD_NOW: a symbol that cannot be resolved must show here, not in the middle of a container.
    _program = dlopen(None, 2)  # type: ignore[arg-type]

    class _ReturnsInt(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI | FUNCFLAG_USE_ERRNO

    def _symbol(name: str, library: Any = None) -> Any:
        return _ReturnsInt(dlsym(library or _program, name))

    def _open(name: str) -> Any:
        return dlopen(name, 2)

except ImportError:
    import ctypes
    from ctypes import _SimpleCData, addressof, get_errno

    _library = ctypes.PyDLL(None, use_errno=True)

    def _symbol(name: str, library: Any = None) -> Any:
        return (library or _library)[name]

    def _open(name: str) -> Any:
        return ctypes.PyDLL(name, use_errno=True)


class INT(_SimpleCData):  # type: ignore[type-arg]
    """C int; also the type of a file descriptor."""

    _type_ = "i"


class UINT(_SimpleCData):  # type: ignore[type-arg]
    """C unsigned int."""

    _type_ = "I"


class LONG(_SimpleCData):  # type: ignore[type-arg]
    """C long, the width of a system call's argument."""

    _type_ = "l"


class ULONG(_SimpleCData):  # type: ignore[type-arg]
    """C unsigned long."""

    _type_ = "L"


class U64(_SimpleCData):  # type: ignore[type-arg]
    """uint64_t on every architecture."""

    _type_ = "Q"


class POINTER(_SimpleCData):  # type: ignore[type-arg]
    """void *, given as an address (int), a buffer, or None."""

    _type_ = "P"


class BYTES(_SimpleCData):  # type: ignore[type-arg]
    """A pointer to constant bytes: a packed structure that the call only reads, or None."""

    _type_ = "z"


class CHAR(_SimpleCData):  # type: ignore[type-arg]
    """C char; ``CHAR * n`` is an array, see buffer()."""

    _type_ = "c"


class PATH(BYTES):
    """A path or another C string: str (UTF-8, with surrogate escapes), bytes, or None."""

    @classmethod
    def from_param(cls, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, str):
            value = value.encode("utf-8", "surrogateescape")
        if b"\0" in value:
            raise ValueError(f"a C string cannot hold a NUL byte: {value!r}")
        return BYTES.from_param(value)


def bind(name: str, *argtypes: Any, returns: Any = INT, handle: Any = None) -> Callable[..., Any]:
    """The C library's function `name`; it returns an int and leaves errno for check().

    Raises AttributeError where this libc has no such function. `handle` is library()'s.
    """
    function: Any = _symbol(name, handle)
    function.argtypes = argtypes
    function.restype = returns
    bound: Callable[..., Any] = function
    return bound


def library(name: str) -> Callable[..., Callable[..., Any]]:
    """bind() for another library than libc, given by its soname; OSError if it cannot be loaded."""
    handle = _open(name)

    def bind_there(function: str, *argtypes: Any, returns: Any = INT) -> Callable[..., Any]:
        return bind(function, *argtypes, returns=returns, handle=handle)

    return bind_there


def bind_syscall(name: str, *argtypes: Any) -> Callable[..., int]:
    """The system call `name` through syscall(2), for calls that some libc lacks.

    The function fails with ENOSYS (returns -1) where the kernel lacks the call.
    """
    from libc_bindings.numbers import number_of

    number = number_of(name)
    function = _symbol("syscall")
    function.argtypes = (LONG, *argtypes)
    function.restype = LONG
    return lambda *arguments: function(number, *arguments)


def check(result: int, call: str, path: str | bytes | None = None) -> int:
    """`result` of a call that says -1 on failure; OSError with errno, call and path for that -1.

    The call's name is part of the message: ``[Errno 1] mount: Operation not permitted: '/dev'``.
    """
    if result != -1:
        return result
    errno = get_errno()
    raise OSError(errno, f"{call}: {posix.strerror(errno)}", path)


def buffer(size: int) -> Any:
    """`size` zero bytes that a call may write to; ``.raw`` reads them back as bytes."""
    return (CHAR * size)()


def address(value: Any) -> int:
    """The address of a buffer, to be packed into a structure; the buffer must outlive the call."""
    return addressof(value)


def text_at(value: Any, offset: int = 0) -> bytes | None:
    """The C string that the pointer at `offset` in a buffer points to; None for a null pointer."""
    text: bytes | None = BYTES.from_address(addressof(value) + offset).value
    return text


def pack(*fields: tuple[int, int]) -> bytes:
    """A C structure's bytes from (value, width in bytes) pairs, in this machine's byte order.

    Negative values are packed in two's complement. Padding has to be given as a field.
    """
    return b"".join(
        [value.to_bytes(width, sys.byteorder, signed=value < 0) for value, width in fields]
    )
