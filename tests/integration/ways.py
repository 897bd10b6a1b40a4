"""The ways that a process comes into a container: every property is to work in each of them."""

from __future__ import annotations

import copy
import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle

RUN = "run"
EXEC = "exec"
PROCESS = "exec --process"

ALL = (RUN, EXEC, PROCESS)
"""The first process; `exec` with the properties of the bundle's config; `exec --process`."""


def call(
    bundle: Bundle, way: str, *program: str, process: Any = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run `program` with the properties `process` (as in config.json) beside the default ones."""
    plain = copy.deepcopy(bundle.config["process"])
    if way == PROCESS:
        bundle.start()
        path = bundle.path / "process.json"
        path.write_text(json.dumps({**plain, **(process or {}), "args": list(program)}))
        options = more.pop("options", ())
        return bundle.call("exec", *options, "--process", str(path), bundle.id, **more)
    if way == EXEC:
        bundle.start()
        bundle.config["process"].update(process or {})
        bundle.write()
        return bundle.exec(*program, **more)
    bundle.config["process"].update({**(process or {}), "args": list(program)})
    return bundle.run(**more)


def shell(
    bundle: Bundle, way: str, script: str, process: Any = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """call() of a shell script."""
    return call(bundle, way, "/bin/sh", "-c", script, process=process, **more)


def output(bundle: Bundle, way: str, script: str, process: Any = None) -> str:
    """What a shell script prints, without the last line break; it has to exit with 0."""
    done = shell(bundle, way, script, process)
    assert done.returncode == 0, done
    return done.stdout.rstrip("\n")


def status(bundle: Bundle, way: str, process: Any = None) -> dict[str, str]:
    """/proc/self/status of the process, as a dict."""
    done = call(bundle, way, "cat", "/proc/self/status", process=process)
    assert done.returncode == 0, done
    lines = (line.partition(":") for line in done.stdout.splitlines())
    return {name: value.strip() for name, _, value in lines}


def refused(bundle: Bundle, way: str, *words: str, process: Any = None) -> None:
    """Assert that these properties are refused in one sentence that has all `words` in it."""
    done = shell(bundle, way, "true", process)
    assert done.returncode == (1 if way == RUN else 255), done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def static_program(source: str, path: Path) -> None:
    """Compile a C program that needs nothing of the rootfs; skips the test if that cannot be done."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler is installed")
    command = [compiler, "-static", "-O1", "-x", "c", "-o", str(path), "-"]
    done = subprocess.run(command, input=source, capture_output=True, check=False, text=True)
    if done.returncode:
        pytest.skip("the C compiler cannot link statically")


def ignore_signals() -> None:
    """For preexec_fn: what a caller may ignore, and hand down."""
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN):
        signal.signal(number, signal.SIG_IGN)
