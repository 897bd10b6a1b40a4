"""linux.intelRdt on a directory tree that looks like resctrl: few machines have the real one.

What the kernel does on mkdir(2) and rmdir(2), making and removing a group's files, is done by
the fixture; everything else is the real code.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from libcontainer import intelrdt
from libcontainer.errors import Error

ROOT_SCHEMATA = "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n"


def make_files(directory: Path) -> None:
    (directory / "schemata").write_text(ROOT_SCHEMATA)
    (directory / "tasks").write_text("")
    (directory / "mon_groups").mkdir()
    for domain in ("mon_L3_00", "mon_L3_01"):
        counters = directory / "mon_data" / domain
        counters.mkdir(parents=True)
        for number, name in enumerate(("llc_occupancy", "mbm_total_bytes", "mbm_local_bytes")):
            (counters / name).write_text(f"{number + 1}000\n")


@pytest.fixture
def resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_files(tmp_path)
    information = {
        "info/L3": {"cbm_mask": "7ff", "min_cbm_bits": "1", "num_closids": "16"},
        "info/MB": {"bandwidth_gran": "10", "delay_linear": "1", "min_bandwidth": "10"},
        "info/L3_MON": {"mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes"},
        "info": {"last_cmd_status": "ok"},
    }
    for directory, files in information.items():
        (tmp_path / directory).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (tmp_path / directory / name).write_text(content + "\n")
    make = intelrdt._make_group

    def kernel_makes(root: str, path: str) -> bool:
        made = make(root, path)
        if made:
            make_files(Path(path))
        return made

    monkeypatch.setattr(intelrdt, "mount_point", lambda: str(tmp_path))
    monkeypatch.setattr(intelrdt, "_make_group", kernel_makes)
    monkeypatch.setattr(intelrdt, "_remove_group", shutil.rmtree)
    return tmp_path


def schemata(directory: Path) -> str:
    return (directory / "schemata").read_text()


def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what is written to a `schemata`, write by write."""
    texts: list[str] = []
    write = intelrdt._write

    def recorder(root: str, path: str, text: str, what: str) -> None:
        if path.endswith("/schemata"):
            texts.append(text)
        write(root, path, text, what)

    monkeypatch.setattr(intelrdt, "_write", recorder)
    return texts


def test_class_named_after_the_container(resctrl: Path) -> None:
    data = intelrdt.apply({"l3CacheSchema": "L3:0=f"}, "c1", 123)
    assert data["intel_rdt_path"] == str(resctrl / "c1")
    assert (resctrl / "c1/tasks").read_text() == "123"
    assert schemata(resctrl / "c1").startswith("L3:0=f\n")
    intelrdt.destroy(data)
    assert not (resctrl / "c1").exists()


def test_order_of_the_writes(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = written(monkeypatch)
    config = {
        "schemata": ["L3:0=3", "MB:0=30"],
        "memBwSchema": "MB:0=20",
        "l3CacheSchema": "L3:0=1",
    }
    intelrdt.apply(config, "c1", 1)
    assert texts == ["L3:0=1\n", "MB:0=20\n", "L3:0=3\nMB:0=30\n"]


def test_no_schemata_no_write(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = written(monkeypatch)
    intelrdt.apply({}, "c1", 1)
    assert texts == []


def test_default_class(resctrl: Path) -> None:
    data = intelrdt.apply({"closID": "/"}, "c1", 77)
    assert data["intel_rdt_path"] == str(resctrl)
    assert (resctrl / "tasks").read_text() == "77"
    intelrdt.destroy(data)
    assert (resctrl / "tasks").exists()


def test_class_without_schemata_must_exist(resctrl: Path) -> None:
    with pytest.raises(Error, match=r"linux\.intelRdt\.closID: .*/gold: .* must be there already"):
        intelrdt.apply({"closID": "gold"}, "c1", 1)
    assert not (resctrl / "gold").exists()


def test_named_class_is_made_and_stays(resctrl: Path) -> None:
    data = intelrdt.apply({"closID": "gold", "schemata": ["L3:0=3"]}, "c1", 1)
    intelrdt.destroy(data)
    assert schemata(resctrl / "gold").startswith("L3:0=3\n")


@pytest.mark.parametrize(
    "config",
    [
        {"l3CacheSchema": "L3:1=7FF;0=07ff"},
        {"memBwSchema": "MB:0=100"},
        {"memBwSchema": "MB:0=95;1=91"},  # rounded up by the hardware
    ],
)
def test_existing_class_that_matches(resctrl: Path, config: dict[str, Any]) -> None:
    intelrdt._make_group(str(resctrl), str(resctrl / "gold"))
    data = intelrdt.apply({"closID": "gold", **config}, "c1", 9)
    assert (resctrl / "gold/tasks").read_text() == "9"
    intelrdt.destroy(data)
    assert (resctrl / "gold").exists()


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"l3CacheSchema": "L3:0=1"}, "l3CacheSchema: class gold exists, but L3 of cache 0 is 7ff"),
        ({"memBwSchema": "MB:1=50"}, "memBwSchema: class gold exists, but MB of cache 1 is 100"),
        ({"l3CacheSchema": "L3:7=1"}, "L3 of cache 7 is None, not 1"),
    ],
)
def test_existing_class_that_differs(resctrl: Path, config: dict[str, Any], fault: str) -> None:
    intelrdt._make_group(str(resctrl), str(resctrl / "gold"))
    with pytest.raises(Error, match=fault):
        intelrdt.apply({"closID": "gold", **config}, "c1", 9)
    assert (resctrl / "gold/tasks").read_text() == ""


def test_monitoring_group(resctrl: Path) -> None:
    data = intelrdt.apply({"closID": "/", "enableMonitoring": True}, "c1", 5)
    group = resctrl / "mon_groups/c1"
    assert data["intel_rdt_mon_path"] == str(group)
    assert (group / "tasks").read_text() == "5"
    intelrdt.join(data, 6)
    assert (group / "tasks").read_text() == "6"
    assert (resctrl / "tasks").read_text() == "6"
    intelrdt.destroy(data)
    assert not group.exists()
    assert resctrl.exists()


def test_failure_leaves_nothing(resctrl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (resctrl / "info/last_cmd_status").write_text("Task list format error\n")

    def no_such_task(path: str, flags: int) -> int:
        if path.endswith("tasks"):
            raise ProcessLookupError(3, "No such process")
        return os.open(path, flags)

    monkeypatch.setattr("libcontainer.intelrdt.posix.open", no_such_task)
    with pytest.raises(Error, match=r"add pid 99 .*No such process \(Task list format error\)"):
        intelrdt.apply({"l3CacheSchema": "L3:0=f"}, "c1", 99)
    assert not (resctrl / "c1").exists()


def test_no_resctrl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intelrdt, "mount_point", lambda: "")
    with pytest.raises(Error, match="Intel RDT is not enabled"):
        intelrdt.apply({}, "c1", 1)


def test_stats(resctrl: Path) -> None:
    config = {"l3CacheSchema": "L3:0=f", "enableMonitoring": True}
    data = intelrdt.apply(config, "c1", 1)
    assert intelrdt.stats({}, data) == {}
    told = intelrdt.stats(config, data)
    assert told["l3_cache_info"] == {"cbm_mask": "7ff", "min_cbm_bits": 1, "num_closids": 16}
    assert told["l3_cache_schema_root"] == "L3:0=7ff;1=7ff"
    assert told["mem_bw_info"] == {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10}
    assert told["mem_bw_schema_root"] == "MB:0=100;1=100"
    assert told["mbm_stats"] == [{"mbm_total_bytes": 2000, "mbm_local_bytes": 3000}] * 2
    assert told["cmt_stats"] == [{"llc_occupancy": 1000}] * 2


def test_unavailable_counter(resctrl: Path) -> None:
    data = intelrdt.apply({"closID": "/"}, "c1", 1)
    (resctrl / "mon_data/mon_L3_01/llc_occupancy").write_text("Unavailable\n")
    with pytest.raises(Error, match="llc_occupancy: Unavailable"):
        intelrdt.stats({"closID": "/"}, data)


def test_update(resctrl: Path) -> None:
    config: dict[str, Any] = {"l3CacheSchema": "L3:0=f"}
    data = intelrdt.apply(config, "c1", 1)
    intelrdt.update(config, data, "L3:0=3", "")
    assert config["l3CacheSchema"] == "L3:0=3"
    assert schemata(resctrl / "c1").startswith("L3:0=3\n")
    with pytest.raises(Error, match="updating a non-existent Intel RDT configuration"):
        intelrdt.update(None, {}, "L3:0=3", "")
    shutil.rmtree(resctrl / "info/MB")
    with pytest.raises(Error, match="memory bandwidth schema is not enabled"):
        intelrdt.update(config, data, "", "MB:0=10")


def test_an_update_is_put_back(resctrl: Path) -> None:
    """Also what the config has never told: the kernel's own words count."""
    data = intelrdt.apply({"memBwSchema": "MB:0=20"}, "c1", 1)
    file = resctrl / "c1/schemata"
    file.write_text("    MB:0=20;1=100\n    L3:0=7ff;1=7ff\n")
    former = intelrdt.schemata(data)
    file.write_text("MB:0=1\nL3:0=3\n")
    intelrdt.put_back(data, former)
    assert file.read_text().split() == ["MB:0=20;1=100", "L3:0=7ff;1=7ff"]
    assert intelrdt.schemata({}) == ""
    intelrdt.put_back({}, "")
