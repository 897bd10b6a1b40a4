"""cgroup v1's cpu controller: kernel, Documentation/scheduler/sched-bwc.rst and sched-rt-group.rst."""

from __future__ import annotations

import errno

from libcontainer.cgroups.files import RESOURCES, LimitError, exists, limit, read
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "cpu"

_FILES = {
    "shares": "cpu.shares",
    "period": "cpu.cfs_period_us",
    "quota": "cpu.cfs_quota_us",
    "burst": "cpu.cfs_burst_us",
    "idle": "cpu.idle",
    "realtimePeriod": "cpu.rt_period_us",
    "realtimeRuntime": "cpu.rt_runtime_us",
}


def wanted(resources: dict[str, Any]) -> list[tuple[str, str]]:
    """The properties asked for, each with the control file that it needs."""
    cpu = resources.get("cpu") or {}
    asked = [("cpu." + prop, name) for prop, name in _FILES.items() if cpu.get(prop)]
    # No burst, and not idle, hold where the kernel (before 5.15) has no files for them, too.
    return asked + [("cpu." + prop, "") for prop in ("burst", "idle") if cpu.get(prop) == 0]


def set(directory: str, resources: dict[str, Any]) -> None:
    """Write the limits; LimitError names the one that the kernel refuses."""
    cpu = resources.get("cpu") or {}
    shares, idle = cpu.get("shares"), cpu.get("idle")
    # An idle cgroup takes no shares: it has to be woken before, or put to sleep after.
    if idle == 0 and _has(directory, "idle"):
        _write(directory, "idle", idle)
    if shares:
        _write(directory, "shares", shares)
        # The kernel clamps silently.
        real = int(read(directory + "/cpu.shares"))
        if real != shares:
            bound = "maximum" if shares > real else "minimum"
            raise Error(
                "%scpu.shares: %d is not possible: the %s allowed cpu-shares is %d"
                % (RESOURCES, shares, bound, real)
            )
    if idle:
        _write(directory, "idle", idle)
    _set_bandwidth(directory, cpu)
    set_realtime(directory, cpu)


def _set_bandwidth(directory: str, cpu: dict[str, Any]) -> None:
    """Period, burst and quota, which the kernel checks against one another at each write.

    A period that does not fit the old quota (or a burst that is above it) is written again after
    the new quota.
    """
    quota = cpu.get("quota")
    again = []
    for prop in ("period", "burst"):
        value = cpu.get(prop)
        if not value and (value is None or prop == "period" or not _has(directory, prop)):
            continue
        try:
            _write(directory, prop, value)
        except LimitError as failure:
            if failure.errno != errno.EINVAL or not quota:
                raise
            again.append(prop)
    if quota:
        _write(directory, "quota", quota)
    for prop in again:
        _write(directory, prop, cpu[prop])


def set_realtime(directory: str, cpu: dict[str, Any]) -> None:
    """Write the real-time period and runtime, which must fit each other; LimitError."""
    period, runtime = cpu.get("realtimePeriod") or 0, cpu.get("realtimeRuntime") or 0
    again = False
    if period:
        try:
            _write(directory, "realtimePeriod", period)
        except LimitError as failure:
            if failure.errno != errno.EINVAL or not runtime:
                raise
            again = True
    if runtime:
        _write(directory, "realtimeRuntime", runtime)
    if again:
        _write(directory, "realtimePeriod", period)


def _has(directory: str, prop: str) -> bool:
    return exists(directory + "/" + _FILES[prop])


def _write(directory: str, prop: str, value: int) -> None:
    limit(directory, _FILES[prop], value, "cpu." + prop)
