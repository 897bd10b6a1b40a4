"""Waiting for the kernel's out-of-memory killer in a container."""

from __future__ import annotations

import posix
import select

from libcontainer.cgroups.files import count, exists, write
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.cgroups.base import Manager


class Watch:
    """A descriptor to poll for reading (`fd`), and what it means when it is ready (`read`)."""

    def __init__(self, fd: int, events: int) -> None:
        self.fd = fd
        self.events = events
        """What to poll for: select.POLLIN or POLLPRI."""

    def read(self) -> list[str]:
        """What happened since: "oom" for each kill seen, "gone" when the container has ended."""
        raise AssertionError("defined by each version")

    def close(self) -> None:
        """Stop watching."""
        posix.close(self.fd)


def watch(manager: Manager) -> Watch:
    """Start to watch a container's memory cgroup.  Error if it has none; OSError."""
    if manager.version == 2:
        return _UnifiedWatch(manager.main)
    directory = manager.paths.get("memory")
    if not directory:
        raise Error("memory controller missing")
    return _LegacyWatch(directory)


class _LegacyWatch(Watch):
    """An eventfd registered at cgroup.event_control; also signalled when the cgroup is removed."""

    def __init__(self, directory: str) -> None:
        from libc_bindings.events import eventfd

        self.directory = directory
        super().__init__(eventfd(), select.POLLIN)
        self.control = posix.open(
            directory + "/memory.oom_control", posix.O_RDONLY | posix.O_CLOEXEC
        )
        write(directory + "/cgroup.event_control", "%d %d" % (self.fd, self.control))

    def read(self) -> list[str]:
        posix.read(self.fd, 8)
        return ["oom"] if exists(self.directory) else ["gone"]

    def close(self) -> None:
        super().close()
        posix.close(self.control)


class _UnifiedWatch(Watch):
    """inotify on memory.events and cgroup.events; kernfs announces a change of either."""

    def __init__(self, directory: str) -> None:
        from libc_bindings.events import IN_MODIFY, inotify_add_watch, inotify_init

        self.directory = directory
        super().__init__(inotify_init(), select.POLLIN)
        self.kills = self._kills()
        for name in ("memory.events", "cgroup.events"):
            path = directory + "/" + name
            if exists(path):
                inotify_add_watch(self.fd, path, IN_MODIFY)

    def _kills(self) -> int:
        return count(self.directory + "/memory.events", "oom_kill")

    def read(self) -> list[str]:
        posix.read(self.fd, 65536)
        kills = self._kills()
        happened = ["oom"] if kills > self.kills else []
        self.kills = kills
        if count(self.directory + "/cgroup.events", "populated") == 0:
            happened.append("gone")
        return happened
