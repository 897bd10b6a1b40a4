"""Docker: the life of a container, its files and its neighbours, with both runtimes."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engines.daemons import (
    IMAGE,
    PATIENCE,
    STATUS,
    WithRuntime,
    call,
    limits_script,
    on_terminal,
    pause,
    resource_capability,
    systemd_driver,
)

SHELL = ("sh", "-c")


def test_exec(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        docker.start("c1", "-e", "A=1", "--cap-drop", "KILL")
        return [
            docker("exec", "c1", *SHELL, f"{STATUS}; echo $A; env | grep -v HOSTNAME | sort"),
            docker("exec", "-u", "1000", "c1", *SHELL, f"{STATUS}; id"),
            docker("exec", "-w", "/etc", "c1", "pwd"),
            docker("exec", "-e", "X=y", "c1", *SHELL, "echo $X $A; exit 9"),
            docker("exec", "-i", "c1", "cat", given="typed\n"),
            docker("exec", "--privileged", "c1", *SHELL, STATUS).status
            if resource_capability()
            else 0,
            docker("exec", "c1", *SHELL, "kill -9 $$"),
            docker("exec", "c1", "nosuch"),
            docker("exec", "c1", "/etc/passwd"),
            docker("exec", "-w", "/nosuch", "c1", "pwd").status,
            docker("exec", "c1", *SHELL, "cut -d: -f2- /proc/self/cgroup | sort"),
            docker("exec", "-d", "c1", *SHELL, "echo written > /tmp/x"),
            docker("exec", "c1", *SHELL, "sleep 1; cat /tmp/x"),
            docker("exec", "c1", "ps", "-o", "user,args"),
        ]

    seen = same(observe)
    assert [one.status for one in seen[6:9]] == [137, 126, 126], seen
    assert seen[12].out == "written\n"


def test_terminal(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        command = docker.command("-it", "--rm", IMAGE, *SHELL)
        script = "tty; stty size; stty -a | tail -n 4; ls -l /dev/console | cut -c1-10; read x; echo got $x; exit 6"
        first = on_terminal([*command, "sleep 1; " + script], [b"", b"word\n"])
        interrupted = on_terminal([*command, "trap 'exit 3' INT; echo ready; while :; do sleep 1; done"],
                                  [b"\x03"])  # fmt: skip
        docker.start("c1", "-t")
        client = docker.docker
        inside = [client.client, "-H", client.socket, "exec", "-it", "c1", *SHELL]
        second = on_terminal([*inside, "sleep 1; tty; stty size; read x; echo got $x; exit 5"],
                             [b"", b"word\n"])  # fmt: skip
        return first, interrupted, second

    first, interrupted, second = same(observe)
    assert first[0] == 6 and "/dev/pts/0" in first[1] and "41 132" in first[1], first
    assert interrupted[0] == 3
    assert second[0] == 5 and "got word" in second[1], second


def test_life(same: Any) -> None:
    """stop, kill, restart, pause, their statuses and states."""

    def observe(docker: WithRuntime) -> Any:
        state = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Paused}} {{.State.Error}}"
        seen: list[Any] = []

        def do(*args: str) -> None:
            seen.append((docker(*args), docker.inspect("c1", state)))

        docker.start(
            "c1", "--", *SHELL, "trap 'exit 5' TERM; trap : USR1; while :; do sleep 0.1; done"
        )
        do("exec", "c1", "true")
        pause(0.5)
        do("stop", "c1")
        do("start", "c1")
        pause(0.5)
        do("kill", "-s", "USR1", "c1")
        do("pause", "c1")
        do("exec", "c1", "true")
        do("pause", "c1")
        do("unpause", "c1")
        do("exec", "c1", "true")
        do("kill", "c1")
        docker.wait_for("c1", "{{.State.Running}}", "false")
        do("wait", "c1")
        do("restart", "c1")
        do("restart", "-t", "1", "c1")
        do("pause", "c1")
        do("kill", "c1")
        docker.wait_for("c1", "{{.State.Running}}", "false")
        do("start", "c1")
        do("stop", "-t", "1", "c1")
        return seen

    seen = same(observe)
    assert seen[1][1].startswith("exited 5"), seen[1]


def test_created_container(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        made = docker(
            "create",
            "--runtime",
            docker.runtime,
            "--network",
            "none",
            "--name",
            "c1",
            IMAGE,
            "echo",
            "hi",
        )
        return (
            made,
            docker("start", "-a", "c1"),
            docker("start", "-a", "c1"),
            docker("logs", "c1"),
            docker("rm", "c1"),
        )

    assert same(observe)[3].out == "hi\nhi\n"


def test_restart_policy(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        docker.start("c1", "--restart", "on-failure:2", "--", *SHELL, "echo once; exit 3")
        docker.wait_for("c1", "{{.State.Status}} {{.RestartCount}}", "exited 2")
        return docker("logs", "c1")

    assert same(observe).out == "once\n" * 3


def test_update(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        docker.start("c1", "-m", "64m", "--memory-swap", "128m")
        show = limits_script(
            "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us "
            "cpu/cpu.cfs_period_us cpuset/cpuset.cpus pids/pids.max",
            "memory.max cpu.max cpuset.cpus pids.max",
        )
        return [
            docker("update", "-m", "32m", "--cpu-shares", "77", "--pids-limit", "44", "c1"),
            docker("exec", "c1", *SHELL, show),
            docker("update", "--cpus", "0.3", "--cpuset-cpus", "0", "c1"),
            docker("exec", "c1", *SHELL, show),
            docker("update", "-m", "256m", "c1").status,
            docker("update", "-m", "256m", "--memory-swap", "512m", "c1").status,
            docker("exec", "c1", *SHELL, show),
            docker("update", "--cpuset-cpus", "99", "c1").status,
        ]

    seen = same(observe)
    assert "33554432\n" in seen[1].out and "\n44\n" in seen[1].out, seen[1]


def test_top_and_stats(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        docker.start("c1", "--", *SHELL, "sleep 1000 & wait")
        top = [line.split()[7:] for line in docker("top", "c1").ok().splitlines()]
        args = docker("top", "c1", "-o", "pid,comm").status
        stats = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "c1").ok())
        return top, args, sorted(stats), stats["PIDs"], stats["MemUsage"] not in ("", "0B / 0B")

    seen = same(observe)
    assert seen[3] == "2" and seen[4], seen


def test_raw_stats(same: Any) -> None:
    """The numbers of the engine's API: which there are, not how large."""

    def keys(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: keys(v) for k, v in value.items()}
        if isinstance(value, list):
            return sorted(
                {str(sorted(v)) if isinstance(v, dict) else type(v).__name__ for v in value}
            )
        return type(value).__name__

    def observe(docker: WithRuntime) -> Any:
        docker.start("c1", "-m", "64m")
        data = docker.docker.ask("/containers/c1/stats?stream=false")
        return keys(data), data["memory_stats"]["limit"], data["pids_stats"]["current"]

    assert same(observe)[1] == 64 << 20


def test_cp(same: Any, scratch: Path) -> None:
    def observe(docker: WithRuntime) -> Any:
        docker.start("c1", "--tmpfs", "/t")
        (scratch / "f").write_text("content")
        seen = [
            docker("cp", str(scratch / "f"), "c1:/tmp/f").status,
            docker("exec", "c1", "cat", "/tmp/f"),
            docker("exec", "c1", *SHELL, "echo from > /etc/made"),
            docker("cp", "c1:/etc/made", str(scratch / "made")).status,
        ]
        return seen, (scratch / "made").read_text()

    assert same(observe)[1] == "from\n"


def test_diff_commit_export(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        docker.start("c1", "--", *SHELL, "echo 1 > /etc/made; rm /etc/group; sleep 1000")
        pause(0.3)
        seen = [docker("diff", "c1"), docker("commit", "c1", "localhost/made").status]
        seen.append(docker.run("localhost/made", "cat", "/etc/made"))
        docker("rm", "-f", "c1")
        docker("rmi", "localhost/made")
        return seen

    seen = same(observe)
    assert seen[0].out == "C /etc\nA /etc/made\nD /etc/group\n" or "A /etc/made" in seen[0].out


@pytest.mark.parametrize("mode", ["private", "rprivate", "slave", "rslave", "shared", "rshared"])
def test_volume_propagation(same: Any, scratch: Path, mode: str) -> None:
    source = scratch / "source"
    (source / "sub").mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(source), str(source)], check=True)
    subprocess.run(["mount", "--make-shared", str(source)], check=True)

    def observe(docker: WithRuntime) -> Any:
        seen = [docker.run("-v", f"{source}:/v:{mode}", IMAGE, *SHELL,
                           "grep ' /v ' /proc/self/mountinfo | cut -d' ' -f6-7 | sed 's/[0-9]//g'")]  # fmt: skip
        docker.start("c1", "-v", f"{source}:/v:{mode}")
        subprocess.run(["mount", "-t", "tmpfs", "t", str(source / "sub")], check=True)
        (source / "sub" / "new").write_text("")
        seen.append(docker("exec", "c1", "ls", "/v/sub"))
        docker("rm", "-f", "c1")
        subprocess.run(["umount", str(source / "sub")], check=True)
        return seen

    seen = same(observe)
    assert ("new" in seen[1].out) == (mode not in ("private", "rprivate"))


def test_volumes(same: Any, scratch: Path) -> None:
    (scratch / "d").mkdir()
    (scratch / "f").write_text("file\n")

    def observe(docker: WithRuntime) -> Any:
        d, f = scratch / "d", scratch / "f"
        seen = [
            docker.run("-v", f"{d}:/a/b/c", "-v", f"{f}:/new/file:ro", IMAGE, *SHELL,
                       "cat /new/file; echo x > /new/file; echo y > /a/b/c/z; stat -c '%a %u' /a /a/b"),
            docker.run("-v", f"{d}:/d:ro", IMAGE, *SHELL, "touch /d/q; grep ' /d ' /proc/mounts | cut -d' ' -f2-"),
            docker.run("-v", "named:/etc", IMAGE, *SHELL, "ls /etc; echo kept > /etc/kept"),
            docker.run("-v", "named:/n", IMAGE, "cat", "/n/kept"),
            docker.run("--mount", f"type=bind,src={d},dst=/d,bind-propagation=rslave,readonly", IMAGE, "ls", "/d"),
            docker.run("--mount", "type=tmpfs,dst=/d,tmpfs-mode=1770,tmpfs-size=64k", IMAGE, *SHELL,
                       "stat -c %a /d; df -k /d | tail -1 | awk '{print $2}'"),
        ]  # fmt: skip
        docker("volume", "rm", "named")
        return seen

    seen = same(observe)
    assert "file\n" in seen[0].out and seen[3].out == "kept\n"


@pytest.mark.parametrize("kind", ["pid", "ipc", "network"])
def test_share_namespace(same: Any, kind: str) -> None:
    name = {"network": "net"}.get(kind, kind)

    def observe(docker: WithRuntime) -> Any:
        docker.start("first", *(["--ipc", "shareable"] if kind == "ipc" else []))
        mine = docker("exec", "first", "readlink", f"/proc/self/ns/{name}").ok()
        docker.start("second", f"--{kind}", "container:first")
        theirs = docker("exec", "second", "readlink", f"/proc/self/ns/{name}").ok()
        run = docker.run(
            f"--{kind}", "container:first", IMAGE, *SHELL, "ps -o args | grep -c '^sleep'"
        )
        gone = docker("rm", "-f", "first").status
        pause(0.5)
        left = docker.inspect("second", "{{.State.Running}} {{.State.ExitCode}}")
        return mine == theirs, run, gone, left, docker("rm", "-f", "second").status

    assert same(observe)[0]


def test_host_pid_stop(same: Any) -> None:
    """Without a pid namespace of its own all its processes have to go with a container."""

    def observe(docker: WithRuntime) -> Any:
        docker.start(
            "c1", "--pid", "host", "--", *SHELL, "setsid sleep 7654 & sleep 7654 & exec sleep 7655"
        )
        pause(0.3)
        seen: list[Any] = [docker("kill", "c1")]
        docker.wait_for("c1", "{{.State.Running}}", "false")
        pause(0.3)
        left = subprocess.run(["pgrep", "-f", "^sleep 765[45]$"], capture_output=True, check=False)
        seen.append(left.stdout)
        return seen

    assert same(observe)[1] == b""


def test_out_of_memory(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        since = str(int(time.time()))
        docker.start("c1", "-m", "16m", "--memory-swap", "16m", "--", *SHELL,
                     "sleep 1; x=$(cat /dev/zero | head -c 100000000 | tr '\\0' x); echo $x | wc -c")  # fmt: skip
        docker.wait_for("c1", "{{.State.Running}}", "false")
        pause(0.5)
        events = docker("events", "--since", since, "--until", str(int(time.time()) + 1),
                        "--filter", "container=c1", "--format", "{{.Action}}")  # fmt: skip
        state = docker.inspect("c1", "{{.State.OOMKilled}} {{.State.ExitCode}}")
        return "oom" in events.out.split(), state

    seen = same(observe)
    assert seen[0] and seen[1] == "true 137", seen


def test_events(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        since = str(time.time())
        docker.start("c1")
        docker("exec", "c1", "true")
        docker("pause", "c1")
        docker("unpause", "c1")
        docker("restart", "-t", "0", "c1")
        docker("rm", "-f", "c1")
        pause(0.3)
        return docker("events", "--since", since, "--until", str(int(time.time()) + 1),
                      "--filter", "type=container", "--format", "{{.Action}}")  # fmt: skip

    assert "exec_die" in same(observe).out


def test_health(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        check = ["--health-interval", "0.5s", "--health-retries", "1", "--health-cmd"]
        docker.start("good", *check, "echo fine")
        docker.start("bad", *check, "echo broken; exit 1")
        docker.wait_for("good", "{{.State.Health.Status}}", "healthy")
        docker.wait_for("bad", "{{.State.Health.Status}}", "unhealthy")
        form = "{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}"
        return docker.inspect("good", form), docker.inspect("bad", form)

    assert same(observe) == ("0 fine", "1 broken")


@pytest.mark.parametrize(
    "driver",
    [
        "json-file",
        "local",
        "none",
        pytest.param("journald", marks=pytest.mark.needs("systemd")),
    ],
)
def test_log_driver(same: Any, driver: str) -> None:
    def observe(docker: WithRuntime) -> Any:
        docker.start("c1", "--log-driver", driver, "--", *SHELL, "echo out; echo err >&2")
        docker.wait_for("c1", "{{.State.Running}}", "false")
        return docker("logs", "c1")

    same(observe)


def test_syslog(same: Any, scratch: Path) -> None:
    """A log driver that somebody else reads."""
    place = scratch / "socket"

    def observe(docker: WithRuntime) -> Any:
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
            reader.bind(str(place))
            reader.settimeout(20 * PATIENCE)
            options = ["--log-driver", "syslog", "--log-opt", f"syslog-address=unixgram://{place}"]
            docker.start("c1", *options, "--", *SHELL, "echo out; echo err >&2")
            lines = sorted(reader.recv(4096).decode() for _ in range(2))
            return [(line[: line.index(">")], line.rstrip().rpartition(" ")[2]) for line in lines]

    assert same(observe) == [("<27", "err"), ("<30", "out")]


def test_attach_and_input(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        return docker.run("-i", IMAGE, "cat", given="a\n" * 50000), docker.run(
            "-i", IMAGE, *SHELL, "read a; echo $a", given="only\nthis\n"
        )

    assert same(observe)[0].out == "a\n" * 50000


def test_build(same: Any, scratch: Path) -> None:
    (scratch / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN echo built > /etc/built && id -u\nUSER user\nWORKDIR /a/dir\n"
        "RUN id -u; pwd; touch x || true\nENV A=1\nCOPY note /note\nRUN cat /note > /tmp/n; env | grep ^A\n"
        'SHELL ["/bin/sh", "-ec"]\nRUN true\nCMD cat /etc/built /tmp/n\n'
    )
    (scratch / "note").write_text("noted\n")
    failing = scratch / "failing"
    failing.mkdir()
    (failing / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN exit 9\n")

    def observe(docker: WithRuntime) -> Any:
        docker.docker.default(docker.runtime)
        built = docker(
            "build",
            "--no-cache",
            "-q",
            "-t",
            "localhost/built",
            str(scratch),
            timeout=300 * PATIENCE,
        )
        seen = [built.status, docker.run("localhost/built")]
        failed = docker("build", "--no-cache", str(failing))
        seen += [failed.status, "returned a non-zero code: 9" in failed.err]
        docker("rmi", "localhost/built")
        return seen

    seen = same(observe)
    assert seen[0] == 0 and seen[1].out == "built\nnoted\n" and seen[3], seen


@pytest.mark.slow
def test_thirty_at_once(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        started = [
            subprocess.Popen(docker.command("--rm", IMAGE, *SHELL, f"echo {n}; sleep 0.5; exit {n}"),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for n in range(30)
        ]  # fmt: skip
        return [(one.communicate(timeout=300 * PATIENCE), one.returncode) for one in started]

    assert same(observe) == [((f"{n}\n", ""), n) for n in range(30)]


def test_nothing_is_left(same: Any) -> None:
    """Neither cgroups nor mounts nor processes nor state of containers that are gone."""

    def observe(docker: WithRuntime) -> Any:
        root = docker.docker.directory / "exec"
        # On a slow machine containerd kills a `delete` after five seconds, of either runtime.
        before = set(root.glob("runtime-*/moby/*"))
        for _ in range(2):
            docker.run("-m", "64m", IMAGE, "true")
        docker.run(IMAGE, "nosuch")
        pause(0.5)
        pattern = "system.slice/docker-*" if systemd_driver() else "*/docker/*"
        groups = [str(p) for p in Path("/sys/fs/cgroup").glob(pattern) if p.is_dir()]
        if systemd_driver():
            units = call(["systemctl", "list-units", "--all", "--plain", "--no-legend", "docker-*"])
            groups += units.ok().splitlines()
        # The cache of seccomp filters stays, for the next container.
        after = {p for p in root.glob("runtime-*/moby/*") if p.is_dir() and p.name != "~seccomp"}
        states = after - before
        mounts = (
            Path("/proc/self/mountinfo")
            .read_text()
            .count(str(docker.docker.directory / "data" / "overlay2"))
        )
        return len(groups), [p.name for p in states], mounts

    assert same(observe) == (0, [], 0)


def test_live_restore(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        daemon = docker.docker
        daemon.settings["live-restore"] = True
        try:
            daemon.restart()
            docker.start("c1", "--", *SHELL, "trap 'exit 4' TERM; while :; do sleep 0.1; done")
            pid = docker.inspect("c1", "{{.State.Pid}}")
            daemon.restart()
            seen = [
                pid == docker.inspect("c1", "{{.State.Pid}}"),
                docker("exec", "c1", "echo", "here"),
            ]
            seen += [docker("stop", "c1"), docker.inspect("c1", "{{.State.ExitCode}}")]
        finally:
            docker("rm", "-f", "c1")
            del daemon.settings["live-restore"]
            daemon.restart()
        return seen

    seen = same(observe)
    assert seen[0] and seen[3] == "4", seen
