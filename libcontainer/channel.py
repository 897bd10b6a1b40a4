"""How the host's side and the container's init talk while a container is made.

Two pipes, one word a line, at most with one JSON value behind it. There is no length to overflow, and
nobody but these two holds an end: everything is close-on-exec. End of file means that the other
one is gone. While init is on its way it keeps its end, so the execve(2) itself is told by that too.
"""

from __future__ import annotations

import posix

from libcontainer import jsonio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Host to init.
MAPPED = "mapped"  # the user namespace has its ids
PLACED = "placed"  # init is in its cgroup
GO = "go"  # the hooks of the runtime's namespaces have run, or: the state is recorded
# Init to host.
TIMED = "timed"  # the time namespace is made, its offsets can be written
APART = "apart"  # what it shared with its parent is copied; it can go where every page counts
MOUNTED = "mounted"  # the rootfs stands; time for the hooks before pivot_root
READY = "ready"  # nothing is left but to wait for `start`
FAILED = "failed"  # with the sentence that says why
LISTENER = "listener"  # the seccomp listener is on its way


class Channel:
    """One side: where it reads and where it writes."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self._rest = b""

    def send(self, word: str, value: Any = None) -> None:
        """Send one message; raises BrokenPipeError where the other side is gone."""
        line = word if value is None else f"{word} {jsonio.dumps(value)}"
        content = line.encode("utf-8", "replace") + b"\n"
        while content:
            content = content[posix.write(self.write_fd, content) :]

    def receive(self) -> tuple[str, Any]:
        """The next message and its value (None without one); ("", None) at the end of file."""
        while b"\n" not in self._rest:
            chunk = posix.read(self.read_fd, 65536)
            if not chunk:
                return "", None
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        word, _, value = line.decode("utf-8", "replace").partition(" ")
        return word, jsonio.loads(value) if value else None

    def last_words(self) -> str:
        """Why the other side has failed, if that is in the pipe already; else "".

        What went wrong here may be but the consequence of its end.
        """
        posix.set_blocking(self.read_fd, False)
        try:
            word, value = self.receive()
            while word not in ("", FAILED):
                word, value = self.receive()
        except BlockingIOError:
            return ""
        return str(value) if word else ""

    def close(self) -> None:
        """Close both ends that this side holds."""
        posix.close(self.read_fd)
        posix.close(self.write_fd)


def pair() -> tuple[Channel, Channel]:
    """The host's side and init's side."""
    host_reads, init_writes = posix.pipe2(posix.O_CLOEXEC)
    init_reads, host_writes = posix.pipe2(posix.O_CLOEXEC)
    return Channel(host_reads, host_writes), Channel(init_reads, init_writes)
