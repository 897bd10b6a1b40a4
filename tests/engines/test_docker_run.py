"""Docker: `run` with its options, and what it says of mistakes, with both runtimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.engines.daemons import (
    IMAGE,
    STATUS,
    WithRuntime,
    limits_script,
    resource_capability,
    systemd_driver,
    unified,
)

SHELL = ("sh", "-c")


def options(*args: str, script: str) -> Callable[[WithRuntime], Any]:
    """An observation: `docker run` with these options and a shell script."""
    return lambda docker: docker.run(*args, IMAGE, "sh", "-c", script)


PARENT = "enginetest.slice" if systemd_driver() else "/enginetest"
LINE = f"grep '{'' if unified() else 'pids'}' /proc/self/cgroup"
OTHER_DEVICES = (
    "mknod /a c 10 229; mknod /b c 10 230; for n in a b; do (: </$n) 2>&1 | grep -c permitted; done; "
    "cat /sys/fs/cgroup/devices/devices.list 2>/dev/null | sort"
)

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
    ("cgroup paths", [], "cut -d: -f2- /proc/self/cgroup | sort | sed 's,[0-9a-f]\\{64\\},ID,g'", ":/"),
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
    ("device rule", ["--device-cgroup-rule", "c 10:229 rwm"], OTHER_DEVICES, "0\n1\n"),
    ("ulimit", ["--ulimit", "nofile=100:200", "--ulimit", "core=0"], "ulimit -Sn; ulimit -Hn; ulimit -c", "200"),
    ("sysctl", ["--sysctl", "kernel.msgmax=1234", "--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward", "1234"),
    ("memory", ["-m", "32m", "--memory-swap", "64m", "--memory-reservation", "16m"],
     limits_script("cd /sys/fs/cgroup/memory; cat memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes "
                   "memory.oom_control 2>/dev/null | head -4", "memory.max memory.swap.max memory.low"), "33554432"),
    ("CPUs", ["--cpus", "0.5", "--cpu-shares", "300", "--cpuset-cpus", "1"],
     limits_script("cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares cpuset/cpuset.cpus",
                   "cpu.max cpuset.cpus") + "; nproc", "50000"),
    ("number of processes", ["--pids-limit", "33"], limits_script("cat /sys/fs/cgroup/pids/pids.max", "pids.max"), "33"),
    ("block I/O", ["--blkio-weight", "300"], "echo done", "done"),
    ("OOM score", ["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj", "500"),
    ("init", ["--init"], "cat /proc/1/comm; sleep 0.1 & exit 4", "init"),
    ("privileged", ["--privileged"], f"{STATUS}; ls /dev | wc -l; grep -c ' ro,' /proc/mounts; mount -t tmpfs t /tmp && echo mounted", "mounted"),
    ("the host's pid namespace", ["--pid", "host"], "readlink /proc/self/ns/pid; test -d /proc/2 && cat /proc/2/comm", "pid"),
    ("the host's ipc namespace", ["--ipc", "host"], "readlink /proc/self/ns/ipc", "ipc"),
    ("the host's network", ["--network", "host"], "readlink /proc/self/ns/net; ls /sys/class/net", "lo"),
    ("the host's uts namespace", ["--uts", "host"], "readlink /proc/self/ns/uts", "uts"),
    ("private cgroup namespace", ["--cgroupns", "private"], "cat /proc/self/cgroup | cut -d: -f2- | sort", ":/"),
    ("cgroup parent", ["--cgroup-parent", PARENT, "--cgroupns", "host"], LINE + " | sed 's,[0-9a-f]\\{64\\},ID,;s,^[0-9]*,,'", "enginetest"),
    ("signal as exit status", [], "kill -9 $$", ""),
    ("many lines", [], "seq 1 20000 | md5sum; seq 1 20000", "20000"),
]  # fmt: skip


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
    ("directory", [IMAGE, "/etc"], 126),
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
