"""Numbers and texts of cgroups: conversions, paths, statistics, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from libcontainer.cgroups import files, hierarchies, statistics
from libcontainer.cgroups.base import below
from libcontainer.cgroups.entrance import is_roomy
from libcontainer.cgroups.update import former_lines, merged
from libcontainer.cgroups.v1 import LegacyManager
from libcontainer.cgroups.v1 import cpu as v1_cpu
from libcontainer.cgroups.v2 import check_unified
from libcontainer.cgroups.v2 import cpu as v2_cpu
from libcontainer.cgroups.v2.cpu import weight
from libcontainer.cgroups.v2.io import weight_without_bfq
from libcontainer.cgroups.v2.memory import swap_alone
from libcontainer.errors import Error


@pytest.mark.parametrize(
    ("shares", "expected"),
    # The values that opencontainers/cgroups gives.
    [(0, 0), (1, 1), (2, 1), (512, 59), (1024, 100), (2048, 174), (262144, 10000), (999999, 10000)],
)
def test_weight_of_shares(shares: int, expected: int) -> None:
    assert weight(shares) == expected


@pytest.mark.parametrize(("value", "expected"), [(10, 1), (100, 910), (1000, 10000)])
def test_io_weight(value: int, expected: int) -> None:
    assert weight_without_bfq(value) == expected


@pytest.mark.parametrize(
    ("memory", "swap", "expected"),
    [
        (0, 0, ""), (100, 0, ""), (100, 100, "0"), (100, 300, "200"), (-1, 0, "max"),
        (100, -1, "max"), (-1, 300, "300"), (0, -1, "max"),
    ],
)  # fmt: skip
def test_swap_without_memory(memory: int, swap: int, expected: str) -> None:
    assert swap_alone(memory, swap) == expected


@pytest.mark.parametrize(("memory", "swap"), [(0, 100), (200, 100)])
def test_swap_that_makes_no_sense(memory: int, swap: int) -> None:
    with pytest.raises(Error):
        swap_alone(memory, swap)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""), ("/", "/"), ("a/b", "a/b"), ("/a//b/./c/", "/a/b/c"), ("../../etc", "etc"),
        ("/../../etc", "/etc"), ("/a/../../b", "/b"), ("..", ""),
    ],
)  # fmt: skip
def test_paths_do_not_climb(path: str, expected: str) -> None:
    assert hierarchies.clean(path) == expected


def test_below() -> None:
    assert below("/x", "") == "/x"
    assert below("/x", "/a/b/") == "/x/a/b"
    for path in ("..", "a/../..", "/.."):
        with pytest.raises(Error, match="bad sub cgroup path"):
            below("/x", path)


def test_exec_cgroup_arguments() -> None:
    manager = LegacyManager({"cpu": "/c/x", "memory": "/m/x"}, {})
    assert manager.targets(None) == manager.paths
    assert manager.targets(["a"]) == {"cpu": "/c/x/a", "memory": "/m/x/a"}
    assert manager.targets(["cpu:a"]) == {"cpu": "/c/x/a", "memory": "/m/x"}
    assert manager.targets(["cpu,memory:a"]) == {"cpu": "/c/x/a", "memory": "/m/x/a"}
    for wrong in (["a", "b"], [":a"], ["cpu:a", "cpu:b"], ["nosuch:a"], ["cpu:../y"]):
        with pytest.raises(Error):
            manager.targets(wrong)


@pytest.mark.parametrize("name", ["../a.b", "a/b.c", "nodot", ".a"])
def test_names_of_unified_resources(name: str) -> None:
    with pytest.raises(Error, match="unified resource"):
        check_unified({name: "1"})


def test_own_cgroup_seen_from_a_part_of_the_tree() -> None:
    assert hierarchies._below("/", "/a/b") == "/a/b"
    assert hierarchies._below("/docker/x", "/docker/x") == ""
    assert hierarchies._below("/docker/x", "/docker/x/y") == "/y"
    assert hierarchies._below("/docker/x", "/system.slice") == "/../../system.slice"


def test_escapes_in_mountinfo() -> None:
    assert hierarchies._plain("/a\\040b\\134c") == "/a b\\c"


def test_limit_error_names_property_and_file(tmp_path: Path) -> None:
    with pytest.raises(files.LimitError) as caught:
        files.limit(str(tmp_path), "no.such", 5, "cpu.shares")
    assert str(caught.value) == (
        'linux.resources.cpu.shares: failed to write "5": write %s/no.such: '
        "no such file or directory" % tmp_path
    )


def test_pressure(tmp_path: Path) -> None:
    file = tmp_path / "cpu.pressure"
    assert statistics.pressure(str(file)) is None
    file.write_text("some avg10=1.50 avg60=0.00 avg300=0.00 total=42\n")
    told = statistics.pressure(str(file))
    assert told == {
        "some": {"avg10": 1.5, "avg60": 0, "avg300": 0, "total": 42},
        "full": {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0},
    }


def test_cpuset_lists(tmp_path: Path) -> None:
    (tmp_path / "cpuset.cpus").write_text("0-2,7\n")
    told = statistics.cpuset(str(tmp_path))
    assert told["cpus"] == [0, 1, 2, 7]
    assert "mems" not in told


def test_numbers(tmp_path: Path) -> None:
    file = tmp_path / "n"
    assert statistics.number(str(file)) is None
    for text, value in (("max\n", 2**64 - 1), ("5\n", 5), ("-3\n", 0)):
        file.write_text(text)
        assert statistics.number(str(file)) == value


def test_page_sizes_are_named_as_the_kernel_does() -> None:
    assert all(size[-2:] in ("KB", "MB", "GB") for size in statistics.page_sizes())


def test_no_burst_and_not_idle_need_no_file(tmp_path: Path) -> None:
    """Kernels before 5.15 lack the files, and have what 0 asks for."""
    resources = {"cpu": {"burst": 0, "idle": 0}}
    for module in (v1_cpu, v2_cpu):
        module.set(str(tmp_path), resources)
        with pytest.raises(Error):
            module.set(str(tmp_path), {"cpu": {"burst": 1}})
    assert v1_cpu.wanted(resources) == [("cpu.burst", ""), ("cpu.idle", "")]


def test_what_a_failed_update_puts_back() -> None:
    """Files that keep a line for each device or interface."""
    priorities = "/net_prio/x/net_prio.ifpriomap"
    assert former_lines(priorities, "lo 0\neth0 4\n", "eth0 5") == ["eth0 4"]
    assert former_lines(priorities, "lo 0\n", "eth0 5") == ["eth0 0"]
    adapters = "mlx4_0 hca_handle=max hca_object=max\nocrdma1 hca_handle=3 hca_object=max\n"
    assert former_lines("/x/rdma.max", adapters, "ocrdma1 hca_handle=1") == [
        "ocrdma1 hca_handle=3 hca_object=max"
    ]
    assert former_lines("/x/io.max", "", "8:0 rbps=5") == ["8:0 rbps=max"]
    assert former_lines("/x/io.max", "8:0 rbps=7 wbps=max\n", "8:0 rbps=5") == [
        "8:0 rbps=7 wbps=max"
    ]
    assert former_lines("/x/blkio.throttle.read_bps_device", "", "8:0 5") == ["8:0 0"]
    assert former_lines("/x/io.weight", "default 100\n", "8:0 5") == ["8:0 default"]
    assert former_lines("/x/io.weight", "default 100\n8:0 9\n", "200") == ["default 100"]
    assert former_lines("/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", "1") == ["0"]
    assert former_lines("/x/cpuset.cpus", "", "0") == ["\n"]


def test_merging() -> None:
    before: dict[str, Any] = {
        "memory": {"limit": 1, "swap": 2},
        "blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 1, "leafWeight": 9}]},
    }
    changes = {
        "memory": {"limit": 5, "swap": None},
        "blockIO": {
            "weightDevice": [
                {"major": 8, "minor": 0, "weight": 2},
                {"major": 8, "minor": 1, "weight": 3},
            ]
        },
        "pids": {"limit": 7},
    }
    assert merged(before, changes) == {
        "memory": {"limit": 5, "swap": 2},
        "blockIO": {
            "weightDevice": [
                {"major": 8, "minor": 0, "weight": 2, "leafWeight": 9},
                {"major": 8, "minor": 1, "weight": 3},
            ]
        },
        "pids": {"limit": 7},
    }
    assert before["memory"] == {"limit": 1, "swap": 2}


def test_roomy() -> None:
    assert is_roomy(None)
    assert is_roomy(-1)
    assert is_roomy(1 << 30)
    assert not is_roomy(1 << 20)
