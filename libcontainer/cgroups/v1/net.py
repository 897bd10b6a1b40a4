"""cgroup v1's net_cls and net_prio controllers: Documentation/admin-guide/cgroup-v1/net_cls.rst."""

from __future__ import annotations

from libcontainer.cgroups.files import limit, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def setters(
    resources: dict[str, Any],
) -> list[tuple[str, list[tuple[str, str]], Callable[[str, dict[str, Any]], None]]]:
    """(controller, properties with their files, function) for both controllers."""
    network = resources.get("network") or {}
    class_id = [("network.classID", "net_cls.classid")] if network.get("classID") else []
    priorities = [("network.priorities", "net_prio.ifpriomap")] if network.get("priorities") else []
    return [("net_cls", class_id, set_class), ("net_prio", priorities, set_priorities)]


def set_class(directory: str, resources: dict[str, Any]) -> None:
    """Tag the packets with a class id; LimitError."""
    class_id = (resources.get("network") or {}).get("classID")
    if class_id:
        limit(directory, "net_cls.classid", class_id, "network.classID")


def set_priorities(directory: str, resources: dict[str, Any]) -> None:
    """Give the packets of each named interface a priority; LimitError."""
    entries = (resources.get("network") or {}).get("priorities")
    if entries:
        values = ["%s %d" % (entry["name"], entry["priority"]) for entry in entries]
        limits(directory, "net_prio.ifpriomap", values, "network.priorities")
