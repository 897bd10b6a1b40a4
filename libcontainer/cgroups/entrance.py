"""How a child gets into its cgroups without waiting.

Moving another process takes a lock (cgroup_threadgroup_rwsem) whose taker waits for an RCU grace
period: 5 to 15 ms, more than all else that a container's start needs of the kernel. There are two
ways around it. A task that moves itself alone, by writing 0 to cgroup v1's `tasks`, needs no lock
(Linux 5.13; before, it is as slow as ever). And clone3(2) with CLONE_INTO_CGROUP (Linux 5.7) has the
child born in a cgroup v2, where `cgroup.procs` knows no such shortcut.

    entrance = manager.entrance()                     host, after create()
    pid = clone(flags, entrance.cgroup_fd)
      child:  entrance.enter()                        all but v1's memory
              entrance.enter_memory()                 as late as possible before execve(2)
      host:   entrance.finish(manager, pid, born)     born: the clone was made into cgroup_fd

A child that is not born there by the time it enters a cgroup namespace of its own would see the wrong
root: finish() has to come before.

What the child touches after it entered the memory cgroup is charged to the container. One with a small
limit is not born there on v2 (`cgroup_fd` is -1): it would be killed for the runtime's own memory. And
before it enters it makes its own what it shares with its parent until either writes (`get_ready`): that
is paid for elsewhere.
"""

from __future__ import annotations

import posix

from libcontainer.cgroups import files
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.cgroups.base import Manager

ROOMY = 16 << 20
"""A memory limit from which on the runtime's memory before the execve(2) is no matter."""


class Entrance:
    """Descriptors through which a child enters; open from Manager.entrance() to the child's end."""

    __slots__ = ("by_host", "cgroup", "cgroup_fd", "init", "memory", "tasks", "tight", "unified")

    def __init__(self) -> None:
        self.tasks: list[int] = []
        self.memory: list[int] = []
        self.cgroup: list[str] | None = None
        self.init = 0
        self.by_host = False
        """Whether finish() has to move the child everywhere: systemd makes its cgroups with it."""
        self.tight = False
        """Whether every page counts in the cgroup: nobody is moved there before get_ready() is done."""
        self.unified = ""
        self.cgroup_fd = -1
        """The v2 cgroup for CLONE_INTO_CGROUP, or -1 where the child is better not born in it."""

    def open_unified(self, directory: str) -> None:
        """Let the child be born in this v2 cgroup; OSError."""
        flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
        self.cgroup_fd = posix.open(directory, flags)
        self.unified = directory

    def enter(self) -> None:
        """In the child, its only thread: enter the v1 hierarchies but memory.  Error."""
        self._enter(self.tasks)
        if self.cgroup_fd >= 0:
            posix.close(self.cgroup_fd)
            self.cgroup_fd = -1

    def get_ready(self) -> None:
        """In the child, on the host's /proc: if every page counts, copy what the first write would."""
        if not self.tight:
            return
        from libc_bindings.process import populate_write

        for line in files.read("/proc/self/maps").splitlines():
            area, mode = line.split(None, 2)[:2]
            if mode == "rw-p":
                start, end = (int(number, 16) for number in area.split("-"))
                try:
                    populate_write(start, end - start)
                except OSError:
                    # Before 5.14 it has to get by without.
                    return

    def enter_memory(self) -> None:
        """In the child: enter v1's memory hierarchy, if there is one.  Error."""
        self._enter(self.memory)

    def _enter(self, fds: list[int]) -> None:
        try:
            for fd in fds:
                posix.write(fd, b"0")
        except OSError as failure:
            raise Error("cannot join the container's cgroups: %s" % failure.strerror) from None
        finally:
            for fd in fds:
                posix.close(fd)
            fds.clear()

    def finish(self, manager: Manager, pid: int, born: bool) -> None:
        """On the host, after the clone: close all, and move the child where it was not born.

        Only then there is the wait told of above. Error, OSError.
        """
        self.close()
        if self.by_host or (manager.version == 2 and not born):
            manager.join(pid, self.cgroup, self.init)
        elif self.unified and not born:
            # A hybrid host's v2 cgroup, where CLONE_INTO_CGROUP is missing.
            files.join(self.unified, pid)

    def close(self) -> None:
        """Close what is still open."""
        for fd in (*self.tasks, *self.memory, self.cgroup_fd):
            if fd >= 0:
                posix.close(fd)
        self.tasks.clear()
        self.memory.clear()
        self.cgroup_fd = -1


def is_roomy(limit: int | None) -> bool:
    """Whether a container with this memory limit may be charged for the runtime's start."""
    return not limit or limit < 0 or limit >= ROOMY
