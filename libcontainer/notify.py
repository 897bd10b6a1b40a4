"""NOTIFY_SOCKET: sd_notify(3) from the container to the host's service manager.

The container gets a socket of its own under /run/notify; what arrives there is passed on. So the
manager hears READY=1 from a process that it knows, and the host's socket stays out of reach.
"""

from __future__ import annotations

import _socket
import posix
import select

from libcontainer import log
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_DIRECTORY = "notify"
_SOCKET = "notify.sock"
_INSIDE = "/run/notify"
_BARRIER_SECONDS = 30.0


def add(spec: Any, state_directory: str, host_socket: str) -> None:
    """Make the directory for the container's socket; add its mount and variable to the config."""
    directory = f"{state_directory}/{_DIRECTORY}"
    posix.mkdir(directory, 0o755)
    mount = {
        "destination": _INSIDE,
        "type": "bind",
        "source": directory,
        "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
    }
    spec.setdefault("mounts", []).append(mount)
    variables = spec["process"].setdefault("env", [])
    variables[:] = [entry for entry in variables if not entry.startswith("NOTIFY_SOCKET=")]
    variables.append(f"NOTIFY_SOCKET={_INSIDE}/{_SOCKET}")


def listen(state_directory: str) -> Any:
    """The container's socket, bound before its program starts."""
    from libcontainer import sockets

    path = f"{state_directory}/{_DIRECTORY}/{_SOCKET}"
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        # One is there already if a `start` was killed.
        posix.unlink(path)
    except FileNotFoundError:
        pass
    # Any user of the container may be ready. Not chmod(2): a name in there may be a link by now.
    umask = posix.umask(0)
    try:
        sockets.bind(socket, path)
    finally:
        posix.umask(umask)
    return socket


def relay_in_background(
    socket: Any, host_socket: str, main_pid: int, lives: Callable[[], bool]
) -> None:
    """relay() in a thread, as what it sends has to come from this process; faults are warnings."""
    import _thread

    def run() -> None:
        try:
            relay(socket, host_socket, main_pid, lives)
        except Exception as error:
            log.warning(f"NOTIFY_SOCKET: {error}")

    _thread.start_new_thread(run, ())


def relay(socket: Any, host_socket: str, main_pid: int, lives: Callable[[], bool]) -> None:
    """Wait for READY= and pass it on with MAINPID=`main_pid`; back at once if `lives()` is false."""
    waiting = select.poll()
    waiting.register(socket.fileno(), select.POLLIN)
    try:
        while True:
            if not waiting.poll(100):
                if lives():
                    continue
                return
            for line in socket.recv(65536).split(b"\n"):
                if line.startswith(b"READY="):
                    _tell(host_socket, line, main_pid)
                    return
    finally:
        socket.close()


def _tell(host_socket: str, ready: bytes, main_pid: int) -> None:
    from libcontainer import sockets

    host = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        # sd_notify(3): "@" begins the name of an abstract socket.
        sockets.connect(host, host_socket)
        host.send(ready + b"\n")
        host.send(b"MAINPID=%d\n" % main_pid)
        _barrier(host)
    except OSError as error:
        raise Error(f"NOTIFY_SOCKET: {host_socket}: {error.strerror or error}") from None
    finally:
        host.close()


def _barrier(host: Any) -> None:
    """BARRIER=1: the manager closes the pipe when it has seen all that was sent before.

    Without it the sender may be gone before the manager looks up whose messages those were.
    """
    from libcontainer import terminal

    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    terminal.send_on(host, b"BARRIER=1", writer)
    posix.close(writer)
    waiting = select.poll()
    waiting.register(reader, 0)
    if not waiting.poll(_BARRIER_SECONDS * 1000):
        log.warning("Timeout after waiting 30s for barrier. Ignored.")
    posix.close(reader)
