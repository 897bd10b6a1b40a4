"""A process with the host's privileges that opens mount sources for an init in a user namespace.

It is started before the container's namespaces exist and knows the config's mounts, so a request is
no more than the number of a mount: init cannot make it open anything else. The first message brings
init's mount and user namespaces. It ends when the other side of the socket is closed.
"""

from __future__ import annotations

import _socket
import posix
from sys import byteorder

from libc_bindings import namespaces, paths

from .. import procfs
from ..errors import Error
from .idmap import Mapper
from .options import MountOptions, is_bind, is_mapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_LONGEST_MESSAGE = 8192
_WIDTH = 4


class Broker:
    """Init's side; the host holds a copy that it has to close after the clone."""

    def __init__(self, socket: _socket.socket, mounts: list[Any]) -> None:
        self._socket = socket
        self._mounts = mounts
        self._joined = False

    def ask(self, mount: Any, data: str = "") -> int:
        """The descriptor for `mount`, one of those that the broker was started with.

        Mapped mounts come as detached trees, others as O_PATH descriptors; `data` is for a new
        file system. Raises OSError or Error as the broker met it.
        """
        if not self._joined:
            self._send_namespaces()
        number = [entry is mount for entry in self._mounts].index(True)
        self._socket.send(b"%d %s" % (number, data.encode("utf-8", "surrogateescape")))
        answer, fds = _receive(self._socket)
        if fds:
            return fds[0]
        errno, _, text = answer.decode("utf-8", "surrogateescape").partition(" ")
        if not errno.isdigit():
            raise Error("the process that opens mount sources ended before it answered")
        if errno == "0":
            raise Error(text)
        call, _, path = text.partition("\0")
        raise OSError(int(errno), call, path or None)

    def close(self) -> None:
        """Close this side's copy; the broker ends with the last one."""
        self._socket.close()

    def _send_namespaces(self) -> None:
        mount_ns = posix.open("/proc/self/ns/mnt", posix.O_RDONLY | posix.O_CLOEXEC)
        user_ns = posix.open("/proc/self/ns/user", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            _send(self._socket, b"namespaces", mount_ns, user_ns)
        finally:
            posix.close(mount_ns)
            posix.close(user_ns)
        self._joined = True


def start(mounts: list[Any], path_of: Callable[[str], str]) -> Broker:
    """Start the broker for `mounts`; `path_of` makes a source absolute.  Raises OSError."""
    ours, its = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    child = posix.fork()
    if child == 0:
        # A grandchild, so that whoever waits for the container's processes does not meet it.
        try:
            if posix.fork() == 0:
                _serve(its.fileno(), mounts, path_of)
        finally:
            posix._exit(0)
    its.close()
    posix.waitpid(child, 0)
    return Broker(ours, mounts)


def _serve(fd: int, mounts: list[Any], path_of: Callable[[str], str]) -> None:
    """Answer requests until init is gone."""
    posix.setsid()
    # Whatever else is open here (the caller's output, pipes that somebody waits on) is not ours.
    procfs.release()
    fd = posix.dup2(fd, 0)
    _close_above(0)
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)
    _, fds = _receive(socket)
    if len(fds) != 2:
        return
    mapper = Mapper(fds[1])
    joined = False
    while True:
        request, _ = _receive(socket)
        if not request:
            return
        number, _, data = request.partition(b" ")
        try:
            if not joined:
                namespaces.setns(fds[0], namespaces.CLONE_NEWNS)
                joined = True
            opened = _open(
                mapper, mounts[int(number)], path_of, data.decode("utf-8", "surrogateescape")
            )
        except OSError as error:
            path = error.filename if isinstance(error.filename, str) else ""
            text = f"{error.errno} {error.strerror}\0{path}"
            socket.send(text.encode("utf-8", "surrogateescape"))
        except Error as error:
            socket.send(b"0 " + str(error).encode("utf-8", "surrogateescape"))
        else:
            _send(socket, b"opened", opened)
            posix.close(opened)


def _open(mapper: Mapper, mount: Any, path_of: Callable[[str], str], data: str) -> int:
    options = MountOptions(mount.get("options") or [])
    if not is_bind(mount, options):
        from .filesystems import mapped_filesystem

        return mapped_filesystem(mapper, mount, options, data)
    path = path_of(mount.get("source") or "")
    if is_mapped(mount, options):
        return mapper.open(path, mount, options)
    return posix.open(path, posix.O_PATH | posix.O_CLOEXEC)


def _close_above(last: int) -> None:
    try:
        paths.close_range(last + 1)
    except OSError:
        for fd in paths.open_descriptors(last + 1):
            posix.close(fd)


def _send(socket: _socket.socket, message: bytes, *fds: int) -> None:
    rights = b"".join([fd.to_bytes(_WIDTH, byteorder) for fd in fds])
    socket.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])


def _receive(socket: _socket.socket) -> tuple[bytes, list[int]]:
    """One message and the descriptors that came with it; an empty one at the end."""
    message, ancillary, _, _ = socket.recvmsg(
        _LONGEST_MESSAGE, _socket.CMSG_SPACE(2 * _WIDTH), _socket.MSG_CMSG_CLOEXEC
    )
    fds = []
    for level, kind, rights in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            whole = len(rights) - len(rights) % _WIDTH
            for start_ in range(0, whole, _WIDTH):
                fds.append(int.from_bytes(rights[start_ : start_ + _WIDTH], byteorder))
    return message, fds
