"""Handing a v2 cgroup to the root of a user namespace: cgroups(7), "Cgroups delegation"."""

from __future__ import annotations

import posix

from libcontainer.cgroups.files import read_if_there

# What the kernel lists itself since Linux 4.15 (/sys/kernel/cgroup/delegate).
_FILES = "cgroup.procs cgroup.threads cgroup.subtree_control memory.oom.group memory.reclaim"


def give(directory: str, owner: int) -> None:
    """Make `owner` (a uid of the host) the owner of the directory and of the files to delegate.

    The limits stay the host's. OSError.
    """
    names = read_if_there("/sys/kernel/cgroup/delegate") or _FILES
    posix.chown(directory, owner, -1)
    for name in names.split():
        try:
            posix.chown(directory + "/" + name, owner, -1)
        except FileNotFoundError:
            # The kernel's list has files of controllers that are not enabled here.
            continue
