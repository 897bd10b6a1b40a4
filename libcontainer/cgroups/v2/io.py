"""cgroup v2's io controller: Documentation/admin-guide/cgroup-v2.rst, "IO"."""

from __future__ import annotations

from libcontainer import log
from libcontainer.cgroups.files import RESOURCES, exists, limit, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "io"

THROTTLES = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}

_BFQ = "io.bfq.weight"


def wanted(resources: dict[str, Any]) -> list[str]:
    """The properties asked for."""
    block = resources.get("blockIO") or {}
    if block.get("leafWeight") or any(d.get("leafWeight") for d in block.get("weightDevice") or ()):
        log.warning("%sblockIO.leafWeight is ignored: cgroup v2 has no such setting" % RESOURCES)
    names = ["weight", "weightDevice", *THROTTLES]
    return ["blockIO." + prop for prop in names if block.get(prop)]


def set(directory: str, resources: dict[str, Any]) -> None:
    """Write the limits; LimitError names the one that the kernel refuses."""
    block = resources.get("blockIO") or {}
    weight, devices = block.get("weight"), block.get("weightDevice")
    bfq = bool(weight or devices) and exists(directory + "/" + _BFQ)
    if weight:
        if bfq:
            limit(directory, _BFQ, weight, "blockIO.weight")
        else:
            limit(directory, "io.weight", weight_without_bfq(weight), "blockIO.weight")
    if devices and bfq:
        _set_device_weights(directory, _BFQ, devices, lambda number: number)
    elif devices:
        _set_device_weights(directory, "io.weight", devices, weight_without_bfq)
    for prop, key in THROTTLES.items():
        if block.get(prop):
            values = ["%d:%d %s=%d" % (d["major"], d["minor"], key, d["rate"]) for d in block[prop]]
            limits(directory, "io.max", values, "blockIO." + prop)


def _set_device_weights(directory: str, name: str, devices: Any, convert: Any) -> None:
    values = [
        "%d:%d %d" % (d["major"], d["minor"], convert(d["weight"]))
        for d in devices
        if d.get("weight")
    ]
    if values:
        limits(directory, name, values, "blockIO.weightDevice")


def weight_without_bfq(weight: int) -> int:
    """io.weight (1 to 10000) for blkio's weight (10 to 1000), on a straight line."""
    return 1 + (weight - 10) * 9999 // 990
