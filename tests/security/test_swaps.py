"""Lookups while somebody exchanges directories and links (CVE-2021-30465, CVE-2024-45310).

A second process swaps a directory of the root for a link that leads out of it, as fast as it can.
`naive` is the same work done on joined strings; there the attack succeeds.
"""

from __future__ import annotations

import os
import pathlib
import posix
import signal
from typing import Any, Callable, Iterator

import pytest

from libc_bindings import paths as libc
from libcontainer import paths

ROUNDS = 3000


def swap_for_ever(directory: str, one: str, other: str) -> None:
    fd = posix.open(directory, posix.O_PATH)
    while True:
        libc.renameat2(fd, one, fd, other, libc.RENAME_EXCHANGE)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """root/volume/dir is a directory, root/volume/link leads to outside, with the same names."""
    for directory in ("root/volume/dir/sub", "root/volume/spare", "outside/sub"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "root/volume/dir/name").write_text("inside")
    (tmp_path / "outside/name").write_text("outside")
    # Inside the root this is /outside, which does not exist; for string paths it is outside.
    (tmp_path / "root/volume/link").symlink_to("../../outside")
    return tmp_path


@pytest.fixture
def attacker(tree: pathlib.Path) -> Iterator[None]:
    pid = posix.fork()
    if pid == 0:
        try:
            swap_for_ever(str(tree / "root/volume"), "dir", "link")
        finally:
            posix._exit(1)
    yield
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture(params=["openat2", "walk"])
def root(request: Any, monkeypatch: Any, tree: pathlib.Path) -> Iterator[int]:
    monkeypatch.setattr(paths, "_has_openat2", request.param == "openat2")
    fd = posix.open(str(tree / "root"), posix.O_PATH)
    yield fd
    posix.close(fd)


def is_outside(fd: int, tree: pathlib.Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(str(tree / "outside"))
    finally:
        posix.close(fd)


def test_naive_lookups_get_out(tree: pathlib.Path, attacker: None) -> None:
    name = str(tree / "root/volume/dir/name")
    for _ in range(100 * ROUNDS):
        try:
            fd = posix.open(name, posix.O_PATH)
        except OSError:
            continue
        if is_outside(fd, tree):
            return
    pytest.skip("the attacker has not had his turn")


ACTIONS: dict[str, Callable[[int], int]] = {
    "open": lambda root: paths.open_beneath(root, "volume/dir/name"),
    "open over ..": lambda root: paths.open_beneath(root, "volume/dir/sub/../name"),
    "create": lambda root: paths.open_beneath(
        root, "volume/dir/new", posix.O_WRONLY | posix.O_CREAT, 0o600
    ),
    "parent": lambda root: paths.open_parent(root, "volume/dir/node")[0],
    "mkdir": lambda root: paths.make_directory(root, f"volume/dir/sub/{posix.times().elapsed}/x"),
    "touch": lambda root: paths.make_file(root, f"volume/dir/sub/{posix.times().elapsed}/y"),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_lookups_stay_inside(action: str, root: int, tree: pathlib.Path, attacker: None) -> None:
    before = os.listdir("/proc/self/fd")
    done = 0
    for number in range(50 * ROUNDS):
        # On a busy machine the attacker may rest a while, with the link in place.
        if done and number > ROUNDS:
            break
        try:
            fd = ACTIONS[action](root)
        except OSError:
            # The link leads to nothing inside the root.
            continue
        done += 1
        assert not is_outside(fd, tree)
    assert done
    assert sorted(os.listdir(tree / "outside")) == ["name", "sub"]
    assert os.listdir(tree / "outside/sub") == []
    assert sorted(os.listdir(tree)) == ["outside", "root"]
    assert os.listdir("/proc/self/fd") == before


def test_a_directory_that_is_moved_out_takes_nobody_along(root: int, tree: pathlib.Path) -> None:
    """ ".." from a directory that somebody moves out of the root must not arrive outside."""
    pid = posix.fork()
    if pid == 0:
        try:
            while True:
                os.rename(tree / "root/volume/dir/sub", tree / "outside/moved")
                os.rename(tree / "outside/moved", tree / "root/volume/dir/sub")
        finally:
            posix._exit(1)
    try:
        for _ in range(ROUNDS):
            try:
                fd = paths.open_beneath(root, "volume/dir/sub/../name", posix.O_RDONLY)
            except OSError:
                continue
            try:
                assert posix.read(fd, 100) == b"inside"
            finally:
                posix.close(fd)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
