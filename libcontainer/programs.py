"""Programs of the host that do what needs their privileges or their knowledge (newuidmap, ps…)."""

from __future__ import annotations

import posix

from libcontainer.errors import Error

_DIRECTORIES = (
    "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin",
    "/run/wrappers/bin", "/run/current-system/sw/bin",  # NixOS
)  # fmt: skip


def find(name: str) -> str:
    """The path of the host's program `name`, from the usual directories only, never from $PATH."""
    for directory in _DIRECTORIES:
        path = f"{directory}/{name}"
        if posix.access(path, posix.X_OK):
            return path
    raise Error(f"{name} is not installed on this host")


def run(name: str, arguments: list[str]) -> tuple[int, str]:
    """Run `name`; its exit status (128+N after signal N) and what it wrote to stdout and stderr."""
    path = find(name)
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    actions = [
        (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
        (posix.POSIX_SPAWN_DUP2, writer, 1),
        (posix.POSIX_SPAWN_DUP2, writer, 2),
    ]
    try:
        pid = posix.posix_spawn(path, [name, *arguments], posix.environ, file_actions=actions)
    finally:
        posix.close(writer)
    output = b""
    while True:
        chunk = posix.read(reader, 65536)
        if not chunk:
            break
        output += chunk
    posix.close(reader)
    return exit_status(posix.waitpid(pid, 0)[1]), output.decode("utf-8", "replace")


def exit_status(status: int) -> int:
    """A shell's exit status of a wait status: the exit code, or 128+N after signal N."""
    if posix.WIFSIGNALED(status):
        return 128 + posix.WTERMSIG(status)
    return posix.WEXITSTATUS(status)
