"""cgroup v1's hugetlb controller: Documentation/admin-guide/cgroup-v1/hugetlb.rst."""

from __future__ import annotations

from libcontainer.cgroups.files import exists, limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "hugetlb"


def wanted(resources: dict[str, Any]) -> list[tuple[str, str]]:
    """The properties asked for; the hierarchy's root lacks the files, so none is named."""
    entries = resources.get("hugepageLimits") or ()
    return [("hugepageLimits[%d]" % index, "") for index in range(len(entries))]


def set(directory: str, resources: dict[str, Any]) -> None:
    """Limit the pages in use and, where the kernel can (5.7), those reserved."""
    for index, entry in enumerate(resources.get("hugepageLimits") or ()):
        prop = "hugepageLimits[%d]" % index
        name = "hugetlb." + entry["pageSize"]
        limit(directory, name + ".limit_in_bytes", entry["limit"], prop)
        if exists(directory + "/" + name + ".rsvd.limit_in_bytes"):
            limit(directory, name + ".rsvd.limit_in_bytes", entry["limit"], prop)
