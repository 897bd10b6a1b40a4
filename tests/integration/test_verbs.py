"""The verbs on real containers: outputs that tools read, exit statuses, logs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCHEMA_KEYS = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created"]


def message(line: str) -> str:
    """The message of a log line as text has it, unquoted."""
    found = re.fullmatch(r'time="[^"]+" level=error msg=(.*)\n', line)
    assert found, line
    text = found.group(1)
    return str(json.loads(text)) if text.startswith('"') else text


def test_state_is_as_tools_read_it(bundle: Any) -> None:
    bundle.config["annotations"] = {"z": "1", "a.b": "c <d>"}
    assert bundle.create().returncode == 0
    done = bundle.call("state", bundle.id)
    told = json.loads(done.stdout)
    assert list(told) == [*SCHEMA_KEYS, "annotations", "owner"]
    assert done.stdout.startswith(
        '{\n  "ociVersion": "1.3.0",\n  "id": "%s",\n  "pid": ' % bundle.id
    )
    assert done.stdout.endswith('\n  "owner": ""\n}')
    assert '\n    "a.b": "c \\u003cd\\u003e",\n    "z": "1"\n' in done.stdout
    assert (told["status"], told["owner"]) == ("created", "")
    assert (told["bundle"], told["rootfs"]) == (str(bundle.path), str(bundle.rootfs))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", told["created"])
    assert os.path.exists("/proc/%d" % told["pid"])
    bundle.call("start", bundle.id)
    assert bundle.state()["status"] == "running"
    bundle.call("kill", bundle.id, "KILL")
    bundle.wait_for("stopped")
    assert bundle.state()["pid"] == 0


def test_list(make_bundle: Any) -> None:
    bundle = make_bundle()
    bundle.root.mkdir()
    assert bundle.call("list").stdout == (
        "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    )
    assert bundle.call("list", "--format", "json").stdout == "null\n"
    assert bundle.call("list", "-q").stdout == ""
    ids = ["b-%s" % bundle.id, "a-%s" % bundle.id]
    bundle.create()
    for name in ids:
        assert bundle.call("create", name).returncode == 0
    (bundle.root / "a-file").write_text("")
    (bundle.root / "rest-of-a-killed-create").mkdir()
    expected = sorted([*ids, bundle.id])
    assert bundle.call("list", "-q").stdout.split() == expected
    told = json.loads(bundle.call("list", "--format=json").stdout)
    assert [entry["id"] for entry in told] == expected
    assert all(list(entry) == [*SCHEMA_KEYS, "owner"] for entry in told)
    assert {entry["owner"] for entry in told} == {"root"}
    header, *rows = bundle.call("list").stdout.splitlines()
    columns = [header.index(title) for title in header.split()]
    for row, entry in zip(rows, told):
        keys = ("id", "pid", "status", "bundle", "created", "owner")
        assert row.split() == [str(entry[key]) for key in keys]
        assert all(row[column - 1] == " " != row[column] for column in columns[1:])
    done = bundle.call("list", "-f", "xml")
    assert (done.returncode, message(done.stderr)) == (1, "invalid format option")


def test_ps(bundle: Any) -> None:
    bundle.start("sh", "-c", "sleep 1000 & wait")
    header, *rows = bundle.call("ps", bundle.id).stdout.splitlines()
    assert header.split()[:2] == ["UID", "PID"]
    pids = json.loads(bundle.call("ps", "--format", "json", bundle.id).stdout)
    assert sorted(int(row.split()[1]) for row in rows) == pids
    assert len(pids) == 2
    assert bundle.state()["pid"] in pids
    header, *rows = bundle.call("ps", bundle.id, "-o", "pid,args").stdout.splitlines()
    assert header.split() == ["PID", "COMMAND"]
    done = bundle.call("ps", bundle.id, "-o", "args")
    assert (done.returncode, message(done.stderr)) == (
        1,
        "couldn't find PID field in ps output",
    )
    done = bundle.call("ps", "-f", "xml", bundle.id)
    assert (done.returncode, message(done.stderr)) == (1, "invalid format option")
    bundle.call("kill", bundle.id, "KILL")
    bundle.wait_for("stopped")
    assert bundle.call("ps", "-f", "json", bundle.id).stdout == "null\n"


@pytest.mark.parametrize(
    ("signal", "status"), [("KILL", 137), ("9", 137), ("sigterm", 143), ("SIGUSR1", 138)]
)
def test_kill(signal: str, status: int, bundle: Any) -> None:
    script = 'for s in TERM USR1; do trap "exit \\$((128 + $(kill -l $s)))" $s; done; '
    bundle.config["process"]["args"] = ["sh", "-c", script + "while :; do sleep 0.02; done"]
    bundle.write()
    runner = subprocess.Popen(bundle.command("run", bundle.id), cwd=bundle.path)
    try:
        bundle.wait_for("running")
        while "sleep" not in bundle.call("ps", bundle.id).stdout:
            pass
        done = bundle.call("kill", bundle.id, signal)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert runner.wait(20) == status
    finally:
        runner.kill()
        runner.wait()


def test_kill_refuses(bundle: Any) -> None:
    bundle.start()
    done = bundle.call("kill", bundle.id, "FOO")
    assert (done.returncode, message(done.stderr)) == (1, 'unknown signal "FOO"')
    done = bundle.call("kill", bundle.id, "100")
    assert message(done.stderr) == "unable to signal init: invalid argument"
    assert bundle.call("kill", bundle.id, "0").returncode == 0
    assert message(bundle.call("kill", "no" + bundle.id, "FOO").stderr).startswith(
        "container does not exist"
    )
    bundle.call("kill", bundle.id, "9")
    bundle.wait_for("stopped")
    assert message(bundle.call("kill", bundle.id).stderr) == "container not running"
    assert bundle.call("kill", "--all", bundle.id).returncode == 0


def test_exit_statuses_of_run_and_exec(bundle: Any) -> None:
    assert bundle.shell("exit 3").returncode == 3
    assert bundle.shell("kill -TERM $$; sleep 9").returncode in (0, 143)
    done = bundle.run("/nosuch")
    assert done.returncode == 1
    assert message(done.stderr).startswith("runc run failed: ")
    assert message(done.stderr).endswith('exec: "/nosuch": stat /nosuch: no such file or directory')
    bundle.start()
    assert bundle.exec("sh", "-c", "exit 7").returncode == 7
    assert bundle.exec("sh", "-c", "kill -9 $$").returncode == 137
    for args, text in (
        (
            ["nosuch"],
            'unable to start container process: exec: "nosuch": executable file not found',
        ),
        ([], "exec args cannot be empty"),
    ):
        done = bundle.exec(*args)
        assert done.returncode == 255
        assert message(done.stderr).startswith("exec failed: " + text)


def test_words_after_the_id_belong_to_the_command(bundle: Any) -> None:
    bundle.start()
    done = bundle.exec("echo", "-t", "--env", "--", "--cwd=/x", options=("--cwd", "/bin"))
    assert done.stdout == "-t --env -- --cwd=/x\n"
    done = bundle.exec("sh", "-c", 'echo "$A $B"', options=("-e", "A=1,2", "--env=B=-x"))
    assert done.stdout == "1,2 -x\n"


def test_process_file(bundle: Any, scratch: Path) -> None:
    bundle.start()
    process = {**bundle.config["process"], "args": ["sh", "-c", "pwd; id -u"], "cwd": "/tmp"}
    process["user"] = {"uid": 1000, "gid": 1000}
    (scratch / "process.json").write_text(json.dumps(process))
    done = bundle.exec(options=("--process", str(scratch / "process.json")))
    assert (done.returncode, done.stdout) == (0, "/tmp\n1000\n")
    done = bundle.exec(options=("-p", str(scratch / "none.json")))
    assert done.returncode == 255
    assert message(done.stderr).startswith("exec failed: open %s/none.json: " % scratch)


def test_relative_pid_file_is_meant_from_here(bundle: Any, scratch: Path) -> None:
    bundle.create("true", options=())
    assert bundle.call("delete", "--force", bundle.id).returncode == 0
    done = bundle.call(
        "create", "-b", str(bundle.path), "--pid-file", "x.pid", bundle.id, cwd=str(scratch)
    )
    assert done.returncode == 0, done
    assert (scratch / "x.pid").read_text() == str(bundle.state()["pid"])


def test_errors_go_to_the_log_and_to_stderr(bundle: Any, scratch: Path) -> None:
    bundle.config["process"]["args"] = ["/nosuch"]
    bundle.write()
    log = scratch / "log.json"
    done = bundle.call("--log", str(log), "--log-format", "json", "run", bundle.id)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert done.returncode == 1
    assert done.stderr == lines[-1]["msg"] + "\n"
    assert (lines[-1]["level"], list(lines[-1])) == ("error", ["level", "msg", "time"])
    assert log.stat().st_mode & 0o777 == 0o644


def test_the_log_is_not_among_the_preserved_descriptors(bundle: Any, scratch: Path) -> None:
    bundle.config["process"]["args"] = ["sh", "-c", "ls -l /proc/self/fd"]
    bundle.write()
    (scratch / "three").write_text("")
    options = ["--log", str(scratch / "log"), "run", "--preserve-fds", "2", bundle.id]
    script = 'exec "$@" 3<three 4<three'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *bundle.command(*options, "--bundle", str(bundle.path))],
        cwd=str(scratch),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert done.stdout.count("/three\n") == 2
    assert "log\n" not in done.stdout


def test_debug_is_a_story(bundle: Any) -> None:
    bundle.config["process"]["args"] = ["true"]
    bundle.write()
    done = bundle.call("--debug", "run", bundle.id)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert len(lines) > 3
    for line in lines:
        assert re.fullmatch(
            r'time="[^"]+" level=debug msg=.* elapsed=[\d.]+ms step=[\d.]+ms', line
        ), line
    # Both sides tell theirs, from the config to the end.
    for step in (
        "host: config.json is read",
        "host: init is process",
        "init: all is mounted",
        "init: the root file system is entered",
        "host: the program runs",
        "host: the program has ended, exit status 0",
        "host: the container is deleted",
    ):
        assert step in done.stderr, step


@pytest.mark.parametrize(
    ("verb", "steps"),
    [
        (("exec", "true"), ["is running", "the process has joined", "has ended, exit status 0"]),
        (("pause",), ["stand still"]),
        (("resume",), ["run again"]),
        (("kill", "KILL"), ["the container is running", "signal 9 is sent to process"]),
        (("delete",), ["the container is stopped", "the cgroup is removed", "the state is removed"]),
    ],
)  # fmt: skip
def test_debug_of_the_verbs(bundle: Any, verb: tuple[str, ...], steps: list[str]) -> None:
    bundle.start()
    if verb[0] == "resume":
        bundle.call("pause", bundle.id)
    if verb[0] == "delete":
        bundle.call("kill", bundle.id, "KILL")
        bundle.wait_for("stopped")
    done = bundle.call("--debug", verb[0], bundle.id, *verb[1:])
    assert done.returncode == 0, done
    at = [done.stderr.find(step) for step in steps]
    assert -1 not in at and at == sorted(at), done.stderr


def test_default_spec_runs(bundle: Any) -> None:
    """`runc spec`, then a terminal: the first thing that anybody does."""
    subprocess.run(["rm", str(bundle.path / "config.json")], check=True)
    assert bundle.call("spec").returncode == 0
    status, shown = bundle.on_terminal("run", bundle.id, typed=b"id -u; exit 3\n")
    assert status == 3
    assert "\n0\r\n" in shown


def test_list_knows_containers_from_the_cache_beside_them(bundle: Any) -> None:
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sync"], "action": "SCMP_ACT_ERRNO"}],
    }
    bundle.start()
    done = bundle.call("list", "-q")
    assert (done.stdout, done.stderr) == (f"{bundle.id}\n", "")


def test_similar_id(bundle: Any) -> None:
    bundle.start()
    done = bundle.call("state", bundle.id[:-1])
    assert message(done.stderr) == 'container does not exist; did you mean "%s"?' % bundle.id


def test_state_root_of_an_ordinary_user(bundle: Any, scratch: Path) -> None:
    """Without --root it is below $XDG_RUNTIME_DIR, with the sticky bit."""
    runtime_dir = scratch / "user"
    runtime_dir.mkdir()
    os.chown(runtime_dir, 1000, 1000)
    done = subprocess.run(
        ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", bundle.runc, "list"],
        env={**bundle.environment, "XDG_RUNTIME_DIR": str(runtime_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (runtime_dir / "runc").stat().st_mode & 0o7777 == 0o1700


def test_pause_and_resume(bundle: Any) -> None:
    bundle.start()
    assert message(bundle.call("resume", bundle.id).stderr) == "container not paused"
    done = bundle.call("pause", bundle.id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert bundle.state()["status"] == "paused"
    assert " paused " in bundle.call("list").stdout
    assert message(bundle.call("pause", bundle.id).stderr) == "container not running"
    done = bundle.exec("true")
    assert done.returncode == 255
    assert "cannot exec in a paused container (use --ignore-paused" in message(done.stderr)
    assert bundle.call("resume", bundle.id).returncode == 0
    assert bundle.state()["status"] == "running"


def limit(bundle: Any, controller: str, name: str) -> str:
    """What a file of the container's cgroup says."""
    lines = Path("/proc/%d/cgroup" % bundle.state()["pid"]).read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return Path("/sys/fs/cgroup/%s%s/%s" % (controller, path, name)).read_text().strip()
    raise AssertionError(lines)


@pytest.mark.needs("cgroup1")
def test_update(bundle: Any, scratch: Path) -> None:
    bundle.start()
    done = bundle.call("update", "--memory", "64M", "--pids-limit=50", bundle.id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert limit(bundle, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert limit(bundle, "pids", "pids.max") == "50"
    assert bundle.call("update", bundle.id, "--pids-limit", "-1").returncode == 0
    assert limit(bundle, "pids", "pids.max") == "max"
    assert limit(bundle, "memory", "memory.limit_in_bytes") == str(64 << 20)
    (scratch / "limits.json").write_text('{"pids": {"limit": 20}}')
    with open(scratch / "limits.json") as file:
        done = bundle.call("update", "--resources", "-", bundle.id, stdin=file)
    assert done.returncode == 0, done
    assert limit(bundle, "pids", "pids.max") == "20"
    done = bundle.call("update", "--cpu-quota", "x", bundle.id)
    assert message(done.stderr) == (
        'invalid value for cpu-quota: strconv.ParseInt: parsing "x": invalid syntax'
    )
