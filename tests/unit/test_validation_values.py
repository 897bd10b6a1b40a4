"""The checks of config.json: one bad value, and every wrong type, for every property."""

from __future__ import annotations

import sys
import typing

import pytest

from libcontainer import spec
from tests.unit.configs import DEFAULT, DELETED, FULL, changed, faults

# What is refused: path, bad value, place (the path unless given), part of the sentence.

BAD: list[tuple[typing.Any, ...]] = [
    ("ociVersion", DELETED, "ociVersion", "is required"),
    ("ociVersion", "1.0", "ociVersion", "SemVer"),
    ("ociVersion", "01.0.0", "ociVersion", "SemVer"),
    ("ociVersion", "1.0.0-01", "ociVersion", "SemVer"),
    ("ociVersion", "1.0.0-", "ociVersion", "SemVer"),
    ("ociVersion", "1.0.0+", "ociVersion", "SemVer"),
    ("ociVersion", "1.0.0-ä", "ociVersion", "SemVer"),
    ("ociVersion", "\u0661.0.0", "ociVersion", "SemVer"),
    ("ociVersion", "2.0.0", "ociVersion", "not supported"),
    ("root", DELETED, "root", "is required"),
    ("root", {}, "root.path", "is required"),
    ("root.path", "", "root.path", "must not be empty"),
    ("root.path", "a\0b", "root.path", "NUL"),
    ("process", DELETED, "process", "process property must not be empty"),
    ("process.cwd", DELETED, "process.cwd", "is required"),
    ("process.cwd", "", "process.cwd", "Cwd property must not be empty"),
    ("process.cwd", "tmp", "process.cwd", "Cwd must be an absolute path"),
    ("process.args", DELETED, "process.args", "args must not be empty"),
    ("process.args", [], "process.args", "args must not be empty"),
    ("process.args.0", "a\0b", "process.args[0]", "NUL"),
    ("process.args.0", None, "process.args[0]", "must be a string, not null"),
    ("process.env.1", "NOTHING", "process.env[1]", "missing '='"),
    ("process.env.1", "=x", "process.env[1]", "name cannot be empty"),
    ("process.env.1", "A=\0", "process.env[1]", "NUL"),
    ("process.commandLine", "cmd", "process.commandLine", "Windows"),
    ("process.consoleSize.width", DELETED, "process.consoleSize.width", "is required"),
    ("process.consoleSize.height", -1, "process.consoleSize.height", "range"),
    ("process.user.uid", 4294967295, "process.user.uid", "range"),
    ("process.user.gid", -1, "process.user.gid", "range"),
    ("process.user.umask", 512, "process.user.umask", "range"),
    ("process.user.additionalGids.1", 1.0, "process.user.additionalGids[1]", "as an integer"),
    ("process.user.additionalGids.1", True, "process.user.additionalGids[1]", "a boolean"),
    ("process.rlimits.0.type", "RLIMIT_FOO", "process.rlimits[0].type", "wrong rlimit value"),
    ("process.rlimits.0.soft", 1 << 64, "process.rlimits[0].soft", "range"),
    ("process.rlimits.0.hard", 1, "process.rlimits[0].soft", "above the hard limit"),
    (
        "process.rlimits",
        [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2,
        "process.rlimits[1].type",
        "twice",
    ),
    ("process.oomScoreAdj", 1001, "process.oomScoreAdj", "range"),
    ("process.scheduler.policy", DELETED, "process.scheduler.policy", "is required"),
    ("process.scheduler.policy", "SCHED_X", "process.scheduler.policy", "is not one of"),
    ("process.scheduler.priority", 100, "process.scheduler.priority", "range 1 to 99"),
    ("process.scheduler.flags.0", "X", "process.scheduler.flags[0]", "is not one of"),
    ("process.scheduler.runtime", 1, "process.scheduler", "can only be specified"),
    ("process.scheduler.nice", 1 << 31, "process.scheduler.nice", "range"),
    (
        "process.scheduler",
        {"policy": "SCHED_OTHER", "nice": 20},
        "process.scheduler.nice",
        "invalid scheduler.nice: 20 when scheduler.policy is SCHED_OTHER",
    ),
    (
        "process.scheduler",
        {"policy": "SCHED_BATCH", "priority": 1},
        "process.scheduler.priority",
        "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
    ),
    (
        "process.scheduler",
        {"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 1999},
        "process.scheduler",
        "SCHED_DEADLINE needs",
    ),
    ("process.ioPriority.class", DELETED, "process.ioPriority.class", "is required"),
    ("process.ioPriority.class", "X", "process.ioPriority.class", "is not one of"),
    ("process.ioPriority.priority", 8, "process.ioPriority.priority", "range"),
    ("process.execCPUAffinity.initial", "a", "process.execCPUAffinity.initial", "not a number"),
    ("process.execCPUAffinity.initial", ",", "process.execCPUAffinity.initial", "no members"),
    ("process.execCPUAffinity.final", "3-1", "process.execCPUAffinity.final", "invalid range"),
    ("process.execCPUAffinity.final", "0-9999999", "process.execCPUAffinity.final", "larger"),
    ("mounts.0.destination", "", "mounts[0].destination", "must not be empty"),
    ("mounts.0.destination", DELETED, "mounts[0].destination", "is required"),
    ("mounts.0.source", "\0", "mounts[0].source", "NUL"),
    ("mounts.0.options.2", "size=1", "mounts[0].options", "filesystem-specific options"),
    ("mounts.0.uidMappings", DELETED, "mounts[0]", "both uid and gid mappings"),
    ("mounts.0.gidMappings", [], "mounts[0]", "both uid and gid mappings"),
    ("mounts.0.gidMappings.0.size", 0, "mounts[0].gidMappings[0].size", "range"),
    ("mounts.1", None, "mounts[1]", "must be an object, not null"),
    ("hooks.prestart.0.path", "a", "hooks.prestart[0].path", "absolute"),
    ("hooks.createRuntime.0.path", DELETED, "hooks.createRuntime[0].path", "is required"),
    ("hooks.createContainer.0.path", "", "hooks.createContainer[0].path", "absolute"),
    ("hooks.startContainer.0.args", "a", "hooks.startContainer[0].args", "an array"),
    ("hooks.poststart.0.env", ["a"], "hooks.poststart[0].env[0]", "missing '='"),
    ("hooks.poststop.0.timeout", 0, "hooks.poststop[0].timeout", "range"),
    ("hooks.prestart.0.timeout", -1, "hooks.prestart[0].timeout", "range"),
    ("annotations", {"": "x"}, "annotations", "must not be empty"),
    ("annotations", {"a": 1}, 'annotations["a"]', "must be a string"),
    ("annotations", {"a\0": "b"}, 'annotations["a\\u0000"]', "NUL"),
    ("linux.namespaces.0.type", "x", "linux.namespaces[0].type", 'namespace "x" does not exist'),
    ("linux.namespaces.0.type", DELETED, "linux.namespaces[0].type", "is required"),
    ("linux.namespaces.0.type", "uts", "linux.namespaces[3].type", 'duplicated ns "uts"'),
    ("linux.namespaces.0.path", "ns", "linux.namespaces[0].path", "must be an absolute path"),
    ("linux.uidMappings.0.containerID", -1, "linux.uidMappings[0].containerID", "range"),
    ("linux.uidMappings.0.size", 32001, "linux.uidMappings[1].containerID", "overlaps with"),
    ("linux.uidMappings.1.hostID", 1, "linux.uidMappings[0].hostID", "overlaps with"),
    ("linux.uidMappings.1.hostID", (1 << 32) - 1, "linux.uidMappings[1].size", "32 bits"),
    ("linux.uidMappings.0.hostID", DELETED, "linux.uidMappings[0].hostID", "is required"),
    (
        "linux.gidMappings",
        [{"containerID": i, "hostID": i, "size": 1} for i in range(341)],
        "linux.gidMappings",
        "341 mappings are more than the kernel's 340",
    ),
    ("linux.gidMappings.0.containerID", 1, "linux.gidMappings", "no mapping found for gid 0"),
    ("linux.gidMappings", [], "linux.gidMappings", "no gid mappings found"),
    ("linux.timeOffsets", {"realtime": {}}, 'linux.timeOffsets["realtime"]', "monotonic or"),
    (
        "linux.timeOffsets.monotonic.nanosecs",
        1000000000,
        'linux.timeOffsets["monotonic"].nanosecs',
        "range",
    ),
    ("linux.devices.0.type", "a", "linux.devices[0].type", "is not one of b, c, p, u"),
    ("linux.devices.0.path", "dev", "linux.devices[0].path", "absolute"),
    ("linux.devices.0.major", DELETED, "linux.devices[0].major", "is required"),
    ("linux.devices.0.major", 4096, "linux.devices[0].major", "range"),
    ("linux.devices.0.minor", DELETED, "linux.devices[0].minor", "is required"),
    ("linux.devices.0.minor", -1, "linux.devices[0].minor", "range"),
    ("linux.devices.0.fileMode", -1, "linux.devices[0].fileMode", "range"),
    ("linux.devices.0.uid", 1 << 32, "linux.devices[0].uid", "range"),
    ("linux.devices.0.gid", -1, "linux.devices[0].gid", "range"),
    ("linux.netDevices", {"a b": {}}, "linux.netDevices", "invalid network device name"),
    (
        "linux.netDevices.eth0.name",
        "0123456789abcdef",
        'linux.netDevices["eth0"].name',
        "invalid network device name",
    ),
    ("linux.netDevices.eth0.name", "..", 'linux.netDevices["eth0"].name', "invalid network"),
    ("linux.cgroupsPath", "\0", "linux.cgroupsPath", "NUL"),
    ("linux.resources.devices.0.allow", DELETED, "linux.resources.devices[0].allow", "required"),
    ("linux.resources.devices.0.type", "p", "linux.resources.devices[0].type", "is not one of"),
    ("linux.resources.devices.0.major", -2, "linux.resources.devices[0].major", "range"),
    ("linux.resources.devices.0.minor", 1 << 63, "linux.resources.devices[0].minor", "range"),
    ("linux.resources.devices.0.access", "", "linux.resources.devices[0].access", "be empty"),
    ("linux.resources.devices.0.access", "x", "linux.resources.devices[0].access", "r, w and m"),
    ("linux.resources.memory.limit", -2, "linux.resources.memory.limit", "range"),
    ("linux.resources.memory.reservation", 1 << 63, "linux.resources.memory.reservation", "range"),
    ("linux.resources.memory.swappiness", 101, "linux.resources.memory.swappiness", "range"),
    ("linux.resources.cpu.shares", -1, "linux.resources.cpu.shares", "range"),
    ("linux.resources.cpu.burst", 1000001, "linux.resources.cpu.burst", "above the quota"),
    ("linux.resources.cpu.cpus", "abc", "linux.resources.cpu.cpus", "is not a list"),
    ("linux.resources.cpu.mems", "x", "linux.resources.cpu.mems", "is not a list"),
    ("linux.resources.cpu.idle", 2, "linux.resources.cpu.idle", "range"),
    ("linux.resources.pids.limit", "max", "linux.resources.pids.limit", "an integer"),
    ("linux.resources.blockIO.weight", 65536, "linux.resources.blockIO.weight", "range"),
    (
        "linux.resources.blockIO.weightDevice.0",
        {"major": 1, "minor": 1},
        "linux.resources.blockIO.weightDevice[0]",
        "weight or leafWeight is required",
    ),
    (
        "linux.resources.blockIO.throttleReadBpsDevice.0.rate",
        DELETED,
        "linux.resources.blockIO.throttleReadBpsDevice[0].rate",
        "is required",
    ),
    *(
        (
            "linux.resources.hugepageLimits.0.pageSize",
            size,
            "linux.resources.hugepageLimits[0].pageSize",
            "is not a size",
        )
        for size in ("", "KB", "0KB", "64kB", "64", "1TB", "-1MB", " 1MB", "²KB")
    ),
    ("linux.resources.network.classID", 1 << 32, "linux.resources.network.classID", "range"),
    (
        "linux.resources.network.priorities.0.name",
        DELETED,
        "linux.resources.network.priorities[0].name",
        "is required",
    ),
    ("linux.resources.rdma.mlx5_1", {}, 'linux.resources.rdma["mlx5_1"]', "is required"),
    (
        "linux.resources.unified",
        {"../x": "1"},
        'linux.resources.unified["../x"]',
        "must be a file name (no slashes)",
    ),
    ("linux.intelRdt.closID", "..", "linux.intelRdt.closID", "invalid intelRdt.ClosID"),
    ("linux.intelRdt.closID", "a/b", "linux.intelRdt.closID", "invalid intelRdt.ClosID"),
    ("linux.intelRdt.memBwSchema", "L3:", "linux.intelRdt.memBwSchema", "begin with MB:"),
    ("linux.intelRdt.memBwSchema", "MB:\n", "linux.intelRdt.memBwSchema", "line break"),
    ("linux.intelRdt.schemata.0", "a\nb", "linux.intelRdt.schemata[0]", "line break"),
    ("linux.memoryPolicy.mode", "MPOL_X", "linux.memoryPolicy.mode", "is not one of"),
    ("linux.memoryPolicy.mode", DELETED, "linux.memoryPolicy.mode", "is required"),
    ("linux.memoryPolicy.mode", "MPOL_LOCAL", "linux.memoryPolicy.nodes", "requires 0 nodes"),
    ("linux.memoryPolicy.nodes", "", "linux.memoryPolicy.nodes", "at least one node"),
    ("linux.memoryPolicy.nodes", "a", "linux.memoryPolicy.nodes", "not a number"),
    ("linux.memoryPolicy.flags.0", "x", "linux.memoryPolicy.flags[0]", "is not one of"),
    (
        "linux.memoryPolicy.flags",
        ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
        "linux.memoryPolicy.flags",
        "exclude each other",
    ),
    *(
        ("linux.sysctl", {key: "1"}, 'linux.sysctl["%s"]' % key, reason)
        for key, reason in (
            ("vm.swappiness", 'sysctl "vm.swappiness" is not in a separate kernel namespace'),
            ("kernel/core_pattern", 'sysctl "kernel.core_pattern" is not in a separate'),
            ("kernel.hostname", 'conflicts with the OCI "hostname" field'),
            ("net..x", "is not the name of a kernel parameter"),
            ("net.ipv4.//.x", "is not the name of a kernel parameter"),
            ("net/../kernel/core_pattern", "is not the name of a kernel parameter"),
        )
    ),
    ("linux.seccomp.defaultAction", DELETED, "linux.seccomp.defaultAction", "is required"),
    (
        "linux.seccomp.defaultAction",
        "SCMP_ACT_X",
        "linux.seccomp.defaultAction",
        'string "SCMP_ACT_X" is not a valid action for seccomp',
    ),
    (
        "linux.seccomp.defaultAction",
        "SCMP_ACT_ALLOW",
        "linux.seccomp.defaultErrnoRet",
        "does not return an errno",
    ),
    (
        "linux.seccomp",
        {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"},
        "linux.seccomp.defaultAction",
        "SCMP_ACT_NOTIFY cannot be used as default action",
    ),
    ("linux.seccomp.defaultErrnoRet", 4096, "linux.seccomp.defaultErrnoRet", "more than 4095"),
    ("linux.seccomp.architectures.0", "X", "linux.seccomp.architectures[0]", "not a valid arch"),
    ("linux.seccomp.flags.0", "X", "linux.seccomp.flags[0]", "is not known to runc"),
    ("linux.seccomp.listenerMetadata", 1, "linux.seccomp.listenerMetadata", "a string"),
    (
        "linux.seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"},
        "linux.seccomp.listenerMetadata",
        "must not be set without listenerPath",
    ),
    (
        "linux.seccomp",
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["a"], "action": "SCMP_ACT_NOTIFY"}],
        },
        "linux.seccomp.listenerPath",
        "seccomp listenerPath is not set",
    ),
    ("linux.seccomp.syscalls.0.names", [], "linux.seccomp.syscalls[0].names", "at least one"),
    ("linux.seccomp.syscalls.0.names.0", "", "linux.seccomp.syscalls[0].names", "empty entry"),
    (
        "linux.seccomp.syscalls.1.names.0",
        "write",
        "linux.seccomp.syscalls[1]",
        "SCMP_ACT_NOTIFY cannot be used for the write syscall",
    ),
    (
        "linux.seccomp.syscalls.0.action",
        "SCMP_ACT_KILL",
        "linux.seccomp.syscalls[0].errnoRet",
        "does not return an errno",
    ),
    ("linux.seccomp.syscalls.0.args.0.index", 6, "linux.seccomp.syscalls[0].args[0].index", "ran"),
    (
        "linux.seccomp.syscalls.0.args.0.op",
        "EQ",
        "linux.seccomp.syscalls[0].args[0].op",
        'string "EQ" is not a valid operator for seccomp',
    ),
    ("linux.rootfsPropagation", "x", "linux.rootfsPropagation", "is not supported"),
    ("linux.maskedPaths", ["/a", "b"], "linux.maskedPaths[1]", "must be an absolute path"),
    ("linux.maskedPaths", [""], "linux.maskedPaths[0]", "must be an absolute path"),
    ("linux.maskedPaths", ["/a\0/b"], "linux.maskedPaths[0]", "NUL"),
    ("linux.readonlyPaths", ["/a", 1], "linux.readonlyPaths[1]", "must be a string"),
    ("linux.readonlyPaths", {"/a": 1}, "linux.readonlyPaths", "must be an array"),
    ("linux.personality.domain", "X", "linux.personality.domain", "invalid personality domain"),
    ("linux.personality", {}, "linux.personality.domain", "is required"),
    ("linux.personality.flags", ["X"], "linux.personality.flags", "is not supported"),
    ("solaris", 1, "solaris", "must be an object"),
]


@pytest.mark.parametrize(("path", "value", "place", "text"), BAD)
def test_bad_value(path: str, value: typing.Any, place: str, text: str) -> None:
    found = faults(changed(FULL, path, value))
    assert len(found) == 1
    assert found[0].startswith(place + ": ")
    assert text in found[0]


def members(value: typing.Any, place: str = "", path: str = "") -> typing.Iterator[typing.Any]:
    """Yield path, place and value of everything in FULL, the first of each array only."""
    if path:
        yield path, place, value
    if isinstance(value, dict):
        free = path.endswith(("annotations", "sysctl", "unified", "rdma", "netDevices", "Offsets"))
        for key, member in value.items():
            inner = '%s["%s"]' % (place, key) if free else (place + "." + key).lstrip(".")
            # A dot in a key would be taken apart again by changed().
            if "." not in key:
                yield from members(member, inner, (path + "." + key).lstrip("."))
    elif isinstance(value, list) and value:
        yield from members(value[0], place + "[0]", path + ".0")


@pytest.mark.parametrize(("path", "place", "value"), list(members(FULL)))
def test_wrong_type(path: str, place: str, value: typing.Any) -> None:
    wrong: list[typing.Any] = [7, "7", True, [7], {"x": 7}, 7.0]
    for other in wrong:
        same = type(other) is type(value)
        if same or ("." not in path and path in ("freebsd", "windows")):
            continue
        found = faults(changed(FULL, path, other))
        assert any(fault.startswith(place + ": must be ") for fault in found), (other, found)


@pytest.mark.parametrize(("path", "place", "value"), list(members(FULL)))
def test_null_is_absent(path: str, place: str, value: typing.Any) -> None:
    if path.rpartition(".")[2].isdigit():
        return
    with_null, without = changed(FULL, path, None), changed(FULL, path, DELETED)
    assert faults(with_null) == faults(without)
    assert with_null == without


@pytest.mark.skipif(sys.version_info < (3, 9), reason="3.8 cannot evaluate list[str]")
def test_full_config_has_every_property_of_the_types() -> None:
    def compare(value: typing.Any, hint: typing.Any, place: str) -> None:
        arguments = typing.get_args(hint)
        if isinstance(value, list):
            merged: typing.Any = {}
            for member in value:
                merged.update(member if isinstance(member, dict) else {})
            compare(merged or None, arguments[0], place + "[]")
        elif isinstance(value, dict) and arguments:
            compare(next(iter(value.values())), arguments[1], place + "[]")
        elif isinstance(value, dict):
            hints = typing.get_type_hints(hint)
            # One of the six lists of hooks is enough to have all of a hook's properties.
            if not place.startswith("hooks.") or place.startswith("hooks.prestart"):
                assert set(value) == set(hints), place
            for name, member in value.items():
                compare(member, hints[name], (place + "." + name).lstrip("."))

    compare(FULL, spec.Spec, "")


def test_names_in_another_case_are_taken_as_runc_takes_them() -> None:
    config = changed(DEFAULT, "linux.resources", {})
    limits = [{"pagesize": "2MB", "LIMIT": 5}]
    config["linux"]["resources"] = {
        "cpu": {"quota": 9},
        "CPU": {"Cpus": "0"},
        "hugepageLimits": limits,
    }
    assert faults(config) == []
    resources = config["linux"]["resources"]
    assert resources["cpu"] == {"quota": 9, "cpus": "0"}
    assert resources["hugepageLimits"] == [{"pageSize": "2MB", "limit": 5}]
    config["linux"]["resources"] = {"Pids": {"limit": "x"}}
    assert faults(config) == ["linux.resources.pids.limit: must be an integer, not a string"]
