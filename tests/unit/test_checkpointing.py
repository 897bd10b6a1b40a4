"""criu's messages and options, without a criu."""

from __future__ import annotations

from typing import Any

import pytest

from libcontainer import log
from libcontainer.checkpointing import criu, external, protocol
from libcontainer.commandline import VERBS, defaults
from libcontainer.commandline.criu import settings
from libcontainer.errors import Error


@pytest.mark.parametrize(
    ("kind", "message", "data"),
    [
        ("request", {"type": 10}, "080a"),
        ("request", {"type": 6, "notify_success": True}, "0806 1801"),
        ("options", {"images_dir_fd": 150}, "089601"),
        ("options", {"log_file": "testing"}, "5207 74657374696e67"),
        ("options", {"empty_ns": 0x40000000}, "b002 8080808004"),
        ("options", {"external": ["a", "bc"]}, "aa0201 61 aa0202 6263"),
        (
            "request",
            {"opts": {"ext_mnt": [{"key": "k", "val": "/é"}]}},
            "120b ba0108 0a016b 12032fc3a9",
        ),
        ("restored", {"pid": -1}, "08 ffffffffffffffffff01"),
        ("request", {"opts": {}}, "1200"),
    ],
)
def test_encode(kind: str, message: dict[str, Any], data: str) -> None:
    assert protocol.encode(kind, message) == bytes.fromhex(data)
    single = {name: value for name, value in message.items() if not isinstance(value, list)}
    if single == message and "ext_mnt" not in str(message):
        assert protocol.decode(kind, bytes.fromhex(data)) == message


def test_what_is_not_known_is_skipped() -> None:
    fields = "a006 07a106 0102030405060708a206 03 616263a506 01020304"
    data = bytes.fromhex(fields + "0802 1001 2a07 0a03 666f6f 1005" + fields)
    expected = {"type": 2, "success": 1, "notify": {"script": "foo", "pid": 5}}
    assert protocol.decode("response", data) == expected


@pytest.mark.parametrize("data", ["08", "0880", "2a05 0a03", "0f", "08" + "ff" * 11, "2a02 0aff"])
def test_what_is_no_message(data: str) -> None:
    with pytest.raises(Error, match="no protocol buffer"):
        protocol.decode("response", bytes.fromhex(data))


def options(verb: str, **given: Any) -> dict[str, Any]:
    found = defaults(VERBS[verb].options)
    found.update({name.replace("_", "-"): value for name, value in given.items()})
    return found


def test_settings() -> None:
    plain = {"manage_cgroups_mode": 6, "empty_ns": 0x40000000}
    assert settings(options("checkpoint")) == settings(options("restore")) == plain
    given = options(
        "checkpoint",
        leave_running=True,
        page_server="[::1]:27",
        manage_cgroups_mode="ignore",
        empty_ns=["network"],
        status_fd=7,
        lazy_pages=True,
    )
    assert settings(given) == {
        **plain,
        "leave_running": True,
        "lazy_pages": True,
        "manage_cgroups_mode": 0,
        "ps": {"address": "::1", "port": 27},
    }
    given = options("restore", lsm_profile="apparmor:x", shell_job=True)
    assert settings(given) == {**plain, "lsm_profile": "apparmor:x", "shell_job": True}


def test_every_option_of_criu_is_one_of_its_fields() -> None:
    fields = protocol._FIELDS["options"]
    for verb in ("checkpoint", "restore"):
        flags = {name: True for name, value in options(verb).items() if value is False}
        flags.pop("no-pivot", None)
        assert set(settings({**options(verb), **flags})) <= set(fields)


@pytest.mark.parametrize(
    ("verb", "given", "message"),
    [
        ("checkpoint", {"manage_cgroups_mode": "x"}, "invalid manage-cgroups-mode value"),
        ("restore", {"empty_ns": ["pid"]}, 'namespace "pid" is not supported'),
        ("checkpoint", {"page_server": "host"}, "Use --page-server ADDRESS:PORT"),
        ("checkpoint", {"page_server": ":1"}, "Use --page-server ADDRESS:PORT"),
        ("checkpoint", {"page_server": "::1:1"}, "Use --page-server ADDRESS:PORT"),
        ("checkpoint", {"page_server": "host:"}, "Use --page-server ADDRESS:PORT"),
        ("checkpoint", {"page_server": "host:x"}, "Invalid port number"),
        ("checkpoint", {"page_server": "host:65536"}, "Invalid port number"),
        ("checkpoint", {"parent_path": "/x"}, "--parent-path must be relative"),
        ("checkpoint", {"status_fd": 5}, "it needs --lazy-pages"),
        ("restore", {"no_pivot": True}, "--no-pivot: criu enters"),
    ],
)
def test_what_is_refused(verb: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(Error, match=message):
        settings(options(verb, **given))


def test_the_quoted_log(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"line {number}" for number in range(1, 31)]
    lines[1] = lines[9] = lines[11] = lines[29] = "Error (x)"
    file = tmp_path / "dump.log"
    file.write_text("\n".join(lines) + "\n")
    told: list[str] = []
    monkeypatch.setattr(log, "warning", told.append)
    criu.quote_log(str(file))
    numbers = [line.partition(":")[0] for line in told]
    assert numbers[0] == f'--- Quoting "{file}"'
    expected = "1 2 ... 5 6 7 8 9 10 11 12 ... 25 26 27 28 29 30 ---"
    assert numbers[1:] == expected.split()


def test_the_config_of_a_container() -> None:
    assert criu.config_file({}) == {"config_file": "/etc/criu/runc.conf"}
    assert criu.config_file({"annotations": {"org.criu.config": "/x"}}) == {"config_file": "/x"}
    assert criu.config_file({"annotations": {"org.criu.config": ""}}) == {}


def test_old_versions_and_joined_namespaces() -> None:
    spec = {"linux": {"namespaces": [{"type": "pid", "path": "/proc/self/ns/pid"}]}}
    with pytest.raises(Error, match="lacks support for external pid namespace"):
        external.restored_namespaces(spec, 31400, 4)
    found, fds = external.restored_namespaces(spec, 31500, 4)
    assert len(fds) == 1
    assert found == {"inherit_fd": [{"key": "extRootPidNS", "fd": 4}], "join_ns": []}
