"""cgroup v2's pids controller, the same as v1's: Documentation/admin-guide/cgroup-v2.rst, "PID"."""

from __future__ import annotations

from libcontainer.cgroups.v1 import pids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = pids.CONTROLLER
set = pids.set


def wanted(resources: dict[str, Any]) -> list[str]:
    """The properties asked for."""
    return [prop for prop, _ in pids.wanted(resources)]
