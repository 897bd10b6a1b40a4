"""--systemd-cgroup as root: the unit of a container, from its start to its end."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.cgroup_files import directory, leftovers, limit, namespaces, read
from tests.systemd.units import show, systemctl, wait_until

if TYPE_CHECKING:
    from tests.conftest import Bundle

MiB = 1 << 20


def unit_of(bundle: Bundle) -> str:
    return f"runc-{bundle.id}.scope"


def test_a_scope_in_the_systems_slice(driven: Bundle) -> None:
    driven.start()
    unit = unit_of(driven)
    assert show(unit, "ActiveState") == "active"
    assert show(unit, "Slice") == "system.slice"
    assert show(unit, "Description") == f"libcontainer container {driven.id}"
    assert show(unit, "Delegate") == "yes"
    assert show(unit, "Transient") == "yes"
    where = directory(driven, "pids")
    assert str(where).endswith(f"/system.slice/{unit}")
    assert str(driven.state()["pid"]) in (where / "cgroup.procs").read_text().split()
    for accounting in ("Memory", "CPU", "Tasks", "IO"):
        assert show(unit, f"{accounting}Accounting") == "yes"


def test_the_unit_goes_with_the_container(driven: Bundle) -> None:
    driven.start()
    where = directory(driven, "pids")
    assert driven.call("kill", driven.id, "KILL").returncode == 0
    driven.wait_for("stopped")
    assert driven.call("delete", driven.id).returncode == 0
    assert show(unit_of(driven), "LoadState") == "not-found"
    assert not where.exists()
    assert leftovers(driven) == []


def test_a_foreground_container_leaves_no_unit(driven: Bundle) -> None:
    assert driven.run("true").returncode == 0
    assert show(unit_of(driven), "LoadState") == "not-found"
    assert driven.run("false").returncode == 1
    assert show(unit_of(driven), "LoadState") == "not-found"


def test_slice_prefix_and_name(driven: Bundle) -> None:
    name = f"n{driven.id}"
    driven.config["linux"]["cgroupsPath"] = f"machine-some.slice:engine:{name}"
    driven.start()
    unit = f"engine-{name}.scope"
    assert show(unit, "Slice") == "machine-some.slice"
    assert str(directory(driven, "pids")).endswith(f"/machine.slice/machine-some.slice/{unit}")
    driven.call("delete", "--force", driven.id)
    assert show(unit, "LoadState") == "not-found"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/a/b", "slice:prefix:name"),
        ("a:b", "slice:prefix:name"),
        ("user:a:b", "invalid slice name: user"),
        ("a//b.slice:a:b", "invalid slice name"),
    ],
)
def test_a_path_of_another_form(driven: Bundle, path: str, text: str) -> None:
    driven.config["linux"]["cgroupsPath"] = path
    done = driven.run("true")
    assert done.returncode == 1
    assert text in done.stderr.replace("\\", "")
    assert driven.state() == {}


def test_annotations_become_properties(driven: Bundle) -> None:
    driven.config["annotations"] = {
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.TimeoutStopSec": "uint64 7",
        "org.systemd.property.Documentation": "['man:runc(8)', 'https://example.org']",
        "org.systemd.property.CPUWeight": "uint64 77",
        "org.example.other": "x",
    }
    driven.start()
    unit = unit_of(driven)
    assert show(unit, "CollectMode") == "inactive-or-failed"
    assert show(unit, "TimeoutStopUSec") == "7s"
    assert show(unit, "Documentation").split() == ['"man:runc(8)"', "https://example.org"]
    assert show(unit, "CPUWeight") == "77"


@pytest.mark.parametrize(
    ("annotations", "text"),
    [
        ({"org.systemd.property.NoSuchThing": "true"}, "NoSuchThing"),
        ({"org.systemd.property.CollectMode": "'"}, "value parse error"),
        ({"org.systemd.property.Collect-Mode": "''"}, "non-alphabetic"),
    ],
)
def test_annotations_that_cannot_be(driven: Bundle, annotations: dict[str, str], text: str) -> None:
    driven.config["annotations"] = annotations
    done = driven.run("true")
    assert done.returncode == 1
    assert text in done.stderr
    assert driven.state() == {}
    assert show(unit_of(driven), "LoadState") == "not-found"
    assert leftovers(driven) == []


def test_a_failed_unit_of_the_same_name_is_reset(driven: Bundle) -> None:
    unit = unit_of(driven)
    # A scope fails when systemd has to kill what is in it.
    subprocess.run(
        ["systemd-run", "--scope", "--unit", unit, "--property", "RuntimeMaxSec=1", "sleep", "100"],
        check=False, capture_output=True, timeout=60,
    )  # fmt: skip
    wait_until(lambda: show(unit, "ActiveState") == "failed", "a failed unit")
    driven.start()
    assert show(unit, "ActiveState") == "active"


def test_a_unit_of_somebody_else_is_refused(driven: Bundle) -> None:
    unit = unit_of(driven)
    with subprocess.Popen(
        ["systemd-run", "--quiet", "--scope", "--unit", unit, "sleep", "1000"]
    ) as other:
        wait_until(lambda: show(unit, "ActiveState") == "active", "a unit")
        done = driven.run("true")
        assert done.returncode == 1
        assert unit in done.stderr or "not empty" in done.stderr
        assert other.poll() is None
        assert show(unit, "ActiveState") == "active"
        systemctl("stop", unit)
    assert driven.state() == {}


def test_an_oom_kill_leaves_no_failed_unit(driven: Bundle) -> None:
    limit(driven, memory={"limit": 24 * MiB, "swap": 24 * MiB})
    done = driven.shell("tail -n 1 /dev/zero")
    assert done.returncode == 137
    assert show(unit_of(driven), "LoadState") == "not-found"


PROPERTIES: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"memory": {"limit": 64 * MiB}}, "MemoryMax", str(64 * MiB), "memory.max", str(64 * MiB)),
    (
        {"memory": {"limit": 64 * MiB, "reservation": 32 * MiB}},
        "MemoryLow", str(32 * MiB), "memory.low", str(32 * MiB),
    ),
    (
        {"memory": {"limit": 64 * MiB, "swap": 96 * MiB}},
        "MemorySwapMax", str(32 * MiB), "memory.swap.max", str(32 * MiB),
    ),
    ({"pids": {"limit": 42}}, "TasksMax", "42", "pids.max", "42"),
    ({"pids": {"limit": -1}}, "TasksMax", "infinity", "pids.max", "max"),
    ({"pids": {"limit": 0}}, "TasksMax", "1", "pids.max", "1"),
    ({"cpu": {"shares": 512}}, "CPUWeight", "59", "cpu.weight", "59"),
    ({"cpu": {"quota": 20000}}, "CPUQuotaPerSecUSec", "200ms", "cpu.max", "20000 100000"),
    ({"cpu": {"quota": 20000, "period": 50000}}, "CPUQuotaPeriodUSec", "50ms", "cpu.max", "20000 50000"),
    # Rounded up to a hundredth of a CPU, as systemd writes it.
    ({"cpu": {"quota": 20100, "period": 50000}}, "CPUQuotaPerSecUSec", "410ms", "cpu.max", "20500 50000"),
    ({"cpu": {"quota": 20000, "burst": 10000}}, "CPUQuotaPerSecUSec", "200ms", "cpu.max.burst", "10000"),
    ({"cpu": {"idle": 1}}, "CPUWeight", "idle", "cpu.idle", "1"),
    ({"cpu": {"cpus": "0", "mems": "0"}}, "AllowedCPUs", "0", "cpuset.cpus", "0"),
    ({"cpu": {"cpus": "0", "mems": "0"}}, "AllowedMemoryNodes", "0", "cpuset.mems", "0"),
    ({"blockIO": {"weight": 300}}, "IOWeight", "2930", "io.weight", ""),
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MiB}]},
        "", "", "hugetlb.2MB.max", str(4 * MiB),
    ),
    ({"unified": {"memory.high": "33554432"}}, "MemoryHigh", "33554432", "memory.high", "33554432"),
    ({"unified": {"memory.min": "8192"}}, "MemoryMin", "8192", "memory.min", "8192"),
    ({"unified": {"pids.max": "max"}}, "TasksMax", "infinity", "pids.max", "max"),
    ({"unified": {"cpu.weight": "55"}}, "CPUWeight", "55", "cpu.weight", "55"),
    ({"unified": {"cpu.max": "30000 60000"}}, "CPUQuotaPerSecUSec", "500ms", "cpu.max", "30000 60000"),
    ({"unified": {"cpuset.cpus": "0-1"}}, "AllowedCPUs", "0-1", "cpuset.cpus", "0-1"),
    ({"unified": {"cgroup.max.depth": "7"}}, "", "", "cgroup.max.depth", "7"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("resources", "prop", "value", "file", "text"),
    PROPERTIES,
    ids=[f"{json.dumps(row[0])} {row[1]}" for row in PROPERTIES],
)
def test_limits(
    driven: Bundle, resources: dict[str, Any], prop: str, value: str, file: str, text: str
) -> None:
    limit(driven, **resources)
    driven.start()
    if prop:
        assert show(unit_of(driven), prop) == value
    if text:
        assert read(driven, file) == text
    # A reload has systemd write what it knows.
    systemctl("daemon-reload")
    if text:
        assert read(driven, file) == text


def test_a_limit_that_systemd_252_has_no_property_for(driven: Bundle) -> None:
    limit(driven, unified={"memory.oom.group": "1"})
    driven.start()
    assert read(driven, "memory.oom.group") == "1"


def test_devices(driven: Bundle) -> None:
    limit(
        driven,
        devices=[
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 4, "minor": 64, "access": "rw"},
            {"allow": True, "type": "b", "major": 7, "access": "r"},
        ],
    )
    driven.config["linux"]["devices"] = [
        {"path": "/dev/serial", "type": "c", "major": 4, "minor": 64},
        {"path": "/dev/other", "type": "c", "major": 10, "minor": 229},
    ]
    driven.start()
    unit = unit_of(driven)
    assert show(unit, "DevicePolicy") == "strict"
    allowed = show(unit, "DeviceAllow")
    assert "/dev/char/4:64 rw" in allowed
    assert "block-7 r" in allowed
    assert driven.exec("sh", "-c", ": </dev/serial").returncode == 0
    systemctl("daemon-reload")
    assert driven.exec("sh", "-c", ": </dev/serial && : </dev/null && : >/dev/zero").returncode == 0


UPDATES = [
    (("--memory", "48M"), "MemoryMax", str(48 * MiB), "memory.max", str(48 * MiB)),
    (("--memory", "48M", "--memory-swap", "96M"), "MemorySwapMax", str(48 * MiB), "memory.swap.max", str(48 * MiB)),
    (("--memory", "-1"), "MemoryMax", "infinity", "memory.max", "max"),
    (("--memory", "-1"), "MemorySwapMax", "infinity", "memory.swap.max", "max"),
    (("--memory-reservation", "16M"), "MemoryLow", str(16 * MiB), "memory.low", str(16 * MiB)),
    (("--pids-limit", "17"), "TasksMax", "17", "pids.max", "17"),
    (("--pids-limit", "-1"), "TasksMax", "infinity", "pids.max", "max"),
    (("--cpu-share", "2048"), "CPUWeight", "174", "cpu.weight", "174"),
    (("--cpu-quota", "30000"), "CPUQuotaPerSecUSec", "300ms", "cpu.max", "30000 100000"),
    (("--cpu-quota", "-1"), "CPUQuotaPerSecUSec", "infinity", "cpu.max", "max 100000"),
    (("--cpu-idle", "1"), "CPUWeight", "idle", "cpu.idle", "1"),
    (("--cpuset-cpus", "1"), "AllowedCPUs", "1", "cpuset.cpus", "1"),
    (("--blkio-weight", "500"), "IOWeight", "4950", "io.weight", ""),
]  # fmt: skip


@pytest.mark.parametrize(("options", "prop", "value", "file", "text"), UPDATES)
def test_update(
    driven: Bundle, options: tuple[str, ...], prop: str, value: str, file: str, text: str
) -> None:
    limit(driven, memory={"limit": 64 * MiB, "swap": 64 * MiB}, cpu={"shares": 512})
    driven.start()
    done = driven.call("update", *options, driven.id)
    assert done.returncode == 0, done
    assert show(unit_of(driven), prop) == value
    if text:
        assert read(driven, file) == text
        systemctl("daemon-reload")
        assert read(driven, file) == text


def test_an_update_that_fails_changes_nothing(driven: Bundle) -> None:
    limit(driven, memory={"limit": 64 * MiB}, pids={"limit": 20}, cpu={"shares": 512})
    driven.start()
    changes = {"memory": {"limit": 128 * MiB}, "pids": {"limit": 5}, "unified": {"memory.max": "x"}}
    done = driven.call("update", "-r", "-", driven.id, input=json.dumps(changes))
    assert done.returncode == 1
    unit = unit_of(driven)
    assert (show(unit, "MemoryMax"), read(driven, "memory.max")) == (str(64 * MiB),) * 2
    assert (show(unit, "TasksMax"), read(driven, "pids.max")) == ("20", "20")


def test_an_update_that_fails_sets_no_new_limits(driven: Bundle) -> None:
    """Of limits that it does not have yet, systemd must not keep what the kernel refused."""
    driven.start()
    unit = unit_of(driven)
    names = "MemoryMax", "TasksMax", "AllowedCPUs", "CPUWeight", "CPUQuotaPerSecUSec", "MemoryHigh"
    files = (
        "memory.max",
        "pids.max",
        "cpuset.cpus.effective",
        "cpu.weight",
        "cpu.max",
        "memory.high",
    )
    before = [show(unit, name) for name in names], [read(driven, name) for name in files]
    changes = {
        "memory": {"limit": 128 * MiB},
        "pids": {"limit": 5},
        "cpu": {"cpus": "0", "shares": 200, "quota": 5000},
        "unified": {"memory.high": "67108864", "cgroup.max.depth": "x"},
    }
    done = driven.call("update", "-r", "-", driven.id, input=json.dumps(changes))
    assert done.returncode == 1
    assert "cgroup.max.depth" in done.stderr
    for _ in range(2):
        assert [show(unit, name) for name in names] == before[0]
        assert [read(driven, name) for name in files] == before[1]
        systemctl("daemon-reload")


def test_limits_of_block_devices(driven: Bundle) -> None:
    partitions = Path("/proc/partitions").read_text().splitlines()[2:]
    disk = next((line.split() for line in partitions if line.split()[3][-1].isalpha()), None)
    if not disk:
        pytest.skip("this host has no disk")
    entry = {"major": int(disk[0]), "minor": int(disk[1])}
    limit(
        driven,
        blockIO={
            "throttleReadBpsDevice": [{**entry, "rate": 9 * MiB}],
            "throttleWriteIOPSDevice": [{**entry, "rate": 900}],
        },
    )
    driven.start()
    unit, where = unit_of(driven), f"{disk[0]}:{disk[1]}"
    assert show(unit, "IOReadBandwidthMax") == f"/dev/block/{where} {9 * MiB}"
    assert show(unit, "IOWriteIOPSMax") == f"/dev/block/{where} 900"
    expected = f"{where} rbps={9 * MiB} wbps=max riops=max wiops=900"
    assert read(driven, "io.max") == expected
    systemctl("daemon-reload")
    assert read(driven, "io.max") == expected
    changes = {"blockIO": {"throttleWriteIOPSDevice": [{**entry, "rate": 90}]}}
    done = driven.call("update", "-r", "-", driven.id, input=json.dumps(changes))
    assert done.returncode == 0, done
    assert show(unit, "IOWriteIOPSMax") == f"/dev/block/{where} 90"
    assert read(driven, "io.max") == expected.replace("900", "90")


def test_an_update_keeps_the_devices(driven: Bundle) -> None:
    from libc_bindings import bpf

    driven.start()
    fd = os.open(directory(driven, "pids"), os.O_RDONLY)
    try:
        # Ours has taken the place of systemd's.
        assert len(bpf.prog_query(fd, bpf.BPF_CGROUP_DEVICE)) == 1
    finally:
        os.close(fd)
    assert driven.call("update", "--pids-limit", "20", driven.id).returncode == 0
    assert driven.exec("sh", "-c", ": </dev/null && : >/dev/zero").returncode == 0


def test_pause_and_resume(driven: Bundle) -> None:
    driven.config["root"]["readonly"] = False
    driven.start("sh", "-c", "while :; do echo tick >>/ticks; sleep 0.1; done")
    ticks = driven.rootfs / "ticks"
    wait_until(ticks.exists, "a first tick")
    assert driven.call("pause", driven.id).returncode == 0
    assert driven.state()["status"] == "paused"
    before = ticks.stat().st_size
    # An update leaves it paused.
    assert driven.call("update", "--pids-limit", "20", driven.id).returncode == 0
    time.sleep(1)
    assert ticks.stat().st_size == before
    assert driven.call("resume", driven.id).returncode == 0
    wait_until(lambda: ticks.stat().st_size > before, "ticks after resume")


def test_a_paused_one_is_deleted_by_force(driven: Bundle) -> None:
    driven.start()
    assert driven.call("pause", driven.id).returncode == 0
    assert driven.call("delete", "--force", driven.id).returncode == 0
    assert show(unit_of(driven), "LoadState") == "not-found"


def test_exec_joins_the_unit(driven: Bundle) -> None:
    driven.start()
    options = ("-d", "--pid-file", "pid")
    assert driven.exec("sleep", "1000", options=options).returncode == 0
    pid = (driven.path / "pid").read_text()
    assert unit_of(driven) in Path(f"/proc/{pid}/cgroup").read_text()


def test_exec_into_a_cgroup_below(driven: Bundle) -> None:
    driven.start()
    (directory(driven, "pids") / "sub").mkdir()
    options = ("-d", "--cgroup", "sub", "--pid-file", "pid")
    done = driven.exec("sleep", "1000", options=options)
    assert done.returncode == 0, done
    pid = (driven.path / "pid").read_text()
    assert Path(f"/proc/{pid}/cgroup").read_text().strip().endswith(f"{unit_of(driven)}/sub")


def test_kill_without_a_pid_namespace(driven: Bundle) -> None:
    listed = driven.config["linux"]["namespaces"]
    driven.config["linux"]["namespaces"] = [n for n in listed if n["type"] != "pid"]
    driven.config["mounts"] = [m for m in driven.config["mounts"] if m["type"] != "proc"]
    driven.start("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    wait_until(
        lambda: len(json.loads(driven.call("ps", "-f", "json", driven.id).stdout)) == 3, "three"
    )
    procs = directory(driven, "pids") / "cgroup.procs"
    assert driven.call("kill", driven.id, "KILL").returncode == 0
    wait_until(lambda: not procs.exists(), "all of them to end, and their cgroup")
    again = driven.call("kill", driven.id, "KILL")
    assert again.returncode == 1 and "container not running" in again.stderr, again
    assert driven.call("delete", driven.id).returncode == 0
    assert show(unit_of(driven), "LoadState") == "not-found"


def test_stopping_the_unit_stops_the_container(driven: Bundle) -> None:
    driven.start("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
    systemctl("stop", unit_of(driven))
    driven.wait_for("stopped")
    # Its cgroup has gone with the unit.
    done = driven.call("ps", "-f", "json", driven.id)
    assert (done.returncode, done.stdout) == (0, "null\n"), done
    assert driven.call("delete", driven.id).returncode == 0


def test_a_container_in_a_user_namespace(driven: Bundle) -> None:
    linux = driven.config["linux"]
    namespaces(driven, "user", "cgroup")
    linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    for mount in driven.config["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"] = ["nosuid", "noexec", "nodev", "rw"]
    os.chmod(driven.rootfs, 0o755)
    assert driven.output("mkdir /sys/fs/cgroup/sub && echo made") == "made\n"


def test_a_realtime_share_is_refused_before_anything_is_made(driven: Bundle) -> None:
    limit(driven, cpu={"realtimeRuntime": 1000, "realtimePeriod": 1000000})
    done = driven.run("true")
    assert done.returncode == 1
    assert "real-time" in done.stderr
    assert show(unit_of(driven), "LoadState") == "not-found"
