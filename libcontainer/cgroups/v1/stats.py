"""What a container uses, from cgroup v1's control files: one function per controller."""

from __future__ import annotations

from libcontainer.cgroups.files import exists, read, read_if_there
from libcontainer.cgroups.statistics import (
    cpuset,
    memory_entry,
    number,
    page_sizes,
    present,
    table,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TICK = 10_000_000
"""Nanoseconds of the kernel's clock tick for user space (USER_HZ is 100 everywhere)."""


def stats(paths: dict[str, str]) -> dict[str, Any]:
    """The `data` of `runc events --stats`, but for what is not cgroups'.  OSError."""
    return {
        "cpu": _cpu(paths.get("cpu", ""), paths.get("cpuacct", "")),
        "cpuset": cpuset(paths.get("cpuset", "")),
        "memory": _memory(paths.get("memory", "")),
        "pids": _pids(paths.get("pids", "")),
        "blkio": _blkio(paths.get("blkio", "")),
        "hugetlb": _hugetlb(paths.get("hugetlb", "")),
    }


def _cpu(cpu: str, cpuacct: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if cpuacct and exists(cpuacct):
        ticks = table(cpuacct + "/cpuacct.stat")
        user_per, kernel_per = [], []
        for line in read_if_there(cpuacct + "/cpuacct.usage_all").splitlines()[1:]:
            _, user, kernel = line.split()[:3]
            user_per.append(int(user))
            kernel_per.append(int(kernel))
        found["usage"] = {
            **present(
                total=number(cpuacct + "/cpuacct.usage"),
                percpu=[int(n) for n in read(cpuacct + "/cpuacct.usage_percpu").split()],
                percpu_kernel=kernel_per,
                percpu_user=user_per,
            ),
            "kernel": ticks.get("system", 0) * _TICK,
            "user": ticks.get("user", 0) * _TICK,
        }
    counts = table(cpu + "/cpu.stat") if cpu else {}
    throttling = present(
        periods=counts.get("nr_periods"),
        throttledPeriods=counts.get("nr_throttled"),
        throttledTime=counts.get("throttled_time"),
    )
    if throttling:
        found["throttling"] = throttling
    return found


def _memory(directory: str) -> dict[str, Any]:
    raw = table(directory + "/memory.stat") if directory else {}
    if not raw:
        return {}
    return present(
        cache=raw.get("cache"),
        usage=_counter(directory + "/memory"),
        swap=_counter(directory + "/memory.memsw"),
        kernel=_counter(directory + "/memory.kmem"),
        kernelTCP=_counter(directory + "/memory.kmem.tcp"),
        raw=dict(sorted(raw.items())),
    )


def _counter(prefix: str) -> dict[str, Any]:
    usage = number(prefix + ".usage_in_bytes")
    if usage is None:
        # Swap and kernel memory may be compiled out or switched off.
        return {}
    peak = number(prefix + ".max_usage_in_bytes") or 0
    limit = number(prefix + ".limit_in_bytes") or 0
    return memory_entry(usage, peak, limit, number(prefix + ".failcnt") or 0)


def _pids(directory: str) -> dict[str, Any]:
    if not directory or not exists(directory):
        return {}
    top = read(directory + "/pids.max").strip()
    # No limit is told as none.
    limit = 0 if top == "max" else int(top)
    return present(current=number(directory + "/pids.current"), limit=limit)


def _hugetlb(directory: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if not directory or not exists(directory):
        return found
    for size in page_sizes():
        prefix = "%s/hugetlb.%s" % (directory, size)
        if exists(prefix + ".rsvd.usage_in_bytes"):
            prefix += ".rsvd"
        used = present(
            usage=number(prefix + ".usage_in_bytes"), max=number(prefix + ".max_usage_in_bytes")
        )
        found[size] = {**used, "failcnt": number(prefix + ".failcnt") or 0}
    return found


# Keys of the JSON and the part of the file names that goes with them.
_BLKIO = (
    ("ioServiceBytesRecursive", "io_service_bytes"),
    ("ioServicedRecursive", "io_serviced"),
    ("ioQueueRecursive", "io_queued"),
    ("ioServiceTimeRecursive", "io_service_time"),
    ("ioWaitTimeRecursive", "io_wait_time"),
    ("ioMergedRecursive", "io_merged"),
    ("ioTimeRecursive", "time"),
    ("sectorsRecursive", "sectors"),
)

# Which of them each source has, the best source first: the schedulers BFQ (with debugging, without)
# and CFQ, then the block layer's own throttling counters.
_SOURCES = (
    ("blkio.bfq.%s_recursive", "sectors_recursive", 8),
    ("blkio.bfq.%s_recursive", "io_serviced_recursive", 2),
    ("blkio.%s_recursive", "sectors_recursive", 8),
    ("blkio.throttle.%s_recursive", "io_serviced_recursive", 2),
    ("blkio.throttle.%s", "io_serviced", 2),
)


def _blkio(directory: str) -> dict[str, Any]:
    if not directory:
        return {}
    for pattern, probe, count in _SOURCES:
        prefix = directory + "/" + pattern.partition("%s")[0]
        # A scheduler that no device uses shows its files, with nothing but a total in them.
        if not _entries(read_if_there(prefix + probe)):
            continue
        found = {
            key: _entries(read_if_there(directory + "/" + pattern % name))
            for key, name in _BLKIO[:count]
        }
        return present(**found)
    return {}


def _entries(text: str) -> list[dict[str, Any]]:
    """The lines `major:minor [operation] value` of a blkio file."""
    found = []
    for line in text.splitlines():
        device, *fields = line.split()
        major, colon, minor = device.partition(":")
        if colon and fields:
            operation = fields[0] if len(fields) > 1 else ""
            found.append(
                present(major=int(major), minor=int(minor), op=operation, value=int(fields[-1]))
            )
    return found
