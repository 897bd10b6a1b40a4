"""Hostile images: links, files and races where the runtime wants to make or mount something.

Each attack aims at a directory of the host's beside the bundle. `naive` shows where a runtime that
joins the paths as strings would have ended: outside.
"""

from __future__ import annotations

import os
import pathlib
import posix
import signal
import stat
import struct
from typing import Any, Iterator

import pytest

from libc_bindings import paths as libc
from libc_bindings import seccomp

STARTS = 50
STARTS_LONG = 2000
PARTS = 4
"""In which these are made: 500 at a time."""


class Host:
    """A directory of the host's, and what it must look like afterwards."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        for name in ("sub", "dev", "proc/self", "fd"):
            (path / name).mkdir(parents=True)
        (path / "secret").write_text("of the host")
        (path / "null").write_text("of the host")
        self.before = self.look()

    def look(self) -> list[tuple[str, int, int, float, str]]:
        """Everything in it: names, modes, owners, times, and the mounts on it."""
        found = []
        for place in sorted([self.path, *self.path.rglob("*")]):
            stat = place.lstat()
            kept = stat.st_mode, stat.st_uid, stat.st_mtime
            content = place.read_text() if place.is_file() else ""
            found.append((str(place), *kept, content))
        return found

    def verify(self) -> None:
        assert self.look() == self.before
        mounts = pathlib.Path("/proc/self/mountinfo").read_text()
        assert str(self.path) not in mounts


@pytest.fixture
def host(bundle: Any) -> Iterator[Host]:
    """It lies beside the bundle: `../../host` from the root of the image, or its absolute path."""
    made = Host(bundle.path.parent / "host")
    yield made
    made.verify()


LINKS = ["absolute", "relative", "magic"]


def link_to(host: Host, kind: str, below: str = "") -> str:
    """A link's target that is outside for whoever follows it as the host does."""
    depth = "../" * (below.count("/") + 2)
    return {
        "absolute": str(host.path),
        "relative": f"{depth}host",
        "magic": f"/proc/self/root{host.path}",
    }[kind]


def naive(bundle: Any, path: str) -> str:
    """Where the path of the image leads to for the host."""
    return os.path.realpath(f"{bundle.rootfs}/{path}")


def replace(bundle: Any, path: str, target: str) -> None:
    place = bundle.rootfs / path
    if place.is_dir() and not place.is_symlink():
        os.rmdir(place)
    elif place.exists() or place.is_symlink():
        place.unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize("kind", ["relative", "absolute"])
@pytest.mark.parametrize("path", ["proc", "sys"])
def test_proc_and_sys_are_mounted_on_directories_only(
    path: str, kind: str, bundle: Any, host: Host
) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642."""
    replace(bundle, path, link_to(host, kind))
    assert naive(bundle, path) == str(host.path)
    done = bundle.run("true")
    assert done.returncode != 0
    assert f"/{path}" in done.stderr, done


@pytest.mark.parametrize("path", ["proc", "sys"])
def test_not_even_on_links_inside(path: str, bundle: Any, host: Host) -> None:
    """The link's target could be a volume that another container changes meanwhile."""
    (bundle.rootfs / "other").mkdir()
    replace(bundle, path, "other")
    done = bundle.run("true")
    assert done.returncode != 0 and f"/{path}" in done.stderr, done


@pytest.mark.parametrize("kind", LINKS)
def test_dev_is_a_link(kind: str, bundle: Any, host: Host) -> None:
    """CVE-2026-41579: device nodes and links are made beneath the root."""
    replace(bundle, "dev", link_to(host, kind))
    bundle.config["mounts"] = [
        mount for mount in bundle.config["mounts"] if not mount["destination"].startswith("/dev")
    ]
    bundle.config["root"]["readonly"] = False
    bundle.run("true")
    host.verify()


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("what", ["tmpfs", "bind", "file"])
def test_mount_points_behind_links(what: str, kind: str, bundle: Any, host: Host) -> None:
    """Existing ones, and such as have to be made (CVE-2024-45310)."""
    (bundle.rootfs / "volume").mkdir()
    (bundle.rootfs / "volume/link").symlink_to(link_to(host, kind, "volume/"))
    source = bundle.path / "source"
    source.mkdir()
    (source / "file").write_text("of the volume")
    bundle.config["root"]["readonly"] = False
    for place in ("/volume/link/sub", "/volume/link/new/deep", "/volume/link"):
        mount = {"destination": place, "type": "bind", "source": str(source), "options": ["bind"]}
        if what == "tmpfs":
            mount.update(type="tmpfs", source="tmpfs", options=[])
        elif what == "file":
            mount.update(source=str(source / "file"), destination=place + "/file")
        config = bundle.config["mounts"]
        bundle.config["mounts"] = [*config, mount]
        bundle.run("true")
        bundle.config["mounts"] = config
        host.verify()


@pytest.mark.parametrize("kind", LINKS)
def test_the_working_directory_is_made_inside(kind: str, bundle: Any, host: Host) -> None:
    replace(bundle, "link", link_to(host, kind))
    bundle.config["root"]["readonly"] = False
    for cwd in ("/link/new/deep", "/link"):
        bundle.config["process"]["cwd"] = cwd
        bundle.run("true")
        host.verify()


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("path", ["etc/passwd", "etc/group"])
def test_the_image_s_own_passwd(path: str, kind: str, bundle: Any, host: Host) -> None:
    """It is read in the container's root: for HOME, and never for a numeric user."""
    secret = host.path / "passwd"
    secret.write_text("root:x:0:0::/of-the-host:/bin/sh\n")
    host.before = host.look()
    replace(bundle, path, link_to(host, kind, "etc/") + "/passwd")
    process = bundle.config["process"]
    process["env"] = [variable for variable in process["env"] if not variable.startswith("HOME=")]
    done = bundle.shell("echo $HOME")
    assert "of-the-host" not in done.stdout + done.stderr


@pytest.mark.parametrize("kind", LINKS)
def test_masked_and_read_only_paths(kind: str, bundle: Any, host: Host) -> None:
    """CVE-2025-31133 among them: what a mask shows is nothing of the host's."""
    replace(bundle, "masked", link_to(host, kind))
    replace(bundle, "dev/null", link_to(host, kind) + "/null")
    bundle.config["linux"]["maskedPaths"] += ["/masked/secret", "/masked/sub", "/etc/passwd"]
    bundle.config["linux"]["readonlyPaths"] += ["/masked", "/masked/sub"]
    bundle.config["mounts"] = [
        mount for mount in bundle.config["mounts"] if mount["destination"] != "/dev"
    ]
    done = bundle.shell("cat /etc/passwd /masked/secret /proc/kcore /dev/null")
    assert "of the host" not in done.stdout + done.stderr
    assert "root:" not in done.stdout


@pytest.mark.parametrize(
    ("destination", "source"),
    [
        ("/proc", "directory"),
        ("/proc/self", "directory"),
        ("/proc/self/attr", "directory"),
        ("/proc/self/attr/exec", "file"),
        ("/proc/sys", "directory"),
        ("/proc/sys/kernel/hostname", "file"),
        ("/proc/1/status", "file"),
        ("/proc/../proc/self/attr/exec", "file"),
        ("//proc//self", "directory"),
        ("/link/self/attr/exec", "file"),
    ],
)
def test_nothing_is_mounted_over_proc(
    destination: str, source: str, bundle: Any, host: Host
) -> None:
    """CVE-2019-16884: labels would be written to the mounted file instead."""
    replace(bundle, "link", "proc")
    place = host.path / ("sub" if source == "directory" else "null")
    mount = {"destination": destination, "type": "bind", "source": str(place), "options": ["bind"]}
    bundle.config["mounts"].append(mount)
    done = bundle.run("true")
    assert done.returncode != 0
    assert "proc" in done.stderr, done


def test_lxcfs_may_do_so(bundle: Any, host: Host) -> None:
    mount = {"destination": "/proc/meminfo", "type": "bind", "options": ["bind"]}
    bundle.config["mounts"].append({**mount, "source": str(host.path / "null")})
    assert "of the host" in bundle.output("cat /proc/meminfo")


def test_nothing_of_ours_is_written_to_the_root(bundle: Any, host: Host) -> None:
    """CVE-2025-24965: no helper file, no state, and no mount point that was there already."""

    def listing() -> list[str]:
        return sorted(str(place) for place in bundle.rootfs.rglob("*"))

    bundle.run("true")
    before = listing()
    bundle.run("true")
    assert listing() == before


@pytest.mark.parametrize("exists", [True, False])
def test_root_path_that_is_swapped_out(exists: bool, bundle: Any, host: Host) -> None:
    """The root of the config is resolved once."""
    bundle.config["root"]["path"] = "rootfs/../rootfs" if exists else "rootfs/missing"
    done = bundle.run("cat", "/secret")
    assert "of the host" not in done.stdout


def swap_for_ever(directory: str, pairs: list[tuple[str, str]]) -> None:
    fd = posix.open(directory, posix.O_PATH)
    while True:
        for one, other in pairs:
            libc.renameat2(fd, one, fd, other, libc.RENAME_EXCHANGE)


@pytest.fixture
def swapped(bundle: Any, host: Host) -> Iterator[None]:
    """A volume of two containers, in which one exchanges directories and links for ever."""
    volume = bundle.rootfs / "volume"
    for name in ("dir/sub", "dir/dev", "dir2"):
        (volume / name).mkdir(parents=True)
    (volume / "link").symlink_to("../../host")
    (volume / "link2").symlink_to(str(host.path))
    pid = posix.fork()
    if pid == 0:
        try:
            swap_for_ever(str(volume), [("dir", "link"), ("dir2", "link2")])
        finally:
            posix._exit(1)
    yield
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def attack_by_swapping(bundle: Any, host: Host, starts: int, **options: Any) -> None:
    """Start containers on the swapped volume; `options` are subprocess.run()'s."""
    source = bundle.path / "source"
    source.mkdir()
    (source / "of-the-volume").write_text("")
    bundle.config["root"]["readonly"] = False
    for place, kind in (("dir/sub", "bind"), ("dir/new", "tmpfs"), ("dir2", "bind")):
        mount = {"destination": f"/volume/{place}", "type": kind, "source": str(source)}
        bundle.config["mounts"].append({**mount, "options": ["bind"] if kind == "bind" else []})
    bundle.config["linux"]["maskedPaths"].append("/volume/dir/secret")
    bundle.config["linux"]["readonlyPaths"].append("/volume/dir")
    device = {"type": "c", "path": "/volume/dir/dev/zero", "major": 1, "minor": 5}
    bundle.config["linux"]["devices"] = [device]
    bundle.config["process"]["cwd"] = "/volume/dir/cwd"
    script = "cat /volume/*/secret /volume/*/sub/secret ../secret secret; exit 0"
    worked = 0
    for number in range(starts):
        done = bundle.shell(script, **options)
        worked += done.returncode == 0
        assert "of the host" not in done.stdout + done.stderr, number
        assert "Traceback" not in done.stderr, done.stderr
        if number % 10 == 9:
            host.verify()
    print(f"{worked} of {starts} containers came up")


def without_openat2() -> None:
    """For a child: what it executes is told ENOSYS, as by Linux before 5.6."""
    # Load the number; openat2's has been 437 on every architecture.
    program = [(0x20, 0, 0, 0), (0x15, 0, 1, 437), (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7FFF0000)]
    seccomp.load_filter(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))


KERNELS: dict[str, dict[str, Any]] = {
    "openat2": {},
    "walk in user space": {"preexec_fn": without_openat2},
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_swaps_while_containers_start(kernel: str, bundle: Any, host: Host, swapped: None) -> None:
    """CVE-2021-30465, CVE-2024-45310, against the built file.

    That the attack is one is shown in test_swaps.py and test_mount_swaps.py, where the same work
    done on joined paths gets out.
    """
    attack_by_swapping(bundle, host, STARTS, **KERNELS[kernel])


@pytest.fixture
def swapped_names(bundle: Any, host: Host) -> Iterator[None]:
    """/proc, /sys and the image's own /dev/null are links half of the time."""
    rootfs = bundle.rootfs
    (rootfs / "secret").write_text("of the mask")
    os.mknod(rootfs / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (rootfs / "dev/link").symlink_to("/secret")
    (rootfs / "proclink").symlink_to("../../host/proc")
    assert naive(bundle, "proclink") == str(host.path / "proc")
    (rootfs / "syslink").symlink_to(str(host.path / "sub"))
    pid = posix.fork()
    if pid == 0:
        try:
            swap_for_ever(
                str(rootfs), [("proc", "proclink"), ("sys", "syslink"), ("dev/null", "dev/link")]
            )
        finally:
            posix._exit(1)
    yield
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


LOOK_AROUND = """
cat /etc/passwd
for p in proc proclink; do
    test -e /$p/self/status && echo procfs
    test -s /$p/keys || head -c 1 /$p/keys | grep -q . && echo unmasked keys
    echo x >/$p/sys/kernel/domainname && echo unmasked sysctl
done 2>/dev/null
exit 0
"""


@pytest.mark.parametrize("what", ["proc and sys", "null"])
def test_swaps_of_what_the_runtime_relies_on(
    what: str, bundle: Any, host: Host, swapped_names: None
) -> None:
    """CVE-2023-27561, CVE-2025-31133 as races: what is mounted, and what masks, is what it seems.

    Where it is a link by then the start fails; through the joined path (`naive`) the host's own
    directory would be mounted on, and a mask would show the file that the link leads to.
    """
    mounts = bundle.config["mounts"]
    bundle.config["root"]["readonly"] = False
    if what == "null":
        mounts[:] = []
        # Nothing but the mask is in the way of the attack, then.
        bundle.config["linux"].update(maskedPaths=["/etc/passwd"], readonlyPaths=[])
    worked = procfs = rounds = 0
    # On a busy machine the links may be in place for long: on until a start comes up, or it would say nothing.
    while rounds < STARTS or (rounds < 10 * STARTS and not (worked and (procfs or what == "null"))):
        rounds += 1
        done = bundle.shell(LOOK_AROUND)
        assert "of the mask" not in done.stdout and "Traceback" not in done.stderr, done
        if done.returncode == 0:
            worked += 1
            assert what != "null" or "root:" not in done.stdout
            # The procfs moves with the directory that it is on: where it is by now it is masked too.
            assert what == "null" or "unmasked" not in done.stdout, done
            procfs += "procfs" in done.stdout
    host.verify()
    assert worked and (procfs or what == "null"), done.stderr


@pytest.mark.slow
@pytest.mark.skipif("RUNC_LONG_TESTS" not in os.environ, reason="RUNC_LONG_TESTS is not set")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kernel", KERNELS)
def test_many_swaps_while_containers_start(
    kernel: str, part: int, bundle: Any, host: Host, swapped: None
) -> None:
    attack_by_swapping(bundle, host, STARTS_LONG // PARTS, **KERNELS[kernel])


@pytest.mark.needs("program:strace")
def test_the_walk_is_what_an_old_kernel_gets(bundle: Any, scratch: pathlib.Path) -> None:
    """The test above is of the walk: openat2 is tried, refused, and nothing else is resolved by it."""
    trace = scratch / "trace"
    command = bundle.command
    calls = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=openat2"]
    bundle.command = lambda *words: [*calls, *command(*words)]
    done = bundle.run("true", preexec_fn=without_openat2)
    bundle.command = command
    assert done.returncode == 0, done
    lines = [line for line in trace.read_text().splitlines() if "openat2(" in line]
    assert lines and all("ENOSYS" in line for line in lines)
