"""Reading what the kernel counts, and the shape that `runc events` gives it.

The names and the nesting of the JSON are runc's (its Go package `types`), read by cAdvisor, Docker's
shim and others; as there, a count of zero is mostly left out. Times are in nanoseconds, sizes in
bytes.
"""

from __future__ import annotations

import errno
import posix

from libcontainer.cgroups.files import read, read_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNLIMITED = 2**64 - 1

_CPUSET_FILES = (
    "cpu_exclusive mem_hardwall mem_exclusive memory_migrate memory_spread_page memory_spread_slab"
    " memory_pressure sched_load_balance sched_relax_domain_level"
).split()


def number(path: str) -> int | None:
    """The number in a control file, `max` as the largest; None where the file is missing."""
    text = read_if_there(path).strip()
    if not text:
        return None
    if text == "max":
        return UNLIMITED
    # Some counters of old kernels could drop below zero.
    value = int(text)
    return max(value, 0)


def table(path: str) -> dict[str, int]:
    """A control file of `key value` lines; empty where it is missing."""
    found = {}
    for line in read_if_there(path).splitlines():
        key, _, value = line.partition(" ")
        if value.lstrip("-").isdigit():
            found[key] = max(int(value), 0)
    return found


def present(**entries: Any) -> dict[str, Any]:
    """The entries that are neither zero nor empty: Go's `omitempty`."""
    return {key: value for key, value in entries.items() if value}


def memory_entry(usage: int, peak: int, limit: int, failures: int) -> dict[str, Any]:
    """One of memory's counters; {} if all is zero."""
    if not (usage or peak or limit or failures):
        return {}
    return {"limit": limit, **present(usage=usage, max=peak), "failcnt": failures}


def cpuset(directory: str, prefix: str = "cpuset.") -> dict[str, Any]:
    """The `cpuset` part; `directory` "" (or cgroup v2, which lacks most of it) gives zeros."""
    found: dict[str, Any] = {}
    where = directory + "/" + prefix
    for key in ("cpus", _CPUSET_FILES[0], "mems", *_CPUSET_FILES[1:]):
        if key in ("cpus", "mems"):
            members = _numbers(read_if_there(where + key)) if directory else []
            if members:
                found[key] = members
        else:
            # -1, "no request", is a value of sched_relax_domain_level.
            found[key] = int(read_if_there(where + key) or 0) if directory else 0
    return found


def _numbers(text: str) -> list[int]:
    """The members of a list such as `0-3,7`."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return found


def page_sizes() -> list[str]:
    """The huge page sizes of the host as the hugetlb controller names them: `2MB`, `1GB`."""
    try:
        names = posix.listdir("/sys/kernel/mm/hugepages")
    except OSError:
        return []
    sizes = []
    for name in names:
        kilobytes = name[len("hugepages-") : -len("kB")]
        if not kilobytes.isdigit():
            continue
        size = int(kilobytes)
        if size >= 1 << 20:
            sizes.append("%dGB" % (size >> 20))
        elif size >= 1 << 10:
            sizes.append("%dMB" % (size >> 10))
        else:
            sizes.append("%dKB" % size)
    return sorted(sizes)


def pressure(path: str) -> dict[str, Any] | None:
    """Pressure stall information (Linux 4.20, kernel: Documentation/accounting/psi.rst), or None."""
    try:
        text = read(path)
    except OSError as failure:
        # EOPNOTSUPP: compiled in, but not enabled at boot (psi=1).
        if failure.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return None
        raise
    found: dict[str, Any] = {}
    for line in text.splitlines():
        kind, *fields = line.split()
        entry: dict[str, Any] = {}
        for field in fields:
            key, _, value = field.partition("=")
            entry[key] = int(value) if key == "total" else _short(float(value))
        found[kind] = entry
    nothing = {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0}
    return {kind: found.get(kind, nothing) for kind in ("some", "full")}


def _short(value: float) -> float | int:
    """A whole number without a fraction, as Go writes it."""
    return int(value) if value == int(value) else value


def network_interfaces(pid: int) -> list[dict[str, Any]] | None:
    """The counters of the interfaces, but for loopback, that process `pid` sees; None without any.

    proc_pid_net(5): /proc/PID/net/dev shows the process's network namespace.
    """
    found = []
    for line in read_if_there("/proc/%d/net/dev" % pid).splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() == "lo":
            continue
        counts = [int(word) for word in rest.split()]
        entry: dict[str, Any] = {"Name": name.strip()}
        for start, prefix in ((0, "Rx"), (8, "Tx")):
            for offset, key in enumerate(("Bytes", "Packets", "Errors", "Dropped")):
                entry[prefix + key] = counts[start + offset]
        found.append(entry)
    return found or None
