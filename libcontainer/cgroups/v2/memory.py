"""cgroup v2's memory controller: Documentation/admin-guide/cgroup-v2.rst, "Memory"."""

from __future__ import annotations

import errno

from libcontainer import log
from libcontainer.cgroups.files import RESOURCES, LimitError, limit, read_if_there
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "memory"


def wanted(resources: dict[str, Any]) -> list[str]:
    """The properties asked for; Error for those that cgroup v2 cannot enforce."""
    memory = resources.get("memory") or {}
    for prop in ("disableOOMKiller", "swappiness"):
        if memory.get(prop):
            log.warning("%smemory.%s is ignored: cgroup v2 has no such setting" % (RESOURCES, prop))
    if memory.get("kernel") or memory.get("kernelTCP"):
        log.warning("Kernel memory settings are ignored: cgroup v2 has no such limit")
    swap_alone(memory.get("limit") or 0, memory.get("swap") or 0)
    return ["memory." + prop for prop in ("limit", "swap", "reservation") if memory.get(prop)]


def set(directory: str, resources: dict[str, Any]) -> None:
    """Write the limits; LimitError names the one that the kernel refuses."""
    memory = resources.get("memory") or {}
    size, swap = memory.get("limit") or 0, memory.get("swap") or 0
    check_usage(directory, resources)
    alone = swap_alone(size, swap)
    if alone:
        try:
            limit(directory, "memory.swap.max", alone, "memory.swap")
        except LimitError as failure:
            # Without swap accounting there is no swap to use: no limit and none at all both hold.
            if failure.errno != errno.ENOENT or alone not in ("0", "max"):
                raise
    if size:
        limit(directory, "memory.max", _text(size), "memory.limit")
    if memory.get("reservation"):
        limit(directory, "memory.low", _text(memory["reservation"]), "memory.reservation")


def swap_alone(size: int, swap: int) -> str:
    """memory.swap.max for the config's memory limit and memory-plus-swap limit; "" for unset.

    Error for a sum that is smaller than the memory limit, or given without one.
    """
    if size == -1 and not swap:
        # As on v1: lifting the memory limit alone lifts both.
        return "max"
    if not swap:
        return ""
    if swap == -1:
        return "max"
    if size == -1:
        return str(swap)
    if not size:
        raise Error("unable to set swap limit without memory limit")
    if swap < size:
        raise Error("memory+swap limit should be >= memory limit")
    return str(swap - size)


def _text(value: int) -> str:
    return "max" if value == -1 else str(value)


def check_usage(directory: str, resources: dict[str, Any]) -> None:
    """Error for a limit below what is used now, if `checkBeforeUpdate` asks for that check."""
    memory = resources.get("memory") or {}
    if not memory.get("checkBeforeUpdate"):
        return
    size, swap = memory.get("limit") or 0, memory.get("swap") or 0
    text = read_if_there(directory + "/memory.current")
    usage = int(text) if text else 0
    for name, value in (("memory+swap", swap), ("memory", size)):
        if usage and 0 < value <= usage:
            raise Error("rejecting %s limit %d <= usage %d" % (name, value, usage))
