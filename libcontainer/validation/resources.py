"""`linux.resources`, but for its devices: runtime-spec config-linux.md "Control groups".

Whether the host can enforce a limit is for the cgroup managers to say; here it is only checked
that a limit means something.
"""

from __future__ import annotations

from . import INT64, REQUIRED, RULE, UINT16, UINT32, UINT64, check, entry, map_of, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Faults, Object

_LIMIT = (-1, INT64[1])
"""A limit in bytes or tasks; -1 is unlimited."""

_DEVICE_NUMBER = (0, INT64[1])


def _page_size(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) > before:
        return
    digits = value[:-2]
    well_formed = value[-2:] in ("KB", "MB", "GB") and digits.isascii() and digits.isdigit()
    if not well_formed or digits[0] == "0":
        faults.append("%s: %s is not a size such as 64KB, 2MB or 1GB" % (place, quoted(value)))


def _set_of_numbers(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    # The kernel's own syntax (bitmap lists with strides, N, all) is left to it.
    if len(faults) == before and value.strip("0123456789,-:/Nal \n"):
        faults.append("%s: %s is not a list such as 0-3,7" % (place, quoted(value)))


def _cpu(value: Object, place: str, faults: Faults) -> None:
    quota, burst = value.get("quota", 0), value.get("burst", 0)
    if 0 < quota < burst:
        faults.append("%s.burst: %d is above the quota, %d" % (place, burst, quota))


def _weight_device(value: Object, place: str, faults: Faults) -> None:
    if "weight" not in value and "leafWeight" not in value:
        faults.append(place + ": weight or leafWeight is required")


def _rdma_device(value: Object, place: str, faults: Faults) -> None:
    if "hcaHandles" not in value and "hcaObjects" not in value:
        faults.append(place + ": hcaHandles or hcaObjects is required")


def _unified(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    map_of(str)(value, place, faults)
    if len(faults) > before:
        return
    for name in value:
        if "/" in name or name in (".", ".."):
            faults.append(
                "%s: unified resource must be a file name (no slashes)" % entry(place, name)
            )


_THROTTLE = [
    {
        REQUIRED: ("major", "minor", "rate"),
        "major": _DEVICE_NUMBER,
        "minor": _DEVICE_NUMBER,
        "rate": UINT64,
    }
]

_WEIGHT_DEVICE = {
    REQUIRED: ("major", "minor"),
    RULE: _weight_device,
    "major": _DEVICE_NUMBER,
    "minor": _DEVICE_NUMBER,
    "weight": UINT16,
    "leafWeight": UINT16,
}

RESOURCES = {
    "memory": {
        "limit": _LIMIT,
        "reservation": _LIMIT,
        "swap": _LIMIT,
        "kernel": _LIMIT,
        "kernelTCP": _LIMIT,
        "swappiness": (0, 100),
        "disableOOMKiller": bool,
        "useHierarchy": bool,
        "checkBeforeUpdate": bool,
    },
    "cpu": {
        RULE: _cpu,
        "shares": UINT64,
        "quota": INT64,
        "burst": UINT64,
        "period": UINT64,
        "realtimeRuntime": INT64,
        "realtimePeriod": UINT64,
        "cpus": _set_of_numbers,
        "mems": _set_of_numbers,
        "idle": (0, 1),
    },
    "pids": {"limit": INT64},
    "blockIO": {
        "weight": UINT16,
        "leafWeight": UINT16,
        "weightDevice": [_WEIGHT_DEVICE],
        "throttleReadBpsDevice": _THROTTLE,
        "throttleWriteBpsDevice": _THROTTLE,
        "throttleReadIOPSDevice": _THROTTLE,
        "throttleWriteIOPSDevice": _THROTTLE,
    },
    "hugepageLimits": [{REQUIRED: ("pageSize", "limit"), "pageSize": _page_size, "limit": UINT64}],
    "network": {
        "classID": UINT32,
        "priorities": [{REQUIRED: ("name", "priority"), "name": str, "priority": UINT32}],
    },
    "rdma": map_of({RULE: _rdma_device, "hcaHandles": UINT32, "hcaObjects": UINT32}),
    "unified": _unified,
}
