"""No descriptor of the host's gets into a container, nor the container out through one.

CVE-2016-9962, CVE-2019-18837: a process that is joining can be traced, or its descriptors taken.
CVE-2024-21626: a directory that the caller or the runtime left open is reached as
/proc/self/fd/N, as the working directory above all.
"""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from typing import Any, Iterator

import pytest

TRACED = "strace -f -qq -o /dev/null -e inject=close_range:error=ENOSYS".split(" ")

WAYS = ["run", "exec"]


@pytest.fixture
def host(tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory of the host's with a file that no container may see or write."""
    (tmp_path / "secret").write_text("of the host")
    return tmp_path


@pytest.fixture
def leaked(host: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Inheritable descriptors of it: the directory as 3 to 7 and 40, the file, writable, as 8.

    As options of subprocess.run(): the tests' own descriptors may have these numbers.
    """
    directory = open_high(host, os.O_RDONLY)
    file = open_high(host / "secret", os.O_RDWR)

    def leak() -> None:
        for number in (3, 4, 5, 6, 7, 40):
            os.dup2(directory, number)
        os.dup2(file, 8)

    yield {"close_fds": False, "preexec_fn": leak}
    os.close(directory)
    os.close(file)


def open_high(path: pathlib.Path, flags: int) -> int:
    low = os.open(path, flags)
    high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 100)
    os.close(low)
    return high


def in_container(bundle: Any, way: str, script: str, *options: str, **more: Any) -> Any:
    """Run a script by `run` or by `exec`, with the process's options of the verb."""
    if way == "run":
        return bundle.run("sh", "-c", script, options=options, **more)
    if not bundle.state():
        bundle.start()
    return bundle.exec("sh", "-c", script, options=options, **more)


LOOK = """
for n in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 40; do
    (eval "true >&$n") 2>/dev/null && echo "open $n"
done
exit 0
"""


@pytest.mark.parametrize("kernel", ["new", "without close_range"])
@pytest.mark.parametrize("proc", ["mounted", "forged", "missing"])
@pytest.mark.parametrize("way", WAYS)
def test_descriptors_of_the_caller_are_closed(
    way: str, proc: str, kernel: str, bundle: Any, leaked: dict[str, Any]
) -> None:
    """Without close_range(2) they have to be listed, and the image's /proc is no help with that."""
    if proc != "mounted":
        bundle.config["mounts"] = [
            mount for mount in bundle.config["mounts"] if mount["destination"] != "/proc"
        ]
        bundle.config["linux"]["maskedPaths"] = bundle.config["linux"]["readonlyPaths"] = []
    if proc == "forged":
        (bundle.rootfs / "proc/self/fd/no number").mkdir(parents=True)
        (bundle.rootfs / "proc/thread-self").symlink_to("self")
    if kernel != "new":
        command = bundle.command
        bundle.command = lambda *words: TRACED + command(*words)
        if way == "exec":
            bundle.command = command
            bundle.start()
            bundle.command = lambda *words: TRACED + command(*words)
    done = in_container(bundle, way, LOOK, **leaked)
    assert (done.returncode, done.stdout) == (0, ""), done


@pytest.mark.parametrize("way", WAYS)
def test_preserved_descriptors_alone_come_along(
    way: str, bundle: Any, leaked: dict[str, Any]
) -> None:
    """What shows that the look above sees them."""
    done = in_container(bundle, way, LOOK, "--preserve-fds", "6", **leaked)
    opened = done.stdout.split()
    assert "8" in opened and "40" not in opened, done


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", range(3, 16))
def test_the_working_directory_cannot_be_a_leaked_directory(
    way: str, number: int, bundle: Any, host: pathlib.Path, leaked: dict[str, Any]
) -> None:
    script = "cat secret ../secret; pwd -P; ls -di ."
    cwd = f"/proc/self/fd/{number}"
    if way == "run":
        bundle.config["process"]["cwd"] = cwd
        done = in_container(bundle, way, script, **leaked)
    else:
        done = in_container(bundle, way, script, "--cwd", cwd, **leaked)
    assert "of the host" not in done.stdout
    if done.returncode == 0:
        # It was a directory of the container's own.
        assert str(os.stat(host).st_ino) not in done.stdout.split()


@pytest.mark.parametrize("through", ["number", "link", "beneath", "parent"])
@pytest.mark.parametrize("way", WAYS)
def test_not_even_a_preserved_one(
    way: str, through: str, bundle: Any, host: pathlib.Path, leaked: dict[str, Any]
) -> None:
    """Here the descriptor is there for certain: nothing but the look at the end defends."""
    (host / "below").mkdir()
    cwd = {
        "number": "/proc/self/fd/3",
        "link": "/link",
        "beneath": "/proc/self/fd/3/below",
        "parent": "/proc/self/fd/3/..",
    }[through]
    (bundle.rootfs / "link").symlink_to("/proc/self/fd/3")
    script = "cat secret ../secret */secret"
    options = ["--preserve-fds", "1"]
    if way == "run":
        bundle.config["process"]["cwd"] = cwd
    else:
        bundle.config["process"]["cwd"] = "/"
        options += ["--cwd", cwd]
    done = in_container(bundle, way, script, *options, **leaked)
    assert done.returncode != 0
    assert "of the host" not in done.stdout
    assert "outside of the container" in done.stderr or "cwd" in done.stderr, done


def test_hooks_of_the_container_get_no_descriptors(bundle: Any, leaked: dict[str, Any]) -> None:
    bundle.config["root"]["readonly"] = False
    look = bundle.rootfs / "look"
    look.write_text(f"#!/bin/sh\n({LOOK}) >/looked\n")
    look.chmod(0o755)
    bundle.config["hooks"] = {"startContainer": [{"path": "/look"}]}
    done = bundle.run("true", **leaked)
    assert done.returncode == 0, done
    assert (bundle.rootfs / "looked").read_text() == ""


def test_descriptors_of_init_before_start_are_out_of_reach(bundle: Any) -> None:
    """A created container's init still has descriptors; a second container in its pid namespace
    (or an exec) must not be able to use them."""
    assert bundle.create("sleep", "1000").returncode == 0
    pid = bundle.state()["pid"]
    links = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            links[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
    directories = [place for place in links.values() if os.path.isdir(place) and place != "/"]
    assert not directories, links
    assert not [
        place for place in links.values() if "python" in place or "runc" in place.split("/")[-1]
    ]
    with open(f"/proc/{pid}/status") as status:
        assert "TracerPid:\t0\n" in status.read()
    # Not dumpable: its files in /proc belong to the host's root whoever it is.
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0


@pytest.mark.needs("program:strace")
@pytest.mark.parametrize("way", WAYS)
def test_it_is_not_dumpable_once_it_is_another_user(way: str, bundle: Any, tmp_path: Any) -> None:
    """A change of ids makes a process what fs.suid_dumpable says: 1 would let others trace it.

    The setting is the whole host's, so the attack is not made here: the order of calls is shown.
    """
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    if way == "exec":
        bundle.start("sleep", "1000")
    trace = tmp_path / "trace"
    command = bundle.command
    calls = "trace=prctl,/^set.*uid.*,execve"
    bundle.command = lambda *words: [
        "strace",
        "-f",
        "-o",
        str(trace),
        "-e",
        calls,
        *command(*words),
    ]
    done = in_container(bundle, way, "exit 0")
    bundle.command = command
    assert done.returncode == 0, done.stderr
    lines = trace.read_text().splitlines()
    pid = next(line.split()[0] for line in lines if '["sh", "-c", "exit 0"]' in line)
    own = [line for line in lines if line.split()[0] == pid]
    own = own[: next(n for n, line in enumerate(own) if "execve(" in line)]
    changed = max(n for n, line in enumerate(own) if "uid" in line and "(1000" in line)
    dropped = [n for n, line in enumerate(own) if "PR_SET_DUMPABLE, SUID_DUMP_DISABLE" in line]
    assert max(dropped) > changed, own


CREATED = """
for place in environ mem maps; do head -c 1 /proc/1/$place && echo "read $place"; done
for place in exe cwd fd/1 fd/4; do readlink /proc/1/$place && echo "seen $place"; done
exit 0
"""


@pytest.mark.needs("program:setpriv", "userns")
@pytest.mark.parametrize("trusted", [False, True])
def test_an_ordinary_user_s_init_before_start(
    trusted: bool, runc: str, rootfs: str, scratch: pathlib.Path
) -> None:
    """Its user may look into it, what is executed in the container may not.

    `trusted` is the attack with the capability for it: then it sees init, but no file of the host's.
    """
    shutil.copy(runc, scratch / "runc")
    bundle = scratch / "bundle"
    bundle.mkdir()
    subprocess.run(["cp", "-a", rootfs, str(bundle / "rootfs")], check=True)
    subprocess.run([runc, "spec", "--rootless"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["sleep", "1000"])
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind][0]["hostID"] = 1000
    (bundle / "config.json").write_text(json.dumps(config))
    subprocess.run(["chown", "-R", "1000:1000", str(bundle)], check=True)

    def as_user(*words: str) -> Any:
        user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
        command = [*user, str(scratch / "runc"), "--root", str(bundle / "state"), *words]
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command,
                cwd=bundle,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
            output.seek(0)
            return done.returncode, output.read()

    assert as_user("create", "c1") == (0, "")
    try:
        capability = ["--cap", "CAP_SYS_PTRACE"] if trusted else []
        status, output = as_user("exec", *capability, "c1", "sh", "-c", CREATED)
        assert status == 0, output
        assert ("seen exe" in output) is trusted, output
        assert trusted or not any(word in output for word in ("seen", "read maps", "read mem"))
        # The environment of the caller is gone from it, its program is nowhere.
        assert "PATH" not in output and "python" not in output
    finally:
        as_user("delete", "--force", "c1")
