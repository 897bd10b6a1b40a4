"""--pid-file and --pidfd-socket: how others are told of a container's process."""

from __future__ import annotations

import posix

from libc_bindings import namespaces as kernel
from libcontainer import log
from libcontainer.errors import Error, reason


def tell(pid: int, pid_file: str, pidfd_socket: str, word: bytes) -> None:
    """Write --pid-file (whole or not at all) and send the pidfd to --pidfd-socket."""
    if pid_file:
        directory, _, name = pid_file.rpartition("/")
        temporary = f"{directory}/.{name}" if "/" in pid_file else f".{name}"
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
        try:
            try:
                fd = posix.open(temporary, flags, 0o666)
            except FileExistsError:
                # Left by one that was killed. Never written through: it may be somebody's link.
                posix.unlink(temporary)
                fd = posix.open(temporary, flags, 0o666)
            try:
                posix.write(fd, b"%d" % pid)
            finally:
                posix.close(fd)
        except OSError as error:
            raise Error(f"open {temporary}: {reason(error)}") from None
        try:
            posix.rename(temporary, pid_file)
        except OSError as error:
            posix.unlink(temporary)
            raise Error(f"rename {temporary} {pid_file}: {reason(error)}") from None
    if pidfd_socket:
        from libcontainer import terminal

        pidfd = kernel.pidfd_open(pid)
        if pidfd < 0:
            raise Error("--pidfd-socket requires >= v5.3 kernel")
        terminal.send(terminal.connect(pidfd_socket), word, pidfd)
        posix.close(pidfd)


def remove(path: str, pid: int) -> None:
    """Remove a pid file if it is the one that tell() wrote."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
        try:
            ours = posix.read(fd, 32) == b"%d" % pid
        finally:
            posix.close(fd)
        if ours:
            posix.unlink(path)
    except OSError as error:
        log.debug(f"pid file {path}: {error.strerror}")
