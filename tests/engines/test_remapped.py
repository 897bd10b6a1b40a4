"""User namespaces of the engines, with ranges of subordinate ids that only the tests see.

/etc/subuid and /etc/subgid are covered in a mount namespace around each engine; the machine's own
stay as they are.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.engines import daemons, test_podman
from tests.engines.daemons import IMAGE, OURS, REFERENCE, Docker, Observation
from tests.engines.test_podman import Podman, RootlessPodman, managed, ordinary_user

SHELL = ("sh", "-c")
STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' /proc/self/status"
MAP = "cat /proc/self/uid_map"
COVER = 'mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && exec "$@"'


def covered(directory: Path, *users: str) -> list[str]:
    """The beginning of a command line that shows `users` with 100,000 ids each."""
    for name in ("/etc/subuid", "/etc/subgid"):
        if not os.path.exists(name):
            pytest.skip(f"this machine has no {name} to cover")
    table = directory / "subids"
    lines = [f"{user}:{(n + 1) * 1000000}:100000\n" for n, user in enumerate(users)]
    table.write_text("".join(lines))
    table.chmod(0o644)
    return ["unshare", "--mount", "sh", "-c", COVER, "sh", str(table)]


class RemappedDocker(Docker):
    """dockerd with userns-remap."""

    def spawn(self, command: list[str], log: str = "daemon.log") -> None:
        super().spawn([*covered(self.directory, ordinary_user().pw_name), *command], log)


@pytest.fixture(scope="module")
def remapped(runc: str, reference: str, base: Path) -> Iterator[Docker]:
    if not shutil.which("dockerd"):
        pytest.skip("dockerd is not installed (Debian package docker.io)")
    client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
    directory = Path(tempfile.mkdtemp(prefix="runc-remap-"))
    directory.chmod(0o711)
    # The mapped root has to reach the runtime's state, and the runtime's own file.
    copy = directory / "runc"
    shutil.copy(runc, copy)
    daemon = RemappedDocker(directory, str(copy), reference, client)
    user = ordinary_user()
    daemon.settings["userns-remap"] = f"{user.pw_name}:{user.pw_name}"
    try:
        daemon.start()
        daemon("import", str(base), IMAGE).ok()
        yield daemon
        daemon.clean()
    finally:
        daemon.end()
        daemon.remove()


def test_docker(remapped: Docker, scratch: Path) -> None:
    """run, exec, volumes, limits, missing programs; what is mapped and what is not."""
    (scratch / "mine").mkdir(mode=0o755)

    def observe(runtime: str) -> Any:
        docker = daemons.WithRuntime(remapped, runtime)
        volume = ("-v", f"{scratch}/mine:/v")
        seen: list[Any] = [
            docker.run(IMAGE, *SHELL, f"{MAP}; {STATUS}; touch /x; stat -c '%u %g' /x /proc; exit 3"),
            docker.run("-u", "1000", IMAGE, *SHELL, f"{STATUS}; touch /x"),
            docker.run(*volume, IMAGE, *SHELL, "stat -c %u /v; touch /v/x"),
            docker.run("-m", "32m", "--pids-limit", "20", "--read-only", IMAGE, *SHELL, "touch /x"),
            docker.run("--device", "/dev/fuse", IMAGE, *SHELL, "ls -l /dev/fuse | cut -c1").status,
            # In a user namespace devices are the host's by the same path.
            docker.run("--device", "/dev/zero:/dev/nought", IMAGE, "true").status,
            docker.run("--userns", "host", IMAGE, *SHELL, MAP),
            docker.run(IMAGE, "nosuch").status,
            docker.run(IMAGE, "/etc/passwd").status,
        ]  # fmt: skip
        docker.start("c1")
        seen += [docker("exec", "c1", *SHELL, f"{MAP}; {STATUS}; exit 4")]
        seen += [docker("exec", "-u", "5:6", "c1", "id"), docker("stop", "-t", "0", "c1").status]
        remapped.clean()
        return seen

    expected, seen = observe(REFERENCE), observe(OURS)
    assert seen == expected
    assert seen[0].status == 3 and "1000000" in seen[0].out, seen[0]
    assert seen[9].status == 4, seen[9]


@pytest.fixture(scope="module")
def podman(runc: str, reference: str, base: Path) -> Iterator[Podman]:
    """Podman as root, with ids for --userns=auto."""

    class WithIds(Podman):
        def __call__(self, *command: str, **options: Any) -> Observation:
            return super().__call__(*covered(self.directory, "containers"), *command, **options)

    if not shutil.which("podman"):
        pytest.skip("podman is not installed (Debian package podman)")
    made = WithIds(Path(tempfile.mkdtemp(prefix="runc-auto-")), runc, reference)
    try:
        made("podman", "import", str(base), IMAGE).ok()
        yield made
        made("podman", "rm", "-fa", "-t", "0")
    finally:
        made.remove()


def test_userns_auto(podman: Podman) -> None:
    def observe(runtime: str) -> Any:
        run = test_podman.WithRuntime(podman, runtime).run
        options = ("--userns", "auto:size=5000")
        seen: list[Any] = [
            run(*options, IMAGE, *SHELL, f"{MAP}; {STATUS}; touch /x; stat -c %u /x; exit 3")
        ]
        seen += [run(*options, "-u", "1000", IMAGE, "id")]
        seen += [run("--userns", "nomap", IMAGE, *SHELL, MAP).status]
        return [*seen, run(*options, IMAGE, "nosuch").status]

    expected, seen = observe(REFERENCE), observe(OURS)
    assert seen == expected
    assert seen[0].status == 3 and "5000" in seen[0].out, seen[0]


@pytest.fixture(scope="module")
def rootless(runc: str, reference: str, base: Path) -> Iterator[RootlessPodman]:
    """Podman as an ordinary user with a range of ids."""
    user = ordinary_user()

    class WithIds(RootlessPodman):
        def become(self) -> list[str]:
            if managed(self.user):
                # Its commands are started by the user's systemd, which sees the machine's own files.
                if user.pw_name not in Path("/etc/subuid").read_text():
                    pytest.skip(f"{user.pw_name} has no ids in /etc/subuid")
                return super().become()
            return [*covered(self.directory, user.pw_name), *super().become()]

    if not shutil.which("podman") or not shutil.which("newuidmap"):
        pytest.skip("podman or newuidmap is not installed (Debian packages podman, uidmap)")
    directory = Path(tempfile.mkdtemp(prefix="runc-keepid-"))
    made = WithIds(directory, runc, reference, user.pw_uid)
    try:
        shutil.copy(base, directory / "base.tar")
        (directory / "base.tar").chmod(0o644)
        made("podman", "import", str(directory / "base.tar"), IMAGE).ok()
        yield made
        made("podman", "rm", "-fa", "-t", "0")
        os.kill(int((directory / "libpod" / "pause.pid").read_text()), signal.SIGKILL)
    finally:
        made.remove()


def test_rootless_with_ids(rootless: RootlessPodman) -> None:
    """keep-id, a user of the image, groups, files' owners, exec."""

    def observe(runtime: str) -> Any:
        podman = test_podman.WithRuntime(rootless, runtime)
        seen: list[Any] = [
            podman.run(IMAGE, *SHELL, f"{MAP}; {STATUS}; exit 3"),
            podman.run("--userns", "keep-id", IMAGE, *SHELL, f"{MAP}; id -u; {STATUS}"),
            podman.run("-u", "1000:1000", IMAGE, *SHELL, f"{STATUS}; touch /tmp/x; stat -c %u /tmp/x"),
            podman.run("--group-add", "44", IMAGE, "id", "-G"),
            podman.run("--userns", "keep-id", IMAGE, "nosuch").status,
        ]  # fmt: skip
        podman("run", "-d", "--name", "c1", "--userns", "keep-id", IMAGE, "sleep", "1000").ok()
        seen += [podman("exec", "c1", *SHELL, f"id; {STATUS}; exit 4")]
        seen += [podman("exec", "-u", "0", "c1", "id"), podman("rm", "-f", "-t", "0", "c1").status]
        return seen

    expected, seen = observe(REFERENCE), observe(OURS)
    assert seen == expected
    assert seen[0].status == 3 and seen[5].status == 4, seen
