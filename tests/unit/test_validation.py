"""The checks of config.json: what is accepted, and one bad value for every property."""

from __future__ import annotations

import copy
import json
import os
import sys
import time
import typing

import pytest

from libcontainer import config, spec
from libcontainer.errors import ConfigError, Error
from libcontainer.validation.linux import MOUNT_OPTIONS
from libcontainer.validation.scheduling import numbers

DATA = os.path.join(os.path.dirname(__file__), "data")
EXAMPLES = os.path.join(DATA, "oci-schema", "config")


def read(name: str) -> typing.Any:
    with open(os.path.join(DATA, name), encoding="utf-8") as file:
        return json.load(file)


FULL = read("full-config.json")
DEFAULT = read("default-config.json")


def faults(value: typing.Any, **options: bool) -> list[str]:
    try:
        config.check(value, **options)
    except ConfigError as error:
        assert str(error) == "; ".join(error.faults)
        return [fault.replace("config.json: ", "", 1) for fault in error.faults]
    return []


def changed(base: typing.Any, path: str, value: typing.Any) -> typing.Any:
    """Return a copy of `base` with `value` at a path such as `linux.devices.0.major`."""
    result = copy.deepcopy(base)
    *outer, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target = result
    for part in outer:
        target = target[part]
    if value is DELETED:
        del target[last]
    else:
        target[last] = value
    return result


DELETED = object()


# The examples of the runtime-spec.


@pytest.mark.parametrize("name", sorted(os.listdir(os.path.join(EXAMPLES, "good"))))
def test_good_example(name: str) -> None:
    config.check_document(read("oci-schema/config/good/" + name))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("freebsd-vnet-disable.json", "freebsd.jail.vnet: "),
        ("linux-hugepage.json", "linux.resources.hugepageLimits[0].pageSize: "),
        ("linux-netdevice.json", 'linux.netDevices["eth0"].name: '),
        ("linux-rdma.json", 'linux.resources.rdma["mlx5_1"].hcaHandles: '),
    ],
)
def test_bad_example(name: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.check_document(read("oci-schema/config/bad/" + name))
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith("config.json: " + place)


def test_bad_example_that_is_no_json(tmp_path: typing.Any) -> None:
    with open(os.path.join(EXAMPLES, "bad", "invalid-json.json"), encoding="utf-8") as file:
        (tmp_path / "config.json").write_text(file.read())
    with pytest.raises(Error, match=r"^config\.json: line 1 column 2: "):
        config.load(str(tmp_path))


def test_every_bad_example_is_tested() -> None:
    assert len(os.listdir(os.path.join(EXAMPLES, "bad"))) == 5


# Loading.


def test_missing_file(tmp_path: typing.Any) -> None:
    with pytest.raises(Error, match=r"^JSON specification file config\.json not found$"):
        config.load(str(tmp_path))


def test_unreadable_file(tmp_path: typing.Any) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(Error, match="Is a directory"):
        config.load(str(tmp_path))


def test_load_process(tmp_path: typing.Any) -> None:
    path = tmp_path / "process.json"
    path.write_text('{"cwd": "/", "args": ["true"], "user": null}')
    assert config.load_process(str(path)) == {"cwd": "/", "args": ["true"]}
    path.write_text('{"cwd": "x", "args": []}')
    with pytest.raises(ConfigError) as caught:
        config.load_process(str(path))
    assert caught.value.faults == [
        '%s: process.cwd: Cwd must be an absolute path, not "x"' % path,
        "%s: process.args: args must not be empty" % path,
    ]
    with pytest.raises(Error, match="No such file"):
        config.load_process(str(tmp_path / "none"))


# What is accepted.


@pytest.mark.parametrize("base", [FULL, DEFAULT], ids=["full", "default"])
def test_accepted(base: typing.Any) -> None:
    assert faults(copy.deepcopy(base)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ociVersion", "1.0.2-dev"),
        ("ociVersion", "0.5.0-dev"),
        ("ociVersion", "1.2.3-alpha.10+001"),
        ("unknown", {"deep": [1]}),
        ("process.unknown", 1),
        ("linux.unknown", None),
        ("linux.rootfsPropagation", ""),
        ("linux.rootfsPropagation", "rshared"),
        ("linux.namespaces.1.path", ""),
        ("linux.seccomp", {"defaultAction": "", "syscalls": []}),
        ("linux.seccomp.defaultAction", "SCMP_ACT_TRACE"),
        ("linux.seccomp.defaultErrnoRet", None),
        ("linux.intelRdt.closID", "/"),
        ("linux.maskedPaths", []),
        ("linux.maskedPaths", None),
        ("linux.memoryPolicy", {"mode": "MPOL_PREFERRED"}),
        ("linux.resources.pids.limit", 0),
        ("linux.resources.cpu.quota", -1),
        ("linux.resources", {}),
        ("linux.devices.0.type", "u"),
        ("process.consoleSize", {"height": 0, "width": 0}),
        ("process.scheduler", {"policy": "SCHED_BATCH", "nice": 19}),
        (
            "process.scheduler",
            {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024},
        ),
        (
            "process.scheduler",
            {"policy": "SCHED_RR", "flags": ["SCHED_FLAG_KEEP_PARAMS"]},
        ),
        ("process.ioPriority", {"class": "IOPRIO_CLASS_RT"}),
        ("process.env", []),
        ("mounts.0.options", ["bind", "defaults", ""]),
        ("windows", {"anything": 1}),
        ("hooks", {}),
    ],
)
def test_accepted_value(path: str, value: typing.Any) -> None:
    assert faults(changed(FULL, path, value)) == []


def test_console_size_counts_only_with_a_terminal() -> None:
    huge = {"height": 70000, "width": 1}
    with_terminal = changed(FULL, "process.consoleSize", huge)
    assert faults(with_terminal) == ["process.consoleSize.height: 70000 is more than 65535"]
    assert faults(changed(with_terminal, "process.terminal", False)) == []


def test_same_device_twice_is_accepted() -> None:
    base = copy.deepcopy(FULL)
    base["linux"]["devices"].append(dict(base["linux"]["devices"][0]))
    assert faults(base) == []
    base["linux"]["devices"][-1]["minor"] = 1
    assert faults(base) == [
        'linux.devices[2].path: "/dev/fuse" is another device in linux.devices[0]'
    ]


def test_known_mount_options() -> None:
    example = set(read("oci-schema/features/good/runc.json")["mountOptions"])
    # runc has dropped these two since the example was written.
    assert example - {"acl", "noacl"} == MOUNT_OPTIONS - {"idmap", "ridmap"}


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
    ("linux.resources.devices.0.access", "rx", "linux.resources.devices[0].access", "r, w and m"),
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


# What holds between the sections.


def test_settings_that_need_a_namespace() -> None:
    base = changed(FULL, "linux.namespaces", [])
    found = faults(base)
    for sentence in (
        "hostname: unable to set hostname without a private UTS namespace",
        "domainname: unable to set domainname without a private UTS namespace",
        "linux.maskedPaths: unable to restrict sys entries without a private MNT namespace",
        "linux.readonlyPaths: unable to restrict sys entries without a private MNT namespace",
        "linux.netDevices: unable to move network devices without a NET namespace",
        "linux.uidMappings: user namespace mappings specified, but user namespace isn't enabled"
        " in the config",
        "linux.timeOffsets: time namespace offsets specified, but time namespace isn't enabled"
        " in the config",
        'linux.sysctl["kernel.sem"]: sysctl "kernel.sem" is not allowed in the hosts ipc namespace',
        'linux.sysctl["net/ipv4/conf/eth0.1/forwarding"]: sysctl'
        ' "net.ipv4.conf.eth0/1.forwarding" not allowed in host network namespace',
        'linux.sysctl["kernel.domainname"]: sysctl "kernel.domainname" is not in a separate kernel'
        " namespace",
        'linux.sysctl["user.max_user_namespaces"]: setting ucounts without a user namespace not'
        " allowed: user.max_user_namespaces",
    ):
        assert sentence in found


def test_user_namespace_needs_mappings_or_a_path() -> None:
    base = changed(DEFAULT, "linux.namespaces.0.type", "user")
    assert faults(base) == [
        "linux.namespaces: user namespaces enabled, but no namespace path to join nor mappings to"
        " apply specified"
    ]
    base["linux"]["namespaces"][0]["path"] = "/proc/1/ns/user"
    assert faults(base) == []


def test_joined_time_namespace_takes_no_offsets() -> None:
    base = changed(FULL, "linux.namespaces.7.path", "/proc/1/ns/time")
    assert len(faults(base)) == 1
    assert "both namespace path and time offsets" in faults(base)[0]


def test_idmap_without_anything_to_map() -> None:
    mount = {"destination": "/x", "source": "/x", "options": ["bind", "ridmap"]}
    base = changed(DEFAULT, "mounts", [mount])
    assert len(faults(base)) == 1
    assert "id-mapped mounts must have both uid and gid mappings" in faults(base)[0]
    assert faults(changed(FULL, "mounts", [mount])) == []


def test_all_faults_at_once() -> None:
    found = faults(
        {
            "process": {"cwd": 1, "args": []},
            "hostname": "x",
            "linux": {"namespaces": [{"type": "uts"}, {"type": "net"}], "maskedPaths": ["x"]},
        }
    )
    assert [fault.split(": ")[0] for fault in found] == [
        "process.cwd",
        "linux.namespaces[1].type",
        "linux.maskedPaths[0]",
        "ociVersion",
        "root",
    ]


def test_message_stays_short() -> None:
    found = faults(changed(FULL, "process.env", ["x"] * 100000))
    assert len(found) == 101
    assert found[-1] == "99900 more faults"
    huge = faults(changed(FULL, "linux.rootfsPropagation", "x" * 100000))
    assert len(huge[0]) < 200


@pytest.mark.parametrize("value", [None, [], "x", 1, {}, {"linux": []}, {"process": []}])
def test_no_config_at_all(value: typing.Any) -> None:
    assert faults(value)


def test_no_pivot() -> None:
    base = changed(DEFAULT, "linux.rootfsPropagation", "rprivate")
    assert faults(base) == []
    assert faults(base, no_pivot=True) == [
        "linux.rootfsPropagation: rootfsPropagation of [r]private is not safe without pivot_root"
    ]


def test_rootless() -> None:
    assert faults(copy.deepcopy(DEFAULT), rootless_euid=True) == [
        "linux.namespaces: rootless container requires user namespaces"
    ]
    full = copy.deepcopy(FULL)
    full["mounts"][1]["options"] = ["uid=5", "gid=32000", "uid=abc"]
    assert faults(full, rootless_euid=True) == [
        "linux.netDevices: network devices are not supported for rootless containers",
        "mounts[0]: invalid mount: id-mapped mounts are not supported for rootless containers",
        "mounts[1].options: cannot specify gid=32000 mount option for rootless container: user"
        " namespaces enabled, but no mapping found for gid 32000",
    ]
    assert faults(full, rootless_cgroups=True) == [
        "linux.netDevices: network devices are not supported for rootless containers"
    ]


# This host.


def host_faults(value: typing.Any, bundle: str) -> list[str]:
    try:
        config.check_host(value, bundle)
    except ConfigError as error:
        return error.faults
    return []


def test_rootfs_on_host(tmp_path: typing.Any) -> None:
    bundle = str(tmp_path)
    assert host_faults(DEFAULT, bundle) == [
        "config.json: root.path: invalid rootfs: stat %s/rootfs: No such file or directory" % bundle
    ]
    (tmp_path / "rootfs").write_text("")
    assert "Not a directory" in host_faults(DEFAULT, bundle)[0]
    (tmp_path / "rootfs").unlink()
    (tmp_path / "real").mkdir()
    (tmp_path / "rootfs").symlink_to("real")
    assert host_faults(DEFAULT, bundle) == []
    assert host_faults(changed(DEFAULT, "root.path", bundle), "/nowhere") == []


def test_namespace_paths_on_host(tmp_path: typing.Any) -> None:
    base = changed(DEFAULT, "root.path", "/")
    base["linux"]["namespaces"][1]["path"] = str(tmp_path / "none")
    assert host_faults(base, "/") == [
        "config.json: linux.namespaces[1].path: %s/none: No such file or directory" % tmp_path
    ]
    base["linux"]["namespaces"][1]["path"] = "/proc/self/ns/net"
    base["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    assert len(host_faults(base, "/")) == 1
    assert "not allowed in host network namespace" in host_faults(base, "/")[0]


def test_resctrl_on_host() -> None:
    if os.path.exists("/sys/fs/resctrl/schemata"):
        pytest.skip("this host has resctrl")
    base = changed(DEFAULT, "root.path", "/")
    base["linux"]["intelRdt"] = {}
    assert "Intel RDT is not enabled" in host_faults(base, "/")[0]


# Lists, and time.


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", []), ("3", [3]), ("0-3,7", [0, 1, 2, 3, 7]), (" 1 ,, 0-1,", [0, 1])],
)
def test_numbers(text: str, expected: list[int]) -> None:
    assert numbers(text) == expected


@pytest.mark.parametrize("text", ["-", "1-", "-1", "x", "1 - 2", "²", "8192", " "])
def test_bad_numbers(text: str) -> None:
    with pytest.raises(ValueError):
        numbers(text)


def large(factor: int) -> typing.Any:
    base = copy.deepcopy(DEFAULT)
    base["mounts"] += [
        {
            "destination": "/m%d" % i,
            "type": "bind",
            "source": "/src/%d" % i,
            "options": ["rbind", "ro", "nosuid", "rprivate"],
        }
        for i in range(500 * factor)
    ]
    base["process"]["env"] += ["VAR%d=value" % i for i in range(1000 * factor)]
    base["linux"]["maskedPaths"] = ["/some/path/%d" % i for i in range(4096 * factor)]
    return base


def best(value: typing.Any) -> float:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        config.check(value)
        times.append(time.perf_counter() - start)
    return min(times)


def test_time_of_the_default_config() -> None:
    assert best(copy.deepcopy(DEFAULT)) < 0.0005


def test_time_grows_linearly() -> None:
    assert best(large(8)) < 24 * best(large(1))
