"""cgroup v2's hugetlb controller: Documentation/admin-guide/cgroup-v2.rst, "HugeTLB"."""

from __future__ import annotations

from libcontainer.cgroups.files import exists, limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "hugetlb"


def wanted(resources: dict[str, Any]) -> list[str]:
    """The properties asked for."""
    entries = resources.get("hugepageLimits") or ()
    return ["hugepageLimits[%d]" % index for index in range(len(entries))]


def set(directory: str, resources: dict[str, Any]) -> None:
    """Limit the pages in use and, where the kernel can (5.7), those reserved."""
    for index, entry in enumerate(resources.get("hugepageLimits") or ()):
        prop = "hugepageLimits[%d]" % index
        name = "hugetlb." + entry["pageSize"]
        limit(directory, name + ".max", entry["limit"], prop)
        if exists(directory + "/" + name + ".rsvd.max"):
            limit(directory, name + ".rsvd.max", entry["limit"], prop)
