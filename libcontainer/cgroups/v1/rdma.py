"""The rdma controller, the same on cgroup v1 and v2: Documentation/admin-guide/cgroup-v1/rdma.rst."""

from __future__ import annotations

from libcontainer.cgroups.files import limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "rdma"


def wanted(resources: dict[str, Any]) -> list[tuple[str, str]]:
    """The properties asked for; the hierarchy's root lacks the file, so none is named."""
    return [("rdma.%s" % device, "") for device in resources.get("rdma") or ()]


def set(directory: str, resources: dict[str, Any]) -> None:
    """Limit handles and objects of each device; LimitError names the device."""
    for device, entry in (resources.get("rdma") or {}).items():
        value = device
        if entry.get("hcaHandles") is not None:
            value += " hca_handle=%d" % entry["hcaHandles"]
        if entry.get("hcaObjects") is not None:
            value += " hca_object=%d" % entry["hcaObjects"]
        limit(directory, "rdma.max", value, "rdma." + device)
