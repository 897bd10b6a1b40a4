"""Hooks: in which namespaces they run, what they are told, and what follows from their failure."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import ways

if TYPE_CHECKING:
    from tests.conftest import Bundle

HOST = ("prestart", "createRuntime", "poststart", "poststop")
ALL = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
BEFORE_CREATED = ("prestart", "createRuntime", "createContainer")


def hook(bundle: Bundle, kind: str, script: str, **more: Any) -> None:
    """Add a hook that runs a shell script; those in the container have to use its shell."""
    entry = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], **more}
    bundle.config.setdefault("hooks", {}).setdefault(kind, []).append(entry)


def report(bundle: Bundle, kind: str) -> Path:
    """Let a hook of this kind write what it gets and sees to a file; its path on the host."""
    path = bundle.path / f"report-{kind}"
    path.touch()
    path.chmod(0o666)
    target = str(path)
    if kind == "startContainer":
        bundle.config["mounts"].append(
            {"destination": "/report", "type": "bind", "source": str(path), "options": ["bind"]}
        )
        target = "/report"
    hook(
        bundle, kind,
        f"exec >{target}; cat; echo; pwd; readlink /proc/self/ns/mnt; readlink /proc/self/ns/net; env",
    )  # fmt: skip
    return path


def told(path: Path) -> tuple[dict[str, Any], list[str]]:
    state, *rest = path.read_text().splitlines()
    return json.loads(state), rest


@pytest.mark.parametrize("kind", ALL)
def test_what_a_hook_gets(bundle: Bundle, kind: str) -> None:
    path = report(bundle, kind)
    bundle.config["annotations"] = {"org.example": "ä", "a": ""}
    done = bundle.run("sleep", "0.2")
    assert done.returncode == 0, done
    state, (directory, mount, network, *environment) = told(path)
    assert state["ociVersion"] == "1.3.0"
    assert state["id"] == bundle.id
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"org.example": "ä", "a": ""}
    status = {"startContainer": "created", "poststart": "running", "poststop": "stopped"}
    assert state["status"] == status.get(kind, "creating")
    if kind == "poststop":
        assert "pid" not in state
    elif kind in HOST:
        assert state["pid"] > 1
    else:
        assert state["pid"] == 1
    rootfs = str(bundle.rootfs)
    expected = {"createContainer": rootfs, "startContainer": "/"}.get(kind, str(bundle.path))
    assert directory == expected
    assert (mount == os.readlink("/proc/self/ns/mnt")) == (kind in HOST)
    assert (network == os.readlink("/proc/self/ns/net")) == (kind in HOST)
    assert "PATH=/bin:/usr/bin" in environment
    assert not any(line.startswith("HOME=") for line in environment)


def test_state_has_no_line_break(bundle: Bundle) -> None:
    path = bundle.path / "state"
    hook(bundle, "createRuntime", f"cat >{path}")
    bundle.run("true")
    assert path.read_text()[-1] == "}"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart", "poststop"])
def test_environment_of_the_runtime_without_one(bundle: Bundle, kind: str) -> None:
    path = bundle.path / "environment"
    hook(bundle, kind, f"env >{path}")
    del bundle.config["hooks"][kind][0]["env"]
    bundle.environment = {**bundle.environment, "OURS": "yes"}
    assert bundle.run("sleep", "0.1").returncode == 0
    assert "OURS=yes" in path.read_text().splitlines()


def test_environment_of_the_process_for_start_container(bundle: Bundle) -> None:
    hook(bundle, "startContainer", 'test "$ONE" = two && test "$HOME" = /root')
    del bundle.config["hooks"]["startContainer"][0]["env"]
    bundle.config["process"]["env"].append("ONE=two")
    assert bundle.run("true").returncode == 0


def test_arguments_are_passed_as_they_are(bundle: Bundle) -> None:
    path = bundle.path / "arguments"
    entry = {
        "path": "/bin/sh",
        "args": ["other name", "-c", f'echo "$0" "$@" >{path}', "a b", "", "c"],
    }
    bundle.config["hooks"] = {"createRuntime": [entry]}
    assert bundle.run("true").returncode == 0
    assert path.read_text() == "a b  c\n"


def test_order(bundle: Bundle) -> None:
    log = bundle.path / "log"
    log.touch()
    log.chmod(0o666)
    bundle.config["mounts"].append(
        {"destination": "/log", "type": "bind", "source": str(log), "options": ["bind"]}
    )
    for kind in ALL:
        target = "/log" if kind == "startContainer" else log
        for number in (1, 2):
            hook(bundle, kind, f"echo {kind}{number} >>{target}")
    assert bundle.create().returncode == 0
    made = ["prestart1", "prestart2", "createRuntime1", "createRuntime2"]
    made += ["createContainer1", "createContainer2"]
    assert log.read_text().split() == made
    assert bundle.call("start", bundle.id).returncode == 0
    started = [*made, "startContainer1", "startContainer2", "poststart1", "poststart2"]
    assert log.read_text().split() == started
    assert bundle.call("delete", "-f", bundle.id).returncode == 0
    assert log.read_text().split() == [*started, "poststop1", "poststop2"]


def test_create_runtime_sees_the_mounts_but_not_the_pivot(bundle: Bundle) -> None:
    path = bundle.path / "mounts"
    hook(
        bundle, "createRuntime", f"read s; p=${{s#*pid*:}}; cat /proc/${{p%%,*}}/mountinfo >{path}"
    )
    assert bundle.run("true").returncode == 0
    assert f" {bundle.rootfs}/proc " in path.read_text()


def test_create_container_may_add_mounts(bundle: Bundle) -> None:
    (bundle.path / "extra").write_text("from the hook\n")
    script = f"mount --bind {bundle.path}/extra etc/passwd"
    hook(bundle, "createContainer", script)
    assert bundle.output("cat /etc/passwd") == "from the hook\n"


@pytest.mark.parametrize("kind", BEFORE_CREATED)
def test_failure_on_the_way(bundle: Bundle, kind: str) -> None:
    hook(bundle, kind, "exit 0")
    hook(bundle, kind, "echo out; echo problem >&2; exit 3")
    done = bundle.create()
    assert done.returncode == 1
    fault = f"error running {kind} hook #1: exit status 3, stdout: out\\n, stderr: problem\\n"
    assert fault in done.stderr
    assert done.stderr.count("level=") == 1
    assert bundle.state() == {}
    assert not list(bundle.root.glob("test-*"))


@pytest.mark.parametrize("kind", BEFORE_CREATED)
def test_failure_runs_poststop(bundle: Bundle, kind: str) -> None:
    path = bundle.path / "stopped"
    hook(bundle, kind, "exit 1")
    hook(bundle, "poststop", f"touch {path}")
    assert bundle.create().returncode == 1
    assert path.exists()


def test_failure_at_start(bundle: Bundle) -> None:
    hook(bundle, "startContainer", "exit 5")
    done = bundle.run("echo", "ran")
    assert done.returncode != 0
    assert "error running startContainer hook #0: exit status 5" in done.stderr
    assert "ran" not in done.stdout
    assert bundle.state() == {}


def test_failure_after_the_start(bundle: Bundle) -> None:
    hook(bundle, "poststart", "exit 6")
    done = bundle.run("sleep", "100")
    assert done.returncode == 1
    assert "error running poststart hook #0: exit status 6" in done.stderr
    assert bundle.state() == {}


def test_failure_after_the_start_of_a_created_one(bundle: Bundle) -> None:
    path = bundle.path / "stopped"
    hook(bundle, "poststart", "exit 6")
    hook(bundle, "poststop", f"touch {path}")
    assert bundle.create().returncode == 0
    done = bundle.call("start", bundle.id)
    assert done.returncode == 1
    assert "error running poststart hook #0: exit status 6" in done.stderr
    assert bundle.state() == {}
    assert path.exists()


def test_failure_after_the_end_is_a_warning(bundle: Bundle) -> None:
    path = bundle.path / "second"
    hook(bundle, "poststop", "exit 7")
    hook(bundle, "poststop", f"touch {path}")
    bundle.start()
    done = bundle.call("delete", "-f", bundle.id)
    assert done.returncode == 0
    assert "level=warning" in done.stderr
    assert "error running poststop hook #0: exit status 7" in done.stderr
    assert bundle.state() == {}
    assert path.exists()


def test_failure_after_the_end_of_run(bundle: Bundle) -> None:
    hook(bundle, "poststop", "exit 7")
    done = bundle.shell("exit 4")
    assert done.returncode == 4
    assert "level=warning" in done.stderr
    assert "error running poststop hook #0: exit status 7" in done.stderr


def test_bundle_that_is_gone_at_the_end(bundle: Bundle) -> None:
    path = bundle.path.parent / "ran"
    hook(bundle, "poststop", f"pwd >{path}")
    bundle.start()
    bundle.path.rename(bundle.path.parent / "moved")
    done = bundle.call("delete", "-f", bundle.id, cwd="/")
    (bundle.path.parent / "moved").rename(bundle.path)
    assert done.returncode == 0, done
    assert path.read_text() == "/\n"


@pytest.mark.parametrize("kind", ALL)
def test_timeout(bundle: Bundle, kind: str) -> None:
    hook(bundle, kind, "sleep 100", timeout=1)
    began = time.monotonic()
    done = bundle.run("sleep", "0.1")
    assert 1 <= time.monotonic() - began < 20
    assert f"error running {kind} hook #0: hook ran past specified timeout of 1.0s" in done.stderr
    assert (done.returncode == 0) == (kind == "poststop")


def test_fast_enough(bundle: Bundle) -> None:
    hook(bundle, "createRuntime", "sleep 0.1", timeout=20)
    assert bundle.run("true").returncode == 0


def test_killed_hook(bundle: Bundle) -> None:
    hook(bundle, "createRuntime", "kill -9 $$")
    done = bundle.run("true")
    assert "error running createRuntime hook #0: signal: killed, stdout: , stderr: " in done.stderr


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/no/such/hook", "fork/exec /no/such/hook: no such file or directory"),
        ("/etc/passwd", "fork/exec /etc/passwd: permission denied"),
        ("/", "fork/exec /: permission denied"),
    ],
)
def test_hook_that_cannot_be_executed(bundle: Bundle, kind: str, path: str, fault: str) -> None:
    bundle.config["hooks"] = {kind: [{"path": path}]}
    done = bundle.run("true")
    assert done.returncode == 1
    assert f"error running {kind} hook #0: {fault}" in done.stderr


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({}, "hooks.poststop[0].path"),
        ({"path": "relative"}, "hooks.poststop[0].path"),
        ({"path": "/bin/true", "timeout": 0}, "hooks.poststop[0].timeout"),
        ({"path": "/bin/true", "timeout": -1}, "hooks.poststop[0].timeout"),
        ({"path": "/bin/true", "env": ["A"]}, "hooks.poststop[0].env[0]"),
        ({"path": "/bin/true", "args": "x"}, "hooks.poststop[0].args"),
    ],
)
def test_bad_hook(bundle: Bundle, entry: Any, place: str) -> None:
    bundle.config["hooks"] = {"poststop": [entry]}
    done = bundle.run("true")
    assert done.returncode == 1
    assert place in done.stderr


def test_hook_that_does_not_read(bundle: Bundle) -> None:
    bundle.config["annotations"] = {f"a{number}": "x" * 1000 for number in range(500)}
    hook(bundle, "createRuntime", "exec <&-; exit 0")
    assert bundle.run("true").returncode == 0


def test_hook_that_is_told_much(bundle: Bundle) -> None:
    path = bundle.path / "size"
    bundle.config["annotations"] = {f"a{number}": "x" * 1000 for number in range(500)}
    hook(bundle, "createRuntime", f"wc -c >{path}")
    assert bundle.run("true").returncode == 0
    assert int(path.read_text()) > 500000


def test_hook_that_says_much(bundle: Bundle) -> None:
    hook(bundle, "createRuntime", "yes | head -c 3000000; exit 0")
    hook(bundle, "createRuntime", "yes | head -c 3000000 >&2; exit 1")
    done = bundle.run("true")
    assert done.returncode == 1
    assert "hook #1: exit status 1" in done.stderr


def test_hook_gets_no_descriptor_of_ours(bundle: Bundle) -> None:
    path = bundle.path / "descriptors"
    hook(bundle, "createRuntime", f"ls /proc/self/fd >{path}")
    assert bundle.run("true").returncode == 0
    assert path.read_text().split() == ["0", "1", "2", "3"]


def test_hook_has_ordinary_signals(bundle: Bundle) -> None:
    path = bundle.path / "signals"
    hook(bundle, "createRuntime", f"grep Sig[BI] /proc/self/status >{path}")
    assert bundle.run("true", preexec_fn=ways.ignore_signals).returncode == 0
    masks = dict(line.split(":\t") for line in path.read_text().splitlines())
    assert int(masks["SigBlk"], 16) == int(masks["SigIgn"], 16) == 0


def test_start_container_hook_has_no_more_rights_than_the_process(bundle: Bundle) -> None:
    path = bundle.path / "status"
    path.touch()
    path.chmod(0o666)
    bundle.config["mounts"].append(
        {"destination": "/status", "type": "bind", "source": str(path), "options": ["bind"]}
    )
    hook(bundle, "startContainer", "cat /proc/self/status >/status")
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert bundle.run("true").returncode == 0
    shown = path.read_text()
    assert "Uid:\t1000\t1000\t1000\t1000" in shown
    assert "CapEff:\t0000000000000000" in shown
