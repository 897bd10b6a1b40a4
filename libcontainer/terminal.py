"""process.terminal: the pty in the container, its way to whoever holds the master, /dev/console."""

from __future__ import annotations

import _socket
import posix
from sys import byteorder

from libc_bindings import mounts, terminals
from libc_bindings import paths as kernel
from libcontainer import paths, procfs, sockets
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_INT_WIDTH = 4


def connect(path: str) -> int:
    """A descriptor connected to the --console-socket (or --pidfd-socket) at `path`."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sockets.connect(connection, path)
    except OSError as error:
        connection.close()
        reason = posix.strerror(error.errno).lower() if error.errno else str(error)
        raise Error(f"failed to dial {path}: connect: {reason}") from None
    return connection.detach()


def pair() -> tuple[int, int]:
    """Two connected descriptors, to send() and receive() one through."""
    kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, kind)
    return ours.detach(), theirs.detach()


def send(connection: int, payload: bytes, fd: int) -> None:
    """Send `payload` with descriptor `fd` (unix(7), SCM_RIGHTS) and close `connection`."""
    channel = _socket.socket(fileno=connection)
    try:
        send_on(channel, payload, fd)
    finally:
        channel.close()


def send_on(channel: _socket.socket, payload: bytes, fd: int) -> None:
    """Send `payload` with descriptor `fd` on a socket object."""
    rights = fd.to_bytes(_INT_WIDTH, byteorder)
    channel.sendmsg([payload], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])


def receive(connection: int, timeout: float | None = None) -> int:
    """The descriptor that send() sent, close-on-exec; -1 if the sender ended before.

    Closes `connection`. Raises OSError, also after `timeout` seconds.
    """
    channel = _socket.socket(fileno=connection)
    try:
        channel.settimeout(timeout)
        room = _socket.CMSG_SPACE(_INT_WIDTH)
        _, ancillary, _, _ = channel.recvmsg(4096, room, _socket.MSG_CMSG_CLOEXEC)
    finally:
        channel.close()
    for level, kind, data in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            return int.from_bytes(data[:_INT_WIDTH], byteorder)
    return -1


def set_up(root_fd: int, process: Any, connection: int, console: bool) -> None:
    """In init, before pivot_root: make the pty, send its master, make the slave our stdio.

    The multiplexer is opened beneath the rootfs and verified to be a devpts's; the slave comes from
    the master, by no path (CVE-2025-52565). `console`: mount it on /dev/console too.
    """
    master = _open_master(root_fd)
    terminals.unlock(master)
    slave = terminals.open_slave(master)
    size = process.get("consoleSize")
    if size and size.get("height") and size.get("width"):
        terminals.set_size(slave, size["height"], size["width"])
    if console:
        _mount_console(root_fd, slave)
    send(connection, b"/dev/pts/%d" % terminals.number(master), master)
    posix.close(master)
    terminals.set_controlling(slave)
    for fd in (0, 1, 2):
        posix.dup2(slave, fd)
    if slave > 2:
        posix.close(slave)


def _open_master(root_fd: int) -> int:
    try:
        place = paths.open_beneath(root_fd, "/dev/ptmx")
    except OSError as error:
        raise Error(f"process.terminal: open /dev/ptmx: {error.strerror}") from None
    try:
        status = posix.fstat(place)
        device = posix.makedev(5, 2)
        if status.st_mode & 0o170000 != 0o020000 or status.st_rdev != device:
            raise Error("process.terminal: /dev/ptmx is not the pseudo-terminal multiplexer")
        if kernel.fstatfs_type(place) != kernel.DEVPTS_SUPER_MAGIC:
            raise Error("process.terminal: /dev/ptmx does not lead to a devpts of the container")
        # Not through /proc, which for `exec` is the container's, and may be a directory of the image's.
        master = procfs.follow(f"self/fd/{place}", posix.O_RDWR | posix.O_NOCTTY)
        opened = posix.fstat(master)
        if (opened.st_dev, opened.st_ino) != (status.st_dev, status.st_ino):
            posix.close(master)
            raise Error("process.terminal: /proc of the container is no procfs")
        return master
    finally:
        posix.close(place)


def _mount_console(root_fd: int, slave: int) -> None:
    """Mount the pty on /dev/console itself: as in runc, a link there is an error."""
    dev, name = paths.open_parent(root_fd, "/dev/console", make=True)
    try:
        try:
            posix.mknod(name, 0o100666, dir_fd=dev)
        except FileExistsError:
            pass
        target = posix.open(name, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=dev)
    except OSError as error:
        raise Error(f"process.terminal: open /dev/console: {error.strerror}") from None
    finally:
        posix.close(dev)
    try:
        if posix.fstat(target).st_mode & 0o170000 == 0o120000:
            raise Error("process.terminal: /dev/console is a symbolic link")
        mounts.mount(paths.fd_path(slave), paths.fd_path(target), None, mounts.MS_BIND)
        paths.verify_beneath(root_fd, target, "/dev/console")
    except OSError as error:
        raise Error(f"process.terminal: mount on /dev/console: {error.strerror}") from None
    finally:
        posix.close(target)
