"""`runc exec`: its options, where its process comes from, and where it refuses to start one."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle


def text(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done
    return done.stdout.rstrip("\n")


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 255, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "exec failed: " in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.fixture
def running(bundle: Bundle) -> Bundle:
    bundle.start()
    return bundle


def test_same_namespaces_as_init(running: Bundle) -> None:
    script = "for n in ipc mnt net pid uts cgroup time; do readlink /proc/self/ns/$n; done"
    mine = text(running.exec("sh", "-c", script))
    first = text(running.exec("sh", "-c", script.replace("self", "1")))
    assert mine == first
    own = [str(Path(f"/proc/self/ns/{name}").readlink()) for name in ("ipc", "mnt", "net", "pid")]
    assert not set(own) & set(mine.split())


def test_same_cgroup_as_init(running: Bundle) -> None:
    pid = running.state()["pid"]
    with subprocess.Popen(
        running.command("exec", running.id, "sleep", "100"), env=running.environment
    ) as process:
        deadline = time.monotonic() + 10
        while len(pids := json.loads(running.call("ps", "-f", "json", running.id).stdout)) < 2:
            assert time.monotonic() < deadline
        other = next(found for found in pids if found != pid)
        groups = Path(f"/proc/{pid}/cgroup").read_text()
        assert Path(f"/proc/{other}/cgroup").read_text() == groups
        process.terminate()
    assert process.returncode == 128 + 15


def test_its_own_session(running: Bundle) -> None:
    fields = text(running.exec("cat", "/proc/self/stat")).split()
    assert fields[0] == fields[4] == fields[5]


def test_standard_streams(running: Bundle) -> None:
    done = running.exec("sh", "-c", "cat; echo problem >&2", input="through\n")
    assert (done.stdout, done.stderr) == ("through\n", "problem\n")


def test_cwd(running: Bundle) -> None:
    assert text(running.exec("pwd", options=("--cwd", "/etc"))) == "/etc"


def test_bad_cwd(running: Bundle) -> None:
    refused(running.exec("pwd", options=("--cwd", "etc")), "Cwd must be an absolute path")
    refused(running.exec("pwd", options=("--cwd", "/nosuch")), "no such file or directory")


def test_env(running: Bundle) -> None:
    shown = text(running.exec("env", options=("-e", "A=1", "--env", "B=2=3", "--env=A=4")))
    assert "A=4" in shown.split("\n")
    assert "B=2=3" in shown.split("\n")
    assert "A=1" not in shown.split("\n")
    assert any(line.startswith("PATH=") for line in shown.split("\n"))


def test_bad_env(running: Bundle) -> None:
    refused(running.exec("env", options=("-e", "NOVALUE")), "process.env[", "missing '='")


def test_user(running: Bundle) -> None:
    assert "uid=1000(user) gid=0(root)" in text(running.exec("id", options=("--user", "1000")))
    assert "uid=1000(user) gid=7" in text(running.exec("id", options=("-u", "1000:7")))
    assert text(running.exec("sh", "-c", "echo $HOME", options=("-u", "1000"))) == "/home/user"


@pytest.mark.parametrize(
    "value",
    ["root", "1000:user", "", ":5", "5:", "-1", "1x", " 1", "0x0", "4294967296", "4294967295",
     "1:2:3", "1e3"],
)  # fmt: skip
def test_bad_user(running: Bundle, value: str) -> None:
    done = running.exec("id", options=("--user", value))
    if value == "":
        # As in runc: no user given.
        assert done.returncode == 0
        return
    refused(done, "bad ")


def test_number_that_is_a_name_in_passwd(running: Bundle) -> None:
    passwd = running.rootfs / "etc/passwd"
    passwd.write_text("1000:x:0:0::/root:/bin/sh\n" + passwd.read_text())
    assert "uid=1000" in text(running.exec("id", options=("--user", "1000")))


def test_additional_gids(running: Bundle) -> None:
    shown = text(
        running.exec("id", "-G", options=("-u", "1000:1000", "-g", "5", "--additional-gids", "6"))
    )
    assert shown.split() == ["1000", "5", "6"]


def test_bad_additional_gids(running: Bundle) -> None:
    refused(
        running.exec("id", options=("-g", "-5")), "additional-gids must be a positive number -5"
    )
    refused(running.exec("id", options=("-g", "9" * 12)), "additionalGids")


def test_no_new_privs(running: Bundle) -> None:
    running.config["process"]["noNewPrivileges"] = False
    running.write()
    grep = ("grep", "NoNewPrivs", "/proc/self/status")
    assert text(running.exec(*grep)).endswith("0")
    assert text(running.exec(*grep, options=("--no-new-privs",))).endswith("1")
    running.config["process"]["noNewPrivileges"] = True
    running.write()
    assert text(running.exec(*grep)).endswith("1")
    assert text(running.exec(*grep, options=("--no-new-privs=false",))).endswith("0")


def test_preserve_fds(running: Bundle) -> None:
    with open("/etc/hostname") as one, open("/etc/passwd") as two:
        command = [
            "sh", "-c", 'exec 3<"$1" 4<"$2" 5<"$1"; shift 2; exec "$@"', "sh", one.name, two.name,
            *running.command("exec", "--preserve-fds", "2", running.id),
            "sh", "-c", "ls /proc/self/fd | xargs; wc -l <&4",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, env=running.environment)
    shown = done.stdout.split("\n")
    # 5 is the directory that ls reads.
    assert shown[0] == "0 1 2 3 4 5"
    assert int(shown[1]) == len(Path("/etc/passwd").read_text().splitlines())


def test_preserve_fds_that_are_not_there(running: Bundle) -> None:
    done = running.exec("true", options=("--preserve-fds", "3"))
    refused(done, "unable to stat preserved-fd 0 (of 3): no such file or directory")


def test_pid_file(running: Bundle) -> None:
    done = running.exec("sh", "-c", "sleep 0.2", options=("--pid-file", "pid.txt", "-d"))
    assert done.returncode == 0
    pid = (running.path / "pid.txt").read_text()
    assert pid.isdigit()
    assert "sleep" in Path(f"/proc/{pid}/cmdline").read_text()


def test_pid_file_that_cannot_be_written(running: Bundle) -> None:
    done = running.exec("sleep", "100", options=("--pid-file", "/nosuch/dir/pid", "-d"))
    refused(done, "/nosuch/dir/.pid", "no such file or directory")
    assert len(json.loads(running.call("ps", "-f", "json", running.id).stdout)) == 1


def test_detached_process_outlives_runc(bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    bundle.start()
    bundle.exec("sh", "-c", "sleep 0.3; touch /tmp/done", options=("-d",))
    deadline = time.monotonic() + 10
    while not (bundle.rootfs / "tmp/done").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_process_file(running: Bundle) -> None:
    process = {"args": ["sh", "-c", "id -u; pwd; echo $X"], "cwd": "/tmp", "env": ["PATH=/bin", "X=y"],
               "user": {"uid": 5, "gid": 6}}  # fmt: skip
    path = running.path / "p.json"
    path.write_text(json.dumps(process))
    assert text(running.call("exec", "-p", str(path), running.id)) == "5\n/tmp\ny"


def test_process_file_counts_alone(running: Bundle) -> None:
    process = {"args": ["sh", "-c", "id -u; pwd"], "cwd": "/tmp", "env": ["PATH=/bin"]}
    path = running.path / "p.json"
    path.write_text(json.dumps(process))
    options = ("--process", str(path), "--cwd", "/etc", "--user", "7")
    assert text(running.call("exec", *options, running.id, "true")) == "0\n/tmp"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ("p.json",)),
        ("[]", ("p.json", "object")),
        ('{"args": ["id"]}', ("cwd",)),
        ('{"cwd": "/"}', ("process.args",)),
        ('{"cwd": "/", "args": ["id"], "env": ["a"]}', ("process.env[0]",)),
        ('{"cwd": "/", "args": "id"}', ("process.args",)),
        ('{"cwd": "/", "args": ["id"], "user": 7}', ("process.user",)),
        (None, ("p.json", "no such file or directory")),
    ],
)
def test_bad_process_file(running: Bundle, content: str | None, words: tuple[str, ...]) -> None:
    path = running.path / "p.json"
    if content is not None:
        path.write_text(content)
    refused(running.call("exec", "--process", str(path), running.id), *words)


def test_bundle_as_it_is_now(running: Bundle) -> None:
    running.config["process"]["env"].append("NEW=1")
    running.write()
    assert text(running.exec("sh", "-c", "echo $NEW")) == "1"


def test_bundle_that_is_gone(running: Bundle) -> None:
    (running.path / "config.json").unlink()
    assert text(running.exec("echo", "still")) == "still"


@pytest.mark.parametrize(
    ("content", "word"),
    [("{", "config.json"), ("{}", "process"), ('{"process": 5}', "process"),
     ('{"process": {"cwd": "/", "env": 7}}', "process.env")],
)  # fmt: skip
def test_bundle_that_is_broken(running: Bundle, content: str, word: str) -> None:
    (running.path / "config.json").write_text(content)
    refused(running.exec("true"), word)


def test_terminal_of_the_bundle_does_not_count(running: Bundle) -> None:
    running.config["process"]["terminal"] = True
    running.write()
    assert text(running.exec("sh", "-c", "tty || true")) == "not a tty"


def test_terminal(running: Bundle) -> None:
    status, shown = running.on_terminal("exec", "-t", running.id, "sh", "-c", "tty; exit 3")
    assert status == 3
    assert "/dev/pts/" in shown


def test_terminal_without_one_around(running: Bundle) -> None:
    done = running.call("exec", "-t", running.id, "tty", start_new_session=True)
    refused(done, "open /dev/tty: no such device or address")


def test_terminal_detached_without_a_socket(running: Bundle) -> None:
    done = running.exec("true", options=("-t", "-d"))
    refused(done, "cannot allocate tty if runc will detach without setting console socket")


def test_socket_without_a_terminal(running: Bundle) -> None:
    done = running.exec("true", options=("--console-socket", "/x"))
    refused(done, "cannot use console socket if runc will not detach or allocate tty")


def test_stopped_container(bundle: Bundle) -> None:
    bundle.start("true")
    bundle.wait_for("stopped")
    refused(bundle.exec("true"), "cannot exec in a stopped container")


def test_created_container(bundle: Bundle) -> None:
    bundle.create()
    assert text(bundle.exec("echo", "early")) == "early"


def test_unknown_container(bundle: Bundle) -> None:
    refused(bundle.exec("true"), "container does not exist")


def test_no_command(running: Bundle) -> None:
    refused(running.call("exec", running.id), "exec args cannot be empty")


def pause(bundle: Bundle) -> None:
    done = bundle.call("pause", bundle.id)
    if done.returncode:
        pytest.skip(f"no freezer: {done.stderr}")


def test_paused_container(running: Bundle) -> None:
    pause(running)
    message = "cannot exec in a paused container (use --ignore-paused to override)"
    refused(running.exec("true"), message)
    running.call("resume", running.id)


def test_paused_container_all_the_same(running: Bundle) -> None:
    pause(running)
    command = running.command("exec", "--ignore-paused", running.id, "echo", "thawed")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=running.environment
    ) as process:
        time.sleep(0.5)
        assert process.poll() is None
        running.call("resume", running.id)
        assert process.communicate(timeout=10)[0] == "thawed\n"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--cgroup", "nosuch:x"), "nosuch"),
        (("--cgroup", "cpu:a", "--cgroup", "cpu:b"), "controller cpu specified multiple times"),
        (("--cgroup", "a", "--cgroup", "b"), "missing <controller>: prefix"),
        (("--cgroup", ":a"), "empty <controller> prefix"),
        (("--cgroup", "cpu:../../x"), "bad sub cgroup path"),
    ],
)
def test_bad_cgroup(running: Bundle, options: tuple[str, ...], fault: str) -> None:
    refused(running.exec("true", options=options), fault)


@pytest.mark.needs("cgroup1")
def test_sub_cgroup(running: Bundle) -> None:
    pid = running.state()["pid"]
    groups = (line.split(":") for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    path = next(path for _, names, path in groups if "memory" in names.split(","))
    sub = Path(f"/sys/fs/cgroup/memory{path}/sub")
    if not sub.parent.is_dir():
        pytest.skip("cgroups are mounted elsewhere")
    sub.mkdir()
    done = running.exec("grep", ":memory:", "/proc/self/cgroup", options=("--cgroup", "memory:sub"))
    assert text(done).endswith("/sub")


def test_many_at_once(running: Bundle) -> None:
    command = running.command("exec", running.id, "sh", "-c", "exit 7")
    processes = [
        subprocess.Popen(command, env=running.environment, cwd=running.path) for _ in range(8)
    ]
    assert [process.wait(timeout=60) for process in processes] == [7] * 8


def test_into_a_user_namespace(bundle: Bundle) -> None:
    linux: Any = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    for name in ("uidMappings", "gidMappings"):
        linux[name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    shutil.copytree(bundle.rootfs, bundle.path / "shifted", symlinks=True)
    subprocess.run(["chown", "-R", "-h", "100000:100000", str(bundle.path / "shifted")], check=True)
    bundle.config["root"]["path"] = "shifted"
    bundle.start()
    assert text(bundle.exec("id", "-u")) == "0"
    assert text(bundle.exec("cat", "/proc/self/uid_map")).split() == ["0", "100000", "65536"]
    assert "uid=1000" in text(bundle.exec("id", options=("-u", "1000:1000")))
    done = bundle.exec("id", options=("-u", "70000"))
    refused(done, "process.user: cannot set user 70000", "not mapped in the user namespace")
