"""Changing the limits of a container that runs: all of the changes, or none."""

from __future__ import annotations

import errno

from libcontainer.cgroups import files
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.cgroups.base import Manager

# Lists of which each entry is found by these members: a new one replaces that with the same.
_KEYED = {
    "weightDevice": ("major", "minor"),
    "throttleReadBpsDevice": ("major", "minor"),
    "throttleWriteBpsDevice": ("major", "minor"),
    "throttleReadIOPSDevice": ("major", "minor"),
    "throttleWriteIOPSDevice": ("major", "minor"),
    "hugepageLimits": ("pageSize",),
    "priorities": ("name",),
}

_ZEROS = ("burst", "idle", "swappiness")
"""Properties of memory and cpu to which zero is not the same as nothing."""


def update(manager: Manager, before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge `changes` over `before` (both as linux.resources), enforce them, return the outcome.

    Only what a change concerns is written again; device rules are left alone. When the kernel refuses
    one value, those already written get their former ones back before the error is raised.
    """
    changes = {name: value for name, value in changes.items() if value and name != "devices"}
    for name in ("memory", "cpu"):
        if name in changes:
            # Zero is what Docker sends for a limit that stays. As a limit it would be none for the
            # swap's to exceed, nor for the next period's quota to go with.
            kept = {key: v for key, v in changes[name].items() if v or v is False or key in _ZEROS}
            changes[name] = kept
    after = merged(before, changes)
    _settle(after, changes)
    written = {name: after[name] for name in changes if name in after}
    manager.check_limits_of(written)
    undo: list[tuple[str, str, str]] = []
    files.journal = undo
    try:
        manager.set(written, devices=False)
    except (Error, OSError):
        files.journal = None
        _roll_back(undo)
        raise
    finally:
        files.journal = None
    return after


def merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`before` with each value of `changes` in place of its own, but for null, which is no change."""
    result = dict(before)
    for name, value in changes.items():
        old = result.get(name)
        if value is None:
            continue
        if isinstance(value, dict) and isinstance(old, dict):
            result[name] = merged(old, value)
        elif name in _KEYED and old:
            result[name] = _merged_list(old, value, _KEYED[name])
        else:
            result[name] = value
    return result


def _merged_list(old: list[Any], new: list[Any], keys: tuple[str, ...]) -> list[Any]:
    found = {tuple(entry[key] for key in keys): entry for entry in old}
    for entry in new:
        key = tuple(entry[name] for name in keys)
        found[key] = {**found.get(key, {}), **entry}
    return list(found.values())


def _settle(after: dict[str, Any], changes: dict[str, Any]) -> None:
    """Drop former values that a new one overrides without naming them."""
    memory, cpu = changes.get("memory") or {}, changes.get("cpu") or {}
    if memory.get("limit") == -1 and memory.get("swap") is None:
        # Lifting the memory limit lifts that of the swap.
        after["memory"].pop("swap", None)
    if "cpu" in changes and after["cpu"].get("idle") and cpu.get("shares") is None:
        # An idle cgroup takes no weight.
        after["cpu"].pop("shares", None)
    if cpu.get("shares") and cpu.get("idle") is None and after["cpu"].get("idle"):
        # And who asks for a share does not want it idle.
        after["cpu"]["idle"] = 0
    unified = changes.get("unified") or {}
    if "cpu.weight" in unified and "cpu.idle" not in unified and "cpu.idle" in after["unified"]:
        after["unified"]["cpu.idle"] = "0"
    if "checkBeforeUpdate" not in memory and "memory" in changes:
        after["memory"].pop("checkBeforeUpdate", None)


def _roll_back(undo: list[tuple[str, str, str]]) -> None:
    """Write the former values back, the last change first, as the kernel checks one by the other."""
    for path, former, value in reversed(undo):
        for line in former_lines(path, former, value):
            try:
                try:
                    files.write(path, line)
                except OSError as failure:
                    if failure.errno != errno.ENOSPC or line != "\n":
                        raise
                    # A cpuset with processes cannot become empty again: all that is above is the same.
                    directory, _, name = path.rpartition("/")
                    above = directory.rpartition("/")[0] + "/" + name + ".effective"
                    files.write(path, files.read(above))
            except OSError:
                # The error that is about to be raised says more than a second one.
                continue


def former_lines(path: str, former: str, value: str) -> list[str]:
    """What to write for a file to read as before `value` was written to it."""
    name = path.rpartition("/")[2]
    if name == "memory.oom_control":
        return [former.split()[1]]
    device, _, rest = value.partition(" ")
    # Of one block device, one interface (net_prio.ifpriomap), one host adapter (rdma.max).
    if ":" not in device and name not in ("net_prio.ifpriomap", "rdma.max"):
        # The former value of cpuset.cpus may be empty, and an empty write(2) changes nothing.
        first = former.splitlines()[0] if former else ""
        return [first or "\n"]
    # A table: this device's line, or the word for no limit.
    for line in former.splitlines():
        if line.startswith(device + " "):
            return [line]
    if name == "io.max":
        return ["%s %s=max" % (device, rest.partition("=")[0])]
    return [device + (" default" if name.startswith("io.") else " 0")]
