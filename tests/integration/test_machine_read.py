"""What engines read: byte for byte what a runc of today writes, but for pids, times and versions.

PEER_RUNC names that runc (1.5 or newer); without one the tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest


@pytest.fixture(scope="module")
def peer() -> str:
    """The runc to compare with."""
    path = os.environ.get("PEER_RUNC", "")
    if not os.access(path, os.X_OK):
        pytest.skip("PEER_RUNC names no runc 1.5 to compare with")
    return path


@pytest.fixture
def same(make_bundle: Any, runc: str, peer: str) -> Callable[[Callable[[Any], str]], str]:
    """Make an observation with both; it has to be the same text."""

    def compare(observe: Callable[[Any], str]) -> str:
        seen = []
        for name, binary in (("peer", peer), ("ours", runc)):
            bundle = make_bundle(name)
            # One after the other, in one place: what names a path names the same one.
            bundle.runc, bundle.id = binary, "machine-read"
            bundle.config["process"]["args"] = ["sleep", "1000"]
            bundle.write()
            try:
                seen.append(plain(observe(bundle)).replace(f"/{name}", "/bundle"))
            finally:
                bundle.clean()
        assert seen[1] == seen[0]
        return seen[1]

    return compare


def plain(text: str) -> str:
    """Without pids, times and counters."""
    text = re.sub(r'"\d{4}-\d\d-\d\dT[^"]*"', '"TIME"', text)
    return re.sub(r'((?:"pid": ?|\[)|"time":)\d+', r"\1N", text)


def logged(bundle: Any, *args: str) -> str:
    """The log that a verb that fails leaves, and its exit status."""
    log = bundle.path / "log.json"
    done = bundle.call("--log", str(log), "--log-format", "json", *args)
    text: str = log.read_text() if log.exists() else ""
    return f"{args[0]} {done.returncode} {text}"


# Verb, arguments ("ID": a container that runs); each fails.
FAILURES = [
    ("state", "nosuch"),
    ("kill", "nosuch", "KILL"),
    ("kill", "ID", "NOSUCH"),
    ("start", "nosuch"),
    ("start", "ID"),
    ("delete", "nosuch"),
    ("delete", "ID"),
    ("pause", "nosuch"),
    ("resume", "ID"),
    ("ps", "--format", "xml", "ID"),
    ("list", "--format", "xml"),
    ("events", "--interval", "0s", "ID"),
    ("events", "nosuch"),
    ("create", "ID"),
    ("create", "--bundle", "/nosuch", "other"),
    ("create", "a/b"),
    ("create", "--console-socket", "/nosuch", "other"),
    ("exec", "nosuch", "true"),
    ("exec", "ID", "nosuch"),
    ("exec", "ID", "/nosuch"),
    ("exec", "ID", "/etc/passwd"),
    ("exec", "--cwd", "/nosuch", "ID", "true"),
    ("exec", "--user", "nobody", "ID", "true"),
    ("exec", "--process", "/nosuch", "ID"),
    ("exec", "--tty", "--detach", "ID", "true"),
    ("update", "nosuch"),
    ("update", "--memory", "many", "ID"),
]


@pytest.mark.parametrize("args", FAILURES, ids=" ".join)
def test_errors(args: tuple[str, ...], same: Any) -> None:
    def observe(bundle: Any) -> str:
        if "ID" in args:
            bundle.start("sleep", "1000")
        return logged(bundle, *(bundle.id if word == "ID" else word for word in args))

    assert '"level":"error"' in same(observe)


# What is wrong, and the words of the reason that both have; where it stands is told here alone.
BROKEN: list[tuple[str, Callable[[Any], Any], str]] = [
    ("no program", lambda config: config["process"].update(args=["nosuch"]),
     'exec: \\"nosuch\\": executable file not found in $PATH'),
    ("no absolute program", lambda config: config["process"].update(args=["/nosuch"]),
     'exec: \\"/nosuch\\": stat /nosuch: no such file or directory'),
    ("not executable", lambda config: config["process"].update(args=["/etc/passwd"]),
     'exec: \\"/etc/passwd\\": permission denied'),
    ("no arguments", lambda config: config["process"].update(args=[]), "args must not be empty"),
    ("no rootfs", lambda config: config["root"].update(path="nosuch"),
     "/nosuch: no such file or directory"),
    ("bind source", lambda config: config["mounts"].append(
        {"destination": "/x", "type": "bind", "source": "/nosuch", "options": ["bind"]}),
     "no such file or directory"),
    ("sysctl", lambda config: config["linux"].update(sysctl={"kernel.hostname": "x"}),
     'sysctl \\"kernel.hostname\\" is not allowed as it conflicts with the OCI \\"hostname\\" field'),
    ("terminal", lambda config: config["process"].update(terminal=True),
     "cannot allocate tty if runc will detach without setting console socket"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "reason"), BROKEN, ids=[case[0] for case in BROKEN])
def test_errors_of_a_config(name: str, change: Any, reason: str, same: Any) -> None:
    def observe(bundle: Any) -> str:
        change(bundle.config)
        bundle.write()
        told = logged(bundle, "create", bundle.id)
        assert reason in told
        return told.partition("runc create failed: ")[0]

    assert same(observe) == 'create 1 {"level":"error","msg":"'


def test_invalid_json(same: Any) -> None:
    def observe(bundle: Any) -> str:
        (bundle.path / "config.json").unlink()
        return logged(bundle, "run", bundle.id)

    same(observe)


def test_state(same: Any) -> None:
    """In each status, with annotations."""

    def observe(bundle: Any) -> str:
        bundle.config["annotations"] = {"b.name": "2", "a.name": "<1> & \u00e9"}
        bundle.create()
        shown = [bundle.call("state", bundle.id).stdout]
        for verb in ("start", "pause", "resume"):
            assert bundle.call(verb, bundle.id).returncode == 0
            shown.append(bundle.call("state", bundle.id).stdout)
        bundle.call("kill", bundle.id, "KILL")
        bundle.wait_for("stopped")
        return "\n".join([*shown, bundle.call("state", bundle.id).stdout])

    seen = same(observe)
    for status in ("created", "running", "paused", "stopped"):
        assert f'"status": "{status}"' in seen


def test_list_and_ps(same: Any) -> None:
    def observe(bundle: Any) -> str:
        shown = bundle.call("list", "-f", "json").stdout
        bundle.start("sleep", "1000")
        shown += bundle.call("list", "-f", "json").stdout + bundle.call("list", "-q").stdout
        shown += bundle.call("ps", "-f", "json", bundle.id).stdout
        heading = bundle.call("list").stdout.splitlines()[0]
        # The width of BUNDLE follows the paths.
        return str(shown + re.sub(r" {2,}", "  ", heading))

    same(observe)


def test_pid_files(same: Any) -> None:
    """The digits and nothing else; mode as the umask leaves it."""

    def observe(bundle: Any) -> str:
        files = [bundle.path / name for name in ("init.pid", "exec.pid")]
        bundle.start("sleep", "1000", options=("--pid-file", str(files[0])))
        bundle.call("exec", "-d", "--pid-file", str(files[1]), bundle.id, "sleep", "9")
        assert int(files[0].read_text()) == bundle.state()["pid"]
        return str([(re.sub(r"\d+", "N", f.read_text()), oct(f.stat().st_mode)) for f in files])

    assert same(observe) == "[('N', '0o100644'), ('N', '0o100644')]"


def shape(value: Any) -> Any:
    """Keys in their order, and the types of values."""
    if isinstance(value, dict):
        return {key: shape(content) for key, content in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def test_statistics(same: Any) -> None:
    def observe(bundle: Any) -> str:
        bundle.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}
        bundle.start("sleep", "1000")
        return json.dumps(shape(json.loads(bundle.call("events", "--stats", bundle.id).stdout)))

    assert '"memory"' in same(observe)


def test_features(runc: str, peer: str) -> None:
    """All that the peer knows, in its order; versions and lists in no order aside."""

    def features(binary: str) -> Any:
        told = subprocess.run([binary, "features"], stdout=subprocess.PIPE, check=True).stdout
        return json.loads(told)

    theirs, ours = features(peer), features(runc)
    assert list(ours) == list(theirs)
    assert list(ours["linux"]) == list(theirs["linux"])
    assert shape(ours["linux"]["cgroup"]) == shape(theirs["linux"]["cgroup"])
    assert ours["linux"]["cgroup"] == theirs["linux"]["cgroup"]
    assert list(ours["annotations"]) == list(theirs["annotations"])
    for path in (("mountOptions",), ("hooks",), ("linux", "namespaces"), ("linux", "capabilities"),
                 ("linux", "seccomp", "actions"), ("linux", "seccomp", "operators"),
                 ("linux", "seccomp", "archs"), ("linux", "seccomp", "knownFlags")):  # fmt: skip
        here, there = ours, theirs
        for key in path:
            here, there = here[key], there[key]
        assert set(there) <= set(here), path
    for key in ("annotations", "potentiallyUnsafeConfigAnnotations"):
        told = json.dumps(ours[key])
        assert "criu" in told or '"org.opencontainers.runc.checkpoint.enabled": "true"' in told


def test_versions(runc: str, peer: str) -> None:
    """Engines read the first three lines."""

    def lines(binary: str) -> list[str]:
        told = subprocess.run([binary, "--version"], stdout=subprocess.PIPE, text=True, check=True)
        return [line.split(" ")[0] for line in told.stdout.splitlines()[:3]]

    assert lines(runc) == lines(peer)


def test_log_is_appended(same: Any) -> None:
    def observe(bundle: Any) -> str:
        log = Path(bundle.path) / "log"
        for name in ("one", "two"):
            bundle.call("--log", str(log), "--log-format", "json", "state", name)
        return log.read_text() + oct(log.stat().st_mode)

    same(observe)
