"""Mounts while somebody exchanges the mount point and a link out of the rootfs (CVE-2021-30465).

Each round makes the config's mount in a mount namespace of its own process and looks where it
is. `naive` mounts on the joined path, and there the attack succeeds.
"""

from __future__ import annotations

import os
import pathlib
import posix
import signal
from typing import Any, Callable, Iterator

import pytest

from libc_bindings import mounts as libc
from libc_bindings import namespaces
from libc_bindings import paths as libc_paths
from libcontainer import rootfs
from libcontainer.errors import Error

ROUNDS = 1500
INSIDE, OUTSIDE, NOTHING, BROKEN = 0, 1, 2, 3


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """root/volume/dir is a directory, root/volume/link leads to outside, with the same names."""
    for directory in ("root/volume/dir/sub", "outside/sub", "source"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "root/volume/link").symlink_to("../../outside")
    return tmp_path


@pytest.fixture
def attacker(tree: pathlib.Path) -> Iterator[None]:
    pid = posix.fork()
    if pid == 0:
        fd = posix.open(str(tree / "root/volume"), posix.O_PATH)
        while True:
            libc_paths.renameat2(fd, "dir", fd, "link", libc_paths.RENAME_EXCHANGE)
    yield
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def naive(root_fd: int, spec: Any, sources: Any, _: Any) -> None:
    """The same mount without the descriptors."""
    path = posix.readlink(f"/proc/self/fd/{root_fd}") + spec["mounts"][0]["destination"]
    libc.mount("tmpfs", path, "tmpfs")


def in_namespace(tree: pathlib.Path, spec: Any, mount: Callable[..., None]) -> int:
    """Mount in a new namespace until something gets out; what the worst round came to."""
    pid = posix.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = BROKEN
    try:
        status = attempt(tree, spec, mount)
    finally:
        posix._exit(status)


def attempt(tree: pathlib.Path, spec: Any, mount: Callable[..., None]) -> int:
    namespaces.unshare(namespaces.CLONE_NEWNS)
    rootfs.set_propagation(spec)
    made = NOTHING
    for _ in range(ROUNDS):
        root_fd = rootfs.bind_root(spec, str(tree))
        try:
            mount(root_fd, spec, rootfs.open_sources(spec, str(tree)), None)
        except (Error, OSError):
            # The name was a link that leads nowhere in the root, or was moved meanwhile.
            pass
        posix.close(root_fd)
        below = [line.split()[4] for line in open("/proc/self/mountinfo") if str(tree) in line]
        if any(place.startswith(str(tree / "outside")) for place in below):
            return OUTSIDE
        if len(below) > 1:
            made = INSIDE
        libc.umount(str(tree / "root"), libc.MNT_DETACH)
    return made


def config(kind: str, tree: pathlib.Path) -> Any:
    entry = {"destination": "/volume/dir/sub", "type": kind, "source": str(tree / "source")}
    return {
        "root": {"path": "root"},
        "mounts": [{**entry, "options": ["bind"] if kind == "bind" else []}],
        "linux": {"namespaces": [{"type": "mount"}]},
    }


def test_naive_mounts_get_out(tree: pathlib.Path, attacker: None) -> None:
    for _ in range(20):
        if in_namespace(tree, config("tmpfs", tree), naive) == OUTSIDE:
            return
    pytest.skip("the attacker has not had his turn")


@pytest.mark.parametrize("lacking", ["", "open_tree"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_mounts_stay_inside(
    tree: pathlib.Path, attacker: None, kind: str, lacking: str, monkeypatch: Any
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(38, "Function not implemented")

    if lacking:
        monkeypatch.setattr(libc, lacking, refuse)
    assert in_namespace(tree, config(kind, tree), rootfs.mount_all) == INSIDE
