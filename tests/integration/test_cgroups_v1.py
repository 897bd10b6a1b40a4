"""What only cgroup v1 has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cgroup_files import directory, leftovers, limit, paths, read, require

pytestmark = pytest.mark.needs("cgroup1")


def test_unified_is_refused(bundle: Any) -> None:
    limit(bundle, unified={"memory.high": "1000000"})
    done = bundle.run("true")
    assert done.returncode == 1
    assert "invalid configuration: cannot use unified on cgroup v1" in done.stderr
    assert leftovers(bundle) == []


def test_cpusets_on_the_way_down_are_filled(bundle: Any) -> None:
    require("cpuset")
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}/a/b"
    bundle.start()
    lowest = directory(bundle, "cpuset")
    top = Path("/sys/fs/cgroup/cpuset")
    for name in ("cpuset.cpus", "cpuset.mems"):
        for where in (lowest, lowest.parent, lowest.parent.parent):
            assert (where / name).read_text() == (top / name).read_text()
    bundle.call("delete", "--force", bundle.id)
    for path in sorted(leftovers(bundle), reverse=True):
        for below in sorted(Path(path).glob("**/"), reverse=True):
            below.rmdir()


def test_the_list_of_devices(bundle: Any) -> None:
    limit(bundle, devices=[{"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"}])
    bundle.start()
    lines = read(bundle, "devices.list").splitlines()
    assert "b 8:0 r" in lines
    assert "c 1:3 rwm" in lines
    assert "a *:* rwm" not in lines
    assert bundle.call("update", "--pids-limit", "10", bundle.id).returncode == 0
    assert read(bundle, "devices.list").splitlines() == lines


def test_a_cpuset_beside_an_exclusive_one(bundle: Any) -> None:
    """All that the parent has would be refused; what the config asks for is not."""
    require("cpuset")
    top = Path("/sys/fs/cgroup/cpuset") / bundle.id
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this host has one CPU")
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}/own"
    try:
        for path, cpus in ((top, "0-1"), (top / "other", "1")):
            path.mkdir()
            (path / "cpuset.cpus").write_text(cpus)
            (path / "cpuset.mems").write_text("0")
            try:
                (path / "cpuset.cpu_exclusive").write_text("1")
            except OSError:
                pytest.skip("others share the CPUs")
        limit(bundle, cpu={"cpus": "0"})
        bundle.start()
        assert read(bundle, "cpuset.cpus") == "0"
        bundle.call("delete", "--force", bundle.id)
    finally:
        for path in (top / "other", top):
            if path.exists():
                path.rmdir()
        for left in leftovers(bundle):
            Path(left).rmdir()


def test_use_hierarchy(bundle: Any) -> None:
    limit(bundle, memory={"useHierarchy": True})
    bundle.start()
    assert read(bundle, "memory.use_hierarchy") == "1"


def test_throttles(bundle: Any) -> None:
    require("blkio")
    devices = [line.split()[:2] for line in Path("/proc/partitions").read_text().splitlines()[2:]]
    if not devices:
        pytest.skip("this host has no block device")
    major, minor = map(int, devices[0])
    entry = {"major": major, "minor": minor, "rate": 1048576}
    limit(bundle, blockIO={"throttleReadBpsDevice": [entry], "throttleWriteIOPSDevice": [entry]})
    bundle.start()
    line = f"{major}:{minor} 1048576"
    assert read(bundle, "blkio.throttle.read_bps_device") == line
    assert read(bundle, "blkio.throttle.write_iops_device") == line


def test_weights_of_bfq(bundle: Any) -> None:
    require("blkio")
    limit(bundle, blockIO={"weight": 200})
    done = bundle.run("sleep", "1000", options=("-d",))
    if done.returncode:
        assert "linux.resources.blockIO.weight" in done.stderr
        pytest.skip("this kernel has no block I/O weights")
    where = directory(bundle, "blkio")
    name = "blkio.weight" if (where / "blkio.weight").exists() else "blkio.bfq.weight"
    assert read(bundle, name) == "200"


def test_realtime(bundle: Any) -> None:
    if not Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        pytest.skip("this kernel has no real-time group scheduling")
    limit(bundle, cpu={"realtimeRuntime": 0, "realtimePeriod": 500000})
    bundle.start()
    assert read(bundle, "cpu.rt_period_us") == "500000"


def test_shares_that_the_kernel_clamps(bundle: Any) -> None:
    limit(bundle, cpu={"shares": 1})
    done = bundle.run("true")
    assert done.returncode == 1
    assert "the minimum allowed cpu-shares is 2" in done.stderr


def test_a_hierarchy_of_several_controllers(bundle: Any) -> None:
    """systemd mounts cpu,cpuacct as one and makes links: in a container it looks the same."""
    joined = [name for name in os.listdir("/sys/fs/cgroup") if "," in name]
    if not joined:
        pytest.skip("every controller here has a hierarchy of its own")
    for namespaces in ((), ("cgroup",)):
        bundle.config["linux"]["namespaces"] += [{"type": kind} for kind in namespaces]
        links = "".join(f"readlink /sys/fs/cgroup/{name.split(',')[0]}; " for name in joined)
        assert bundle.output(links).split() == joined
        assert leftovers(bundle) == []


def test_every_hierarchy_is_left_clean(bundle: Any) -> None:
    bundle.start()
    assert {"devices", "memory", "cpu", "pids", "freezer"} <= set(paths(bundle))
    bundle.call("delete", "--force", bundle.id)
    assert leftovers(bundle) == []


def test_a_controller_that_a_hybrid_host_has_on_v2(bundle: Any) -> None:
    unified = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    if not unified.exists() or "hugetlb" not in unified.read_text():
        pytest.skip("the host has no hugetlb controller on a v2 hierarchy")
    handed_down = unified.with_name("cgroup.subtree_control")
    before = handed_down.read_text()
    limit(bundle, hugepageLimits=[{"pageSize": "2MB", "limit": 4 << 20}])
    bundle.start()
    assert (Path(paths(bundle)[""]) / "hugetlb.2MB.max").read_text() == f"{4 << 20}\n"
    with open(f"/proc/{bundle.state()['pid']}/cgroup") as file:
        assert f"0::/{bundle.id}\n" in file.read()
    bundle.call("delete", "--force", bundle.id)
    if "hugetlb" not in before:
        handed_down.write_text("-hugetlb")
