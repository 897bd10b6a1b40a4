"""Every mount option that `runc features` lists, seen from inside the container, in any order."""

from __future__ import annotations

import itertools
import json
import pathlib
import re
import shutil
import subprocess
from typing import Any, Iterator

import pytest

from tests.integration.rootfs_bundle import Bundle, any_kernel, bundle

__all__ = ["any_kernel", "bundle"]

# Options of a new tmpfs: what /proc/self/mountinfo says of the mount, or of the file system.
MOUNT: dict[tuple[str, ...], str] = {
    ("defaults",): "rw,relatime",
    ("ro",): "ro,relatime",
    ("ro", "rw"): "rw,relatime",
    ("nosuid",): "rw,nosuid,relatime",
    ("nosuid", "suid"): "rw,relatime",
    ("suid", "nosuid"): "rw,nosuid,relatime",
    ("nodev",): "rw,nodev,relatime",
    ("nodev", "dev"): "rw,relatime",
    ("noexec",): "rw,noexec,relatime",
    ("noexec", "exec"): "rw,relatime",
    ("noatime",): "rw,noatime",
    ("noatime", "atime"): "rw,relatime",
    ("nodiratime",): "rw,nodiratime,relatime",
    ("nodiratime", "diratime"): "rw,relatime",
    ("relatime",): "rw,relatime",
    ("relatime", "norelatime"): "rw,relatime",
    ("strictatime",): "rw",
    ("strictatime", "nostrictatime"): "rw,relatime",
    ("nosymfollow",): "rw,relatime,nosymfollow",
    ("nosymfollow", "symfollow"): "rw,relatime",
}
FILE_SYSTEM: dict[tuple[str, ...], str] = {
    ("sync",): "sync",
    ("sync", "async"): "",
    ("dirsync",): "dirsync",
    ("lazytime",): "lazytime",
    ("lazytime", "nolazytime"): "",
}
# What no kernel shows: as strace sees it in mount(2)'s flags.
UNSEEN: dict[tuple[str, ...], str] = {
    ("silent",): "MS_SILENT",
    ("silent", "loud"): "0",
    ("iversion",): "MS_I_VERSION",
    ("iversion", "noiversion"): "0",
    ("mand",): "MS_MANDLOCK",
    ("mand", "nomand"): "0",
}
# For a whole tree: (flags on the host, options, what both mounts of the tree then have).
TREE = [
    ("rw", ("rro",), "ro"),
    ("ro", ("rrw",), "rw"),
    ("rw", ("rnosuid",), "rw,nosuid"),
    ("nosuid", ("rsuid",), "rw"),
    ("rw", ("rnodev",), "rw,nodev"),
    ("nodev", ("rdev",), "rw"),
    ("rw", ("rnoexec",), "rw,noexec"),
    ("noexec", ("rexec",), "rw"),
    ("rw", ("rnosymfollow",), "rw,nosymfollow"),
    ("rw", ("rnosymfollow", "rsymfollow"), "rw"),
    ("relatime", ("rnoatime",), "rw,noatime"),
    ("noatime", ("ratime",), "rw,relatime"),
    ("relatime", ("rnodiratime",), "rw,nodiratime,relatime"),
    ("relatime,nodiratime", ("rdiratime",), "rw,relatime"),
    ("noatime", ("rrelatime",), "rw,relatime"),
    ("relatime", ("rnorelatime",), "rw,relatime"),
    ("noatime", ("rstrictatime",), "rw"),
    ("strictatime", ("rnostrictatime",), "rw,relatime"),
    ("rw", ("rrw", "rro"), "ro"),
    ("ro", ("rro", "rrw"), "rw"),
]
# With tests of their own in test_mounts.py.
ELSEWHERE = {
    *("bind", "rbind", "remount", "tmpcopyup", "private", "rprivate", "shared", "rshared"),
    *("slave", "rslave", "unbindable", "runbindable"),
}


def line(output: str, place: str) -> tuple[str, str]:
    """(options of the mount, of its file system) from the last line of mountinfo for `place`."""
    found = [words for words in map(str.split, output.splitlines()) if words[4:5] == [place]]
    return found[-1][5], found[-1][-1]


def test_all_of_them_are_tried(runc: str) -> None:
    told = json.loads(subprocess.run([runc, "features"], stdout=subprocess.PIPE, check=True).stdout)
    tried = {name for options in (*MOUNT, *FILE_SYSTEM, *UNSEEN) for name in options}
    tried |= {name for _, options, _ in TREE for name in options}
    assert set(told["mountOptions"]) == tried | ELSEWHERE
    assert not tried & ELSEWHERE


def test_of_a_new_file_system(any_kernel: Bundle) -> None:
    expected = {}
    for number, (options, seen) in enumerate(MOUNT.items()):
        any_kernel.mount(f"/m{number}", "tmpfs", *options, kind="tmpfs")
        expected[options] = seen
    output = any_kernel.good("cat /proc/self/mountinfo").output
    found = {options: line(output, f"/m{number}")[0] for number, options in enumerate(MOUNT)}
    assert found == expected


def test_of_a_bind(any_kernel: Bundle) -> None:
    """The source is a mount of the runtime's own making, which has no flag."""
    any_kernel.mount("/source", "tmpfs", kind="tmpfs")
    for number, options in enumerate(MOUNT):
        any_kernel.mount(f"/m{number}", any_kernel.rootfs / "source", "bind", *options)
    output = any_kernel.good("cat /proc/self/mountinfo").output
    found = {options: line(output, f"/m{number}")[0] for number, options in enumerate(MOUNT)}
    assert found == MOUNT


def test_of_the_file_system_itself(any_kernel: Bundle) -> None:
    for number, options in enumerate(FILE_SYSTEM):
        any_kernel.mount(f"/m{number}", "tmpfs", *options, kind="tmpfs")
    output = any_kernel.good("cat /proc/self/mountinfo").output
    for number, (options, seen) in enumerate(FILE_SYSTEM.items()):
        shown = set(line(output, f"/m{number}")[1].split(",")) & {"sync", "dirsync", "lazytime"}
        assert shown == ({seen} - {""}), options


@pytest.fixture
def trees(bundle: Bundle) -> Iterator[list[pathlib.Path]]:
    """For each row of TREE a mount of the host's with the row's flags, and one beneath it."""
    made: list[pathlib.Path] = []
    try:
        for number, (flags, _, _) in enumerate(TREE):
            top = bundle.path / "trees" / str(number)
            for place in (top, top / "below"):
                place.mkdir(parents=True)
                made.append(place)
                # Flags given here would be the file system's own.
                subprocess.run(
                    ["mount", "-t", "tmpfs", "-o", "strictatime", "test", place], check=True
                )
                if place == top:
                    (top / "below").mkdir()
                    (top / "below").rmdir()
            for place in (top / "below", top):
                subprocess.run(["mount", "-o", f"remount,bind,{flags}", place], check=True)
        yield [path for path in made if path.name != "below"]
    finally:
        for place in reversed(made):
            subprocess.run(["umount", "-l", place], check=False, stderr=subprocess.DEVNULL)


def test_of_a_tree(bundle: Bundle, trees: list[pathlib.Path]) -> None:
    for number, (_, options, _) in enumerate(TREE):
        bundle.mount(f"/m{number}", trees[number], "rbind", *options)
    output = bundle.good("cat /proc/self/mountinfo").output
    for number, (flags, options, seen) in enumerate(TREE):
        wanted = set(seen.split(","))
        asked = {"noatime", "relatime", "strictatime", "nodiratime"} & {*flags.split(",")}
        asked |= {name for name in options if "atime" in name}
        for place in (f"/m{number}", f"/m{number}/below"):
            found = set(line(output, place)[0].split(","))
            if not asked:
                found.discard("relatime")
            assert found == wanted, (options, place)


def test_of_a_tree_needs_the_newer_call(bundle: Bundle, trees: list[pathlib.Path]) -> None:
    """mount(2) knows no flags for a tree: without mount_setattr(2) that is an error."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace to take system calls away")
    bundle.lacking = ("mount_setattr",)
    bundle.mount("/place", trees[0], "rbind", "rro")
    assert f'error mounting "{trees[0]}" to rootfs at "/place"' in bundle.refused()


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["ro", "nosuid", "noexec", "noatime"]))[::5]
)
def test_in_any_order(any_kernel: Bundle, order: tuple[str, ...]) -> None:
    any_kernel.mount("/new", "tmpfs", "size=64k", *order, "mode=700", "private", kind="tmpfs")
    any_kernel.mount("/bound", any_kernel.path, *order, "rprivate", "bind")
    output = any_kernel.good("cat /proc/self/mountinfo").output
    assert line(output, "/new")[0] == "ro,nosuid,noexec,noatime"
    assert {"size=64k", "mode=700"} <= set(line(output, "/new")[1].split(","))
    assert {"ro", "nosuid", "noexec", "noatime"} == set(line(output, "/bound")[0].split(","))


def calls(bundle: Bundle, inner: Any, *names: str) -> list[str]:
    """The system calls of a run, by strace."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace to watch system calls")
    trace = bundle.path / "trace"
    filters = ["-f", "-qq", "-o", str(trace), "-e", f"trace={','.join(names)}"]
    for call in bundle.lacking:
        filters += ["-e", f"inject={call}:error=ENOSYS"]
    inner.command = lambda *args: ["strace", *filters, inner.runc, "--root", str(inner.root), *args]
    done = inner.shell("true")
    assert done.returncode == 0, done
    return trace.read_text().splitlines()


def test_flags_that_are_not_shown_reach_the_kernel(bundle: Bundle) -> None:
    for number, options in enumerate(UNSEEN):
        bundle.mount(f"/m{number}", f"unseen{number}", *options, kind="tmpfs")
    lines = calls(bundle, bundle._inner, "mount")
    for number, (options, seen) in enumerate(UNSEEN.items()):
        found = [text for text in lines if f'mount("unseen{number}"' in text]
        assert len(found) == 1, options
        match = re.search(r'"tmpfs", (\S+), ', found[0])
        assert match, found
        assert match[1] == seen, options


@pytest.mark.parametrize("lacking", [(), ("mount_setattr",)], ids=["new", "5.11"])
@pytest.mark.parametrize("kind", ["bind", "remount"])
def test_flags_alone_take_one_call(bundle: Bundle, kind: str, lacking: tuple[str, ...]) -> None:
    bundle.lacking = lacking
    bundle.mount("/place", "tmpfs", kind="tmpfs")
    before = changes(bundle)
    if kind == "bind":
        bundle.mount("/place", bundle.path, "ro", "nosuid", "bind", "nodev", "noexec", "noatime")
    else:
        bundle.mount("/place", "none", "remount", "bind", "ro", "nosuid", "noatime", kind="none")
    assert changes(bundle) - before == 1


def changes(bundle: Bundle) -> int:
    """How often a run changes a mount's flags."""
    call = "MS_REMOUNT" if bundle.lacking else "attr_set"
    lines = calls(bundle, bundle._inner, "mount", "mount_setattr")
    return sum(call in text and "ENOSYS" not in text for text in lines)
