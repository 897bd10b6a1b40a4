"""cgroup v1's memory controller: Documentation/admin-guide/cgroup-v1/memory.rst."""

from __future__ import annotations

import errno

from libcontainer import log
from libcontainer.cgroups.files import LimitError, exists, limit, read
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "memory"

_LIMIT = "memory.limit_in_bytes"
_SWAP = "memory.memsw.limit_in_bytes"


def wanted(resources: dict[str, Any]) -> list[tuple[str, str]]:
    """The properties asked for, each with the control file that it needs."""
    memory = resources.get("memory") or {}
    asked = []
    if memory.get("limit"):
        asked.append(("memory.limit", _LIMIT))
    if memory.get("swap"):
        asked.append(("memory.swap", _SWAP))
    if memory.get("reservation"):
        asked.append(("memory.reservation", "memory.soft_limit_in_bytes"))
    if memory.get("swappiness") is not None:
        asked.append(("memory.swappiness", "memory.swappiness"))
    if memory.get("disableOOMKiller"):
        asked.append(("memory.disableOOMKiller", "memory.oom_control"))
    varying = ("kernel", "kernelTCP", "useHierarchy")
    asked += [("memory." + prop, "") for prop in varying if memory.get(prop)]
    return asked


def set(directory: str, resources: dict[str, Any]) -> None:
    """Write the limits; LimitError names the one that the kernel refuses."""
    memory = resources.get("memory") or {}
    if memory.get("useHierarchy") and exists(directory + "/memory.use_hierarchy"):
        # Before Linux 5.11 it may be off.
        limit(directory, "memory.use_hierarchy", 1, "memory.useHierarchy")
    _set_limits(directory, memory)
    _set_kernel(directory, memory)
    if memory.get("reservation"):
        name = "memory.soft_limit_in_bytes"
        limit(directory, name, memory["reservation"], "memory.reservation")
    if memory.get("disableOOMKiller"):
        limit(directory, "memory.oom_control", 1, "memory.disableOOMKiller")
    swappiness = memory.get("swappiness")
    if swappiness is not None and swappiness != -1:
        limit(directory, "memory.swappiness", swappiness, "memory.swappiness")


def _set_limits(directory: str, memory: dict[str, Any]) -> None:
    """Memory, and memory plus swap, which the kernel never lets be the smaller of the two.

    A limit below the usage it refuses itself if it cannot reclaim enough, `checkBeforeUpdate` or not.
    """
    size, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if size == -1 and not swap and exists(directory + "/" + _SWAP):
        swap = -1
    if swap and (swap == -1 or _current(directory, _LIMIT) < swap):
        # The sum first, so that the new memory limit fits below it.
        limit(directory, _SWAP, swap, "memory.swap")
        _set_size(directory, size)
        return
    _set_size(directory, size)
    if swap:
        limit(directory, _SWAP, swap, "memory.swap")


def _set_size(directory: str, size: int) -> None:
    if not size:
        return
    try:
        limit(directory, _LIMIT, size, "memory.limit")
    except LimitError as failure:
        # The kernel could not reclaim enough to get below the limit.
        if failure.errno != errno.EBUSY:
            raise
        usage = _current(directory, "memory.usage_in_bytes")
        peak = _current(directory, "memory.max_usage_in_bytes")
        raise Error(
            "unable to set memory limit to %d (current usage: %d, peak usage: %d)"
            % (size, usage, peak)
        ) from None


def _set_kernel(directory: str, memory: dict[str, Any]) -> None:
    """Kernel memory, deprecated: Linux 5.16 and later have no such limit and say EOPNOTSUPP."""
    for prop, name in (("kernel", "memory.kmem"), ("kernelTCP", "memory.kmem.tcp")):
        if memory.get(prop):
            file = name + ".limit_in_bytes"
            try:
                limit(directory, file, memory[prop], "memory." + prop)
            except LimitError as failure:
                if failure.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
                    raise
                log.warning("memory.%s is ignored: this kernel has no such limit" % prop)


def _current(directory: str, name: str) -> int:
    return int(read(directory + "/" + name))
