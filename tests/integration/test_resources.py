"""linux.resources: what the config says is what the kernel enforces, on cgroup v1 and v2."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

import pytest

from tests.integration.cgroup_files import (
    V2,
    directory,
    leftovers,
    limit,
    namespaces,
    paths,
    read,
    require,
)

MiB = 1 << 20


def value(v1: Any, v2: Any) -> Any:
    return v2 if V2 else v1


WRITTEN = [
    ({"memory": {"limit": 64 * MiB}}, "memory.limit_in_bytes", "memory.max", str(64 * MiB)),
    (
        {"memory": {"limit": 64 * MiB, "reservation": 32 * MiB}},
        "memory.soft_limit_in_bytes",
        "memory.low",
        str(32 * MiB),
    ),
    (
        {"memory": {"limit": 64 * MiB, "swap": 64 * MiB}},
        "memory.memsw.limit_in_bytes",
        "",
        64 * MiB,
    ),
    ({"memory": {"limit": 64 * MiB, "swap": 96 * MiB}}, "", "memory.swap.max", 32 * MiB),
    ({"memory": {"swappiness": 10}}, "memory.swappiness", "", "10"),
    ({"pids": {"limit": 42}}, "pids.max", "pids.max", "42"),
    ({"pids": {"limit": 0}}, "pids.max", "pids.max", "1"),
    ({"pids": {"limit": -1}}, "pids.max", "pids.max", "max"),
    ({"cpu": {"shares": 512}}, "cpu.shares", "", "512"),
    ({"cpu": {"shares": 512}}, "", "cpu.weight", "59"),
    ({"cpu": {"quota": 20000}}, "cpu.cfs_quota_us", "", "20000"),
    ({"cpu": {"quota": 20000}}, "", "cpu.max", "20000 100000"),
    ({"cpu": {"quota": 20000, "period": 50000}}, "cpu.cfs_period_us", "", "50000"),
    ({"cpu": {"quota": 20000, "period": 50000}}, "", "cpu.max", "20000 50000"),
    ({"cpu": {"period": 50000}}, "", "cpu.max", "max 50000"),
    ({"cpu": {"quota": 20000, "burst": 10000}}, "cpu.cfs_burst_us", "cpu.max.burst", "10000"),
    ({"cpu": {"idle": 1}}, "cpu.idle", "cpu.idle", "1"),
    ({"cpu": {"cpus": "0", "mems": "0"}}, "cpuset.cpus", "cpuset.cpus", "0"),
]


@pytest.mark.parametrize(
    ("resources", "v1", "v2", "expected"), WRITTEN, ids=[json.dumps(row[0]) for row in WRITTEN]
)
def test_limits_are_written(
    bundle: Any, resources: dict[str, Any], v1: str, v2: str, expected: Any
) -> None:
    name = value(v1, v2)
    if not name:
        pytest.skip("of the other cgroup version")
    require(name.partition(".")[0])
    limit(bundle, **resources)
    bundle.start()
    where = directory(bundle, name.partition(".")[0])
    if "swap" in name and not (where / name).exists():
        pytest.skip("the kernel does not account for swap")
    assert read(bundle, name) == str(expected)


def test_memory_is_enforced(bundle: Any) -> None:
    limit(bundle, memory={"limit": 32 * MiB, "swap": 32 * MiB})
    # tail keeps its input in memory until a line ends.
    done = bundle.shell("tail -n 1 /dev/zero & wait $!; echo $?")
    assert done.stdout == "137\n"


def test_a_memory_limit_too_small_to_start_is_told_as_such(bundle: Any) -> None:
    limit(bundle, memory={"limit": 4096, "swap": 4096})
    done = bundle.run("true")
    assert done.returncode != 0
    assert leftovers(bundle) == []


def test_a_mebibyte_is_enough_to_start(bundle: Any) -> None:
    """What the runtime itself allocates in the container's cgroup before the execve(2) is small."""
    limit(bundle, memory={"limit": MiB, "swap": MiB})
    for _ in range(3):
        done = bundle.run("true")
        assert done.returncode == 0, done
    bundle.start()
    done = bundle.exec("true")
    assert done.returncode == 0, done


def test_pids_are_enforced(bundle: Any) -> None:
    limit(bundle, pids={"limit": 3})
    done = bundle.shell("sleep 5 & sleep 5 & sleep 5 & sleep 5; echo no")
    assert "can't fork" in done.stderr


def test_cpuset_is_enforced(bundle: Any) -> None:
    require("cpuset")
    limit(bundle, cpu={"cpus": "0"})
    assert bundle.output("grep Cpus_allowed_list /proc/self/status").split() == [
        "Cpus_allowed_list:",
        "0",
    ]


def test_the_process_joins_every_hierarchy(bundle: Any) -> None:
    bundle.start()
    pid = bundle.state()["pid"]
    with open(f"/proc/{pid}/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    known = ["", "perf_event", *paths(bundle)]
    for _, controllers, path in lines:
        if controllers.split(",")[0] in known:
            assert path.endswith(bundle.id), (controllers, path)
    done = bundle.exec("cat", "/proc/self/cgroup")
    with open(f"/proc/{pid}/cgroup") as file:
        init_sees = bundle.exec("cat", "/proc/1/cgroup").stdout
    assert done.stdout == init_sees


def test_a_refused_limit_leaves_nothing_behind(bundle: Any) -> None:
    limit(bundle, cpu={"period": 1, "quota": 1})
    done = bundle.run("true")
    assert done.returncode == 1
    assert "linux.resources.cpu." in done.stderr
    assert "invalid argument" in done.stderr
    assert leftovers(bundle) == []
    assert bundle.state() == {}


def test_a_limit_that_the_host_lacks_is_told_before_anything_is_made(bundle: Any) -> None:
    limit(bundle, rdma={"mlx5_1": {"hcaHandles": 3}})
    try:
        require("rdma")
    except pytest.skip.Exception:
        done = bundle.run("true")
        assert done.returncode == 1
        assert "linux.resources.rdma.mlx5_1 cannot be set" in done.stderr
        assert leftovers(bundle) == []


def test_an_absolute_cgroups_path_counts_from_the_root(bundle: Any) -> None:
    bundle.config["linux"]["cgroupsPath"] = f"/test/../{bundle.id}/./a"
    bundle.start()
    for name, path in paths(bundle).items():
        assert path.endswith(f"/{bundle.id}/a"), name
        assert f"/{path.split('/')[4 if V2 else 5]}" == f"/{bundle.id}"
    bundle.call("delete", "--force", bundle.id)
    for path in leftovers(bundle):
        os.rmdir(path)


def test_a_relative_cgroups_path_counts_from_the_callers_cgroup(bundle: Any) -> None:
    bundle.config["linux"]["cgroupsPath"] = f"../../{bundle.id}"
    bundle.start()
    with open("/proc/self/cgroup") as file:
        own = {
            controller: line.strip().split(":", 2)[2]
            for line in file
            for controller in line.split(":")[1].split(",")
        }
    for name, path in paths(bundle).items():
        parent = os.path.dirname(path)
        if V2:
            assert parent == os.path.normpath("/sys/fs/cgroup" + os.path.dirname(own[""]))
        elif name:
            assert parent.endswith(own[name].rstrip("/"))


def test_a_cgroup_that_is_not_empty_is_refused(bundle: Any, make_bundle: Any) -> None:
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}"
    bundle.start()
    second = make_bundle("second")
    second.config["linux"]["cgroupsPath"] = f"/{bundle.id}"
    done = second.run("true")
    assert done.returncode == 1
    assert "container's cgroup is not empty: 1 process(es) found" in done.stderr
    assert bundle.state()["status"] == "running"


def test_a_frozen_cgroup_is_refused(bundle: Any) -> None:
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}"
    where = f"/sys/fs/cgroup/{bundle.id}" if V2 else f"/sys/fs/cgroup/freezer/{bundle.id}"
    os.mkdir(where)
    try:
        state = "cgroup.freeze" if V2 else "freezer.state"
        with open(f"{where}/{state}", "w") as file:
            file.write("1" if V2 else "FROZEN")
        done = bundle.run("true")
        assert done.returncode == 1
        assert "container's cgroup unexpectedly frozen" in done.stderr
    finally:
        os.rmdir(where)


def test_nothing_is_left_of_cgroups_made_inside(bundle: Any) -> None:
    bundle.start()
    for path in set(paths(bundle).values()):
        os.makedirs(f"{path}/a/b")
    assert bundle.call("delete", "--force", bundle.id).returncode == 0
    assert leftovers(bundle) == []


PROBE = r"""
mknod /tmp/kmsg c 1 11; mknod /tmp/null c 1 3; mknod /tmp/zero c 1 5
(: </tmp/kmsg) 2>&- && echo kmsg-read
(: >/tmp/kmsg) 2>&- && echo kmsg-write
(: <>/tmp/kmsg) 2>&- && echo kmsg-both
(: >/tmp/null) 2>&- && echo null
(: </tmp/zero) 2>&- && echo zero
true
"""

RULES = [
    (None, "null zero"),
    ([{"allow": False, "access": "rwm"}], "null zero"),
    ([{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}], "kmsg-read null zero"),
    (
        [{"allow": True, "type": "c", "major": 1, "access": "rw"}],
        "kmsg-read kmsg-write kmsg-both null zero",
    ),
    ([{"allow": True, "access": "rwm"}], "kmsg-read kmsg-write kmsg-both null zero"),
    (
        [
            {"allow": True, "access": "rwm"},
            {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"},
        ],
        "kmsg-read null zero",
    ),
]


@pytest.mark.parametrize(("rules", "expected"), RULES)
def test_device_rules(bundle: Any, rules: Any, expected: str) -> None:
    resources = bundle.config["linux"].setdefault("resources", {})
    resources.pop("devices", None)
    if rules is not None:
        resources["devices"] = rules
    bundle.config["mounts"].append(
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["dev"]}
    )
    for kind in ("bounding", "effective", "permitted"):
        bundle.config["process"]["capabilities"][kind] += [
            "CAP_MKNOD",
            "CAP_SYSLOG",
            "CAP_SYS_ADMIN",
        ]
    assert bundle.output(PROBE).split() == expected.split()


def test_other_letters_of_a_device_rule_are_warned_about(bundle: Any) -> None:
    """runc's own suite has "rwa"; it denies reading and writing."""
    limit(
        bundle,
        devices=[
            {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
            {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwa"},
        ],
    )
    bundle.config["mounts"].append(
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["dev"]}
    )
    for kind in ("bounding", "effective", "permitted"):
        bundle.config["process"]["capabilities"][kind] += ["CAP_MKNOD"]
    done = bundle.shell(PROBE)
    assert done.stdout.split() == ["null", "zero"]
    assert (
        "linux.resources.devices[1].access: of 'rwa' only r, w and m mean anything" in done.stderr
    )


def test_a_device_rule_with_a_hole_is_refused(bundle: Any) -> None:
    limit(
        bundle,
        devices=[
            {"allow": True, "type": "b", "major": 8, "access": "rwm"},
            {"allow": False, "type": "b", "major": 8, "minor": 1, "access": "w"},
        ],
    )
    done = bundle.run("true")
    assert done.returncode == 1
    assert "cannot punch hole" in done.stderr


def test_pause_and_resume_stop_and_continue(bundle: Any) -> None:
    bundle.config["root"]["readonly"] = False
    bundle.start("sh", "-c", "while :; do echo tick >>/ticks; sleep 0.01; done")
    ticks = bundle.rootfs / "ticks"
    deadline = time.monotonic() + 10
    while not ticks.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert bundle.call("pause", bundle.id).returncode == 0
    before = ticks.stat().st_size
    time.sleep(0.3)
    assert ticks.stat().st_size == before
    assert bundle.state()["status"] == "paused"
    assert bundle.call("resume", bundle.id).returncode == 0
    time.sleep(0.5)
    assert ticks.stat().st_size > before


def test_a_paused_container_is_deleted_by_force(bundle: Any) -> None:
    bundle.start()
    bundle.call("pause", bundle.id)
    assert bundle.call("delete", "--force", bundle.id).returncode == 0
    assert leftovers(bundle) == []


def test_exec_in_a_paused_container(bundle: Any) -> None:
    bundle.start()
    bundle.call("pause", bundle.id)
    done = bundle.exec("true")
    assert done.returncode == 255
    assert "paused" in done.stderr
    command = bundle.command("exec", "--ignore-paused", bundle.id, "echo", "ran")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        time.sleep(0.5)
        assert waiting.poll() is None
        bundle.call("resume", bundle.id)
        assert waiting.communicate(timeout=20)[0] == "ran\n"


def test_kill_reaches_all_without_a_pid_namespace(bundle: Any) -> None:
    listed = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [n for n in listed if n["type"] != "pid"]
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["type"] != "proc"]
    bundle.start("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    deadline = time.monotonic() + 10
    while len(json.loads(bundle.call("ps", "-f", "json", bundle.id).stdout)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = json.loads(bundle.call("ps", "-f", "json", bundle.id).stdout)
    assert bundle.call("kill", bundle.id, "KILL").returncode == 0
    bundle.wait_for("stopped")
    deadline = time.monotonic() + 10
    while [pid for pid in pids if os.path.exists(f"/proc/{pid}") and alive(pid)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert bundle.call("delete", bundle.id).returncode == 0
    assert leftovers(bundle) == []


def test_ps_shows_what_outlived_init(bundle: Any) -> None:
    listed = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [n for n in listed if n["type"] != "pid"]
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["type"] != "proc"]
    bundle.start("sh", "-c", "sleep 1000 & exec sleep 1000")
    init = bundle.state()["pid"]
    deadline = time.monotonic() + 10
    while len(pids := json.loads(bundle.call("ps", "-f", "json", bundle.id).stdout)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(init, 9)
    bundle.wait_for("stopped")
    left = json.loads(bundle.call("ps", "-f", "json", bundle.id).stdout)
    assert {*left} - {init} == {*pids} - {init}
    assert bundle.call("delete", bundle.id).returncode == 0
    assert leftovers(bundle) == []


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_exec_into_a_cgroup_below(bundle: Any) -> None:
    bundle.start()
    for path in set(paths(bundle).values()):
        os.makedirs(f"{path}/sub", exist_ok=True)
    if not V2:
        below = directory(bundle, "cpuset")
        for name in ("cpuset.cpus", "cpuset.mems"):
            (below / "sub" / name).write_text((below / name).read_text())
    pid_file = bundle.path / "pid"
    done = bundle.exec(
        "sleep", "1000", options=("-d", "--cgroup", "sub", "--pid-file", str(pid_file))
    )
    assert done.returncode == 0, done
    with open(f"/proc/{pid_file.read_text()}/cgroup") as file:
        lines = file.read().split()
    assert any(line.endswith(f"{bundle.id}/sub") for line in lines)
    if not V2:
        done = bundle.exec(
            "cat", "/proc/self/cgroup", options=("--cgroup", "pids:sub", "--cgroup", "memory:/")
        )
        assert ":pids:" in done.stdout
        ends = {line.split(":")[1]: line.split(":")[2] for line in done.stdout.split()}
        assert ends["pids"].endswith("/sub")
        assert not ends["memory"].endswith("/sub")
    for wrong in ("../x", "/.."):
        done = bundle.exec("true", options=("--cgroup", wrong))
        assert done.returncode == 255
        assert "bad sub cgroup path" in done.stderr


def test_events_stats(bundle: Any) -> None:
    limit(bundle, memory={"limit": 64 * MiB}, pids={"limit": 50})
    bundle.start("sh", "-c", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; sleep 1000")
    time.sleep(0.3)
    told = json.loads(bundle.call("events", "--stats", bundle.id).stdout)
    assert (told["type"], told["id"]) == ("stats", bundle.id)
    data = told["data"]
    assert list(data) == [
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces",
    ]  # fmt: skip
    assert data["pids"] == {"current": data["pids"]["current"], "limit": 50}
    assert data["memory"]["usage"]["limit"] == 64 * MiB
    assert data["memory"]["usage"]["usage"] > 0
    assert data["cpu"]["usage"]["total"] > 0
    assert data["memory"]["raw"] == dict(sorted(data["memory"]["raw"].items()))


def test_events_tell_of_out_of_memory_kills(bundle: Any) -> None:
    limit(bundle, memory={"limit": 16 * MiB, "swap": 16 * MiB})
    bundle.start("sh", "-c", "while [ ! -e /go ]; do sleep 0.1; done; tail /dev/zero; sleep 1")
    with subprocess.Popen(
        bundle.command("events", "--interval", "100s", bundle.id), stdout=subprocess.PIPE, text=True
    ) as events:
        time.sleep(1 if not V2 else 3)
        (bundle.rootfs / "go").touch()
        assert events.stdout is not None
        assert json.loads(events.stdout.readline()) == {"type": "oom", "id": bundle.id}
        # It ends with the container.
        bundle.call("delete", "--force", bundle.id)
        events.communicate(timeout=20)


UPDATES = [
    (("--memory", "48M"), "memory.limit_in_bytes", "memory.max", 48 * MiB),
    (("--memory", "48M", "--memory-swap", "-1"), "memory.limit_in_bytes", "memory.max", 48 * MiB),
    (("--memory-reservation", "16M"), "memory.soft_limit_in_bytes", "memory.low", 16 * MiB),
    (("--pids-limit", "17"), "pids.max", "pids.max", 17),
    (("--pids-limit", "0"), "pids.max", "pids.max", 1),
    (("--cpu-share", "2048"), "cpu.shares", "", 2048),
    (("--cpu-share", "2048"), "", "cpu.weight", 174),
    (("--cpu-quota", "30000"), "cpu.cfs_quota_us", "", 30000),
    (("--cpu-quota", "30000"), "", "cpu.max", "30000 100000"),
    (("--cpu-period", "90000", "--cpu-quota", "50000"), "", "cpu.max", "50000 90000"),
    (("--cpu-quota", "-1"), "cpu.cfs_quota_us", "", -1),
    (("--cpu-quota", "-1"), "", "cpu.max", "max 100000"),
    (("--cpu-idle", "1"), "cpu.idle", "cpu.idle", 1),
    (("--cpu-quota", "30000", "--cpu-burst", "20000"), "cpu.cfs_burst_us", "cpu.max.burst", 20000),
    (("--cpuset-cpus", "0"), "cpuset.cpus", "cpuset.cpus", 0),
]


@pytest.mark.parametrize(("options", "v1", "v2", "expected"), UPDATES)
def test_update(bundle: Any, options: tuple[str, ...], v1: str, v2: str, expected: Any) -> None:
    name = value(v1, v2)
    if not name:
        pytest.skip("of the other cgroup version")
    require(name.partition(".")[0])
    limit(bundle, memory={"limit": 64 * MiB}, cpu={"shares": 512})
    bundle.start()
    done = bundle.call("update", *options, bundle.id)
    assert done.returncode == 0, done
    assert read(bundle, name) == str(expected)


def test_updates_of_memory_and_swap_in_both_directions(bundle: Any) -> None:
    limit(bundle, memory={"limit": 64 * MiB, "swap": 64 * MiB})
    bundle.start()
    size = value("memory.limit_in_bytes", "memory.max")
    for memory, swap in ((128, 256), (32, 48), (200, 200), (16, 64)):
        options = ("--memory", f"{memory}M", "--memory-swap", f"{swap}M")
        done = bundle.call("update", *options, bundle.id)
        assert done.returncode == 0, done
        assert read(bundle, size) == str(memory * MiB)
    assert bundle.call("update", "--memory", "-1", bundle.id).returncode == 0
    assert read(bundle, size) == value("9223372036854771712", "max")


def test_an_update_with_zeros_keeps_the_limits(bundle: Any) -> None:
    """As Docker sends it for `docker update --cpus 0.3`."""
    limit(bundle, memory={"limit": 64 * MiB, "swap": 128 * MiB})
    bundle.start()
    size = value("memory.limit_in_bytes", "memory.max")
    changes = {
        "memory": {"limit": 0, "reservation": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 30000, "period": 100000},
    }
    for _ in range(2):
        done = bundle.call("update", "-r", "-", bundle.id, input=json.dumps(changes))
        assert done.returncode == 0, done
        assert read(bundle, size) == str(64 * MiB)
    done = bundle.call("update", "--memory", "32M", bundle.id)
    assert done.returncode == 0, done
    # Nor is the quota forgotten.
    assert bundle.call("update", "--cpu-quota", "0", bundle.id).returncode == 0
    assert bundle.call("update", "--cpu-period", "90000", bundle.id).returncode == 0
    assert read(bundle, value("cpu.cfs_quota_us", "cpu.max")) == value("30000", "30000 90000")


def test_an_update_that_fails_changes_nothing(bundle: Any) -> None:
    limit(bundle, memory={"limit": 64 * MiB}, pids={"limit": 20}, cpu={"shares": 512})
    bundle.start()
    names = value(
        ("memory.limit_in_bytes", "pids.max", "cpu.shares", "cpu.cfs_quota_us"),
        ("memory.max", "pids.max", "cpu.weight", "cpu.max"),
    )
    before = [read(bundle, name) for name in names]
    config = bundle.root / bundle.id
    saved = {path.name: path.read_bytes() for path in config.iterdir() if path.is_file()}
    changes = {
        "memory": {"limit": 128 * MiB},
        "cpu": {"shares": 100, "quota": 1},
        "pids": {"limit": 5},
    }
    done = bundle.call("update", "-r", "-", bundle.id, input=json.dumps(changes))
    assert done.returncode == 1
    assert "linux.resources.cpu.quota" in done.stderr
    assert [read(bundle, name) for name in names] == before
    assert {path.name: path.read_bytes() for path in config.iterdir() if path.is_file()} == saved


def test_update_checks_the_usage_if_asked_to(bundle: Any) -> None:
    limit(bundle, memory={"limit": 64 * MiB})
    bundle.start()
    changes = {"memory": {"limit": 4096, "checkBeforeUpdate": True}}
    done = bundle.call("update", "-r", "-", bundle.id, input=json.dumps(changes))
    assert done.returncode == 1
    # On v1 it is the kernel who checks, after it has reclaimed what it can.
    words = value(
        "unable to set memory limit to 4096 (current usage: ", "rejecting memory limit 4096"
    )
    assert words in done.stderr
    assert bundle.state()["status"] == "running"


def test_an_update_keeps_what_it_does_not_mention(bundle: Any) -> None:
    limit(bundle, cpu={"quota": 30000, "period": 60000}, pids={"limit": 20})
    bundle.start()
    assert bundle.call("update", "--cpu-quota", "40000", bundle.id).returncode == 0
    assert bundle.call("update", "--pids-limit", "30", bundle.id).returncode == 0
    if V2:
        assert read(bundle, "cpu.max") == "40000 60000"
    else:
        assert read(bundle, "cpu.cfs_quota_us") == "40000"
        assert read(bundle, "cpu.cfs_period_us") == "60000"
    assert read(bundle, "pids.max") == "30"


def test_a_cgroup_namespace_starts_at_the_containers_cgroup(bundle: Any) -> None:
    namespaces(bundle, "cgroup")
    lines = bundle.output("cat /proc/self/cgroup").split()
    for line in lines:
        assert line.split(":", 2)[2] == "/", line


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        (
            {"closID": "guaranteed"},
            "linux.intelRdt: intelRdt is specified in config, but Intel RDT is not",
        ),
        ({"enableMonitoring": True}, "linux.intelRdt: intelRdt is specified in config, but"),
        ({"closID": "a/b"}, "linux.intelRdt.closID: invalid intelRdt.ClosID"),
        ({"memBwSchema": "L3:0=f"}, "linux.intelRdt.memBwSchema: "),
        ({"l3CacheSchema": 7}, "linux.intelRdt.l3CacheSchema: must be a string"),
        (
            {"schemata": ["MB:0=10\nL3:0=f"]},
            "linux.intelRdt.schemata[0]: must not contain a line break",
        ),
    ],
)
def test_classes_of_service_are_refused(bundle: Any, setting: Any, fault: str) -> None:
    """What they do is tested in tests/unit/test_intelrdt.py: few machines have them."""
    if os.path.exists("/sys/fs/resctrl/schemata") and "is specified" in fault:
        pytest.skip("this machine has resctrl")
    bundle.config["linux"]["intelRdt"] = setting
    done = bundle.run()
    assert done.returncode == 1
    assert fault in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert leftovers(bundle) == []
