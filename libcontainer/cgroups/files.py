"""Control files and cgroup directories: read, write, make, remove, list.

Every control file is read and written with one open(2), one read or write, and one close: the
kernel takes a value whole, and what it gives back fits one buffer (long lists excepted).
"""

from __future__ import annotations

import errno
import posix
import time

from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

RESOURCES = "linux.resources."
"""Where the properties that errors name stand in the config."""

journal: list[tuple[str, str, str]] | None = None
"""While a list: (path, text before, value) of every limit written, for an update to undo."""

_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC

_GONE = (errno.ENOENT, errno.ENODEV)
"""What the kernel says of a cgroup that is removed: ENODEV on a file that was open before."""


class LimitError(Error):
    """The kernel refused a limit; `errno` says why."""

    def __init__(self, prop: str, value: str, path: str, number: int) -> None:
        self.errno = number
        reason = posix.strerror(number)
        super().__init__(
            "%s%s: failed to write %s: write %s: %s"
            % (RESOURCES, prop, _quoted(value), path, reason[:1].lower() + reason[1:])
        )


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def read(path: str) -> str:
    """The whole text of a control file; OSError with the path."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = posix.read(fd, 65536)
        # seq_file gives at most a page and a half at a time: only an empty read is the end.
        if len(data) > 2048:
            while True:
                more = posix.read(fd, 65536)
                if not more:
                    break
                data += more
    except OSError as failure:
        raise OSError(failure.errno, failure.strerror, path) from None
    finally:
        posix.close(fd)
    return data.decode()


def read_if_there(path: str) -> str:
    """The text of a control file, "" where the file or its cgroup does not exist."""
    try:
        return read(path)
    except OSError as failure:
        if failure.errno in _GONE:
            return ""
        raise


def count(path: str, key: str) -> int:
    """The number behind `key` in a control file of `key value` lines; 0 where either is missing."""
    for line in read_if_there(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def write(path: str, value: str) -> None:
    """Write a control file that exists; OSError with the path."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(fd, value.encode())
    except OSError as failure:
        raise OSError(failure.errno, failure.strerror, path) from None
    finally:
        posix.close(fd)


def limit(directory: str, name: str, value: Any, prop: str) -> None:
    """Write the value of property `prop` (below linux.resources); LimitError names it."""
    path = directory + "/" + name
    text = str(value)
    try:
        former = read(path) if journal is not None else ""
        write(path, text)
    except OSError as failure:
        raise LimitError(prop, text, path, failure.errno or 0) from None
    if journal is not None:
        journal.append((path, former, text))


def limits(directory: str, name: str, values: list[str], prop: str) -> None:
    """Write several values to one file that keeps a table: one write(2) for each, as it wants."""
    path = directory + "/" + name
    value = ""
    try:
        former = read(path) if journal is not None else ""
        fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            for value in values:
                posix.write(fd, value.encode())
                if journal is not None:
                    journal.append((path, former, value))
        finally:
            posix.close(fd)
    except OSError as failure:
        raise LimitError(prop, value or values[0], path, failure.errno or 0) from None


def exists(path: str) -> bool:
    """Whether a file or directory can be seen."""
    return posix.access(path, posix.F_OK)


def make(path: str) -> bool:
    """Make a cgroup and the missing ones above it; False if it was there.  OSError."""
    try:
        posix.mkdir(path, 0o755)
    except FileExistsError:
        return False
    except FileNotFoundError:
        parent = path.rpartition("/")[0]
        if not parent:
            raise
        make(parent)
        return make(path)
    return True


def join(directory: str, pid: int) -> None:
    """Move process `pid` into a cgroup; cgroups(7).  OSError with the path.

    EINVAL is what the kernel says of a task that clone(2) has not finished: it is tried again.
    """
    path = directory + "/cgroup.procs"
    for _ in range(4):
        try:
            return write(path, str(pid))
        except OSError as failure:
            if failure.errno != errno.EINVAL:
                raise
        time.sleep(0.03)
    return write(path, str(pid))


def remove(path: str) -> None:
    """Remove a cgroup and those below it; a missing one is fine.

    EBUSY is tried again for a second in all, since processes that were killed leave a cgroup some
    time after their parent could reap them. OSError if it stays.
    """
    try:
        posix.rmdir(path)
        return
    except OSError as failure:
        if failure.errno == errno.ENOENT:
            return
    # Looking tells a cgroup that never was (a read-only mount says EROFS for any) from a full one.
    try:
        for cgroup in _below(path):
            _remove_empty(cgroup)
    except FileNotFoundError:
        return
    _remove_empty(path)


def _remove_empty(path: str) -> None:
    delay = 0.001
    while True:
        try:
            posix.rmdir(path)
            return
        except OSError as failure:
            if failure.errno == errno.ENOENT:
                return
            if failure.errno not in (errno.EBUSY, errno.EINTR) or delay > 0.6:
                raise
        time.sleep(delay)
        delay *= 2


def _below(directory: str) -> Iterator[str]:
    """Every cgroup below one, the deepest first; each path is good until the next is asked for.

    A container with a cgroup mount can nest them deeper than Python's stack and than a path is
    long, so there is one descriptor that goes down and up again. OSError for `directory`.
    """
    here = posix.open(directory, _DIRECTORY)
    try:
        passed: list[tuple[str, list[str]]] = []
        left = _children(here)
        while left or passed:
            if left:
                name = left.pop()
                try:
                    child = posix.open(name, _DIRECTORY, dir_fd=here)
                except OSError as failure:
                    if failure.errno not in _GONE:
                        raise
                    continue
                posix.close(here)
                here = child
                passed.append((name, left))
                left = _children(here)
            else:
                parent = posix.open("..", _DIRECTORY, dir_fd=here)
                posix.close(here)
                here = parent
                name, left = passed.pop()
                yield "/proc/self/fd/%d/%s" % (here, name)
    finally:
        posix.close(here)


def _children(fd: int) -> list[str]:
    try:
        with posix.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as failure:
        # Removed meanwhile.
        if failure.errno not in _GONE:
            raise
        return []


def pids(directory: str) -> list[int]:
    """The processes of one cgroup, not of those below it; OSError."""
    try:
        text = read(directory + "/cgroup.procs")
    except OSError as failure:
        # A threaded cgroup has no list of processes: cgroups(7), "Thread mode".
        if failure.errno != errno.EOPNOTSUPP:
            raise
        text = read(directory + "/cgroup.threads")
    return list(map(int, text.split()))


def all_pids(directory: str) -> list[int]:
    """The processes of a cgroup and of all below it; OSError only for the cgroup itself."""
    found = pids(directory)
    for cgroup in _below(directory):
        try:
            found += pids(cgroup)
        except OSError as failure:
            if failure.errno not in _GONE:
                raise
    return found
