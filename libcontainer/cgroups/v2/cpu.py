"""cgroup v2's cpu controller: Documentation/admin-guide/cgroup-v2.rst, "CPU"."""

from __future__ import annotations

import errno

from libcontainer.cgroups.files import RESOURCES, LimitError, exists, limit
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "cpu"

DEFAULT_PERIOD = 100000
"""The kernel's cpu.max period in microseconds."""


def wanted(resources: dict[str, Any]) -> list[str]:
    """The properties asked for; Error for those that cgroup v2 cannot enforce."""
    cpu = resources.get("cpu") or {}
    for prop in ("realtimePeriod", "realtimeRuntime"):
        if cpu.get(prop):
            raise Error(
                "%scpu.%s cannot be set: cgroup v2 has no limits on real-time tasks"
                % (RESOURCES, prop)
            )
    asked = [prop for prop in ("shares", "quota", "period") if cpu.get(prop)]
    asked += [prop for prop in ("burst", "idle") if cpu.get(prop) is not None]
    return ["cpu." + prop for prop in asked]


def set(directory: str, resources: dict[str, Any]) -> None:
    """Write the limits; LimitError names the one that the kernel refuses."""
    cpu = resources.get("cpu") or {}
    idle = cpu.get("idle")
    # An idle cgroup takes no weight: it has to be woken before, or put to sleep after.
    # (Where the kernel is older than 5.15, nothing is idle and nothing bursts: 0 needs no file there.)
    if idle == 0 and exists(directory + "/cpu.idle"):
        limit(directory, "cpu.idle", idle, "cpu.idle")
    if cpu.get("shares"):
        limit(directory, "cpu.weight", weight(cpu["shares"]), "cpu.shares")
    if idle:
        limit(directory, "cpu.idle", idle, "cpu.idle")
    burst, quota, period = cpu.get("burst"), cpu.get("quota") or 0, cpu.get("period") or 0
    if burst == 0 and not exists(directory + "/cpu.max.burst"):
        burst = None
    if burst is not None:
        try:
            limit(directory, "cpu.max.burst", burst, "cpu.burst")
            burst = None
        except LimitError as failure:
            # It may be above the old quota and fit the new one.
            if failure.errno != errno.EINVAL or not quota:
                raise
    if quota or period:
        value = "%s %d" % (quota if quota > 0 else "max", period or DEFAULT_PERIOD)
        limit(directory, "cpu.max", value, "cpu.quota" if quota else "cpu.period")
        if burst is not None:
            limit(directory, "cpu.max.burst", burst, "cpu.burst")


def weight(shares: int) -> int:
    """The v2 weight (1 to 10000, 100 by default) for v1 shares (2 to 262144, 1024 by default).

    The three pairs lie on a parabola between the logarithms, which the project
    opencontainers/cgroups settled on (weight of 1024 is 100; a linear map gave 39). 0 stays unset.
    """
    if shares <= 2:
        return 1 if shares else 0
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    power = log2(shares)
    exponent = (power * power + 125 * power) / 612.0 - 7.0 / 34.0
    return ceil(10**exponent)
