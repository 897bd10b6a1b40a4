"""Sections of `linux` that few configs have: intelRdt, personality, timeOffsets, netDevices.

runtime-spec config-linux.md "IntelRdt", "Personality", "Offset for Time Namespace" and "Network
Devices".
"""

from __future__ import annotations

from . import INT64, REQUIRED, check, entry, map_of, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Faults

_IFNAMSIZ = 16


def valid_device_name(name: str) -> bool:
    """Say whether the kernel takes `name` for a network device (dev_valid_name in dev.c)."""
    if not name or name in (".", ".."):
        return False
    # IFNAMSIZ counts the terminating NUL.
    if len(name.encode("utf-8", "surrogatepass")) >= _IFNAMSIZ:
        return False
    return not any(letter in "/:" or letter.isspace() for letter in name)


def _device_name(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) == before and value and not valid_device_name(value):
        faults.append("%s: invalid network device name %s" % (place, quoted(value)))


def _net_devices(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    map_of({"name": _device_name})(value, place, faults)
    if len(faults) > before:
        return
    for name in value:
        if not valid_device_name(name):
            faults.append("%s: invalid network device name %s" % (place, quoted(name)))


def _clos_id(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) > before:
        return
    # It becomes the name of a directory; "/" alone stands for the default class.
    if value in (".", "..") or (len(value) > 1 and "/" in value):
        faults.append("%s: invalid intelRdt.ClosID %s" % (place, quoted(value)))


def _bandwidth(value: Any, place: str, faults: Faults) -> None:
    _line(value, place, faults)
    if type(value) is str and value and not value.startswith("MB:"):
        faults.append("%s: %s does not begin with MB:" % (place, quoted(value)))


def _line(value: Any, place: str, faults: Faults) -> None:
    check(value, str, place, faults)
    if type(value) is str and "\n" in value:
        faults.append(place + ": must not contain a line break")


def _personality_flags(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, [str], place, faults)
    if len(faults) == before and value:
        faults.append(
            "%s: %s is not supported: the runtime-spec has no flag yet" % (place, quoted(value[0]))
        )


def _personality_domain(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) == before and value not in ("LINUX", "LINUX32"):
        faults.append("%s: invalid personality domain %s" % (place, quoted(value)))


def _time_offsets(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    map_of(_TIME_OFFSET)(value, place, faults)
    if len(faults) > before:
        return
    for clock in value:
        if clock not in ("monotonic", "boottime"):
            faults.append("%s: must be monotonic or boottime" % entry(place, clock))


# time_namespaces(7): the kernel takes no second or more as nanoseconds.
_TIME_OFFSET = {"secs": INT64, "nanosecs": (0, 999999999)}

SHAPES = {
    "intelRdt": {
        "closID": _clos_id,
        "schemata": [_line],
        "l3CacheSchema": str,
        "memBwSchema": _bandwidth,
        "enableMonitoring": bool,
    },
    "netDevices": _net_devices,
    "personality": {
        REQUIRED: ("domain",),
        "domain": _personality_domain,
        "flags": _personality_flags,
    },
    "timeOffsets": _time_offsets,
}
