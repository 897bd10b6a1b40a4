"""SCMP_ACT_NOTIFY: how the filter's listener reaches the agent at `linux.seccomp.listenerPath`.

The descriptor is born in init by loading the filter, which is in force from then on, also for the
calls that hand the descriptor over. Were one of them to be answered by the agent, init would wait
for an agent that waits for init. So init only writes the descriptor's number into its channel
(that is why profiles may not have SCMP_ACT_NOTIFY for write(2)), and the host takes a copy with
pidfd_getfd(2). From there on the agent can answer for init, and does.
"""

from __future__ import annotations

import _socket
import posix
from errno import ENOSYS
from sys import byteorder

from libc_bindings import namespaces

from ..errors import Error
from ..jsonio import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# An agent that listens and has a full backlog must not hold the container up forever.
_PATIENCE = 30.0


def process_state(state: dict[str, Any], pid: int, metadata: str = "") -> dict[str, Any]:
    """The ContainerProcessState (config-linux.md) for the filter of process `pid`.

    `state` is the container's state as the runtime-spec has it: status `creating` for its first
    process, `running` for one that `exec` adds.
    """
    message = {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid}
    if metadata:
        message["metadata"] = metadata
    message["state"] = state
    return message


def connect(path: str) -> int:
    """A descriptor connected to the agent's stream socket `path`.

    A path that begins with "@" is an abstract socket's name. Raises Error.
    """
    name = path.encode("utf-8", "surrogateescape")
    if name[:1] == b"@":
        name = b"\0" + name[1:]
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    try:
        socket.settimeout(_PATIENCE)
        socket.connect(name)
        socket.settimeout(None)
        return socket.detach()
    except OSError as error:
        socket.close()
        raise Error(
            "failed to connect with seccomp agent specified in the seccomp profile: %s: %s"
            % (path, _reason(error))
        ) from None


def hand_over(
    agent: int, pid: int, listener: int, state: dict[str, Any], metadata: str = ""
) -> None:
    """Send the agent the `listener` of process `pid`, and close both.  Raises Error."""
    socket = _socket.socket(fileno=agent)
    try:
        send_listener(socket, listener, process_state(state, pid, metadata))
    finally:
        posix.close(listener)
        socket.close()


def send_listener(socket: _socket.socket, listener: int, message: dict[str, Any]) -> None:
    """Send `message`, a process_state(), as JSON with its one descriptor.  Raises Error."""
    data = dumps(message).encode("utf-8", "surrogateescape")
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, listener.to_bytes(4, byteorder))]
    try:
        socket.settimeout(_PATIENCE)
        # The descriptor travels with the first byte; the rest may need more than one call.
        sent = socket.sendmsg([data], rights)
        while sent < len(data):
            sent += socket.send(data[sent:])
    except OSError as error:
        raise Error("cannot send seccomp fd to the seccomp agent: " + _reason(error)) from None


def fetch(pid: int, number: int) -> int:
    """A copy of the listener, descriptor `number` of process `pid`.

    pidfd_getfd(2) asks for the right to trace the process. Raises Error.
    """
    pidfd = -1
    try:
        pidfd = namespaces.pidfd_open(pid)
        if pidfd == -1:
            raise OSError(ENOSYS, "")
        return namespaces.pidfd_getfd(pidfd, number)
    except OSError as error:
        reason = "it needs Linux 5.6" if error.errno == ENOSYS else _reason(error)
        raise Error("cannot get the seccomp fd from the container's process: " + reason) from None
    finally:
        if pidfd != -1:
            posix.close(pidfd)


def _reason(error: OSError) -> str:
    # Python's own complaints (a name that is too long, a timeout) have no errno.
    return posix.strerror(error.errno) if error.errno else str(error)
