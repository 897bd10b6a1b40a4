"""The user namespaces that only carry a mapping of an id-mapped mount (for the mounts see test_mounts.py)."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from typing import Any

import pytest

from tests.integration.rootfs_bundle import Bundle, any_user, bundle

__all__ = ["any_user", "bundle"]


def mapping(first: int) -> dict[str, Any]:
    lines = [{"containerID": 0, "hostID": first, "size": 10}]
    return {"uidMappings": lines, "gidMappings": lines}


def skip_where_not_mapped(any_user: Bundle) -> None:
    """A tmpfs, which /tmp may be, can do it from Linux 6.3 on only."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", str(any_user.path)], capture_output=True, text=True, check=True
    ).stdout
    if kind == "tmpfs\n" and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 3):
        pytest.skip("a tmpfs of this kernel has no id-mapped mounts")


@pytest.mark.needs("program:strace")
def test_one_namespace_for_each_mapping(any_user: Bundle) -> None:
    if tuple(map(int, os.uname().release.split(".")[:2])) < (5, 12):
        pytest.skip("id-mapped mounts need Linux 5.12")
    skip_where_not_mapped(any_user)
    source = any_user.path / "source"
    source.mkdir()
    for number, first in enumerate([100000, 100000, 200000, 100000]):
        any_user.mount(f"/place{number}", source, "bind", "idmap", **mapping(first))
    inner = any_user._inner
    log = any_user.path / "calls"
    tracer = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(log),
        "-e",
        "trace=unshare",
        shutil.which("env") or "",
    ]
    plain = inner.command
    inner.command = lambda *args: [*tracer, *plain(*args)]
    assert any_user.good("stat -c %u /place0 >/dev/null").status == 0
    made = [line for line in log.read_text().splitlines() if "unshare(CLONE_NEWUSER)" in line]
    assert len(made) == 2, made


def test_nothing_is_left_of_them(any_user: Bundle) -> None:
    if tuple(map(int, os.uname().release.split(".")[:2])) < (5, 12):
        pytest.skip("id-mapped mounts need Linux 5.12")
    skip_where_not_mapped(any_user)
    source = any_user.path / "source"
    source.mkdir()
    any_user.mount("/place", source, "bind", "idmap", **mapping(100000))
    inner = any_user._inner
    inner.start()
    pid = inner.state()["pid"]
    maps = {os.readlink(f"/proc/{pid}/ns/user")}
    # Nobody carries the mapping any more; the mount does.
    for path in glob.glob("/proc/[0-9]*/uid_map"):
        try:
            with open(path) as file:
                lines = [line.split() for line in file]
            there = os.readlink(path.replace("uid_map", "ns/user"))
        except OSError:
            continue
        assert lines != [["0", "100000", "10"]] or there in maps
    expected = "0" if "uidMappings" in any_user.linux else "100000"
    shown = inner.exec("stat", "-c", "%u", "/place")
    assert shown.stdout == expected + "\n"
    # The process that opened it with the host's privileges is gone as well.
    assert not subprocess.run(
        ["pgrep", "-f", f"run .*{inner.id}"], capture_output=True, check=False
    ).stdout
