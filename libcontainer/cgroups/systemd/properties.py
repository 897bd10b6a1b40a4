"""Limits as properties of a unit: systemd.resource-control(5)."""

from __future__ import annotations

from libcontainer import log
from libcontainer.cgroups.files import RESOURCES
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.cgroups.devices import Policy
    from libcontainer.cgroups.systemd.units import Properties, Unit

INFINITY = 2**64 - 1
_DEFAULT_PERIOD = 100000
_ANNOTATION = "org.systemd.property."

# The first versions of systemd that know a property or value.
_PERIOD, _CPUSET, _IDLE, _OOM_POLICY, _DEVICE_MAJORS = 242, 244, 252, 253, 240


def of_unit(unit: Unit, resources: dict[str, Any], version: int) -> Properties:
    """What a new unit starts with beside limits: its place, and accounting."""
    found: Properties = [("Description", ("s", "libcontainer container " + unit.name))]
    if unit.is_slice:
        found.append(("Wants", ("as", [unit.slice])))
    else:
        found.append(("Slice", ("s", unit.slice)))
        # Below the unit systemd touches nothing, and the container may make cgroups.
        found.append(("Delegate", ("b", True)))
    io = "IOAccounting" if version == 2 else "BlockIOAccounting"
    for name in ("MemoryAccounting", "CPUAccounting", io, "TasksAccounting"):
        found.append((name, ("b", True)))
    found.append(("DefaultDependencies", ("b", False)))
    group = (resources.get("unified") or {}).get("memory.oom.group")
    # Only when it is made does a scope take an OOMPolicy.
    if group in ("0", "1") and unit.version >= _OOM_POLICY:
        found.append(("OOMPolicy", ("s", "kill" if group == "1" else "continue")))
    return found


def of_v1(resources: dict[str, Any], policy: Policy | None, version: int) -> Properties:
    """The properties that stand for limits on cgroup v1; `policy` None leaves the devices alone."""
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    found = of_devices(policy, version) if policy else []
    if memory.get("limit"):
        found.append(("MemoryLimit", ("t", _bytes(memory["limit"]))))
    if cpu.get("shares"):
        found.append(("CPUShares", ("t", cpu["shares"])))
    found += _quota(cpu.get("quota") or 0, cpu.get("period") or 0, version)
    block = resources.get("blockIO") or {}
    if block.get("weight"):
        found.append(("BlockIOWeight", ("t", block["weight"])))
    for name, prop in (
        ("BlockIOReadBandwidth", "throttleReadBpsDevice"),
        ("BlockIOWriteBandwidth", "throttleWriteBpsDevice"),
    ):
        found += _of_disks(name, block.get(prop), "rate")
    found += _of_disks("BlockIODeviceWeight", block.get("weightDevice"), "weight")
    return found + _tasks(resources) + _cpusets(cpu.get("cpus"), cpu.get("mems"), version)


def of_v2(resources: dict[str, Any], policy: Policy | None, version: int) -> Properties:
    """The properties that stand for limits on cgroup v2; Error for limits that contradict."""
    from libcontainer.cgroups.v2 import cpu as cpu_file
    from libcontainer.cgroups.v2 import io as io_file
    from libcontainer.cgroups.v2 import memory as memory_file

    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    found = of_devices(policy, version) if policy else []
    size = memory.get("limit") or 0
    if size:
        found.append(("MemoryMax", ("t", _bytes(size))))
    if memory.get("reservation"):
        found.append(("MemoryLow", ("t", _bytes(memory["reservation"]))))
    swap = memory_file.swap_alone(size, memory.get("swap") or 0)
    if swap:
        found.append(("MemorySwapMax", ("t", INFINITY if swap == "max" else int(swap))))
    # Since 252 a weight of 0 is what idle is called.
    idle = cpu.get("idle") == 1 and version >= _IDLE
    if idle:
        found.append(("CPUWeight", ("t", 0)))
        if cpu.get("shares"):
            log.warning("unable to apply both cpu.shares and cpu.idle to systemd")
    elif cpu.get("shares"):
        found.append(("CPUWeight", ("t", cpu_file.weight(cpu["shares"]))))
    found += _quota(cpu.get("quota") or 0, cpu.get("period") or 0, version)
    block = resources.get("blockIO") or {}
    convert = io_file.weight_without_bfq
    if block.get("weight"):
        found.append(("IOWeight", ("t", convert(block["weight"]))))
    for name, prop in (
        ("IOReadBandwidthMax", "throttleReadBpsDevice"),
        ("IOWriteBandwidthMax", "throttleWriteBpsDevice"),
        ("IOReadIOPSMax", "throttleReadIOPSDevice"),
        ("IOWriteIOPSMax", "throttleWriteIOPSDevice"),
    ):
        found += _of_disks(name, block.get(prop), "rate")
    found += _of_disks("IODeviceWeight", block.get("weightDevice"), "weight", convert)
    found += _tasks(resources) + _cpusets(cpu.get("cpus"), cpu.get("mems"), version)
    return found + _unified(resources.get("unified") or {}, version)


def _of_disks(name: str, entries: Any, key: str, convert: Any = int) -> Properties:
    """A property with a number for each of some block devices, which systemd knows by paths."""
    pairs = [
        ("/dev/block/%d:%d" % (entry["major"], entry["minor"]), convert(entry[key]))
        for entry in entries or ()
        if entry.get(key)
    ]
    return [(name, ("a(st)", pairs))] if pairs else []


def rounded(resources: dict[str, Any]) -> dict[str, Any]:
    """The resources as systemd has them in its cgroups, to be written below its own.

    Its CPU quota is in whole hundredths of a CPU: up from what was asked for, so that this fits below.
    What is idle has no weight.
    """
    found = dict(resources)
    cpu, unified = resources.get("cpu") or {}, resources.get("unified") or {}
    if cpu.get("idle"):
        found["cpu"] = cpu = {**cpu, "shares": None}
    if unified.get("cpu.idle", "").strip() == "1":
        found["unified"] = {name: text for name, text in unified.items() if name != "cpu.weight"}
    quota, period = cpu.get("quota") or 0, cpu.get("period") or _DEFAULT_PERIOD
    if quota > 0:
        found["cpu"] = {**cpu, "quota": _per_second(quota, period) * period // 1000000}
    return found


def inexact(resources: dict[str, Any]) -> dict[str, Any]:
    """Those resources that systemd may write in its own way: weights of BFQ, fractions of a CPU."""
    return {name: resources[name] for name in ("cpu", "blockIO", "unified") if name in resources}


def _per_second(quota: int, period: int) -> int:
    """Microseconds of CPU time per second, up to the next hundredth of a second if in between."""
    exact = quota * 1000000 // period
    return exact if exact % 10000 == 0 else (exact // 10000 + 1) * 10000


def _quota(quota: int, period: int, version: int) -> Properties:
    found: Properties = []
    if period and version >= _PERIOD:
        found.append(("CPUQuotaPeriodUSec", ("t", period)))
    if quota or period:
        limit = _per_second(quota, period or _DEFAULT_PERIOD) if quota > 0 else INFINITY
        found.append(("CPUQuotaPerSecUSec", ("t", limit)))
    return found


def _tasks(resources: dict[str, Any]) -> Properties:
    limit = (resources.get("pids") or {}).get("limit")
    if limit is None:
        return []
    # 0 it does not take.
    return [("TasksMax", ("t", INFINITY if limit < 0 else limit or 1))]


def _cpusets(cpus: str | None, mems: str | None, version: int) -> Properties:
    found: Properties = []
    if version >= _CPUSET:
        for name, prop, text in (
            ("AllowedCPUs", "cpus", cpus),
            ("AllowedMemoryNodes", "mems", mems),
        ):
            if text:
                found.append((name, ("ay", bits(text, "cpu." + prop))))
    return found


def bits(text: str, prop: str) -> bytes:
    """A list such as `0-3,7` as systemd's bit mask, the lowest numbers first.  Error."""
    mask = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first and not dash:
            continue
        end = last if dash else first
        if not (first.isdigit() and end.isdigit()) or int(first) > int(end):
            raise Error("%s%s: %r is not a list such as 0-3,7" % (RESOURCES, prop, text))
        for number in range(int(first), int(end) + 1):
            mask |= 1 << number
    if not mask:
        raise Error("%s%s: %r is empty" % (RESOURCES, prop, text))
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def _bytes(value: int) -> int:
    return INFINITY if value == -1 else value


_FILES = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.max": "MemoryMax",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}


def _unified(unified: dict[str, str], version: int) -> Properties:
    """Those control files of `linux.resources.unified` that systemd has a property for; Error."""
    found: Properties = []
    for name, text in unified.items():
        value = text.strip()
        prop = 'unified["%s"]' % name
        if name in _FILES:
            number = INFINITY if value == "max" else _number(value, prop)
            found.append((_FILES[name], ("t", number or (1 if name == "pids.max" else 0))))
        elif name == "cpu.idle" and value == "1" and version >= _IDLE:
            found.append(("CPUWeight", ("t", 0)))
        elif name == "cpu.weight":
            idle = unified.get("cpu.idle", "").strip() == "1" and version >= _IDLE
            if idle:
                log.warning("unable to apply both cpu.weight and cpu.idle to systemd")
            else:
                found.append(("CPUWeight", ("t", _number(value, prop))))
        elif name == "cpu.max":
            words = value.split()
            if len(words) not in (1, 2):
                raise Error("%s%s: %r is not `QUOTA PERIOD`" % (RESOURCES, prop, text))
            quota = 0 if words[0] == "max" else _number(words[0], prop)
            period = _number(words[1], prop) if len(words) == 2 else _DEFAULT_PERIOD
            found += _quota(quota, period, version)
        elif name == "cpuset.cpus" and version >= _CPUSET:
            found.append(("AllowedCPUs", ("ay", bits(value, prop))))
        elif name == "cpuset.mems" and version >= _CPUSET:
            found.append(("AllowedMemoryNodes", ("ay", bits(value, prop))))
    return found


def _number(text: str, prop: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Error("%s%s: %r is not a number" % (RESOURCES, prop, text))
    return int(text)


def of_devices(policy: Policy, version: int) -> Properties:
    """DevicePolicy and DeviceAllow, as near to the policy as systemd comes.

    The exact rules are enforced by what is written after it; but at a reload systemd falls back on
    these. It knows no rule that denies, nor one for a minor number of every major.
    """
    clear: Properties = [("DeviceAllow", ("a(ss)", []))]
    if policy.allow and not policy.exceptions:
        return [*clear, ("DevicePolicy", ("s", "auto"))]
    strict: Properties = [*clear, ("DevicePolicy", ("s", "strict"))]
    if policy.allow:
        log.warning("systemd knows no rules that deny devices: it is told to deny all at a reload")
        return strict
    from libcontainer.cgroups.devices import letters

    rules = []
    for (kind, major, minor), access in sorted(policy.exceptions.items()):
        path = _device_path(kind, major, minor, version)
        if path:
            rules.append((path, letters(access)))
    return [*strict, ("DeviceAllow", ("a(ss)", rules))]


def _device_path(kind: str, major: int, minor: int, version: int) -> str:
    """The name of devices in systemd's words, "" if it has none."""
    word = "block" if kind == "b" else "char"
    if major < 0:
        return word + "-*" if minor < 0 else ""
    if minor < 0:
        if version >= _DEVICE_MAJORS:
            return "%s-%d" % (word, major)
        return _driver_name(word, major)
    path = "/dev/%s/%d:%d" % (word, major, minor)
    if version >= _DEVICE_MAJORS:
        return path
    from libcontainer.cgroups.files import exists

    # The older ones look at the node.
    return path if exists(path) else ""


def _driver_name(word: str, major: int) -> str:
    """`char-pts` for 136: the driver's name from /proc/devices."""
    from libcontainer.cgroups.files import read_if_there

    wanted = "Block devices:" if word == "block" else "Character devices:"
    section = ""
    for line in read_if_there("/proc/devices").splitlines():
        number, _, name = line.strip().partition(" ")
        if line.endswith(":"):
            section = line
        elif section == wanted and number == str(major):
            return "%s-%s" % (word, name)
    return ""


def of_annotations(annotations: dict[str, str]) -> Properties:
    """The properties that annotations `org.systemd.property.NAME` give in GVariant's text format.

    A time in seconds (a name that ends in `Sec` after a small letter) becomes microseconds, as D-Bus
    has it. Error for a malformed name or value.
    """
    found: Properties = []
    for key, text in annotations.items():
        if not key.startswith(_ANNOTATION):
            continue
        from libcontainer.cgroups.systemd import gvariant

        name = key[len(_ANNOTATION) :]
        if len(name) < 3:
            raise Error("annotation %s name incorrect: too short" % key)
        if not (name.isascii() and name.isalpha()):
            raise Error("annotation %s name incorrect: contains non-alphabetic character" % key)
        try:
            kind, value = gvariant.parse(text)
            if name.endswith("Sec") and name[:-3] and name[-4].islower():
                if kind not in "ynqiuxtd":
                    raise ValueError("not a number")
                name, kind, value = name[:-3] + "USec", "t", int(value * 1000000)
        except ValueError as failure:
            raise Error("annotation %s=%s value parse error: %s" % (key, text, failure)) from None
        found.append((name, (kind, value)))
    return found
