"""What a container uses, from cgroup v2's control files: one function per controller."""

from __future__ import annotations

from libcontainer.cgroups.files import exists, pids, read_if_there
from libcontainer.cgroups.hierarchies import UNIFIED
from libcontainer.cgroups.statistics import (
    UNLIMITED,
    cpuset,
    memory_entry,
    number,
    page_sizes,
    present,
    pressure,
    table,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def stats(directory: str) -> dict[str, Any]:
    """The `data` of `runc events --stats`, but for what is not cgroups'.  OSError."""
    return {
        "cpu": _cpu(directory),
        "cpuset": cpuset(""),
        "memory": _memory(directory),
        "pids": _pids(directory),
        "blkio": _io(directory),
        "hugetlb": _hugetlb(directory),
    }


def _cpu(directory: str) -> dict[str, Any]:
    counts = table(directory + "/cpu.stat")
    found: dict[str, Any] = {}
    if "usage_usec" in counts:
        found["usage"] = {
            **present(total=counts["usage_usec"] * 1000),
            "kernel": counts.get("system_usec", 0) * 1000,
            "user": counts.get("user_usec", 0) * 1000,
        }
    throttling = present(
        periods=counts.get("nr_periods"),
        throttledPeriods=counts.get("nr_throttled"),
        throttledTime=counts.get("throttled_usec", 0) * 1000,
    )
    return {
        **found,
        **present(throttling=throttling, psi=pressure(directory + "/cpu.pressure")),
    }


def _memory(directory: str) -> dict[str, Any]:
    raw = table(directory + "/memory.stat")
    if not raw:
        return present(psi=pressure(directory + "/memory.pressure"))
    usage = number(directory + "/memory.current")
    if usage is None and directory == UNIFIED:
        return _memory_of_all(raw)
    limit = number(directory + "/memory.max") or 0
    peak = number(directory + "/memory.peak") or 0
    swapped = number(directory + "/memory.swap.current")
    swap: dict[str, Any] = {}
    # The JSON's swap counts memory in, as cgroup v1 does; there is no peak of the sum.
    if swapped is not None:
        top = number(directory + "/memory.swap.max") or 0
        top = top if top == UNLIMITED else min(top + limit, UNLIMITED)
        swap = memory_entry(swapped + (usage or 0), 0, top, 0)
    elif usage or limit:
        swap = memory_entry(usage or 0, 0, limit, 0)
    return present(
        cache=raw.get("file"),
        usage=memory_entry(usage or 0, peak, limit, 0),
        swap=swap,
        raw=dict(sorted(raw.items())),
        psi=pressure(directory + "/memory.pressure"),
    )


def _memory_of_all(raw: dict[str, int]) -> dict[str, Any]:
    """The hierarchy's root has no counters of its own: they are put together from meminfo."""
    info = {}
    for line in read_if_there("/proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        info[key] = int(value.split()[0]) * 1024
    usage = raw.get("anon", 0) + raw.get("file", 0)
    swapped = info.get("SwapTotal", 0) - info.get("SwapFree", 0)
    return present(
        cache=raw.get("file"),
        usage=memory_entry(usage, 0, UNLIMITED, 0),
        swap=memory_entry(usage + swapped, 0, UNLIMITED, 0),
        raw=dict(sorted(raw.items())),
    )


def _pids(directory: str) -> dict[str, Any]:
    current = number(directory + "/pids.current")
    if current is None:
        # The controller is not enabled here.
        return present(current=len(pids(directory)))
    limit = number(directory + "/pids.max") or 0
    return present(current=current, limit=0 if limit == UNLIMITED else limit)


def _io(directory: str) -> dict[str, Any]:
    """io.stat: `major:minor key=value…`, in the tables that cgroup v1 had."""
    sizes: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    places = {
        "rbytes": (sizes, "Read"),
        "wbytes": (sizes, "Write"),
        "rios": (counts, "Read"),
        "wios": (counts, "Write"),
    }
    for line in read_if_there(directory + "/io.stat").splitlines():
        device, *fields = line.split()
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        for field in fields:
            key, _, value = field.partition("=")
            if key in places:
                entries, operation = places[key]
                entries.append(
                    present(major=int(major), minor=int(minor), op=operation, value=int(value))
                )
    return present(
        ioServiceBytesRecursive=sizes,
        ioServicedRecursive=counts,
        psi=pressure(directory + "/io.pressure"),
    )


def _hugetlb(directory: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for size in page_sizes():
        prefix = "%s/hugetlb.%s" % (directory, size)
        reserved = prefix + ".rsvd.current"
        usage = number(reserved if exists(reserved) else prefix + ".current")
        if usage is not None:
            failures = table(prefix + ".events").get("max", 0)
            found[size] = {**present(usage=usage), "failcnt": failures}
    return found
