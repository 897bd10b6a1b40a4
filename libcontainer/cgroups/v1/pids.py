"""cgroup v1's pids controller: Documentation/admin-guide/cgroup-v1/pids.rst."""

from __future__ import annotations

from libcontainer.cgroups.files import limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "pids"


def wanted(resources: dict[str, Any]) -> list[tuple[str, str]]:
    """The properties asked for; the hierarchy's root lacks the file, so none is named."""
    asked = (resources.get("pids") or {}).get("limit") is not None
    return [("pids.limit", "")] if asked else []


def set(directory: str, resources: dict[str, Any]) -> None:
    """Write the limit; LimitError if the kernel refuses it.

    0 becomes 1, since the container's first process is one task and systemd, too, knows no 0;
    a negative number is no limit.
    """
    value = (resources.get("pids") or {}).get("limit")
    if value is not None:
        limit(directory, "pids.max", "max" if value < 0 else value or 1, "pids.limit")
