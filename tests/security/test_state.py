"""The state directory: what others put in it, swap in it, or do to it.

Whoever may write there decides what `exec` joins and what `delete` removes. Beside each attack
stands how it comes out without the defence.
"""

from __future__ import annotations

import json
import os
import posix
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

from libc_bindings import paths as libc
from libcontainer import state

USER = 1000
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]

VERBS = [
    ["state"], ["start"], ["kill"], ["ps"], ["pause"], ["resume"], ["delete"], ["delete", "--force"],
    ["update", "--pids-limit", "5"], ["events", "--stats"], ["exec"],
]  # fmt: skip


def call(bundle: Any, verb: list[str], name: str) -> Any:
    program = ["true"] if verb[0] == "exec" else []
    return bundle.call(*verb, name, *program)


@pytest.fixture
def forged(bundle: Any) -> Iterator[Any]:
    """A running container, whose config in the state directory asks for more than it was made with."""
    bundle.start("sleep", "1000")
    kept = bundle.root / bundle.id / "config.json"
    config = json.loads(kept.read_text())
    config["process"]["capabilities"]["bounding"].append("CAP_SYS_ADMIN")
    config["process"]["capabilities"]["effective"].append("CAP_SYS_ADMIN")
    config["process"]["capabilities"]["permitted"].append("CAP_SYS_ADMIN")
    kept.write_text(json.dumps(config))
    (bundle.path / "config.json").unlink()
    yield bundle
    os.chown(bundle.root / bundle.id, 0, 0)


SHOW = ("grep", "CapEff", "/proc/self/status")


def test_what_is_in_our_directory_is_believed(forged: Any) -> None:
    """The attack itself, for whoever can write there: `exec` has the forged config's privileges."""
    done = forged.exec(*SHOW)
    assert int(done.stdout.split()[1], 16) >> 21 & 1, done


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_directory_of_somebody_else_s(verb: list[str], forged: Any) -> None:
    """Its owner could have renamed his own config.json over the container's."""
    os.chown(forged.root / forged.id, USER, USER)
    done = call(forged, verb, forged.id)
    assert done.returncode in (1, 255), done
    assert f"belongs to uid {USER}, not to us" in done.stderr and "Traceback" not in done.stderr
    assert (forged.root / forged.id / "state.json").exists()


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_state_file_of_somebody_else_s(verb: list[str], forged: Any) -> None:
    os.chown(forged.root / forged.id / "state.json", USER, USER)
    try:
        done = call(forged, verb, forged.id)
    finally:
        os.chown(forged.root / forged.id / "state.json", 0, 0)
    assert done.returncode in (1, 255) and f"belongs to uid {USER}, not to us" in done.stderr, done


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_link_to_another_container(verb: list[str], bundle: Any) -> None:
    """The directory, then the state.json in one of our own."""
    bundle.start("sleep", "1000")
    (bundle.root / "link").symlink_to(bundle.id)
    linked = bundle.root / "linked"
    linked.mkdir(mode=0o700)
    (linked / "state.json").symlink_to(f"../{bundle.id}/state.json")
    try:
        for name in ("link", "linked"):
            done = call(bundle, verb, name)
            ignored = verb == ["delete", "--force"] and name == "link"
            assert done.returncode == 0 if ignored else done.returncode in (1, 255), done
        assert bundle.state()["status"] == "running"
    finally:
        (bundle.root / "link").unlink()
        shutil.rmtree(linked, ignore_errors=True)


@pytest.mark.parametrize("name", ["a/../b", "..", ".", "../b", "/etc", "a/b", "", "b\n", "~seccomp",
                                  "x" * 1025])  # fmt: skip
def test_ids_that_lead_elsewhere(name: str, bundle: Any) -> None:
    bundle.start("sleep", "1000")
    for verb in [*VERBS, ["create"], ["run"]]:
        done = call(bundle, verb, name)
        assert done.returncode in (1, 255), (verb, done)
        assert "container id cannot be empty" in done.stderr or (
            "invalid container ID format" in done.stderr
        ), (verb, done)
    assert sorted(os.listdir(bundle.root)) == [bundle.id]


@pytest.mark.needs("program:setpriv")
@pytest.mark.parametrize("defence", [True, False])
def test_nobody_else_starts_a_created_container(defence: bool, bundle: Any) -> None:
    """A root directory that others may search, as the caller of --root may have made it.

    The control opens up what the runtime keeps closed: then a byte in the FIFO is a `start`.
    """
    bundle.root.mkdir()
    for place in (bundle.root, *bundle.root.parents[:2]):
        place.chmod(0o755)
    assert bundle.create("sleep", "1000").returncode == 0
    directory = bundle.root / bundle.id
    if not defence:
        directory.chmod(0o711)
        (directory / "exec.fifo").chmod(0o622)
    attack = [*AS_USER, "sh", "-c", f"echo 0 >>{directory}/exec.fifo"]
    done = subprocess.run(attack, capture_output=True, timeout=20, check=False)
    assert (done.returncode != 0) is defence, done
    time.sleep(0.2)
    program = Path(f"/proc/{bundle.state()['pid']}/cmdline").read_bytes()
    assert program.startswith(b"sleep") is not defence, program


def test_what_is_removed_is_not_behind_a_link(scratch: Path) -> None:
    """Somebody exchanges a directory with a link while it is removed; `naive` takes paths.

    An ordinary user's container may have its NOTIFY_SOCKET's directory writable.
    """
    victim = scratch / "victim"
    victim.mkdir()
    (victim / "of-the-host").write_text("")
    (scratch / "dir").mkdir()
    (scratch / "link").symlink_to(victim)
    pid = posix.fork()
    if pid == 0:
        try:
            fd = posix.open(str(scratch), posix.O_PATH)
            while True:
                try:
                    libc.renameat2(fd, "dir", fd, "link", libc.RENAME_EXCHANGE)
                except OSError:
                    # Removed just now; it comes again.
                    continue
        finally:
            posix._exit(1)

    def naive(path: str) -> None:
        for name in os.listdir(path):
            os.unlink(f"{path}/{name}")

    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                state.remove_tree(str(scratch / "dir"))
            except OSError:
                continue
            (scratch / "dir").mkdir()
        assert (victim / "of-the-host").exists()
        deadline = time.monotonic() + 10
        while (victim / "of-the-host").exists():
            assert time.monotonic() < deadline, "the attack is none"
            try:
                naive(str(scratch / "dir"))
            except OSError:
                continue
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_mode_of_the_notify_socket_is_no_link_s(scratch: Path) -> None:
    """Who can swap names beside the socket must not get the mode of a file of the host's changed.

    chmod(2) of the name after bind(2) would be led to the victim (`naive`).
    """
    from libcontainer import notify

    (scratch / "notify").mkdir()
    victim = scratch / "victim"
    victim.write_text("")
    victim.chmod(0o600)
    name = scratch / "notify" / "notify.sock"

    def naive(path: Path) -> None:
        path.chmod(0o777)

    old = os.umask(0o077)
    try:
        bound = notify.listen(str(scratch))
    finally:
        os.umask(old)
    assert name.stat().st_mode & 0o777 == 0o777
    bound.close()
    name.unlink()
    name.symlink_to(victim)
    notify.listen(str(scratch)).close()
    assert victim.stat().st_mode & 0o777 == 0o600
    assert not name.is_symlink()
    name.unlink()
    name.symlink_to(victim)
    naive(name)
    assert victim.stat().st_mode & 0o777 == 0o777
