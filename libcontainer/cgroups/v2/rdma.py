"""cgroup v2's rdma controller, the same as v1's: Documentation/admin-guide/cgroup-v2.rst, "RDMA"."""

from __future__ import annotations

from libcontainer.cgroups.v1 import rdma

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = rdma.CONTROLLER
set = rdma.set


def wanted(resources: dict[str, Any]) -> list[str]:
    """The properties asked for."""
    return [prop for prop, _ in rdma.wanted(resources)]
