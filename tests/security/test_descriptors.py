"""No descriptor of the host's gets into a container, nor the container out through one.

CVE-2024-21626: a directory that the caller or the runtime left open is reached as
/proc/self/fd/N, as the working directory above all.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
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
def leaked(host: pathlib.Path) -> Iterator[tuple[int, ...]]:
    """Inheritable descriptors of it: the directory as 3, 7 and 40, the file, writable, as 8."""
    # High up first, so that none of the numbers is taken by chance.
    directory = open_high(host, os.O_RDONLY)
    file = open_high(host / "secret", os.O_RDWR)
    taken = {}
    for number, fd in ((3, directory), (7, directory), (40, directory), (8, file)):
        taken[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 100) if is_open(number) else -1
        os.dup2(fd, number)
    os.close(directory)
    os.close(file)
    yield 3, 7, 8, 40
    for number, before in taken.items():
        if before >= 0:
            os.dup2(before, number, inheritable=False)
            os.close(before)
        else:
            os.close(number)


def open_high(path: pathlib.Path, flags: int) -> int:
    low = os.open(path, flags)
    high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 100)
    os.close(low)
    return high


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


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
    way: str, proc: str, kernel: str, bundle: Any, leaked: tuple[int, ...]
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
    done = in_container(bundle, way, LOOK, pass_fds=leaked)
    assert (done.returncode, done.stdout) == (0, ""), done


@pytest.mark.parametrize("way", WAYS)
def test_preserved_descriptors_alone_come_along(
    way: str, bundle: Any, leaked: tuple[int, ...]
) -> None:
    """What shows that the look above sees them."""
    done = in_container(bundle, way, LOOK, "--preserve-fds", "6", pass_fds=(*leaked, 4, 5, 6))
    opened = done.stdout.split()
    assert "8" in opened and "40" not in opened, done


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", range(3, 16))
def test_the_working_directory_cannot_be_a_leaked_directory(
    way: str, number: int, bundle: Any, host: pathlib.Path, leaked: tuple[int, ...]
) -> None:
    script = "cat secret ../secret; pwd -P; ls -di ."
    cwd = f"/proc/self/fd/{number}"
    if way == "run":
        bundle.config["process"]["cwd"] = cwd
        done = in_container(bundle, way, script, pass_fds=leaked)
    else:
        done = in_container(bundle, way, script, "--cwd", cwd, pass_fds=leaked)
    assert "of the host" not in done.stdout
    if done.returncode == 0:
        # It was a directory of the container's own.
        assert str(os.stat(host).st_ino) not in done.stdout.split()


@pytest.mark.parametrize("through", ["number", "link", "beneath", "parent"])
@pytest.mark.parametrize("way", WAYS)
def test_not_even_a_preserved_one(
    way: str, through: str, bundle: Any, host: pathlib.Path, leaked: tuple[int, ...]
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
    done = in_container(bundle, way, script, *options, pass_fds=leaked)
    assert done.returncode != 0
    assert "of the host" not in done.stdout
    assert "outside of the container" in done.stderr or "cwd" in done.stderr, done


def test_hooks_of_the_container_get_no_descriptors(bundle: Any, leaked: tuple[int, ...]) -> None:
    bundle.config["root"]["readonly"] = False
    look = bundle.rootfs / "look"
    look.write_text(f"#!/bin/sh\n({LOOK}) >/looked\n")
    look.chmod(0o755)
    bundle.config["hooks"] = {"startContainer": [{"path": "/look"}]}
    done = bundle.run("true", pass_fds=leaked)
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
