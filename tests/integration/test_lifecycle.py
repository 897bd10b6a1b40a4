"""The life of a container: every verb in every status, `run`, and the README's walk-through."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration import traces
from tests.integration.traces import message

README = Path(__file__).resolve().parents[2] / "README.md"
STATUSES = ("created", "running", "paused", "stopped")


def bring_to(bundle: Any, status: str) -> None:
    """A container in this status."""
    done = bundle.create()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    if status != "created":
        assert bundle.call("start", bundle.id).returncode == 0
    if status == "paused":
        assert bundle.call("pause", bundle.id).returncode == 0
    if status == "stopped":
        assert bundle.call("kill", bundle.id, "KILL").returncode == 0
    bundle.wait_for(status)


def in_foreground(bundle: Any, *options: str, **more: Any) -> subprocess.Popen[str]:
    """`runc run` with pipes, not waited for."""
    bundle.write()
    return subprocess.Popen(
        bundle.command("run", *options, bundle.id),
        cwd=bundle.path,
        env=bundle.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that a process in the foreground prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_create_start_and_the_end(bundle: Any) -> None:
    bundle.config["root"]["readonly"] = False
    done = bundle.create("sh", "-c", "echo here >/tmp/ran; sleep 1000; true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = bundle.state()["pid"]
    assert bundle.state()["status"] == "created"
    assert not (bundle.rootfs / "tmp" / "ran").exists()
    done = bundle.call("start", bundle.id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert bundle.state()["status"] == "running"
    assert bundle.state()["pid"] == pid
    # `start` comes back after the execve(2), so the name is the program's.
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sh\0-c\0")
    deadline = time.monotonic() + 5
    while not (bundle.rootfs / "tmp" / "ran").exists():
        assert time.monotonic() < deadline
    assert bundle.call("kill", bundle.id, "KILL").returncode == 0
    bundle.wait_for("stopped")
    done = bundle.call("delete", bundle.id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert traces.of(bundle) == traces.NONE


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("running", "cannot start an already running container"),
        ("paused", "cannot start a container in the paused state"),
        ("stopped", "cannot start a container that has stopped"),
    ],
)
def test_start_refuses(status: str, error: str, bundle: Any) -> None:
    bring_to(bundle, status)
    assert message(bundle.call("start", bundle.id)) == error
    assert bundle.state()["status"] == status


def test_start_of_one_whose_init_died(bundle: Any) -> None:
    bundle.create()
    os.kill(bundle.state()["pid"], signal.SIGKILL)
    bundle.wait_for("stopped")
    assert message(bundle.call("start", bundle.id)) == "container process is already dead"
    assert bundle.call("delete", bundle.id).returncode == 0


@pytest.mark.parametrize("status", STATUSES)
def test_kill(status: str, bundle: Any) -> None:
    bring_to(bundle, status)
    done = bundle.call("kill", bundle.id, "KILL")
    if status == "stopped":
        assert message(done) == "container not running"
        assert bundle.call("kill", "--all", bundle.id, "KILL").returncode == 0
        return
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    bundle.wait_for("stopped")
    assert bundle.call("delete", bundle.id).returncode == 0
    assert traces.of(bundle) == traces.NONE


@pytest.mark.needs("program:strace")
@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_kill_without_pidfd_open(error: str, bundle: Any) -> None:
    """Linux before 5.3, and an engine's older seccomp profile, under a Python that has the call."""
    bundle.start()
    inject = f"inject=pidfd_open:error={error}"
    tracer = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pidfd_open", "-e", inject]
    for verb, *arguments in (("kill", bundle.id, "0"), ("delete", "--force", bundle.id)):
        command = [*tracer, *bundle.command(verb, *arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
    assert traces.of(bundle) == traces.NONE


def test_a_created_container_ends_by_term(bundle: Any) -> None:
    """Pid 1 of a namespace ignores what it has no handler for; a waiting init has one."""
    bundle.create()
    assert bundle.call("kill", bundle.id).returncode == 0
    bundle.wait_for("stopped")


def test_kill_all_without_a_pid_namespace(bundle: Any) -> None:
    """The kernel kills nobody then when init ends: the cgroup tells who belongs to it."""
    namespaces = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [n for n in namespaces if n["type"] != "pid"]
    bundle.start("sh", "-c", "sleep 1001 & sleep 1002 & wait")
    deadline = time.monotonic() + 10
    while len(json.loads(bundle.call("ps", "-f", "json", bundle.id).stdout)) != 3:
        assert time.monotonic() < deadline
    assert bundle.call("kill", "--all", bundle.id, "KILL").returncode == 0
    bundle.wait_for("stopped")
    deadline = time.monotonic() + 10
    while traces.processes(bundle.id):
        assert time.monotonic() < deadline
    error = "unable to kill all processes: container not running"
    assert message(bundle.call("kill", bundle.id, "KILL")) == error
    assert bundle.call("kill", "--all", bundle.id, "KILL").returncode == 0
    assert bundle.call("delete", bundle.id).returncode == 0
    assert traces.of(bundle) == traces.NONE


@pytest.mark.parametrize("status", STATUSES)
def test_delete(status: str, bundle: Any) -> None:
    bring_to(bundle, status)
    done = bundle.call("delete", bundle.id)
    if status in ("running", "paused"):
        expected = f"cannot delete container {bundle.id} that is not stopped: {status}"
        assert message(done) == expected
        assert bundle.state()["status"] == status
        return
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert traces.of(bundle) == traces.NONE
    assert message(bundle.call("delete", bundle.id)).startswith("container does not exist")


@pytest.mark.parametrize("status", STATUSES)
def test_delete_force(status: str, bundle: Any) -> None:
    bring_to(bundle, status)
    done = bundle.call("delete", "--force", bundle.id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert traces.of(bundle) == traces.NONE
    done = bundle.call("delete", "--force", bundle.id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_delete_force_without_a_pid_namespace(bundle: Any) -> None:
    namespaces = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [n for n in namespaces if n["type"] != "pid"]
    bundle.start("sh", "-c", "trap '' TERM; sleep 1001 & sleep 1002 & wait")
    assert bundle.call("delete", "-f", bundle.id).returncode == 0
    assert traces.of(bundle) == traces.NONE


@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete", "ps", "exec", "pause"])
def test_unknown_container(verb: str, bundle: Any) -> None:
    bundle.write()
    done = bundle.call(verb, bundle.id, *(["true"] if verb == "exec" else []))
    prefix = "exec failed: " if verb == "exec" else ""
    assert message(done).startswith(prefix + "container does not exist")
    assert done.returncode == (255 if verb == "exec" else 1)


@pytest.mark.parametrize("name", ["a", "A-b_c+d.e", "-x", "..a", "9", "x" * 255])
def test_valid_ids(name: str, bundle: Any) -> None:
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}"
    bundle.config["process"]["args"] = ["true"]
    bundle.write()
    done = bundle.call("create", "--", name)
    assert done.returncode == 0, done
    assert json.loads(bundle.call("state", "--", name).stdout)["id"] == name
    assert bundle.call("list", "-q").stdout == name + "\n"
    assert bundle.call("delete", "--", name).returncode == 0


@pytest.mark.parametrize("name", [".", "..", "a/b", "../a", "a b", "ä", "a\n", "a:b", "x" * 1025])
def test_invalid_ids(name: str, bundle: Any) -> None:
    bundle.write()
    for verb in ("create", "run", "state", "delete", "kill", "start"):
        done = bundle.call(verb, name)
        assert message(done).endswith("invalid container ID format"), verb
    assert message(bundle.call("delete", "--force", name)) == "invalid container ID format"
    assert traces.of(bundle) == traces.NONE


def test_empty_id(bundle: Any) -> None:
    for verb in ("create", "state", "delete"):
        assert message(bundle.call(verb, "")).endswith("container id cannot be empty")


@pytest.mark.parametrize("status", STATUSES)
def test_id_in_use(status: str, bundle: Any) -> None:
    bring_to(bundle, status)
    before = bundle.state()
    for verb in ("create", "run"):
        done = bundle.call(verb, bundle.id)
        expected = f"runc {verb} failed: container with given ID already exists"
        assert (done.returncode, message(done)) == (1, expected)
    assert bundle.state() == before


def test_two_containers_of_one_bundle(bundle: Any) -> None:
    bundle.create()
    second = bundle.id + "-2"
    assert bundle.call("create", second).returncode == 0
    assert bundle.call("start", second).returncode == 0
    assert bundle.state()["status"] == "created"
    assert bundle.call("delete", bundle.id).returncode == 0
    assert json.loads(bundle.call("state", second).stdout)["status"] == "running"
    assert bundle.call("exec", second, "true").returncode == 0


def test_bundle_must_be_there(bundle: Any) -> None:
    done = bundle.call("create", "--bundle", "/nonexist", bundle.id)
    expected = "chdir /nonexist: no such file or directory"
    assert message(done) == f"runc create failed: {expected}"
    (bundle.path / "config.json").unlink()
    done = bundle.call("create", bundle.id)
    assert message(done).startswith("runc create failed: JSON specification file config.json not")
    assert traces.of(bundle) == traces.NONE


@pytest.mark.parametrize("status", [0, 1, 3, 125, 255])
def test_exit_status(status: int, bundle: Any) -> None:
    done = bundle.shell(f"echo out; echo err >&2; exit {status}")
    assert (done.returncode, done.stdout, done.stderr) == (status, "out\n", "err\n")
    assert traces.of(bundle) == traces.NONE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR2])
def test_exit_status_after_a_signal(number: int, bundle: Any) -> None:
    """Sent from outside: pid 1 is deaf to its own, and to what it ignores from its namespace."""
    bundle.config["process"]["args"] = ["sh", "-c", "echo ready; sleep 1000"]
    namespaces = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [n for n in namespaces if n["type"] != "pid"]
    process = in_foreground(bundle)
    assert line_of(process) == "ready"
    os.kill(bundle.state()["pid"], number)
    assert process.wait(10) == 128 + number
    assert traces.of(bundle) == traces.NONE


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1", "USR2", "INT", "QUIT", "CONT", "ALRM"])
def test_signals_are_forwarded(name: str, bundle: Any) -> None:
    script = f"trap 'echo {name}; exit 7' {name}; echo ready; while :; do sleep 0.02; done"
    bundle.config["process"]["args"] = ["sh", "-c", script]
    process = in_foreground(bundle)
    assert line_of(process) == "ready"
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert line_of(process) == name
    assert process.wait(10) == 7


def test_signals_of_its_own_are_kept(bundle: Any) -> None:
    """SIGCHLD and SIGWINCH are about runc's own children and terminal; SIGURG is Go's."""
    names = ("CHLD", "WINCH", "URG")
    script = "".join(f"trap 'echo {name}' {name}; " for name in names)
    script += "trap 'exit 0' TERM; echo ready; while :; do read -t 0.05 x; done"
    bundle.config["process"]["args"] = ["sh", "-c", script]
    process = in_foreground(bundle, stdin=subprocess.PIPE)
    assert line_of(process) == "ready"
    for name in names:
        process.send_signal(getattr(signal, f"SIG{name}"))
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert process.stdout is not None
    assert process.stdout.read() == ""


def test_a_signal_during_the_start_is_not_lost(bundle: Any) -> None:
    """It waits until there is a process for it."""
    bundle.config["process"]["args"] = ["sh", "-c", "trap 'exit 9' TERM; sleep 0.5; exit 8"]
    statuses = set()
    for delay in range(0, 60, 12):
        process = in_foreground(bundle)
        time.sleep(delay / 1000)
        process.send_signal(signal.SIGTERM)
        statuses.add(process.wait(10))
        assert traces.of(bundle) == traces.NONE, delay
    # Before runc is itself, the signal ends it; without a handler, pid 1 ignores it.
    assert statuses <= {-15, 143, 9, 8}


def test_keep(bundle: Any) -> None:
    assert bundle.run("sh", "-c", "exit 5", options=("--keep",)).returncode == 5
    assert bundle.state()["status"] == "stopped"
    assert bundle.call("delete", bundle.id).returncode == 0
    assert traces.of(bundle) == traces.NONE


def test_detach(bundle: Any) -> None:
    done = bundle.run("sh", "-c", "exit 5", options=("--detach",))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    bundle.wait_for("stopped")
    assert bundle.call("delete", bundle.id).returncode == 0


def test_detached_container_belongs_to_init(bundle: Any) -> None:
    bundle.start()
    status = Path("/proc/%d/status" % bundle.state()["pid"]).read_text()
    parent = int(status.split("PPid:")[1].split()[0])
    assert b"runc" not in Path(f"/proc/{parent}/cmdline").read_bytes()


@pytest.mark.parametrize("verb", ["create", "run -d", "exec -d"])
def test_pid_file(verb: str, bundle: Any, scratch: Path) -> None:
    here = scratch / "here"
    here.mkdir()
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    name, *options = verb.split()
    program = []
    container = bundle.id
    if name == "exec":
        bundle.start()
        program = ["sleep", "1000"]
    else:
        options += ["-b", str(bundle.path)]
    # Relative, over one that exists, then absolute.
    (here / "x.pid").write_text("before")
    done = bundle.call(name, *options, "--pid-file", "x.pid", container, *program, cwd=str(here))
    assert done.returncode == 0, done
    pid = int((here / "x.pid").read_text())
    assert os.listdir(here) == ["x.pid"]
    if name == "exec":
        assert pid in json.loads(bundle.call("ps", "-f", "json", container).stdout)
        assert pid != bundle.state()["pid"]
    else:
        assert pid == bundle.state()["pid"]
        assert bundle.call("delete", "-f", container).returncode == 0
    done = bundle.call(name, *options, "--pid-file", str(here / "y.pid"), container, *program)
    assert done.returncode == 0, done
    assert (here / "y.pid").read_text().isdigit()


def test_pid_file_that_cannot_be_written(bundle: Any, scratch: Path) -> None:
    (scratch / "file").write_text("")
    for path, reason in (
        (f"{scratch}/none/x.pid", "no such file or directory"),
        (f"{scratch}/file/x.pid", "not a directory"),
    ):
        done = bundle.create(options=("--pid-file", path))
        directory = os.path.dirname(path)
        expected = f"runc create failed: open {directory}/.x.pid: {reason}"
        assert message(done) == expected
        assert traces.of(bundle) == traces.NONE
    (scratch / "directory").mkdir()
    before = sorted(os.listdir(scratch))
    done = bundle.create(options=("--pid-file", f"{scratch}/directory"))
    names = f"{scratch}/.directory {scratch}/directory"
    assert message(done) == f"runc create failed: rename {names}: is a directory"
    assert sorted(os.listdir(scratch)) == before
    assert traces.of(bundle) == traces.NONE


def test_pid_file_after_one_that_was_killed(bundle: Any, scratch: Path) -> None:
    """The temporary file of a runc that was killed is in nobody's way."""
    (scratch / ".x.pid").write_text("1")
    done = bundle.create(options=("--pid-file", str(scratch / "x.pid")))
    assert done.returncode == 0, done
    assert (scratch / "x.pid").read_text() == str(bundle.state()["pid"])
    assert not (scratch / ".x.pid").exists()


def test_stdio_is_handed_down(bundle: Any, scratch: Path) -> None:
    """Not copied: what the container has are the caller's own files."""
    bundle.config["process"]["args"] = [
        "sh",
        "-c",
        "cat; for i in 0 1 2; do stat -L -c %i /proc/self/fd/$i; done; echo e >&2",
    ]
    bundle.write()
    names = [scratch / name for name in ("in", "out", "err")]
    names[0].write_text("typed\n")
    with open(names[0]) as stdin, open(names[1], "w") as out, open(names[2], "w") as err:
        command = bundle.command("run", bundle.id)
        done = subprocess.run(
            command, cwd=bundle.path, stdin=stdin, stdout=out, stderr=err, check=False
        )
    assert done.returncode == 0
    numbers = [str(name.stat().st_ino) for name in names]
    assert names[1].read_text().split() == ["typed", *numbers]
    assert names[2].read_text() == "e\n"


def test_end_of_file_reaches_the_container(bundle: Any) -> None:
    bundle.config["process"]["args"] = ["cat"]
    bundle.write()
    done = bundle.call("run", bundle.id, input="abc\n" * 50000)
    assert (done.returncode, len(done.stdout)) == (0, 200000)


def test_closed_stdio(bundle: Any) -> None:
    bundle.config["root"]["readonly"] = False
    bundle.config["process"]["args"] = ["sh", "-c", "ls /proc/self/fd >/tmp/ran"]
    bundle.write()
    script = 'exec "$@" <&- >&- 2>&-'
    command = ["sh", "-c", script, "sh", *bundle.command("run", bundle.id)]
    assert subprocess.run(command, cwd=bundle.path, check=False).returncode == 0
    # The three that every program counts on, and the directory that is listed.
    assert (bundle.rootfs / "tmp" / "ran").read_text().split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("option", [None, "--no-subreaper"])
def test_subreaper(option: str | None, bundle: Any) -> None:
    """Without a pid namespace, an orphan of the container becomes runc's, or the host's init's."""
    namespaces = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [n for n in namespaces if n["type"] != "pid"]
    script = "(sleep 1000 & echo $!); exec sleep 1000"
    bundle.config["process"]["args"] = ["sh", "-c", script]
    process = in_foreground(bundle, *([option] if option else []))
    orphan = int(line_of(process))
    time.sleep(0.1)
    status = Path(f"/proc/{orphan}/status").read_text()
    parent = int(status.split("PPid:")[1].split()[0])
    assert (parent == process.pid) == (option is None)
    # A child that is not the container's process is reaped and does not end the wait.
    os.kill(orphan, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while option is None and os.path.exists(f"/proc/{orphan}"):
        assert time.monotonic() < deadline
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143


@pytest.mark.parametrize("kept", ["init_process_start", "init_process_pid"])
def test_a_reused_pid_is_not_the_container(kept: str, bundle: Any) -> None:
    """state.json names a process that lives, but it is another one."""
    bundle.start()
    pid = bundle.state()["pid"]
    file = bundle.root / bundle.id / "state.json"
    state = json.loads(file.read_text())
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        if kept == "init_process_start":
            state["init_process_start"] += 1
        else:
            state["init_process_pid"] = stranger.pid
        file.write_text(json.dumps(state))
        assert (bundle.state()["status"], bundle.state()["pid"]) == ("stopped", 0)
        assert message(bundle.call("kill", bundle.id, "KILL")) == "container not running"
        assert message(bundle.exec("true")).endswith("cannot exec in a stopped container")
        assert bundle.call("ps", "-f", "json", bundle.id).stdout == "null\n"
        os.kill(pid, signal.SIGKILL)
        assert bundle.call("delete", "--force", bundle.id).returncode == 0
        assert stranger.poll() is None
        assert traces.of(bundle) == traces.NONE
    finally:
        stranger.kill()
        stranger.wait()


def test_poststart_failing_leaves_nothing(bundle: Any) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}
    bundle.config["hooks"] = {"poststart": [hook]}
    done = bundle.run("sleep", "1000", options=("-d",))
    expected = "runc run failed: error running poststart hook #0: exit status 3, stdout: , "
    assert message(done) == expected + "stderr: no\n"
    assert traces.of(bundle) == traces.NONE


def test_the_state_directory_is_private(bundle: Any) -> None:
    bundle.create()
    assert stat.S_IMODE(bundle.root.stat().st_mode) == 0o700
    assert stat.S_IMODE((bundle.root / bundle.id / "state.json").stat().st_mode) == 0o600


def readme_walk_through() -> list[str]:
    """The indented lines of README.md's "A container's life"."""
    section = README.read_text().split("## A container's life\n", 1)[1].split("\n## ", 1)[0]
    return [line[4:] for line in section.splitlines() if line.startswith("    ")]


def test_walk_through(bundle: Any, scratch: Path) -> None:
    """The README's lines as they stand there, on a /run that nobody else uses.

    Only x is another program: as the first process of a pid namespace, `sleep` is deaf to SIGTERM.
    """
    lines = readme_walk_through()
    assert len(lines) == 5, lines
    lists = [index for index, line in enumerate(lines) if "runc list" in line]
    assert lists == [0, 1]
    (scratch / "bin").mkdir()
    (scratch / "bin" / "runc").symlink_to(bundle.runc)
    (bundle.path / "config.json").unlink()
    script = textwrap.dedent("""
        set -e
        mount -t tmpfs none /run
        runc spec
        sed -i -e 's/"terminal": true/"terminal": false/' config.json
        %s -c 'import json, sys
        config = json.load(open("config.json"))
        config["process"]["args"] = ["sleep", "5"]
        json.dump(config, open("config.json", "w"))'
        %s
        %s
        sleep 5.2
        runc list
        %s
        runc list
        sed -i 's/"sleep", "5"/"sh", "-c", "trap exit TERM; while sleep .01; do :; done"/' config.json
        %s
        sleep 0.5
        %s
        runc list
    """) % (sys.executable, *lines)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        cwd=bundle.path,
        env={**bundle.environment, "PATH": f"{scratch}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    shown = done.stdout.splitlines()
    rows = [line.split() for line in shown if not line.startswith("ID ")]
    assert [row[2] for row in rows] == ["created", "running", "stopped"]
    assert {row[0] for row in rows} == {"mycontainerid"}
    assert len(shown) == len(rows) + 5
