"""Freezing on cgroup v2 (Linux 5.2): Documentation/admin-guide/cgroup-v2.rst, "cgroup.freeze"."""

from __future__ import annotations

import select

from libcontainer.cgroups.files import read, read_if_there, write
from libcontainer.errors import Error

_PATIENCE = 10.0


def freeze(directory: str) -> None:
    """Stop every process of the cgroup and wait until all have stopped.  Error, OSError."""
    try:
        write(directory + "/cgroup.freeze", "1")
    except FileNotFoundError as failure:
        raise Error(
            "freezer not supported: %s: %s" % (failure.filename, failure.strerror)
        ) from None
    if not _settled(directory):
        raise Error("timeout of %gs reached waiting for %s to freeze" % (_PATIENCE, directory))


def thaw(directory: str) -> None:
    """Let the processes run again; a kernel without a freezer has nothing to thaw.  OSError."""
    try:
        write(directory + "/cgroup.freeze", "0")
    except FileNotFoundError:
        return


def frozen(directory: str) -> bool:
    """Whether the cgroup itself is frozen (waiting for a freeze that is under way); OSError."""
    if read_if_there(directory + "/cgroup.freeze").strip() != "1":
        return False
    return _settled(directory)


def _settled(directory: str) -> bool:
    """Wait for `frozen 1` in cgroup.events, which the kernel announces with POLLPRI."""
    if _says_frozen(directory):
        return True
    import posix
    import time

    fd = posix.open(directory + "/cgroup.events", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            # Reading rearms the announcement; a short wait stays in case one fell in between.
            posix.lseek(fd, 0, 0)
            if b"frozen 1" in posix.read(fd, 4096):
                return True
            poll.poll(10)
        return False
    finally:
        posix.close(fd)


def _says_frozen(directory: str) -> bool:
    return "frozen 1" in read(directory + "/cgroup.events")
