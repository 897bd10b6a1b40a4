"""Known breakouts of runtimes that are about ids, capabilities, cgroups, messages and the console.

Each is attempted against the built file; what it would have come to is said or shown beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import posix
import shutil
import signal
import socket
import subprocess
import uuid
from pathlib import Path
from typing import Any, Iterator

import pytest

from libc_bindings import paths as libc


@pytest.fixture
def forged(bundle: Any) -> Any:
    """An image whose passwd and group have names that are numbers, all of them root's."""
    names = ("1000", "0x0", "+7", "-1", "4294967296")
    passwd = "".join(f"{name}:x:0:0::/root:/bin/sh\n" for name in names)
    (bundle.rootfs / "etc/passwd").write_text(passwd)
    (bundle.rootfs / "etc/group").write_text("1000:x:0:1000,7\n")
    return bundle


def naive_uid(bundle: Any, user: str) -> int:
    """The attack on a runtime that looks a user up by name first."""
    for line in (bundle.rootfs / "etc/passwd").read_text().splitlines():
        if line.split(":")[0] == user:
            return int(line.split(":")[2])
    return int(user)


@pytest.mark.parametrize("way", ["run", "exec"])
def test_a_number_is_no_name(way: str, forged: Any) -> None:
    """CVE-2016-3697."""
    assert naive_uid(forged, "1000") == 0
    if way == "run":
        forged.config["process"]["user"] = {"uid": 1000, "gid": 1000}
        output = forged.output("id -u; id -g; id -G")
    else:
        forged.start("sleep", "1000")
        output = forged.exec("sh", "-c", "id -u; id -g; id -G", options=["-u", "1000:1000"]).stdout
    assert output.split() == ["1000", "1000", "1000"]


@pytest.mark.parametrize(
    "user",
    ["0x0", "+7", "-1", "4294967296", "4294967295", "1000:", ":0", "1000:0:0", " 0", "0 ", "\u0667",
     "1_0", "root", "1000:root", "1e3", "0\n", "1000:+0"],
)  # fmt: skip
def test_users_that_are_no_numbers_are_nobody(user: str, forged: Any) -> None:
    """CVE-2026-30892: nothing runs, above all not as another user."""
    forged.start("sleep", "1000")
    done = forged.exec("id", options=["--user", user])
    assert done.returncode == 255 and done.stdout == "", done
    assert "bad uid" in done.stderr or "bad gid" in done.stderr


def test_nothing_is_inheritable_by_default(bundle: Any) -> None:
    """CVE-2022-27650, CVE-2022-29162: else a program with file capabilities would have more."""
    spec = json.loads((bundle.path / "config.json").read_text())
    sets = spec["process"]["capabilities"]
    assert not sets.get("inheritable") and not sets.get("ambient")
    bundle.start("sleep", "1000")
    show = "grep -E 'Cap(Inh|Amb)' /proc/self/status"
    for options in ([], ["--cap", "CAP_SYS_ADMIN"]):
        done = bundle.exec("sh", "-c", show, options=options)
        assert done.stdout.split()[1::2] == ["0" * 16, "0" * 16], done
    # The control: they are shown if somebody asks for them.
    process = spec["process"]
    process.update(args=["sh", "-c", show], terminal=False)
    sets["inheritable"] = ["CAP_KILL"]
    (bundle.path / "process.json").write_text(json.dumps(process))
    done = bundle.call("exec", "--process", str(bundle.path / "process.json"), bundle.id)
    assert done.stdout.split()[1] == "0" * 14 + "20"


WORDS = ["x\nready\n", "\ngo\nready null\n", "x" * 65536 + "\nready\n", "\x00\nready"[1:]]


@pytest.mark.parametrize("words", WORDS)
def test_a_config_cannot_speak_for_init(words: str, bundle: Any) -> None:
    """CVE-2021-43784: what a config says goes into no message that the other side would obey.

    Here init reports a failure that quotes the config; a message that ended at the first line break,
    or after a length that overflows, would go on with `ready`.
    """
    bundle.config["process"]["args"] = ["/" + words]
    bundle.write()
    done = bundle.call("create", bundle.id)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert not bundle.state()


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A cgroup of the host's that belongs to uid 1000."""
    v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    path = Path("/sys/fs/cgroup", "" if v2 else "pids", f"test-{uuid.uuid4().hex[:12]}")
    path.mkdir()
    os.chown(path, 1000, 1000)
    yield path
    for below in path.glob("*/"):
        below.rmdir()
    path.rmdir()


@pytest.mark.needs("program:setpriv", "userns")
@pytest.mark.parametrize("defence", [True, False])
def test_the_host_s_cgroups_are_not_writable(
    defence: bool, delegated: Path, runc: str, rootfs: str, scratch: Path
) -> None:
    """CVE-2023-25809: rootless, in the host's cgroup namespace, /sys bound with all beneath it.

    Without the mount of cgroups over it, which is what the runtime makes read-only or empty, the
    host's show through the recursive bind mount, writable.
    """
    bundle = scratch / "bundle"
    bundle.mkdir()
    shutil.copy(runc, scratch / "runc")
    subprocess.run(["cp", "-a", rootfs, str(bundle / "rootfs")], check=True)
    subprocess.run([runc, "spec", "--rootless"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    linux, script = config["linux"], f"mkdir {delegated}/made; exit 0"
    config["process"].update(terminal=False, args=["sh", "-c", script])
    spaces = linux["namespaces"]
    linux["namespaces"] = [space for space in spaces if space["type"] != "cgroup"]
    for kind in ("uidMappings", "gidMappings"):
        linux[kind][0]["hostID"] = 1000
    sys = {"destination": "/sys", "type": "none", "source": "/sys"}
    cgroups = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
    mounts = [mount for mount in config["mounts"] if not mount["destination"].startswith("/sys")]
    mounts.append({**sys, "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
    if defence:
        mounts.append({**cgroups, "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]})
    config["mounts"] = mounts
    (bundle / "config.json").write_text(json.dumps(config))
    subprocess.run(["chown", "-R", "1000:1000", str(bundle)], check=True)
    user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
    done = subprocess.run(
        [*user, str(scratch / "runc"), "--root", str(bundle / "state"), "run", "c1"],
        cwd=bundle,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    assert (delegated / "made").exists() is not defence, done


@pytest.fixture
def console(bundle: Any) -> Iterator[Path]:
    """A file of the host's that somebody exchanges with the image's /dev/console for ever."""
    victim = bundle.path.parent / "victim"
    victim.write_text("of the host")
    dev = bundle.rootfs / "dev"
    (dev / "console").write_text("")
    (dev / "link").symlink_to("../../../victim")
    pid = posix.fork()
    if pid == 0:
        try:
            fd = posix.open(str(dev), posix.O_PATH)
            while True:
                libc.renameat2(fd, "console", fd, "link", libc.RENAME_EXCHANGE)
        finally:
            posix._exit(1)
    yield victim
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_the_console_of_a_shared_dev(console: Path, bundle: Any, scratch: Path) -> None:
    """CVE-2025-52565: the pty is mounted on what was resolved, and nothing else in its place.

    A mount on the joined path would follow the link now and then, and give the victim to the
    container by the name of its own terminal.
    """
    attack_the_console(console, bundle, scratch, 50)


@pytest.mark.slow
@pytest.mark.skipif("RUNC_LONG_TESTS" not in os.environ, reason="RUNC_LONG_TESTS is not set")
@pytest.mark.parametrize("part", range(4))
def test_the_console_of_a_shared_dev_for_long(
    part: int, console: Path, bundle: Any, scratch: Path
) -> None:
    attack_the_console(console, bundle, scratch, 500)


def attack_the_console(console: Path, bundle: Any, scratch: Path, starts: int) -> None:
    mounts = bundle.config["mounts"]
    mounts[:] = [mount for mount in mounts if mount["destination"] != "/dev"]
    bundle.config["root"]["readonly"] = False
    script = "for f in /dev/console /dev/link /victim; do test -f $f && cat $f; done; sleep 1000"
    bundle.config["process"].update(terminal=True, args=["sh", "-c", script])
    bundle.write()
    came_up = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as receiver:
        receiver.bind(str(scratch / "console.sock"))
        receiver.listen(100)
        receiver.setblocking(False)
        for _ in range(starts):
            done = bundle.call(
                "create", "--console-socket", str(scratch / "console.sock"), bundle.id
            )
            if done.returncode == 0:
                came_up += 1
                pid = bundle.state()["pid"]
                mounted = Path(f"/proc/{pid}/mountinfo").read_text()
                places = [line.split()[4] for line in mounted.splitlines() if " devpts " in line]
                assert all(place.startswith("/dev/") for place in places), places
            assert "Traceback" not in done.stderr
            bundle.call("delete", "--force", bundle.id)
            # Else the backlog would be full one day, and connect(2) wait.
            with contextlib.suppress(BlockingIOError):
                receiver.accept()[0].close()
            assert console.read_text() == "of the host"
            assert "victim" not in Path("/proc/self/mountinfo").read_text()
    assert came_up
    print(f"{came_up} of {starts} containers came up")
