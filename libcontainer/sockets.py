"""Unix sockets at paths of any length: unix(7) has room for 107 bytes, a path may have more."""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket

_ROOM = 107


def bind(socket: Socket, path: str) -> None:
    """bind(2) `socket` to a new file at `path`.  Raises OSError."""
    directory, address = _address(path)
    try:
        socket.bind(address)
    finally:
        if directory >= 0:
            posix.close(directory)


def connect(socket: Socket, path: str) -> None:
    """connect(2) `socket` to the one at `path`; "@" begins an abstract name.  Raises OSError."""
    directory, address = _address(path)
    try:
        socket.connect(address)
    finally:
        if directory >= 0:
            posix.close(directory)


def _address(path: str) -> tuple[int, bytes]:
    """A descriptor of the directory (-1 if none is needed) and a short name through it."""
    name = path.encode("utf-8", "surrogateescape")
    if name[:1] == b"@":
        return -1, b"\0" + name[1:]
    if len(name) <= _ROOM:
        return -1, name
    parent, _, last = name.rpartition(b"/")
    parent = parent or (b"/" if name[:1] == b"/" else b".")
    directory = posix.open(parent, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    return directory, b"/proc/self/fd/%d/%s" % (directory, last)
