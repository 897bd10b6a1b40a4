"""process.capabilities: the five sets as /proc/self/status shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import ways

if TYPE_CHECKING:
    from tests.conftest import Bundle

KILL, NET_RAW, CHOWN = 1 << 5, 1 << 13, 1 << 0
SETS = {
    "bounding": "CapBnd",
    "effective": "CapEff",
    "inheritable": "CapInh",
    "permitted": "CapPrm",
    "ambient": "CapAmb",
}


def sets(bundle: Bundle, way: str, capabilities: Any, **process: Any) -> dict[str, int]:
    process = {"capabilities": capabilities, **process}
    told = ways.status(bundle, way, process)
    return {name: int(told[field], 16) for name, field in SETS.items()}


def all_five(*names: str) -> dict[str, list[str]]:
    return {name: list(names) for name in SETS}


@pytest.mark.parametrize("way", ways.ALL)
def test_all_sets(bundle: Bundle, way: str) -> None:
    assert sets(bundle, way, all_five("CAP_KILL", "CAP_NET_RAW")) == dict.fromkeys(
        SETS, KILL | NET_RAW
    )


@pytest.mark.parametrize("way", ways.ALL)
@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_sets_that_differ(bundle: Bundle, way: str, no_new_privileges: bool) -> None:
    wanted = {
        "bounding": ["CAP_KILL", "CAP_NET_RAW", "CAP_CHOWN"],
        "effective": ["CAP_KILL"],
        "permitted": ["CAP_KILL", "CAP_NET_RAW"],
        "inheritable": ["CAP_NET_RAW"],
    }
    found = sets(bundle, way, wanted, noNewPrivileges=no_new_privileges)
    # Root's execve(2) gains the whole bounding set, or what is permitted already: capabilities(7).
    gained = KILL | NET_RAW | (0 if no_new_privileges else CHOWN)
    assert found == {"bounding": KILL | NET_RAW | CHOWN, "inheritable": NET_RAW, "ambient": 0,
                     "effective": gained, "permitted": gained}  # fmt: skip


@pytest.mark.parametrize("way", ways.ALL)
def test_ambient_for_an_ordinary_user(bundle: Bundle, way: str) -> None:
    user = {"uid": 1000, "gid": 1000}
    assert sets(bundle, way, all_five("CAP_KILL"), user=user) == dict.fromkeys(SETS, KILL)


@pytest.mark.parametrize("way", ways.ALL)
def test_ordinary_user_without_ambient(bundle: Bundle, way: str) -> None:
    wanted = all_five("CAP_KILL")
    del wanted["ambient"]
    found = sets(bundle, way, wanted, user={"uid": 1000, "gid": 1000})
    assert found == {"bounding": KILL, "inheritable": KILL, "effective": 0, "permitted": 0,
                     "ambient": 0}  # fmt: skip


@pytest.mark.parametrize("way", ways.ALL)
def test_none(bundle: Bundle, way: str) -> None:
    assert sets(bundle, way, {}) == dict.fromkeys(SETS, 0)


def test_property_missing(bundle: Bundle) -> None:
    del bundle.config["process"]["capabilities"]
    told = ways.status(bundle, ways.RUN)
    assert {int(told[field], 16) for field in SETS.values()} == {0}


def test_exec_without_the_property_gets_those_of_the_container(bundle: Bundle) -> None:
    bundle.config["process"]["capabilities"] = all_five("CAP_KILL")
    bundle.start()
    (bundle.path / "p.json").write_text(
        '{"cwd": "/", "args": ["/bin/cat", "/proc/self/status"], "user": {"uid": 0, "gid": 0}}'
    )
    done = bundle.call("exec", "--process", str(bundle.path / "p.json"), bundle.id)
    assert done.returncode == 0, done
    assert f"CapBnd:\t{KILL:016x}" in done.stdout


@pytest.mark.parametrize("way", ways.ALL)
def test_unknown_names_are_warned_about(bundle: Bundle, way: str) -> None:
    process = {"capabilities": all_five("CAP_KILL", "CAP_UNKNOWN", "cap_chown", "CAP_ZZZ")}
    done = ways.call(bundle, way, "cat", "/proc/self/status", process=process)
    assert done.returncode == 0, done
    assert f"CapEff:\t{KILL:016x}" in done.stdout
    assert "level=warning" in done.stderr
    assert "ignoring unknown or unavailable capabilities: [CAP_UNKNOWN CAP_ZZZ cap_chown]" in (
        done.stderr
    )


@pytest.mark.parametrize("way", ways.ALL)
def test_bad_value(bundle: Bundle, way: str) -> None:
    process = {"capabilities": {"bounding": "CAP_KILL"}}
    ways.refused(bundle, way, "process.capabilities.bounding", process=process)


@pytest.mark.parametrize("way", ways.ALL)
def test_effective_ones_have_to_be_permitted(bundle: Bundle, way: str) -> None:
    process = {"capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]}}
    ways.refused(bundle, way, "process.capabilities: unable to apply caps", process=process)


def test_exec_cap_option(bundle: Bundle) -> None:
    bundle.config["process"]["capabilities"] = {
        "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
    }  # fmt: skip
    bundle.start()
    done = bundle.exec(
        "cat", "/proc/self/status", options=("--cap", "CAP_NET_RAW", "-c", "CAP_CHOWN")
    )
    told = dict(line.split(":\t") for line in done.stdout.splitlines() if line.startswith("Cap"))
    assert told["CapBnd"] == told["CapEff"] == told["CapPrm"] == f"{KILL | NET_RAW | CHOWN:016x}"
    # Given by default, these two would survive the execve of any program (CVE-2022-29162).
    assert int(told["CapInh"], 16) == int(told["CapAmb"], 16) == 0
