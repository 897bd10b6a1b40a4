"""Docker: what a person or a program sees must not depend on the runtime."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.engines.daemons import IMAGE, WithRuntime

STATUS = "cat /proc/self/status | grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups|Umask)'"
SHELL = ("sh", "-c")


def options(*args: str, script: str) -> Callable[[WithRuntime], Any]:
    """An observation: `docker run` with these options and a shell script."""
    return lambda docker: docker.run(*args, IMAGE, "sh", "-c", script)


# Name, options, script, and a word that the output must have: so that equal is also right.
RUNS: list[tuple[str, list[str], str, str]] = [
    ("plain", [], "id; pwd; hostname | wc -c; echo err >&2; exit 7", "uid=0"),
    ("environment", ["-e", "A=b c", "-e", "B=\u00e9"], "env | grep -v HOSTNAME | sort", "A=b c"),
    ("process", [], STATUS, "Seccomp:\t2"),
    ("mounts", [], "cut -d' ' -f2-4 /proc/mounts | sed 's,lowerdir.*,,' | grep -v '^/ ' | sort", "/dev/pts"),
    ("devices of /dev", [], "ls -l /dev | awk '{print $1,$3,$4,$5,$6,$9,$10,$11}'", "null"),
    ("masked paths", [], "wc -c /proc/kcore /proc/keys /proc/timer_list; ls -A /proc/acpi /proc/scsi /sys/firmware", "0 /proc/keys"),
    ("read-only paths", [], "echo 1 > /proc/sys/kernel/panic; echo b > /proc/sysrq-trigger; echo $?", "1"),
    ("limits of the process", [], "ulimit -a", "file size"),
    ("namespaces", [], "for n in ipc mnt net pid uts; do test -L /proc/self/ns/$n && echo $n; done", "uts"),
    ("cgroup paths", [], "cut -d: -f2- /proc/self/cgroup | sort | sed 's,[0-9a-f]\\{64\\},ID,g'", "pids"),
    ("tmpfs", ["--tmpfs", "/t:size=1m,mode=1700,uid=5"], "grep ' /t ' /proc/mounts; stat -c '%a %u' /t", "1700 5"),
    ("shm size", ["--shm-size", "8m"], "df -k /dev/shm | tail -1 | awk '{print $2}'", "8192"),
    ("read-only", ["--read-only"], "touch /x; echo $?; touch /dev/shm/x; echo $?", "Read-only"),
    ("user", ["-u", "1000:1000"], f"{STATUS}; echo $HOME; touch /x", "1000"),
    ("named user", ["-u", "user"], "id; echo $HOME", "/home/user"),
    ("added group", ["--group-add", "44"], "id -G", "44"),
    ("working directory", ["-w", "/a/b"], "pwd; stat -c %a /a", "/a/b"),
    ("hostname", ["--hostname", "h1", "--domainname", "d1"], "hostname; cat /proc/sys/kernel/domainname; grep h1 /etc/hosts | wc -l", "h1"),
    ("added capability", ["--cap-add", "NET_ADMIN"], STATUS, "CapEff"),
    ("dropped capabilities", ["--cap-drop", "ALL", "--cap-add", "CHOWN"], STATUS, "CapEff:\t0000000000000001"),
    ("capabilities of a user", ["-u", "1000", "--cap-add", "NET_RAW"], STATUS, "CapEff:\t0000000000000000"),
    ("no new privileges", ["--security-opt", "no-new-privileges"], STATUS, "NoNewPrivs:\t1"),
    ("unconfined", ["--security-opt", "seccomp=unconfined"], STATUS, "Seccomp:\t0"),
    ("default profile", [], "unshare -U true; echo $?; mount -t tmpfs t /mnt; echo $?", "Operation not permitted"),
    ("device", ["--device", "/dev/zero:/dev/nought:r"], "head -c 3 /dev/nought | wc -c; echo x >/dev/nought", "3"),
    ("device rule", ["--device-cgroup-rule", "c 10:229 rwm"], "cat /sys/fs/cgroup/devices/devices.list | sort", "c 10:229 rwm"),
    ("ulimit", ["--ulimit", "nofile=100:200", "--ulimit", "core=0"], "ulimit -Sn; ulimit -Hn; ulimit -c", "200"),
    ("sysctl", ["--sysctl", "kernel.msgmax=1234", "--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward", "1234"),
    ("memory", ["-m", "32m", "--memory-swap", "64m", "--memory-reservation", "16m"], "cd /sys/fs/cgroup/memory; cat memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes memory.oom_control 2>/dev/null | head -4", "33554432"),
    ("CPUs", ["--cpus", "0.5", "--cpu-shares", "300", "--cpuset-cpus", "1"], "cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares cpuset/cpuset.cpus; nproc", "50000"),
    ("number of processes", ["--pids-limit", "33"], "cat /sys/fs/cgroup/pids/pids.max", "33"),
    ("block I/O", ["--blkio-weight", "300"], "echo done", "done"),
    ("OOM score", ["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj", "500"),
    ("init", ["--init"], "cat /proc/1/comm; sleep 0.1 & exit 4", "init"),
    ("privileged", ["--privileged"], f"{STATUS}; ls /dev | wc -l; grep -c ' ro,' /proc/mounts; mount -t tmpfs t /mnt && echo mounted", "mounted"),
    ("the host's pid namespace", ["--pid", "host"], "readlink /proc/self/ns/pid; test -d /proc/2 && cat /proc/2/comm", "pid"),
    ("the host's ipc namespace", ["--ipc", "host"], "readlink /proc/self/ns/ipc", "ipc"),
    ("the host's network", ["--network", "host"], "readlink /proc/self/ns/net; ls /sys/class/net", "lo"),
    ("the host's uts namespace", ["--uts", "host"], "readlink /proc/self/ns/uts", "uts"),
    ("private cgroup namespace", ["--cgroupns", "private"], "cat /proc/self/cgroup | cut -d: -f2- | sort", "pids"),
    ("cgroup parent", ["--cgroup-parent", "/enginetest"], "grep pids /proc/self/cgroup | sed 's,[0-9a-f]\\{64\\},ID,;s,^[0-9]*,,'", "enginetest"),
    ("signal as exit status", [], "kill -9 $$", ""),
    ("many lines", [], "seq 1 20000 | md5sum; seq 1 20000", "20000"),
]  # fmt: skip


def resource_capability() -> bool:
    """Whether this process has CAP_SYS_RESOURCE."""
    status = Path("/proc/self/status").read_text()
    return bool(int(status.split("CapPrm:")[1].split()[0], 16) >> 24 & 1)


@pytest.mark.parametrize(("name", "args", "script", "word"), RUNS, ids=[r[0] for r in RUNS])
def test_run(same: Any, name: str, args: list[str], script: str, word: str) -> None:
    if name == "privileged" and not resource_capability():
        pytest.skip("this machine's root has no CAP_SYS_RESOURCE, which --privileged hands on")
    seen = same(options(*args, script=script))
    assert word in seen.out + seen.err, seen


def test_mount_of_wrong_kind(same: Any) -> None:
    """Docker's hint depends on what the runtime says of it."""
    hint = "Are you trying to mount a directory onto a file"

    def observe(docker: WithRuntime) -> Any:
        kinds = ("/etc/passwd:/etc", "/etc:/etc/passwd")
        return [hint in docker.run("-v", kind, IMAGE, "true").err for kind in kinds]

    assert same(observe) == [True, True]


ERRORS: list[tuple[str, list[str], int]] = [
    ("missing program", [IMAGE, "nosuch"], 127),
    ("missing absolute program", [IMAGE, "/nosuch"], 127),
    ("not executable", [IMAGE, "/etc/passwd"], 126),
    ("missing working directory's program", ["-w", "/etc", IMAGE, "./nosuch"], 127),
    ("bad mount", ["--mount", "type=bind,src=/nosuch,dst=/x", IMAGE, "true"], 125),
    ("bad device", ["--device", "/dev/nosuch", IMAGE, "true"], 127),
    ("mount on /proc", ["-v", "/tmp:/proc/x", IMAGE, "true"], 125),
    ("file on a directory", ["-v", "/etc/passwd:/etc", IMAGE, "true"], 125),
    ("bad sysctl", ["--sysctl", "kernel.nosuch=1", IMAGE, "true"], 125),
    ("sysctl value refused", ["--sysctl", "kernel.msgmax=x", IMAGE, "true"], 125),
    ("working directory is a file", ["-w", "/etc/passwd", IMAGE, "true"], 125),
    ("memory below the least", ["-m", "1m", IMAGE, "true"], 125),
    ("unknown user", ["-u", "nobodyatall", IMAGE, "true"], 125),
    ("CPU that is not there", ["--cpuset-cpus", "99", IMAGE, "true"], 125),
]


@pytest.mark.parametrize(("name", "args", "status"), ERRORS, ids=[e[0] for e in ERRORS])
def test_error(same: Any, name: str, args: list[str], status: int) -> None:
    assert same(lambda docker: docker.run(*args).status) == status


def test_missing_program_text(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        return [docker.run(IMAGE, name).err for name in ("nosuch", "/nosuch", "/etc/passwd")]

    texts = same(observe)
    assert 'exec: "nosuch": executable file not found in $PATH' in texts[0]


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


def on_terminal(command: list[str], typed: list[bytes], seconds: float = 20) -> tuple[int, str]:
    """Run a command on a terminal of 132 columns, type when it has shown something; status, output."""
    import fcntl
    import pty
    import select
    import struct
    import termios

    pid, master = pty.fork()
    if pid == 0:
        time.sleep(0.1)
        os.execvp(command[0], command)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 41, 132, 0, 0))
    shown = b""
    deadline = time.monotonic() + seconds
    while True:
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            break
        if select.select([master], [], [], 0.3)[0]:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
        elif typed:
            os.write(master, typed.pop(0))
    status = os.waitpid(pid, 0)[1]
    os.close(master)
    return os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace")


def test_terminal(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        command = docker.command("-it", "--rm", IMAGE, *SHELL)
        script = "tty; stty size; stty -a | tail -n 4; ls -l /dev/console | cut -c1-10; read x; echo got $x; exit 6"
        first = on_terminal([*command, "sleep 1; " + script], [b"", b"word\n"])
        interrupted = on_terminal([*command, "sleep 1; trap 'exit 3' INT; while :; do sleep 1; done"],
                                  [b"", b"", b"", b"", b"\x03"])  # fmt: skip
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
        time.sleep(0.5)
        do("stop", "c1")
        do("start", "c1")
        time.sleep(0.5)
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
        show = (
            "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us "
            "cpu/cpu.cfs_period_us cpuset/cpuset.cpus pids/pids.max"
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
    assert "33554432\n77\n" in seen[1].out, seen[1]


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
        socket = docker.docker.socket.replace("unix://", "")
        url = "http://x/containers/c1/stats?stream=false"
        done = subprocess.run(
            ["curl", "-s", "--unix-socket", socket, url], capture_output=True, check=True
        )
        data = json.loads(done.stdout)
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
        time.sleep(0.3)
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
        time.sleep(0.5)
        left = docker.inspect("second", "{{.State.Running}} {{.State.ExitCode}}")
        return mine == theirs, run, gone, left, docker("rm", "-f", "second").status

    assert same(observe)[0]


def test_host_pid_stop(same: Any) -> None:
    """Without a pid namespace of its own all its processes have to go with a container."""

    def observe(docker: WithRuntime) -> Any:
        docker.start(
            "c1", "--pid", "host", "--", *SHELL, "setsid sleep 7654 & sleep 7654 & exec sleep 7655"
        )
        time.sleep(0.3)
        seen: list[Any] = [docker("kill", "c1")]
        docker.wait_for("c1", "{{.State.Running}}", "false")
        time.sleep(0.3)
        left = subprocess.run(["pgrep", "-f", "^sleep 765[45]$"], capture_output=True, check=False)
        seen.append(left.stdout)
        return seen

    assert same(observe)[1] == b""


def test_custom_seccomp(same: Any, scratch: Path) -> None:
    profile = scratch / "profile.json"
    profile.write_text(json.dumps({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                     {"names": ["socket"], "action": "SCMP_ACT_ERRNO",
                      "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]},
                     {"names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS"}],
    }))  # fmt: skip
    script = "mkdir /x; grep Seccomp: /proc/self/status; sync; echo $?"

    def observe(docker: WithRuntime) -> Any:
        docker.start("c1", "--security-opt", f"seccomp={profile}")
        return docker.run("--security-opt", f"seccomp={profile}", IMAGE, *SHELL, script), docker(
            "exec", "c1", *SHELL, script
        )

    run, _ = same(observe)
    assert "No space left" in run.err and "159" in run.out, run


def test_out_of_memory(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        since = str(int(time.time()))
        docker.start("c1", "-m", "16m", "--memory-swap", "16m", "--", *SHELL,
                     "sleep 1; x=$(cat /dev/zero | head -c 100000000 | tr '\\0' x); echo $x | wc -c")  # fmt: skip
        docker.wait_for("c1", "{{.State.Running}}", "false")
        time.sleep(0.5)
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
        time.sleep(0.3)
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


@pytest.mark.parametrize("driver", ["json-file", "local", "none"])
def test_log_driver(same: Any, driver: str) -> None:
    def observe(docker: WithRuntime) -> Any:
        docker.start("c1", "--log-driver", driver, "--", *SHELL, "echo out; echo err >&2")
        docker.wait_for("c1", "{{.State.Running}}", "false")
        return docker("logs", "c1")

    same(observe)


def test_attach_and_input(same: Any) -> None:
    def observe(docker: WithRuntime) -> Any:
        return docker.run("-i", IMAGE, "cat", given="a\n" * 50000), docker.run(
            "-i", IMAGE, *SHELL, "read a; echo $a", given="only\nthis\n"
        )

    assert same(observe)[0].out == "a\n" * 50000


def test_build(same: Any, scratch: Path) -> None:
    (scratch / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN echo built > /etc/built && id -u\nUSER user\nWORKDIR /work/dir\n"
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
            "build", "--no-cache", "-q", "-t", "localhost/built", str(scratch), timeout=300
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
        return [(one.communicate(timeout=300), one.returncode) for one in started]

    assert same(observe) == [((f"{n}\n", ""), n) for n in range(30)]


def test_nothing_is_left(same: Any) -> None:
    """Neither cgroups nor mounts nor processes nor state of containers that are gone."""

    def observe(docker: WithRuntime) -> Any:
        for _ in range(2):
            docker.run("-m", "64m", IMAGE, "true")
        docker.run(IMAGE, "nosuch")
        time.sleep(0.5)
        groups = [p for p in Path("/sys/fs/cgroup").glob("*/docker/*") if p.is_dir()]
        root = docker.docker.directory / "exec"
        # The cache of seccomp filters stays, for the next container.
        states = [p for p in root.glob("runtime-*/moby/*") if p.is_dir() and p.name != "~seccomp"]
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
