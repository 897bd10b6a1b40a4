"""What only cgroup v2 has."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.integration.cgroup_files import directory, leftovers, limit, namespaces, read

pytestmark = pytest.mark.needs("cgroup2")


def test_unified(bundle: Any) -> None:
    limit(bundle, unified={"memory.high": "16777216", "pids.max": "12", "cgroup.max.depth": "5"})
    bundle.start()
    assert read(bundle, "memory.high") == "16777216"
    assert read(bundle, "pids.max") == "12"
    assert read(bundle, "cgroup.max.depth") == "5"
    done = bundle.call(
        "update", "-r", "-", bundle.id, input='{"unified": {"memory.high": "33554432"}}'
    )
    assert done.returncode == 0, done
    assert read(bundle, "memory.high") == "33554432"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nosuch.max", 'can\'t be set: controller "nosuch" not available'),
        ("memory.nosuch", 'unable to set unified resource "memory.nosuch"'),
        ("a/b.c", "must be a file name (no slashes)"),
    ],
)
def test_unified_that_cannot_be(bundle: Any, name: str, text: str) -> None:
    limit(bundle, unified={name: "1"})
    done = bundle.run("true")
    assert done.returncode == 1
    assert text in done.stderr.replace("\\", "")
    assert leftovers(bundle) == []


def test_controllers_are_handed_down(bundle: Any) -> None:
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}/a/b"
    bundle.start()
    with open("/sys/fs/cgroup/cgroup.controllers") as file:
        assert set(read(bundle, "cgroup.controllers").split()) == set(file.read().split())
    bundle.call("delete", "--force", bundle.id)
    for path in (f"/sys/fs/cgroup/{bundle.id}/a", f"/sys/fs/cgroup/{bundle.id}"):
        os.rmdir(path)


def test_domain_controllers_below_processes_are_refused(bundle: Any) -> None:
    # A threaded subtree: its cgroups can only have controllers that work on threads.
    top = f"/sys/fs/cgroup/{bundle.id}"
    os.mkdir(top)
    os.mkdir(f"{top}/thread")
    try:
        with open(f"{top}/thread/cgroup.type", "w") as file:
            file.write("threaded")
        bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}/c"
        limit(bundle, memory={"limit": 1 << 26})
        done = bundle.run("true")
        assert done.returncode == 1
        assert "with domain controllers -- it is in" in done.stderr
        del bundle.config["linux"]["resources"]["memory"]
        limit(bundle, pids={"limit": 10})
        bundle.start()
        assert read(bundle, "cgroup.type") == "threaded"
        bundle.call("delete", "--force", bundle.id)
    finally:
        for name in ("thread", "c", ""):
            if os.path.isdir(f"{top}/{name}"):
                os.rmdir(f"{top}/{name}")


def test_the_cgroup_of_a_user_namespace_is_delegated(bundle: Any) -> None:
    linux = bundle.config["linux"]
    namespaces(bundle, "user", "cgroup")
    linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    for mount in bundle.config["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"] = ["nosuid", "noexec", "nodev", "rw"]
    os.chmod(bundle.rootfs, 0o755)
    assert bundle.output("mkdir /sys/fs/cgroup/sub && rmdir /sys/fs/cgroup/sub && echo made") == (
        "made\n"
    )
    bundle.start()
    where = directory(bundle, "")
    assert (where.stat().st_uid, (where / "cgroup.procs").stat().st_uid) == (100000, 100000)
    # Its limits stay the host's.
    assert (where / "memory.max").stat().st_uid == 0


def test_device_programs_are_replaced_not_added(bundle: Any) -> None:
    from libc_bindings import bpf

    bundle.start()
    fd = os.open(directory(bundle, ""), os.O_RDONLY)
    try:
        assert len(bpf.prog_query(fd, bpf.BPF_CGROUP_DEVICE)) == 1
        bundle.call("update", "--pids-limit", "5", bundle.id)
        assert len(bpf.prog_query(fd, bpf.BPF_CGROUP_DEVICE)) == 1
    finally:
        os.close(fd)


def test_a_device_program_is_swapped_in_one_step(bundle: Any) -> None:
    from libc_bindings import bpf
    from libcontainer.cgroups import devices
    from libcontainer.cgroups.v2 import devices as programs

    bundle.start()
    where = directory(bundle, "")
    fd = os.open(where, os.O_RDONLY)
    try:
        (before,) = bpf.prog_query(fd, bpf.BPF_CGROUP_DEVICE)
        programs.set(str(where), devices.policy({}, []), rootless=False)
        (after,) = bpf.prog_query(fd, bpf.BPF_CGROUP_DEVICE)
        assert before != after
        # It is the kernel's own exchange: what was there last cannot be replaced once more.
        with pytest.raises(OSError):
            bpf.prog_get_fd_by_id(before)
    finally:
        os.close(fd)


@pytest.mark.parametrize("count", [1000, 40000])
def test_many_device_rules(bundle: Any, count: int) -> None:
    rule = {"allow": True, "type": "b", "major": 8, "access": "rwm"}
    limit(bundle, devices=[{**rule, "minor": minor} for minor in range(count)])
    done = bundle.run("true")
    if done.returncode:
        assert count > 1000
        assert "more rules than the kernel's verifier takes" in done.stderr
        assert leftovers(bundle) == []


def test_packets_have_no_class(bundle: Any) -> None:
    limit(bundle, network={"classID": 1048577})
    done = bundle.run("true")
    assert done.returncode == 1
    assert "linux.resources.network.classID cannot be set: cgroup v2 has no" in done.stderr
    assert leftovers(bundle) == []


def test_swap_without_memory_is_told_before_anything_is_made(bundle: Any) -> None:
    limit(bundle, memory={"swap": 1 << 24})
    done = bundle.run("true")
    assert done.returncode == 1
    assert "unable to set swap limit without memory limit" in done.stderr


def test_throttles(bundle: Any) -> None:
    with open("/proc/partitions") as file:
        lines = [line.split() for line in file.read().splitlines()[2:]]
    disks = [line for line in lines if line[3][-1].isalpha()]
    if not disks:
        pytest.skip("this host has no disk")
    entry = {"major": int(disks[0][0]), "minor": int(disks[0][1]), "rate": 1 << 20}
    limit(bundle, blockIO={"throttleReadBpsDevice": [entry], "throttleWriteIOPSDevice": [entry]})
    bundle.start()
    number = ":".join(disks[0][:2])
    assert read(bundle, "io.max") == f"{number} rbps=1048576 wbps=max riops=max wiops=1048576"


def test_exec_follows_init_where_the_cgroup_takes_no_processes(bundle: Any) -> None:
    bundle.start()
    where = directory(bundle, "")
    pid = bundle.state()["pid"]
    os.mkdir(where / "leaf")
    (where / "leaf" / "cgroup.procs").write_text(str(pid))
    (where / "cgroup.subtree_control").write_text("+memory")
    done = bundle.exec("cat", "/proc/self/cgroup")
    assert done.returncode == 0, done
    assert done.stdout.strip().endswith("/leaf")
