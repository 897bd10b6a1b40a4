"""cgroup v1's blkio controller: Documentation/admin-guide/cgroup-v1/blkio-controller.rst."""

from __future__ import annotations

from libcontainer.cgroups.files import exists, limit, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "blkio"

THROTTLES = {
    "throttleReadBpsDevice": "blkio.throttle.read_bps_device",
    "throttleWriteBpsDevice": "blkio.throttle.write_bps_device",
    "throttleReadIOPSDevice": "blkio.throttle.read_iops_device",
    "throttleWriteIOPSDevice": "blkio.throttle.write_iops_device",
}


def wanted(resources: dict[str, Any]) -> list[tuple[str, str]]:
    """The properties asked for, each with the control file that it needs ("" if it varies)."""
    block = resources.get("blockIO") or {}
    weights = ("weight", "leafWeight", "weightDevice")
    asked = [("blockIO." + prop, "") for prop in weights if block.get(prop)]
    asked += [("blockIO." + prop, name) for prop, name in THROTTLES.items() if block.get(prop)]
    return asked


def set(directory: str, resources: dict[str, Any]) -> None:
    """Write the limits; LimitError names the one that the kernel refuses."""
    block = resources.get("blockIO") or {}
    if block.get("weight"):
        limit(directory, _weight_file(directory), block["weight"], "blockIO.weight")
    if block.get("leafWeight"):
        limit(directory, "blkio.leaf_weight", block["leafWeight"], "blockIO.leafWeight")
    for index, device in enumerate(block.get("weightDevice") or ()):
        prop = "blockIO.weightDevice[%d]" % index
        numbers = "%d:%d " % (device["major"], device["minor"])
        if device.get("weight"):
            name = _weight_file(directory) + "_device"
            limit(directory, name, numbers + str(device["weight"]), prop)
        if device.get("leafWeight"):
            value = numbers + str(device["leafWeight"])
            limit(directory, "blkio.leaf_weight_device", value, prop)
    for prop, name in THROTTLES.items():
        if block.get(prop):
            values = ["%d:%d %d" % (d["major"], d["minor"], d["rate"]) for d in block[prop]]
            limits(directory, name, values, "blockIO." + prop)


def _weight_file(directory: str) -> str:
    """CFQ's file, or since its removal in Linux 5.0 that of BFQ."""
    old = "blkio.weight"
    return old if exists(directory + "/" + old) else "blkio.bfq.weight"
