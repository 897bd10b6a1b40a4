"""--systemd-cgroup on cgroup v1, which systemd still has with systemd.unified_cgroup_hierarchy=0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.cgroup_files import directory, leftovers, limit, paths, read
from tests.systemd.units import show, systemctl, wait_until

if TYPE_CHECKING:
    from tests.conftest import Bundle

pytestmark = pytest.mark.needs("cgroup1")

MiB = 1 << 20


def unit_of(bundle: Bundle) -> str:
    return f"runc-{bundle.id}.scope"


def test_a_scope_in_every_hierarchy(driven: Bundle) -> None:
    driven.start()
    unit = unit_of(driven)
    assert show(unit, "ActiveState") == "active"
    found = paths(driven)
    assert {"devices", "memory", "cpu", "cpuset", "pids", "freezer", "hugetlb"} <= set(found)
    pid = driven.state()["pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().split()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers.split(",")[0] in found:
            assert path == f"/system.slice/{unit}", line
    done = driven.exec("cat", "/proc/self/cgroup")
    assert done.stdout == driven.exec("cat", "/proc/1/cgroup").stdout
    driven.call("delete", "--force", driven.id)
    assert show(unit, "LoadState") == "not-found"
    assert leftovers(driven) == []


LIMITS: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"memory": {"limit": 64 * MiB}}, "MemoryLimit", str(64 * MiB), "memory.limit_in_bytes", str(64 * MiB)),
    ({"memory": {"reservation": 32 * MiB}}, "", "", "memory.soft_limit_in_bytes", str(32 * MiB)),
    ({"memory": {"swappiness": 7}}, "", "", "memory.swappiness", "7"),
    ({"pids": {"limit": 42}}, "TasksMax", "42", "pids.max", "42"),
    ({"pids": {"limit": -1}}, "TasksMax", "infinity", "pids.max", "max"),
    ({"pids": {"limit": 0}}, "TasksMax", "1", "pids.max", "1"),
    ({"cpu": {"shares": 512}}, "CPUShares", "512", "cpu.shares", "512"),
    ({"cpu": {"quota": 20000}}, "CPUQuotaPerSecUSec", "200ms", "cpu.cfs_quota_us", "20000"),
    ({"cpu": {"quota": 20100, "period": 50000}}, "CPUQuotaPerSecUSec", "410ms", "cpu.cfs_quota_us", "20500"),
    ({"cpu": {"quota": 20000, "burst": 10000}}, "", "", "cpu.cfs_burst_us", "10000"),
    ({"cpu": {"cpus": "1", "mems": "0"}}, "AllowedCPUs", "1", "cpuset.cpus", "1"),
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MiB}]},
        "", "", "hugetlb.2MB.limit_in_bytes", str(4 * MiB),
    ),
    ({"network": {"classID": 1048577}}, "", "", "net_cls.classid", "1048577"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("resources", "prop", "expected", "file", "text"),
    LIMITS,
    ids=[json.dumps(row[0]) for row in LIMITS],
)
def test_limits(
    driven: Bundle, resources: dict[str, Any], prop: str, expected: str, file: str, text: str
) -> None:
    limit(driven, **resources)
    driven.start()
    if prop:
        assert show(unit_of(driven), prop) == expected
    assert read(driven, file) == text
    # A reload has systemd write what it knows.
    systemctl("daemon-reload")
    assert read(driven, file) == text


def test_priorities_of_packets(driven: Bundle) -> None:
    limit(driven, network={"priorities": [{"name": "lo", "priority": 5}]})
    driven.start()
    assert "lo 5" in read(driven, "net_prio.ifpriomap").splitlines()


UPDATES = [
    (("--memory", "48M"), "MemoryLimit", str(48 * MiB), "memory.limit_in_bytes", str(48 * MiB)),
    (("--memory", "-1"), "MemoryLimit", "infinity", "memory.limit_in_bytes", "9223372036854771712"),
    (("--pids-limit", "17"), "TasksMax", "17", "pids.max", "17"),
    (("--cpu-share", "2048"), "CPUShares", "2048", "cpu.shares", "2048"),
    (("--cpu-quota", "30000"), "CPUQuotaPerSecUSec", "300ms", "cpu.cfs_quota_us", "30000"),
    (("--cpuset-cpus", "1"), "AllowedCPUs", "1", "cpuset.cpus", "1"),
]


@pytest.mark.parametrize(("options", "prop", "expected", "file", "text"), UPDATES)
def test_update(
    driven: Bundle, options: tuple[str, ...], prop: str, expected: str, file: str, text: str
) -> None:
    limit(driven, memory={"limit": 64 * MiB}, cpu={"shares": 512})
    driven.config["root"]["readonly"] = False
    # What runs sees nothing of the denial that systemd starts with.
    driven.start("sh", "-c", "while : >/dev/null; do :; done; touch /denied")
    done = driven.call("update", *options, driven.id)
    assert done.returncode == 0, done
    assert show(unit_of(driven), prop) == expected
    assert read(driven, file) == text
    assert driven.state()["status"] == "running"
    assert not (driven.rootfs / "denied").exists()


def test_an_update_that_fails_changes_nothing(driven: Bundle) -> None:
    driven.start()
    unit = unit_of(driven)
    names = "MemoryLimit", "TasksMax", "CPUShares", "CPUQuotaPerSecUSec"
    files = "memory.limit_in_bytes", "pids.max", "cpu.shares", "cpu.cfs_quota_us"
    before = [show(unit, name) for name in names], [read(driven, name) for name in files]
    changes = {
        "memory": {"limit": 128 * MiB},
        "pids": {"limit": 5},
        "cpu": {"shares": 200, "quota": 5000},
        "hugepageLimits": [{"pageSize": "3MB", "limit": 1}],
    }
    done = driven.call("update", "-r", "-", driven.id, input=json.dumps(changes))
    assert done.returncode == 1
    assert "hugepageLimits[0]" in done.stderr
    assert [show(unit, name) for name in names] == before[0]
    wait_until(lambda: [read(driven, name) for name in files] == before[1], "the old limits")


def test_the_list_of_devices(driven: Bundle) -> None:
    limit(driven, devices=[{"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"}])
    driven.start()
    lines = read(driven, "devices.list").splitlines()
    assert {"b 8:0 r", "c 1:3 rwm"} <= set(lines)
    assert "a *:* rwm" not in lines
    assert driven.call("update", "--pids-limit", "10", driven.id).returncode == 0
    assert driven.exec("sh", "-c", ": </dev/null && : >/dev/zero").returncode == 0


def test_pause_update_and_delete(driven: Bundle) -> None:
    driven.start()
    assert driven.call("pause", driven.id).returncode == 0
    assert driven.call("update", "--pids-limit", "20", driven.id).returncode == 0
    assert driven.state()["status"] == "paused"
    assert driven.call("resume", driven.id).returncode == 0
    assert driven.exec("true").returncode == 0
    assert driven.call("pause", driven.id).returncode == 0
    assert driven.call("delete", "--force", driven.id).returncode == 0
    assert show(unit_of(driven), "LoadState") == "not-found"


def test_out_of_memory(driven: Bundle) -> None:
    limit(driven, memory={"limit": 24 * MiB, "swap": 24 * MiB})
    assert driven.shell("tail -n 1 /dev/zero").returncode == 137
    assert show(unit_of(driven), "LoadState") == "not-found"


def test_exec_into_a_cgroup_below(driven: Bundle) -> None:
    driven.start()
    (directory(driven, "pids") / "sub").mkdir()
    done = driven.exec("cat", "/proc/self/cgroup", options=("--cgroup", "pids:sub"))
    assert done.returncode == 0, done
    ends = {line.split(":")[1]: line.split(":")[2] for line in done.stdout.split()}
    assert ends["pids"].endswith("/sub")
    assert ends["memory"].endswith(".scope")


def test_kill_without_a_pid_namespace(driven: Bundle) -> None:
    listed = driven.config["linux"]["namespaces"]
    driven.config["linux"]["namespaces"] = [n for n in listed if n["type"] != "pid"]
    driven.config["mounts"] = [m for m in driven.config["mounts"] if m["type"] != "proc"]
    driven.start("sh", "-c", "sleep 1000 & sleep 1000 & wait")

    def pids() -> list[int]:
        return json.loads(driven.call("ps", "-f", "json", driven.id).stdout) or []

    wait_until(lambda: len(pids()) == 3, "three")
    assert driven.call("kill", driven.id, "KILL").returncode == 0
    wait_until(lambda: not pids(), "the end of all")
    assert driven.call("delete", driven.id).returncode == 0
    assert show(unit_of(driven), "LoadState") == "not-found"
