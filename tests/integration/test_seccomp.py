"""Seccomp through the built file: the cases of runc's two bats files on it, and more."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shutil
import subprocess
import time
from typing import Any, Iterator

import pytest

from tests.integration.seccomp_agent import Agent

RUNC = os.environ.get("RUNC", str(pathlib.Path(__file__).resolve().parents[2] / "dist" / "runc"))

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.access(RUNC, os.X_OK), reason="dist/runc is not built"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers here are x86_64's"),
]

MKDIRS = ["mkdir", "mkdirat"]
SIGSYS = 31
APPLETS = ["sh", "mkdir", "stat", "chmod", "touch", "true", "sleep", "ls", "wc", "grep", "cut"]


class Bundle:
    """A bundle with busybox and a state directory of its own."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.root = path / "state"
        for directory in ("bin", "proc", "dev", "sys", "tmp", "etc"):
            (path / "rootfs" / directory).mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "", path / "rootfs" / "bin" / "busybox")
        for applet in APPLETS:
            (path / "rootfs" / "bin" / applet).symlink_to("busybox")
        subprocess.run([RUNC, "spec"], cwd=path, check=True)
        self.config: dict[str, Any] = json.loads((path / "config.json").read_text())
        self.config["process"]["terminal"] = False
        self.config["process"]["noNewPrivileges"] = False

    def set(self, profile: dict[str, Any], script: str = "true", new_privs: bool = True) -> None:
        """Run `script` under `profile`; without `new_privs`, with noNewPrivileges."""
        self.config["linux"]["seccomp"] = profile
        self.config["process"]["args"] = ["/bin/sh", "-c", script]
        self.config["process"]["noNewPrivileges"] = not new_privs

    def runc(self, *args: str, env: dict[str, str] | None = None) -> Any:
        """What `runc args` printed and returned; stdout and stderr are one."""
        (self.path / "config.json").write_text(json.dumps(self.config))
        command = [RUNC, "--root", str(self.root), *args]
        # A file, because a detached container would hold a pipe's end open.
        with open(self.path / "output", "w+b") as output:
            done = subprocess.run(
                command,
                cwd=self.path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
                env={**os.environ, **(env or {})},
                check=False,
            )
            output.seek(0)
            return done.returncode, output.read().decode(errors="replace")

    def containers(self) -> list[str]:
        """What lies in the state directory, besides the cache."""
        names = os.listdir(self.root) if self.root.exists() else []
        return [name for name in names if name != "~seccomp"]

    def run(self, *flags: str, env: dict[str, str] | None = None) -> Any:
        return self.runc(*flags, "run", "c1", env=env)


@pytest.fixture
def bundle(tmp_path: pathlib.Path) -> Iterator[Bundle]:
    made = Bundle(tmp_path)
    yield made
    made.runc("delete", "--force", "c1")


@pytest.fixture
def agent(tmp_path: pathlib.Path) -> Iterator[Agent]:
    made = Agent(str(tmp_path / "agent.sock"))
    yield made
    try:
        made.close()
    except OSError:
        pass


def allow_but(names: list[str], action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": names, "action": action, **more}],
    }


def notify(agent_path: str, *names: str) -> dict[str, Any]:
    return {
        **allow_but(list(names), "SCMP_ACT_NOTIFY"),
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_X86_64"],
        "listenerPath": agent_path,
        "listenerMetadata": "bar",
    }


NEW_CALLS = "close_range fsopen fsconfig fspick openat2 open_tree move_mount mount_setattr"

NEEDED = (
    "access arch_prctl brk capget capset chdir clone close clone3 close_range dup dup2 dup3 "
    "execve execveat exit exit_group faccessat2 fchdir fcntl fstat fstatfs futex getcwd "
    "getdents64 getegid geteuid getgid getgroups getpid getppid getrandom gettid getuid ioctl "
    "kill lseek lstat madvise mmap mprotect mremap munmap newfstatat open openat openat2 "
    "pidfd_open pipe pipe2 poll ppoll prctl pread64 prlimit64 read readlink readlinkat "
    "restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity "
    "sched_yield set_robust_list set_tid_address setgid setgroups setresgid setresuid setsid "
    "setuid sigaltstack stat statfs statx sysinfo tgkill umask uname wait4 waitid write writev"
)

both = pytest.mark.parametrize("new_privs", [True, False])


@both
def test_errno(bundle: Bundle, new_privs: bool) -> None:
    bundle.set(allow_but(MKDIRS), "mkdir /dev/shm/foo", new_privs)
    status, output = bundle.run()
    assert status != 0
    assert "/dev/shm/foo" in output
    assert "Operation not permitted" in output


def test_explicit_errno(bundle: Bundle) -> None:
    bundle.set(allow_but(MKDIRS, errnoRet=100), "mkdir /dev/shm/foo")
    status, output = bundle.run()
    assert status != 0
    assert "Network is down" in output


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_kill(bundle: Bundle, action: str) -> None:
    bundle.set(allow_but(MKDIRS, action), "exec mkdir /dev/shm/foo")
    bundle.config["process"]["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    status, _ = bundle.run()
    assert status == 128 + SIGSYS


@both
def test_exec(bundle: Bundle, new_privs: bool) -> None:
    bundle.set(allow_but(MKDIRS), "sleep 1000", new_privs)
    assert bundle.runc("run", "--detach", "c1") == (0, "")
    status, output = bundle.runc("exec", "c1", "/bin/mkdir", "/dev/shm/foo")
    assert status == 1
    assert "Operation not permitted" in output


def test_startcontainer_hook_runs_under_the_filter(bundle: Bundle) -> None:
    bundle.set(allow_but(MKDIRS, "SCMP_ACT_KILL"))
    bundle.config["process"]["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "exec mkdir /dev/shm/foo"]}
    bundle.config["hooks"] = {"startContainer": [hook]}
    status, output = bundle.run()
    assert status != 0
    assert "error running startContainer hook" in output
    assert "bad system call" in output


@both
def test_start_is_not_hindered_by_a_refused_new_call(bundle: Bundle, new_privs: bool) -> None:
    names = [
        "close_range",
        "fsopen",
        "fsconfig",
        "fspick",
        "openat2",
        "open_tree",
        "move_mount",
        "mount_setattr",
    ]
    bundle.set(allow_but(names, errnoRet=38), "true", new_privs)
    assert bundle.run() == (0, "")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (None, 4),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 4),
        (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 6),
    ],
)
def test_flags(bundle: Bundle, flags: list[str] | None, expected: int) -> None:
    profile = allow_but(MKDIRS)
    if flags is not None:
        profile["flags"] = flags
    bundle.set(profile, "mkdir /dev/shm/foo")
    status, output = bundle.run("--debug")
    assert status != 0
    assert '"seccomp filter flags: %d"' % expected in output
    assert "Operation not permitted" in output


# ---- a program that asks

TRY = """
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>
#include <unistd.h>
#include <sys/syscall.h>
/* Each argument "number,arg,arg…" is a system call; prints its result, or minus its errno. */
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        long a[7] = {0};
        char *at = argv[i];
        for (int n = 0; n < 7 && *at; n++) {
            a[n] = strtol(at, &at, 0);
            if (*at == ',') at++;
        }
        long r = syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
        printf("%ld\\n", r < 0 ? (long)-errno : r);
    }
    return 0;
}
"""


def test_default_refuses_and_new_calls_are_not_there(bundle: Bundle) -> None:
    """A profile like Docker's: EPERM for what it leaves out, ENOSYS for what it cannot know."""
    if not shutil.which("gcc"):
        pytest.skip("needs a C compiler")
    source = bundle.path / "try.c"
    source.write_text(TRY)
    target = str(bundle.path / "rootfs" / "try")
    subprocess.run(["gcc", "-static", "-o", target, str(source)], check=True)
    allowed = NEEDED.split()
    compare = {"index": 0, "value": 0xF00, "valueTwo": 0x300, "op": "SCMP_CMP_MASKED_EQ"}
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": allowed, "action": "SCMP_ACT_ALLOW"},
            {"names": ["getsid"], "action": "SCMP_ACT_ALLOW", "args": [compare]},
        ],
    }
    bundle.set(profile)
    # mkdir; getsid(0x300) of no such process; getsid(0); one that no kernel has.
    bundle.config["process"]["args"] = ["/try", "83,0,0", "124,0x300", "124,0", "1000"]
    for new_privs in (False, True):
        bundle.config["process"]["noNewPrivileges"] = new_privs
        assert bundle.run() == (0, "-1\n-3\n-1\n-38\n")
    # The default's own errno is for the calls that existed when the profile was written.
    bundle.config["linux"]["seccomp"]["defaultErrnoRet"] = 6
    assert bundle.run() == (0, "-6\n-3\n-6\n-38\n")


# ---- SCMP_ACT_NOTIFY


@both
def test_notify(bundle: Bundle, agent: Agent, new_privs: bool) -> None:
    script = "mkdir /dev/shm/foo && stat /dev/shm/foo-bar"
    bundle.set(notify(agent.path, "mkdir"), script, new_privs)
    bundle.config["annotations"] = {"a": "b"}
    status, output = bundle.run()
    assert status == 0, output
    (message,) = agent.messages
    state = message["state"]
    assert message["fds"] == ["seccompFd"]
    assert message["metadata"] == "bar"
    assert message["pid"] == state["pid"] > 1
    assert (state["id"], state["status"]) == ("c1", "creating")
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"]["a"] == "b"
    assert message["ociVersion"] == state["ociVersion"]


@both
def test_notify_create(bundle: Bundle, agent: Agent, new_privs: bool) -> None:
    """The agent has the descriptor when `create` is back, and answers what runs after `start`."""
    script = "mkdir /dev/shm/foo && stat /dev/shm/foo-bar && sleep 1000"
    bundle.set(notify(agent.path, "mkdir"), script, new_privs)
    assert bundle.runc("create", "c1") == (0, "")
    (message,) = agent.messages
    assert message["state"]["status"] == "creating"
    pid = json.loads(bundle.runc("state", "c1")[1])["pid"]
    assert message["pid"] == message["state"]["pid"] == pid
    assert bundle.runc("start", "c1")[0] == 0
    made = pathlib.Path(f"/proc/{pid}/root/dev/shm/foo-bar")
    deadline = time.monotonic() + 10
    while not made.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_notify_abstract_socket(bundle: Bundle) -> None:
    agent = Agent("@seccomp-agent-%d" % os.getpid())
    try:
        bundle.set(notify(agent.path, "mkdir"), "mkdir /dev/shm/foo && stat /dev/shm/foo-bar")
        assert bundle.run()[0] == 0
    finally:
        agent.close()


def test_wait_killable(bundle: Bundle, agent: Agent) -> None:
    profile = notify(agent.path, "mkdir")
    profile["flags"] = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    bundle.set(profile, "mkdir /dev/shm/foo && stat /dev/shm/foo-bar")
    status, output = bundle.run("--debug")
    if "is not supported by this kernel" in output:
        pytest.skip("needs Linux 5.19")
    assert status == 0, output
    assert '"seccomp filter flags: 40"' in output


@both
def test_notify_exec(bundle: Bundle, agent: Agent, new_privs: bool) -> None:
    bundle.set(notify(agent.path, "mkdir"), "sleep 1000", new_privs)
    assert bundle.runc("run", "--detach", "c1") == (0, "")
    script = "mkdir /dev/shm/foo && stat /dev/shm/foo-bar"
    status, output = bundle.runc("exec", "c1", "/bin/sh", "-c", script)
    assert status == 0, output
    first, second = agent.messages
    assert second["state"]["status"] == "running"
    assert second["state"]["pid"] == first["pid"]
    assert second["pid"] != first["pid"]


@both
def test_notify_calls_that_init_makes_itself(bundle: Bundle, agent: Agent, new_privs: bool) -> None:
    names = ["execve", "openat", "open", "read", "close", "fcntl"]
    bundle.set(notify(agent.path, *names), "true", new_privs)
    status, output = bundle.run()
    assert (status, output) == (0, "")


@pytest.mark.needs("program:setpriv", "userns")
@pytest.mark.parametrize("verb", ["run", "exec"])
@both
def test_notify_of_an_ordinary_user(scratch: pathlib.Path, verb: str, new_privs: bool) -> None:
    """The host's side may not look into the container's process; sendmsg(2) is notified, too."""
    made = Bundle(scratch / "bundle")
    (made.path / "config.json").unlink()
    subprocess.run([RUNC, "spec", "--rootless"], cwd=made.path, check=True)
    made.config = json.loads((made.path / "config.json").read_text())
    made.config["process"]["terminal"] = False
    for kind in ("uidMappings", "gidMappings"):
        made.config["linux"][kind][0]["hostID"] = 1000
    shutil.copy(RUNC, scratch / "runc")
    agent = Agent(str(scratch / "agent.sock"))
    os.chmod(agent.path, 0o777)
    calls = ["sendmsg", "sendto", "close", "read", "execve", "wait4", "exit_group"]
    calls += ["chmod", "fchmod", "fchmodat"]
    script = "chmod 700 /dev 2>&1 | grep 'No medium' && test $(ls /proc/self/fd | wc -l) = 4"
    made.set(notify(agent.path, *calls), script if verb == "run" else "sleep 1000", new_privs)
    subprocess.run(["chown", "-R", "1000:1000", str(made.path)], check=True)

    def as_user(*words: str) -> tuple[int, str]:
        user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
        command = [*user, str(scratch / "runc"), "--root", str(made.root), *words]
        (made.path / "config.json").write_text(json.dumps(made.config))
        with open(scratch / "output", "w+b") as output:
            arguments: Any = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            done = subprocess.run(command, cwd=made.path, timeout=60, check=False, **arguments)
            output.seek(0)
            return done.returncode, output.read().decode(errors="replace")

    try:
        status, output = as_user("run", *(["-d"] if verb == "exec" else []), "c1")
        assert status == 0, output
        if verb == "exec":
            status, output = as_user("exec", "c1", "/bin/sh", "-c", script)
            assert status == 0, output
        assert [message["state"]["status"] for message in agent.messages] == (
            ["creating"] if verb == "run" else ["creating", "running"]
        )
        # The helper that carried the listener is gone, and no zombie of it is left.
        if verb == "exec":
            assert (
                "Z" not in as_user("exec", "c1", "/bin/sh", "-c", "cut -d' ' -f3 /proc/*/stat")[1]
            )
    finally:
        as_user("delete", "--force", "c1")
        agent.close()


def test_listener_path_without_notify_is_ignored(bundle: Bundle) -> None:
    profile = {**allow_but(["chroot"]), "listenerPath": "/no.sock", "listenerMetadata": "b"}
    bundle.set(profile, "mkdir /dev/shm/foo && stat /dev/shm/foo")
    assert bundle.run()[0] == 0


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "seccomp listenerPath is not set"),
        ("/some-non-existing-listener-path.sock", "failed to connect with seccomp agent"),
        ("@mysocketishere", "failed to connect with seccomp agent"),
    ],
)
def test_no_agent(bundle: Bundle, path: str, message: str) -> None:
    profile = notify(path, "mkdir")
    if not path:
        del profile["listenerMetadata"]
    bundle.set(profile)
    status, output = bundle.run()
    assert status != 0
    assert message in output
    assert bundle.containers() == []


def test_agent_at_a_long_path(bundle: Bundle, tmp_path: pathlib.Path) -> None:
    """unix(7) has room for 107 bytes."""
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    here = os.open(directory, os.O_RDONLY)
    agent = Agent(f"/proc/self/fd/{here}/agent.sock")
    try:
        bundle.set(
            notify(f"{directory}/agent.sock", "mkdir"),
            "mkdir /dev/shm/foo && stat /dev/shm/foo-bar",
        )
        assert bundle.run()[0] == 0
    finally:
        agent.close()
        os.close(here)


def test_agent_that_dies(bundle: Bundle) -> None:
    """Without an agent a call is not there; nothing hangs."""
    script = (
        "import os, sys, time; sys.path.insert(0, %r)\n"
        "from tests.integration.seccomp_agent import Agent\n"
        "agent = Agent(%r)\n"
        "print(flush=True)\n"
        "while not agent.messages: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
    )
    path = str(bundle.path / "agent.sock")
    repository = str(pathlib.Path(__file__).resolve().parents[2])
    command = ["python3", "-c", script % (repository, path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        bundle.set(notify(path, "mkdir"), "sleep 2 && mkdir /dev/shm/foo")
        status, output = bundle.run()
    assert status != 0
    assert "Function not implemented" in output


def test_agent_answers_with_an_error(bundle: Bundle, agent: Agent) -> None:
    profile = notify(agent.path, "chmod", "fchmod", "fchmodat")
    bundle.set(profile, "touch /dev/shm/foo && chmod 777 /dev/shm/foo")
    status, output = bundle.run()
    assert status != 0
    assert "No medium found" in output


def test_notify_write(bundle: Bundle, agent: Agent) -> None:
    bundle.set(notify(agent.path, "write"))
    status, output = bundle.run()
    assert status != 0
    assert "SCMP_ACT_NOTIFY cannot be used for the write syscall" in output


def test_nobody_inherits_the_listener(bundle: Bundle, agent: Agent) -> None:
    """0, 1, 2 and the directory that ls itself reads: in hooks and in the container."""
    check = "test $(ls /proc/self/fd | wc -l) = 4"
    bundle.set(notify(agent.path, "mkdir"), check)
    hook = {"path": "/bin/sh", "args": ["sh", "-c", check]}
    bundle.config["hooks"] = {"startContainer": [hook]}
    assert bundle.run() == (0, "")


# ---- faults, and what is left of them


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY cannot be used as default action"),
        (allow_but(MKDIRS, "SCMP_ACT_X"), r"SCMP_ACT_X\" is not a valid action for seccomp"),
        ({**allow_but(MKDIRS), "architectures": ["Z80"]}, r"Z80\" is not a valid arch for seccomp"),
        ({**allow_but(MKDIRS), "flags": ["FAST"]}, r"seccomp flag \"FAST\" is not known to runc"),
        (
            {**allow_but(MKDIRS), "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]},
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY",
        ),
    ],
)
def test_refused_before_anything_is_made(
    bundle: Bundle, profile: dict[str, Any], message: str
) -> None:
    bundle.set(profile)
    status, output = bundle.run()
    assert status != 0
    assert message in output
    assert bundle.containers() == []


def test_unknown_calls_are_skipped(bundle: Bundle) -> None:
    bundle.set(allow_but(["no_such_call", *MKDIRS]), "mkdir /dev/shm/foo")
    status, output = bundle.run("--debug")
    assert status != 0
    assert "no_such_call" in output
    assert "Operation not permitted" in output


# ---- the cache


def test_second_container_loads_no_library(bundle: Bundle) -> None:
    bundle.set(allow_but(MKDIRS), "true")
    first = bundle.run(env={"LD_DEBUG": "files"})[1]
    second = bundle.run(env={"LD_DEBUG": "files"})[1]
    assert "libseccomp" in first
    assert "libseccomp" not in second
    assert "find library=" in second or "file=" in second


def test_second_container_is_filtered_as_the_first(bundle: Bundle) -> None:
    bundle.set(allow_but(MKDIRS), "mkdir /dev/shm/foo")
    for _ in range(3):
        status, output = bundle.run()
        assert status != 0
        assert "Operation not permitted" in output


def _hide_libseccomp() -> list[str]:
    """The command that runs another one where dlopen(3) finds no libseccomp."""
    for place in ("/lib", "/usr/lib"):
        found = sorted(pathlib.Path(place).glob("**/libseccomp.so.2"))
        if found:
            script = 'mount --bind /dev/null "$0" && exec "$@"'
            return ["unshare", "-m", "sh", "-c", script, str(found[0].resolve())]
    pytest.skip("libseccomp is not where it usually is")


def test_host_without_libseccomp(bundle: Bundle) -> None:
    """The cache will do; without it the start ends before anything is made."""
    bundle.set(allow_but(MKDIRS), "mkdir /dev/shm/foo")
    assert bundle.run()[0] != 0
    command = [*_hide_libseccomp(), RUNC, "--root", str(bundle.root), "run", "c1"]
    arguments: dict[str, Any] = {"cwd": bundle.path, "capture_output": True, "text": True}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, **arguments)
    assert "Operation not permitted" in done.stderr
    shutil.rmtree(bundle.root)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, **arguments)
    assert done.returncode == 1
    assert "libseccomp.so.2 is not installed, and no filter of this profile is" in done.stderr
    assert bundle.containers() == []


def test_cached_start_takes_no_longer(bundle: Bundle) -> None:
    """With a cached filter a start may cost little more than without a profile."""
    bundle.set(allow_but(MKDIRS), "true")
    profile = bundle.config["linux"]["seccomp"]

    def took(with_profile: bool) -> float:
        bundle.config["linux"].pop("seccomp", None)
        if with_profile:
            bundle.config["linux"]["seccomp"] = profile
        start = time.perf_counter()
        status, output = bundle.run()
        assert status == 0, output
        return time.perf_counter() - start

    took(True)
    # In turns, and the least of each: what else the machine does only ever adds.
    times = [(took(True), took(False)) for _ in range(7)]
    # Building one takes 40 ms.
    assert min(one for one, _ in times) < min(other for _, other in times) + 0.015
