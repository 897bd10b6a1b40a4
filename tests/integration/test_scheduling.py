"""Scheduler, I/O priority, CPU affinity, personality and memory policy of the process."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import ways

if TYPE_CHECKING:
    from tests.conftest import Bundle

LOOK = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>
struct attr { unsigned size, policy; unsigned long long flags; int nice; unsigned priority;
              unsigned long long runtime, deadline, period; } a;
int main(void) {
    unsigned long nodes[64] = {0};
    int mode = -1;
    a.size = sizeof a;
    syscall(SYS_sched_getattr, 0, &a, sizeof a, 0);
    printf("policy=%u flags=%llu nice=%d priority=%u\n", a.policy, a.flags, a.nice, a.priority);
    printf("runtime=%llu deadline=%llu period=%llu\n", a.runtime, a.deadline, a.period);
    printf("ioprio=%ld\n", syscall(SYS_ioprio_get, 1, 0));
    printf("personality=%#x\n", personality(0xffffffff));
    if (syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8, 0, 0) == 0)
        printf("mempolicy=%#x nodes=%#lx\n", mode, nodes[0]);
    return 0;
}
"""

POLICIES = {"SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_IDLE": 5,
            "SCHED_DEADLINE": 6}  # fmt: skip


@pytest.fixture(scope="session")
def look(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A static program that tells what no file in /proc does."""
    path = tmp_path_factory.mktemp("look") / "look"
    ways.static_program(LOOK, path)
    return str(path)


def seen(bundle: Bundle, way: str, look: str, process: Any = None) -> dict[str, str]:
    shutil.copy(look, bundle.rootfs / "bin/look")
    done = ways.call(bundle, way, "look", process=process)
    assert done.returncode == 0, done
    return dict(pair.split("=") for pair in done.stdout.split())


def unless_refused_here(done: subprocess.CompletedProcess[str]) -> None:
    """Skip where the host itself refuses: a realtime policy in a cgroup v1 without a share."""
    if done.returncode and "Operation not permitted" in done.stderr:
        assert "process.scheduler" in done.stderr
        pytest.skip("this cgroup has no realtime share")


@pytest.mark.parametrize("way", ways.ALL)
@pytest.mark.parametrize("policy", ["SCHED_OTHER", "SCHED_BATCH"])
def test_ordinary_policies(bundle: Bundle, look: str, way: str, policy: str) -> None:
    process = {"scheduler": {"policy": policy, "nice": 7}}
    told = seen(bundle, way, look, process)
    assert (told["policy"], told["nice"]) == (str(POLICIES[policy]), "7")


@pytest.mark.parametrize("way", ways.ALL)
def test_idle_policy(bundle: Bundle, look: str, way: str) -> None:
    assert seen(bundle, way, look, {"scheduler": {"policy": "SCHED_IDLE"}})["policy"] == "5"


@pytest.mark.parametrize("way", ways.ALL)
@pytest.mark.parametrize("policy", ["SCHED_FIFO", "SCHED_RR"])
def test_realtime_policies(bundle: Bundle, look: str, way: str, policy: str) -> None:
    process = {"scheduler": {"policy": policy, "priority": 12}}
    shutil.copy(look, bundle.rootfs / "bin/look")
    done = ways.call(bundle, way, "look", process=process)
    unless_refused_here(done)
    assert f"policy={POLICIES[policy]} flags=0 nice=0 priority=12" in done.stdout


@pytest.mark.parametrize("way", ways.ALL)
def test_reset_on_fork(bundle: Bundle, look: str, way: str) -> None:
    process = {"scheduler": {"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}}
    assert int(seen(bundle, way, look, process)["flags"]) & 1


@pytest.mark.parametrize("way", ways.ALL)
def test_deadline_policy(bundle: Bundle, look: str, way: str) -> None:
    scheduler = {"policy": "SCHED_DEADLINE", "runtime": 2000000, "deadline": 5000000,
                 "period": 10000000}  # fmt: skip
    shutil.copy(look, bundle.rootfs / "bin/look")
    done = ways.call(bundle, way, "look", process={"scheduler": scheduler})
    unless_refused_here(done)
    assert done.returncode == 0, done
    assert "policy=6" in done.stdout
    assert "runtime=2000000 deadline=5000000 period=10000000" in done.stdout


@pytest.mark.parametrize("way", ways.ALL)
@pytest.mark.parametrize(
    ("scheduler", "fault"),
    [
        ({}, "process.scheduler.policy"),
        ({"policy": "SCHED_NOSUCH"}, "SCHED_NOSUCH"),
        ({"policy": "SCHED_OTHER", "nice": 20}, "invalid scheduler.nice: 20"),
        ({"policy": "SCHED_OTHER", "priority": 1}, "scheduler.priority can only be specified"),
        ({"policy": "SCHED_FIFO", "priority": 100}, "100 is not in the range 1 to 99"),
        ({"policy": "SCHED_OTHER", "runtime": 1}, "can only be specified for SchedDeadline"),
        ({"policy": "SCHED_DEADLINE", "runtime": 9, "deadline": 8}, "SCHED_DEADLINE needs"),
        ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]}, "SCHED_FLAG_X"),
    ],
)
def test_bad_scheduler(bundle: Bundle, way: str, scheduler: Any, fault: str) -> None:
    ways.refused(bundle, way, "process.scheduler", fault, process={"scheduler": scheduler})


@pytest.mark.parametrize("way", ways.ALL)
@pytest.mark.parametrize(
    ("priority", "number"),
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 7}, 2 << 13 | 7),
        ({"class": "IOPRIO_CLASS_BE"}, 2 << 13),
        ({"class": "IOPRIO_CLASS_IDLE", "priority": 0}, 3 << 13),
        ({"class": "IOPRIO_CLASS_RT", "priority": 4}, 1 << 13 | 4),
    ],
)
def test_io_priority(bundle: Bundle, look: str, way: str, priority: Any, number: int) -> None:
    assert seen(bundle, way, look, {"ioPriority": priority})["ioprio"] == str(number)


@pytest.mark.parametrize("way", ways.ALL)
@pytest.mark.parametrize(
    ("priority", "fault"),
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 8}, "process.ioPriority.priority"),
        ({"class": "IOPRIO_CLASS_NONE", "priority": 1}, "process.ioPriority.class"),
        ({"priority": 1}, "process.ioPriority.class"),
    ],
)
def test_bad_io_priority(bundle: Bundle, way: str, priority: Any, fault: str) -> None:
    ways.refused(bundle, way, fault, process={"ioPriority": priority})


@pytest.mark.parametrize("way", [ways.EXEC, ways.PROCESS])
def test_final_affinity(bundle: Bundle, way: str) -> None:
    one = str(max(os.sched_getaffinity(0)))
    told = ways.status(bundle, way, {"execCPUAffinity": {"initial": one, "final": f"{one}-{one},"}})
    assert told["Cpus_allowed_list"] == one


@pytest.mark.parametrize("way", [ways.EXEC, ways.PROCESS])
def test_initial_affinity_alone_stays(bundle: Bundle, way: str) -> None:
    one = str(max(os.sched_getaffinity(0)))
    told = ways.status(bundle, way, {"execCPUAffinity": {"initial": one}})
    assert told["Cpus_allowed_list"] == one


def test_affinity_is_not_for_the_first_process(bundle: Bundle) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU only")
    one = str(max(os.sched_getaffinity(0)))
    told = ways.status(bundle, ways.RUN, {"execCPUAffinity": {"initial": one, "final": one}})
    assert told["Cpus_allowed_list"] != one


@pytest.mark.parametrize("way", ways.ALL)
@pytest.mark.parametrize("name", ["initial", "final"])
@pytest.mark.parametrize(
    ("cpus", "fault"),
    [
        ("x", "x"),
        ("3-1", "invalid range: 3-1"),
        (",", "no members found"),
        ("-1", ""),
        ("9999", ""),
    ],
)
def test_bad_affinity(bundle: Bundle, way: str, name: str, cpus: str, fault: str) -> None:
    process = {"execCPUAffinity": {name: cpus}}
    ways.refused(bundle, way, f"process.execCPUAffinity.{name}", fault, process=process)


@pytest.mark.parametrize("way", [ways.EXEC, ways.PROCESS])
def test_affinity_without_such_a_cpu(bundle: Bundle, way: str) -> None:
    process = {"execCPUAffinity": {"final": "8000"}}
    ways.refused(bundle, way, "process.execCPUAffinity", process=process)


@pytest.mark.parametrize("way", [ways.RUN, ways.EXEC])
def test_personality(bundle: Bundle, look: str, way: str) -> None:
    bundle.config["linux"]["personality"] = {"domain": "LINUX32"}
    assert seen(bundle, way, look)["personality"] == "0x8"


def test_personality_as_uname_tells(bundle: Bundle) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the names are those of x86")
    bundle.config["linux"]["personality"] = {"domain": "LINUX32"}
    assert bundle.output("uname -m").strip() == "i686"


@pytest.mark.parametrize(
    ("personality", "fault"),
    [
        ({"domain": "LINUX64"}, "invalid personality domain"),
        ({}, "linux.personality.domain"),
        ({"domain": "LINUX", "flags": ["X"]}, "linux.personality.flags"),
    ],
)
def test_bad_personality(bundle: Bundle, personality: Any, fault: str) -> None:
    bundle.config["linux"]["personality"] = personality
    ways.refused(bundle, ways.RUN, "linux.personality", fault)


def has_memory_policies() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 239, "aarch64": 236}.get(platform.machine())
    return number is not None and libc.syscall(number, None, None, 0, None, 0) == 0


@pytest.mark.parametrize("way", [ways.RUN, ways.EXEC])
@pytest.mark.parametrize(
    ("policy", "mode", "nodes"),
    [
        ({"mode": "MPOL_DEFAULT"}, 0, 0),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, 1, 1),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, 2 | 1 << 15, 1),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0-0"}, 3, 1),
        ({"mode": "MPOL_LOCAL"}, 4, 0),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, 5, 1),
        ({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}, 6, 1),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, 2 | 1 << 14, 1),
    ],
)
def test_memory_policy(
    bundle: Bundle, look: str, way: str, policy: Any, mode: int, nodes: int
) -> None:
    if not has_memory_policies():
        pytest.skip("this kernel has no memory policies")
    bundle.config["linux"]["memoryPolicy"] = policy
    shutil.copy(look, bundle.rootfs / "bin/look")
    done = bundle.run("look") if way == ways.RUN else bundle.run("true")
    if done.returncode and policy["mode"] in ("MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"):
        assert "linux.memoryPolicy" in done.stderr
        pytest.skip("an older kernel")
    if way == ways.EXEC:
        bundle.start()
        done = bundle.exec("look")
    assert done.returncode == 0, done
    assert f"mempolicy={mode:#x} nodes={nodes:#x}".replace("0x0 ", "0 ") in (
        done.stdout.replace("mempolicy=0x0", "mempolicy=0").replace("nodes=0\n", "nodes=0x0\n")
    )


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ({"nodes": "0"}, "linux.memoryPolicy.mode"),
        ({"mode": "MPOL_NOSUCH", "nodes": "0"}, "MPOL_NOSUCH"),
        ({"mode": "MPOL_BIND"}, "requires at least one node"),
        ({"mode": "MPOL_DEFAULT", "nodes": "0"}, "requires 0 nodes"),
        ({"mode": "MPOL_BIND", "nodes": "0-x"}, "linux.memoryPolicy.nodes"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}, "MPOL_F_X"),
    ],
)
def test_bad_memory_policy(bundle: Bundle, policy: Any, fault: str) -> None:
    bundle.config["linux"]["memoryPolicy"] = policy
    ways.refused(bundle, ways.RUN, "linux.memoryPolicy", fault)


def test_memory_policy_on_a_missing_node(bundle: Bundle) -> None:
    if not has_memory_policies() or Path("/sys/devices/system/node/node50").exists():
        pytest.skip("no memory policies, or very many nodes")
    bundle.config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "50"}
    ways.refused(bundle, ways.RUN, "linux.memoryPolicy")
