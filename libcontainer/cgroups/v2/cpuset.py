"""cgroup v2's cpuset controller: Documentation/admin-guide/cgroup-v2.rst, "Cpuset"."""

from __future__ import annotations

from libcontainer.cgroups.files import limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "cpuset"


def wanted(resources: dict[str, Any]) -> list[str]:
    """The properties asked for."""
    cpu = resources.get("cpu") or {}
    return ["cpu." + prop for prop in ("cpus", "mems") if cpu.get(prop)]


def set(directory: str, resources: dict[str, Any]) -> None:
    """Write the lists; LimitError names the one that the kernel refuses."""
    cpu = resources.get("cpu") or {}
    for prop in ("cpus", "mems"):
        if cpu.get(prop):
            limit(directory, "cpuset." + prop, cpu[prop], "cpu." + prop)
