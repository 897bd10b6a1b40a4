"""containerd: `ctr` with both runtimes, and the CRI plug-in's configuration."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from tests.engines.daemons import (
    IMAGE,
    Containerd,
    image_archive,
    on_terminal,
    systemd_driver,
    unified,
)

SHELL = ("sh", "-c")
STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid)' /proc/self/status"

Both = Callable[[Callable[["Ctr"], Any]], Any]


class Ctr:
    """`ctr` with one runtime."""

    def __init__(self, daemon: Containerd, binary: str) -> None:
        self.daemon = daemon
        self.binary = binary

    def __call__(self, *args: str) -> Any:
        return self.daemon(*args)

    def run(self, *args: str) -> Any:
        """`ctr run` with the runtime."""
        return self.daemon(*self.command(*args))

    def command(self, *args: str) -> list[str]:
        """The arguments of `ctr run`, after `ctr`."""
        driver = ["--runc-systemd-cgroup", "--cgroup", "system.slice:ctr:c1"]
        return ["run", "--runc-binary", self.binary, *(driver if systemd_driver() else []), *args]


@pytest.fixture(scope="session")
def containerd(runc: str, base: Path) -> Iterator[Containerd]:
    if not shutil.which("containerd") or not shutil.which("ctr"):
        pytest.skip("containerd is not installed (Debian package containerd)")
    daemon = Containerd(Path(tempfile.mkdtemp(prefix="runc-containerd-")), runc)
    try:
        daemon.start()
        archive = image_archive(base, daemon.directory / "image.tar")
        daemon("images", "import", str(archive)).ok()
        yield daemon
        daemon.clean()
    finally:
        daemon.end()
        daemon.remove()


@pytest.fixture
def both(containerd: Containerd, runc: str, reference: str) -> Iterator[Both]:
    def compare(observe: Callable[[Ctr], Any]) -> Any:
        expected = observe(Ctr(containerd, reference))
        containerd.clean()
        seen = observe(Ctr(containerd, runc))
        assert seen == expected
        return seen

    yield compare
    containerd.clean()


RUNS: list[tuple[str, list[str], str, int]] = [
    ("plain", [], "id; env | sort; exit 7", 7),
    ("process", [], STATUS, 0),
    ("profile", ["--seccomp"], f"{STATUS}; unshare -U true", 1),
    ("capabilities", ["--cap-drop", "CAP_CHOWN", "--cap-add", "CAP_NET_ADMIN"], STATUS, 0),
    ("read-only", ["--read-only"], "touch /x", 1),
    ("environment", ["--env", "A=1", "--cwd", "/tmp"], "echo $A; pwd", 0),
    ("limits", ["--memory-limit", "33554432", "--cpus", "0.5"], "cut -d: -f2- /proc/self/cgroup | sort", 0),
    ("mount", ["--mount", "type=bind,src=/etc,dst=/mnt,options=rbind:ro"], "touch /mnt/x", 1),
    ("host's network", ["--net-host"], "readlink /proc/self/ns/net", 0),
    ("privileged", ["--privileged"], "true", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "script", "status"), RUNS, ids=[r[0] for r in RUNS])
def test_run(both: Both, name: str, args: list[str], script: str, status: int) -> None:
    def observe(ctr: Ctr) -> Any:
        return ctr.run("--rm", *args, IMAGE, "c1", *SHELL, script)

    seen = both(observe)
    if name == "privileged" and seen.status:
        pytest.skip("this machine's root has no CAP_SYS_RESOURCE, which --privileged hands on")
    assert seen.status == status, seen


def test_missing_program(both: Both) -> None:
    def observe(ctr: Ctr) -> Any:
        return [ctr.run("--rm", IMAGE, "c1", name) for name in ("nosuch", "/nosuch", "/etc/passwd")]

    assert 'exec: "nosuch": executable file not found in $PATH' in both(observe)[0].err


def test_terminal(both: Both) -> None:
    """`run --tty` and `task exec --tty`: size, input, exit status."""
    script = "sleep 1; tty; stty size; read x; echo got $x; exit 6"

    def observe(ctr: Ctr) -> Any:
        client = ["ctr", "-a", ctr.daemon.socket]
        run = ctr.command("--rm", "--tty", IMAGE, "c1", *SHELL, script)
        seen = [on_terminal([*client, *run], [b"", b"word\n"])]
        ctr.run("-d", IMAGE, "c1", "sleep", "1000").ok()
        execute = ["task", "exec", "--tty", "--exec-id", "e1", "c1", *SHELL, script]
        return [*seen, on_terminal([*client, *execute], [b"", b"word\n"])]

    for status, shown in both(observe):
        assert status == 6 and "/dev/pts/0" in shown and "41 132" in shown and "got word" in shown


def test_task(both: Both) -> None:
    """exec, pause, resume, metrics, kill, delete."""

    def observe(ctr: Ctr) -> Any:
        def statuses() -> list[str]:
            return [line.split()[2] for line in ctr("task", "ls").ok().splitlines()[1:]]

        ctr.run("-d", "--memory-limit", "33554432", IMAGE, "c1", "sleep", "1000").ok()
        seen: list[Any] = [statuses()]
        seen.append(ctr("task", "exec", "--exec-id", "e1", "c1", *SHELL, f"{STATUS}; exit 3"))
        seen.append(
            ctr(
                "task",
                "exec",
                "--exec-id",
                "e2",
                "--user",
                "1000",
                "--cwd",
                "/tmp",
                "c1",
                *SHELL,
                "id; pwd",
            )
        )
        seen.append(ctr("task", "exec", "--exec-id", "e3", "c1", "nosuch"))
        seen.append(len(ctr("task", "ps", "c1").ok().splitlines()))
        metrics = json.loads(ctr("task", "metrics", "--format", "json", "c1").ok())
        memory = metrics["memory"]
        limit = memory["usage_limit"] if unified() else memory["usage"]["limit"]
        seen += [metrics["pids"]["current"], limit]
        seen += [ctr("task", "pause", "c1").status, statuses()]
        seen += [ctr("task", "resume", "c1").status, statuses()]
        seen += [ctr("task", "kill", "-s", "KILL", "c1").status]
        seen += [ctr("task", "rm", "-f", "c1").status, ctr("task", "ls").out]
        return seen

    seen = both(observe)
    assert seen[0] == ["RUNNING"] and seen[1].status == 3 and seen[8] == ["PAUSED"], seen


def test_cri_takes_the_configuration(containerd: Containerd, runc: str) -> None:
    """The plug-in has loaded, with the runtime of the configuration in contrib/engines."""
    listed = containerd("plugins", "ls").ok().splitlines()
    cri = [line.split() for line in listed if line.split()[:2] == ["io.containerd.grpc.v1", "cri"]]
    assert cri and cri[0][-1] == "ok", cri
    log = (containerd.directory / "daemon.log").read_text()
    assert f"BinaryName:{runc}" in log
