"""Properties of the process, seen from inside: identity, environment, directory, limits."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import ways

if TYPE_CHECKING:
    from tests.conftest import Bundle

pytestmark = pytest.mark.parametrize("way", ways.ALL)

DEFAULT_ENV = ["PATH=/bin"]


def user(**more: Any) -> dict[str, Any]:
    return {"user": {"uid": 1000, "gid": 1000, **more}}


def test_user(bundle: Bundle, way: str) -> None:
    told = ways.status(bundle, way, user())
    assert told["Uid"].split() == ["1000"] * 4
    assert told["Gid"].split() == ["1000"] * 4
    assert told["Groups"] == ""


def test_user_without_capabilities_left(bundle: Bundle, way: str) -> None:
    told = ways.status(bundle, way, user())
    # execve(2) of an ordinary user empties these two, the bounding set stays.
    assert int(told["CapEff"], 16) == 0
    assert int(told["CapBnd"], 16) != 0


@pytest.mark.parametrize("uid", [-1, 4294967295 + 1, "root"])
def test_bad_user(bundle: Bundle, way: str, uid: Any) -> None:
    ways.refused(bundle, way, "process.user.uid", process={"user": {"uid": uid, "gid": 0}})


def test_additional_groups(bundle: Bundle, way: str) -> None:
    told = ways.status(bundle, way, user(additionalGids=[7, 5, 4294967294]))
    assert sorted(told["Groups"].split(), key=int) == ["5", "7", "4294967294"]


def test_bad_additional_group(bundle: Bundle, way: str) -> None:
    process = user(additionalGids=[1, -5])
    ways.refused(bundle, way, "process.user.additionalGids[1]", "-5", process=process)


def test_host_groups_do_not_come_along(bundle: Bundle, way: str) -> None:
    script = "grep ^Groups: /proc/self/status"
    done = ways.shell(bundle, way, script, preexec_fn=lambda: os.setgroups([4, 24, 27]))
    assert done.stdout.split() == ["Groups:"]


def test_umask(bundle: Bundle, way: str) -> None:
    assert ways.status(bundle, way, user(umask=0o077))["Umask"] == "0077"


def test_default_umask(bundle: Bundle, way: str) -> None:
    done = ways.shell(bundle, way, "umask", preexec_fn=lambda: os.umask(0o111))
    assert done.stdout.strip() == "0022"


def test_bad_umask(bundle: Bundle, way: str) -> None:
    ways.refused(bundle, way, "process.user.umask", process=user(umask=0o1000))


def test_home_from_passwd(bundle: Bundle, way: str) -> None:
    process = {**user(), "env": DEFAULT_ENV}
    assert ways.output(bundle, way, "echo $HOME", process) == "/home/user"


def test_home_of_an_unknown_user(bundle: Bundle, way: str) -> None:
    process = {"user": {"uid": 4711, "gid": 0}, "env": DEFAULT_ENV}
    assert ways.output(bundle, way, "echo $HOME", process) == "/"


def test_home_given(bundle: Bundle, way: str) -> None:
    process = {**user(), "env": [*DEFAULT_ENV, "HOME=/elsewhere"]}
    assert ways.output(bundle, way, "echo $HOME", process) == "/elsewhere"


def test_home_given_empty(bundle: Bundle, way: str) -> None:
    process = {**user(), "env": [*DEFAULT_ENV, "HOME="]}
    assert ways.output(bundle, way, "echo $HOME", process) == "/home/user"


@pytest.mark.parametrize("kind", ["fifo", "directory", "missing", "nonsense"])
def test_home_with_a_strange_passwd(bundle: Bundle, way: str, kind: str) -> None:
    passwd = bundle.rootfs / "etc/passwd"
    passwd.unlink()
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "directory":
        passwd.mkdir()
    elif kind == "nonsense":
        passwd.write_bytes(b"\xff\n:::\n0\nx:y:zzz:1:2:/wrong:z\n" + b"a" * 100000)
    assert ways.output(bundle, way, "echo $HOME", {"env": DEFAULT_ENV}) == "/"


def test_environment(bundle: Bundle, way: str) -> None:
    process = {"env": [*DEFAULT_ENV, "A=1", "B=x=y", "C=", "A=2", "D=a b\nc", "Ü=ü"]}
    done = ways.call(bundle, way, "cat", "/proc/self/environ", process=process)
    assert done.returncode == 0, done
    variables = done.stdout.rstrip("\0").split("\0")
    assert variables == ["PATH=/bin", "B=x=y", "C=", "A=2", "D=a b\nc", "Ü=ü", "HOME=/root"]


def test_host_environment_does_not_come_along(bundle: Bundle, way: str) -> None:
    bundle.environment = {**bundle.environment, "SECRET": "1", "LD_PRELOAD": "", "PYTHONPATH": "/x"}
    assert (
        ways.output(bundle, way, "env | cut -d= -f1 | sort | xargs") == "HOME PATH PWD SHLVL TERM"
    )


@pytest.mark.parametrize(
    ("variable", "fault"), [("NOVALUE", "missing '='"), ("=x", "name cannot be empty")]
)
def test_bad_environment(bundle: Bundle, way: str, variable: str, fault: str) -> None:
    process = {"env": [*DEFAULT_ENV, variable]}
    ways.refused(
        bundle, way, "process.env[1]: invalid environment variable", fault, process=process
    )


def test_nul_in_the_environment(bundle: Bundle, way: str) -> None:
    ways.refused(bundle, way, "process.env[1]", process={"env": [*DEFAULT_ENV, "A=b\0c"]})


def test_nul_in_the_arguments(bundle: Bundle, way: str) -> None:
    if way == ways.EXEC:
        pytest.skip("a command line cannot hold one")
    done = ways.call(bundle, way, "echo", "a\0b")
    assert done.returncode == (1 if way == ways.RUN else 255)
    assert "process.args[1]" in done.stderr


def test_arguments_are_passed_as_they_are(bundle: Bundle, way: str) -> None:
    done = ways.call(bundle, way, "/bin/busybox", "printf", "%s|", "", "a b", "$HOME", "ü", "-x")
    assert done.stdout == "|a b|$HOME|ü|-x|"


def test_directory(bundle: Bundle, way: str) -> None:
    assert ways.output(bundle, way, "pwd", {"cwd": "/tmp"}) == "/tmp"


def test_directory_is_made(bundle: Bundle, way: str) -> None:
    bundle.config["root"]["readonly"] = False
    if way == ways.RUN:
        assert ways.output(bundle, way, "pwd; stat -c %a .", {"cwd": "/new/one"}) == "/new/one\n755"
    else:
        ways.refused(
            bundle, way, 'chdir to cwd (\\"/new/one\\") set in config.json failed: no such file',
            process={"cwd": "/new/one"},
        )  # fmt: skip


def test_directory_through_a_link(bundle: Bundle, way: str) -> None:
    (bundle.rootfs / "link").symlink_to("/../../../tmp")
    assert ways.output(bundle, way, "/bin/pwd", {"cwd": "/link"}) == "/tmp"


def test_directory_that_only_the_user_may_enter(bundle: Bundle, way: str) -> None:
    private = bundle.rootfs / "private"
    private.mkdir(mode=0o700)
    os.chown(private, 1000, 1000)
    capabilities = {name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted")}
    process = {**user(), "cwd": "/private", "capabilities": capabilities}
    assert ways.output(bundle, way, "pwd", process) == "/private"


@pytest.mark.parametrize(
    ("cwd", "fault"),
    [
        ("", "Cwd property must not be empty"),
        ("tmp", "Cwd must be an absolute path"),
        ("/etc/passwd", "not a directory"),
    ],
)
def test_bad_directory(bundle: Bundle, way: str, cwd: str, fault: str) -> None:
    ways.refused(
        bundle, way, "cwd" if cwd[:1] == "/" else "process.cwd", fault, process={"cwd": cwd}
    )


def rlimit(name: str, soft: int, hard: int) -> dict[str, Any]:
    return {"rlimits": [{"type": name, "soft": soft, "hard": hard}]}


@pytest.mark.parametrize(
    ("name", "line", "shown"),
    [
        ("RLIMIT_AS", "Max address space", "1073741824 2147483648 bytes"),
        ("RLIMIT_CORE", "Max core file size", "1 2 bytes"),
        ("RLIMIT_CPU", "Max cpu time", "100 200 seconds"),
        ("RLIMIT_DATA", "Max data size", "1073741824 2147483648 bytes"),
        ("RLIMIT_FSIZE", "Max file size", "1048576 2097152 bytes"),
        ("RLIMIT_LOCKS", "Max file locks", "10 20 locks"),
        ("RLIMIT_MEMLOCK", "Max locked memory", "4096 8192 bytes"),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", "10 20 bytes"),
        ("RLIMIT_NICE", "Max nice priority", "0 0"),
        ("RLIMIT_NOFILE", "Max open files", "100 200 files"),
        ("RLIMIT_NPROC", "Max processes", "1000 2000 processes"),
        ("RLIMIT_RSS", "Max resident set", "4096 8192 bytes"),
        ("RLIMIT_RTPRIO", "Max realtime priority", "0 0"),
        ("RLIMIT_RTTIME", "Max realtime timeout", "10 20 us"),
        ("RLIMIT_SIGPENDING", "Max pending signals", "10 20 signals"),
        ("RLIMIT_STACK", "Max stack size", "1048576 2097152 bytes"),
    ],
)
def test_resource_limits(bundle: Bundle, way: str, name: str, line: str, shown: str) -> None:
    numbers = [int(word) for word in shown.split() if word.isdigit()]
    if way != ways.RUN and name not in ("RLIMIT_NOFILE", "RLIMIT_AS", "RLIMIT_RTTIME"):
        pytest.skip("the same code as for run: three of them are enough")
    process = rlimit(name, *numbers)
    limits = ways.output(bundle, way, "cat /proc/self/limits", process)
    found = next(entry for entry in limits.splitlines() if entry.startswith(line))
    assert found[len(line) :].split() == shown.split()


def test_unlimited(bundle: Bundle, way: str) -> None:
    if "unlimited" not in subprocess.getoutput("ulimit -Hc"):
        pytest.skip("this shell's own hard limit of core files is lower")
    process = rlimit("RLIMIT_CORE", 2**64 - 1, 2**64 - 1)
    assert "unlimited" in ways.output(bundle, way, "ulimit -c", process)


@pytest.mark.parametrize(
    ("limits", "fault"),
    [
        (rlimit("RLIMIT_NOSUCH", 1, 1), 'wrong rlimit value: \\"RLIMIT_NOSUCH\\"'),
        (rlimit("RLIMIT_CORE", 5, 1), "soft: 5 is above the hard limit, 1"),
        ({"rlimits": rlimit("RLIMIT_CORE", 1, 1)["rlimits"] * 2}, "is there twice"),
        ({"rlimits": [{"type": "RLIMIT_CORE", "soft": 1}]}, "process.rlimits[0].hard"),
    ],
)
def test_bad_resource_limits(bundle: Bundle, way: str, limits: Any, fault: str) -> None:
    ways.refused(bundle, way, "process.rlimits", fault, process=limits)


def test_oom_score(bundle: Bundle, way: str) -> None:
    process = {"oomScoreAdj": 777}
    assert ways.output(bundle, way, "cat /proc/self/oom_score_adj", process) == "777"


def test_bad_oom_score(bundle: Bundle, way: str) -> None:
    ways.refused(bundle, way, "process.oomScoreAdj", "1001", process={"oomScoreAdj": 1001})


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges(bundle: Bundle, way: str, value: bool) -> None:
    assert ways.status(bundle, way, {"noNewPrivileges": value})["NoNewPrivs"] == str(int(value))


def test_bad_no_new_privileges(bundle: Bundle, way: str) -> None:
    ways.refused(bundle, way, "process.noNewPrivileges", process={"noNewPrivileges": 1})


def test_command_line_is_for_windows(bundle: Bundle, way: str) -> None:
    ways.refused(bundle, way, "process.commandLine", process={"commandLine": "dir"})


def test_signals_are_as_after_a_boot(bundle: Bundle, way: str) -> None:
    told = ways.status(bundle, way)
    assert int(told["SigBlk"], 16) == 0
    assert int(told["SigIgn"], 16) == 0


def test_signals_that_the_caller_ignores(bundle: Bundle, way: str) -> None:
    """As under nohup(1): its SIGHUP is not the container's."""
    program = ("grep", "SigIgn", "/proc/self/status")
    done = ways.call(bundle, way, *program, preexec_fn=ways.ignore_signals)
    assert int(done.stdout.split()[1], 16) == 0


def test_no_descriptor_comes_along(bundle: Bundle, way: str) -> None:
    with open("/etc/passwd") as leaked:
        done = ways.call(bundle, way, "ls", "/proc/self/fd", pass_fds=(leaked.fileno(),))
    # The fourth is ls's own, on the directory that it reads.
    assert done.stdout.split() == ["0", "1", "2", "3"]


def test_exit_status(bundle: Bundle, way: str) -> None:
    assert ways.shell(bundle, way, "exit 37").returncode == 37


def test_status_of_a_killed_process(bundle: Bundle, way: str) -> None:
    if way == ways.RUN:
        # The first process of a pid namespace does not die of its own signals.
        linux = bundle.config["linux"]
        linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "pid"]
    assert ways.shell(bundle, way, "kill -9 $$").returncode == 137
