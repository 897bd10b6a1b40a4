"""The systemd driver's words: properties, GVariant texts, names of units."""

from __future__ import annotations

from typing import Any

import pytest

from libc_bindings.sdbus import split
from libcontainer.cgroups.devices import Policy, policy
from libcontainer.cgroups.systemd import gvariant, properties, units
from libcontainer.errors import Error

INFINITY = 2**64 - 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", ("i", 7)),
        ("uint32 7", ("u", 7)),
        ("uint64 0xff", ("t", 255)),
        ("-3", ("i", -3)),
        ("2.5", ("d", 2.5)),
        ("1e3", ("d", 1000.0)),
        ("double 2", ("d", 2.0)),
        ("true", ("b", True)),
        ("'a b'", ("s", "a b")),
        ('"a\\"b\\u00e9"', ("s", 'a"b\u00e9')),
        ("objectpath '/a'", ("o", "/a")),
        ("['a', 'b']", ("as", ["a", "b"])),
        ("[uint32 1, 2]", ("au", [1, 2])),
        ("@as []", ("as", [])),
        ("(1, 'a')", ("(is)", (1, "a"))),
        ("@a(ss) [('a', 'b')]", ("a(ss)", [("a", "b")])),
        ("{'a': <1>, 'b': <'x'>}", ("a{sv}", [("a", ("i", 1)), ("b", ("s", "x"))])),
        ("<@t 1>", ("v", ("t", 1))),
    ],
)
def test_gvariant(text: str, expected: Any) -> None:
    assert gvariant.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "[]", "foo", "'a", "[1, 'a']", "uint32 -1", "byte 256", "1 2", "(1", "@s 1", "{}"]
)
def test_malformed_gvariant(text: str) -> None:
    with pytest.raises(ValueError):
        gvariant.parse(text)


def test_signatures() -> None:
    assert split("sa(sv)aa{s(ii)}u") == ["s", "a(sv)", "aa{s(ii)}", "u"]


def test_annotations() -> None:
    assert properties.of_annotations(
        {
            "org.systemd.property.TimeoutStopSec": "1.5",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "other": "nonsense",
        }
    ) == [("TimeoutStopUSec", ("t", 1500000)), ("CollectMode", ("s", "inactive-or-failed"))]


@pytest.mark.parametrize(
    ("name", "value"),
    [("Ab", "1"), ("A-b-c", "1"), ("Abc", "nonsense"), ("TimeoutStopSec", "'text'")],
)
def test_malformed_annotations(name: str, value: str) -> None:
    with pytest.raises(Error, match="annotation org.systemd.property." + name):
        properties.of_annotations({"org.systemd.property." + name: value})


def test_slices() -> None:
    assert units.slice_path("system.slice") == "/system.slice"
    assert units.slice_path("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"
    assert units.slice_path("-.slice") == "/"
    for name in ("", ".slice", "a", "a--b.slice", "-a.slice", "a/b.slice"):
        with pytest.raises(Error, match="invalid slice name"):
            units.slice_path(name)


def test_bits() -> None:
    assert properties.bits("0-3,9", "cpu.cpus") == b"\x0f\x02"
    for text in ("", "a", "3-1", "-2", "1-"):
        with pytest.raises(Error, match=r"linux.resources.cpu.cpus"):
            properties.bits(text, "cpu.cpus")


def test_properties_of_v2() -> None:
    resources = {
        "memory": {"limit": 1 << 20, "swap": 1 << 20, "reservation": 5},
        "cpu": {"shares": 1024, "quota": 15, "period": 1000, "cpus": "1"},
        "pids": {"limit": 0},
        "blockIO": {"weight": 100},
        "unified": {"memory.high": "max", "pids.max": "9", "hugetlb.2MB.max": "1"},
    }
    assert properties.of_v2(resources, None, 252) == [
        ("MemoryMax", ("t", 1 << 20)),
        ("MemoryLow", ("t", 5)),
        ("MemorySwapMax", ("t", 0)),
        ("CPUWeight", ("t", 100)),
        ("CPUQuotaPeriodUSec", ("t", 1000)),
        ("CPUQuotaPerSecUSec", ("t", 20000)),
        ("IOWeight", ("t", 910)),
        ("TasksMax", ("t", 1)),
        ("AllowedCPUs", ("ay", b"\x02")),
        ("MemoryHigh", ("t", INFINITY)),
        ("TasksMax", ("t", 9)),
    ]
    old = dict(properties.of_v2(resources, None, 239))
    assert "CPUQuotaPeriodUSec" not in old
    assert "AllowedCPUs" not in old


def test_properties_of_block_devices() -> None:
    entry = {"major": 8, "minor": 16}
    block = {
        "throttleReadBpsDevice": [{**entry, "rate": 4096}],
        "throttleWriteIOPSDevice": [{**entry, "rate": 7}],
        "weightDevice": [{**entry, "weight": 1000}, {**entry, "leafWeight": 5}],
    }
    path = "/dev/block/8:16"
    assert properties.of_v2({"blockIO": block}, None, 252) == [
        ("IOReadBandwidthMax", ("a(st)", [(path, 4096)])),
        ("IOWriteIOPSMax", ("a(st)", [(path, 7)])),
        ("IODeviceWeight", ("a(st)", [(path, 10000)])),
    ]
    assert properties.of_v1({"blockIO": block}, None, 252) == [
        ("BlockIOReadBandwidth", ("a(st)", [(path, 4096)])),
        ("BlockIODeviceWeight", ("a(st)", [(path, 1000)])),
    ]


def test_idle() -> None:
    resources = {"cpu": {"idle": 1, "shares": 1024}}
    assert properties.of_v2(resources, None, 252) == [("CPUWeight", ("t", 0))]
    assert properties.of_v2(resources, None, 250) == [("CPUWeight", ("t", 100))]


def test_properties_of_v1() -> None:
    resources = {"memory": {"limit": -1}, "cpu": {"shares": 5}, "pids": {"limit": -1}}
    assert properties.of_v1(resources, None, 252) == [
        ("MemoryLimit", ("t", INFINITY)),
        ("CPUShares", ("t", 5)),
        ("TasksMax", ("t", INFINITY)),
    ]


def test_the_quota_is_rounded_up_as_systemd_does() -> None:
    assert properties.rounded({"cpu": {"quota": 55555, "period": 100000}}) == {
        "cpu": {"quota": 56000, "period": 100000}
    }
    assert properties.rounded({"cpu": {"quota": -1}}) == {"cpu": {"quota": -1}}


def test_device_properties() -> None:
    told = properties.of_devices(policy({}, []), 252)
    assert told[:2] == [("DeviceAllow", ("a(ss)", [])), ("DevicePolicy", ("s", "strict"))]
    rules = told[2][1][1]
    assert ("char-*", "m") in rules
    assert ("/dev/char/1:3", "rwm") in rules
    assert ("char-136", "rwm") in rules
    assert properties.of_devices(Policy(allow=True), 252)[1] == ("DevicePolicy", ("s", "auto"))
    # Before 240 a major number has to be told by its driver's name.
    assert ("char-pts", "rwm") in properties.of_devices(policy({}, []), 239)[2][1][1]


def test_what_is_idle_has_no_weight() -> None:
    cpu = {"idle": 1, "shares": 200, "quota": 20100, "period": 50000}
    assert properties.rounded({"cpu": cpu})["cpu"] == {**cpu, "shares": None, "quota": 20500}
    unified = {"cpu.idle": "1", "cpu.weight": "8", "pids.max": "5"}
    assert properties.rounded({"unified": unified})["unified"] == {"cpu.idle": "1", "pids.max": "5"}
