"""The checks of config.json: what is accepted, and what holds between its sections."""

from __future__ import annotations

import copy
import os
import time
import typing

import pytest

from libcontainer import config
from libcontainer.errors import ConfigError, Error
from libcontainer.validation.linux import MOUNT_OPTIONS
from libcontainer.validation.scheduling import numbers
from tests.unit.configs import DATA, DEFAULT, FULL, changed, faults, read

EXAMPLES = os.path.join(DATA, "oci-schema", "config")


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
    with pytest.raises(Error, match="is a directory"):
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
    with pytest.raises(Error, match="no such file"):
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
        "config.json: root.path: invalid rootfs: stat %s/rootfs: no such file or directory" % bundle
    ]
    (tmp_path / "rootfs").write_text("")
    assert "not a directory" in host_faults(DEFAULT, bundle)[0]
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
