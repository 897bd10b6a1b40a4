"""Starting one program and telling what it took: time, CPU time, memory."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

CLONE_NEWNS = 0x00020000
UNIFIED = "/sys/fs/cgroup/unified"


class Cost(NamedTuple):
    """What one program took: milliseconds, and its status as wait(2) tells it."""

    wall: float
    cpu: float
    """User and system time of the program and of all children that were waited for."""
    status: int


class MountNamespace:
    """A mount namespace without the unified hierarchy beside the cgroup v1 ones.

    crun before 1.9 refuses such a host. The namespace is kept by a process, and entered by a child
    between fork(2) and execve(2), so that it costs the measured program nothing.
    """

    def __init__(self) -> None:
        self.keeper = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", f"umount {UNIFIED} && echo ready && read forever"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.keeper.stdout is not None
        if self.keeper.stdout.readline() != b"ready\n":
            raise OSError(f"no mount namespace without {UNIFIED}")
        self.fd = os.open(f"/proc/{self.keeper.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def enter(self) -> None:
        """Make the calling process see it; its working directory stays."""
        here = os.getcwd()
        if ctypes.CDLL(None, use_errno=True).setns(self.fd, CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "setns")
        os.chdir(here)

    def close(self) -> None:
        """Let it go."""
        os.close(self.fd)
        self.keeper.communicate(b"\n")


class Program:
    """One of the runtimes that are compared."""

    def __init__(self, name: str, command: list[str], root: Path, version: str) -> None:
        self.name = name
        self.command = command
        self.root = root
        """Its state directory."""
        self.version = version
        self.id = f"bench-{os.getpid()}-{root.name}"
        """Of its container: runtimes that share a host's cgroups must not share an id."""
        self.namespace: MountNamespace | None = None

    def argv(self, *arguments: str) -> list[str]:
        """The whole command line."""
        return [*self.command, "--root", str(self.root), *arguments]

    def spawn(self, argv: list[str], directory: Path) -> tuple[int, int]:
        """Start `argv` in `directory`; its pid, and a pipe with the time of its execve(2)."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.chdir(directory)
                null = os.open(os.devnull, os.O_RDWR)
                for fd in (0, 1, 2):
                    os.dup2(null, fd)
                if self.namespace:
                    self.namespace.enter()
                os.write(writer, b"%d" % time.monotonic_ns())
                os.execv(argv[0], argv)
            finally:
                os._exit(126)
        os.close(writer)
        return pid, reader

    def run(self, *arguments: str, directory: Path = Path("/")) -> Cost:
        """Run it with `arguments` to its end."""
        pid, reader = self.spawn(self.argv(*arguments), directory)
        _, status, usage = os.wait4(pid, 0)
        ended = time.monotonic_ns()
        began = int(os.read(reader, 64) or b"0")
        os.close(reader)
        cpu = (usage.ru_utime + usage.ru_stime) * 1000
        return Cost((ended - began) / 1e6, cpu, status)

    def run_all(self, many: list[list[str]], directory: Path) -> float:
        """Run all these at the same time; milliseconds from the first start to the last end."""
        children = [self.spawn(self.argv(*arguments), directory) for arguments in many]
        statuses = [os.waitpid(pid, 0)[1] for pid, _ in children]
        ended = time.monotonic_ns()
        began = min(int(os.read(reader, 64) or b"0") for _, reader in children)
        for _, reader in children:
            os.close(reader)
        if any(statuses):
            raise Failed(f"{self.name}: {sum(map(bool, statuses))} of {len(many)} failed")
        return (ended - began) / 1e6

    def expect(self, *arguments: str, directory: Path = Path("/")) -> Cost:
        """As run(), but a status other than 0 raises Failed."""
        cost = self.run(*arguments, directory=directory)
        if cost.status:
            raise Failed(f"{self.name} {' '.join(arguments)}: exit status {cost.status}")
        return cost

    def peak_memory(self, *arguments: str, directory: Path) -> float:
        """MiB that the largest of its processes had resident at most.

        Linux counts for a process also what it was before its execve(2), so a small one has to
        start it: busybox's `time`.
        """
        busybox = shutil.which("busybox")
        if not busybox:
            raise Failed("no busybox")
        report = self.root.parent / f"{self.root.name}.time"
        argv = [busybox, "time", "-v", "-o", str(report), *self.argv(*arguments)]
        pid, reader = self.spawn(argv, directory)
        os.close(reader)
        if os.waitpid(pid, 0)[1]:
            raise Failed(f"{self.name} {' '.join(arguments)} failed")
        for line in report.read_text().splitlines():
            if "Maximum resident" in line:
                # It takes getrusage(2)'s KiB for pages.
                return int(line.split()[-1]) / 1024 / (resource.getpagesize() / 1024)
        raise Failed("busybox time told no memory")


class Failed(Exception):
    """A row that cannot be measured, and why."""
