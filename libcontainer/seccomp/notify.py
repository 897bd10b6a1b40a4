"""SCMP_ACT_NOTIFY: how the filter's listener reaches the agent at `linux.seccomp.listenerPath`.

The descriptor is born in init by loading the filter, which is in force from then on, also for the
calls that hand the descriptor over. Were one of them to be answered by the agent, init would wait
for an agent that waits for init. So init only writes the descriptor's number into its channel
(that is why profiles may not have SCMP_ACT_NOTIFY for write(2)), and the host takes a copy with
pidfd_getfd(2): fetch(). From there on the agent can answer for init, and does.
"""

from __future__ import annotations

import _socket
import posix
from errno import EBADF
from sys import byteorder

from libc_bindings import namespaces

from ..errors import Error
from ..jsonio import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# An agent that listens and has a full backlog must not hold the container up forever.
_PATIENCE = 30.0


def fetch(pid: int, number: int) -> int:
    """A copy of descriptor `number` of process `pid`, close-on-exec.

    pidfd_getfd(2) asks for the right to trace the process. Raises OSError: ENOSYS before Linux 5.6,
    EPERM for a process that is not dumpable and whose program was executed outside of the user
    namespace that the caller has CAP_SYS_PTRACE in.
    """
    pidfd = namespaces.pidfd_open(pid)
    try:
        return namespaces.pidfd_getfd(pidfd, number)
    finally:
        if pidfd != -1:
            posix.close(pidfd)


def can_fetch(pid: int) -> bool:
    """Whether fetch() works with process `pid`, to be asked before the filter is in its way."""
    try:
        posix.close(fetch(pid, 0))
    except OSError as error:
        # EBADF: it was allowed to look, and stdin is closed.
        return error.errno == EBADF
    return True


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


def send_listener(path: str, fd: int, state: dict[str, Any]) -> None:
    """Send the listener `fd` with process_state()'s `state` to the agent's stream socket `path`.

    A path that begins with "@" is an abstract socket's name. Raises Error.
    """
    data = dumps(state).encode("utf-8", "surrogateescape")
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, byteorder))]
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    try:
        socket.settimeout(_PATIENCE)
        _connect(socket, path)
        try:
            # The descriptor travels with the first byte; the rest may need more than one call.
            sent = socket.sendmsg([data], rights)
            while sent < len(data):
                sent += socket.send(data[sent:])
        except OSError as error:
            raise Error("cannot send seccomp fd to %s: %s" % (path, _reason(error))) from None
    finally:
        socket.close()


def _connect(socket: _socket.socket, path: str) -> None:
    name = path.encode("utf-8", "surrogateescape")
    if name[:1] == b"@":
        name = b"\0" + name[1:]
    try:
        socket.connect(name)
    except OSError as error:
        raise Error(
            "failed to connect with seccomp agent specified in the seccomp profile: %s: %s"
            % (path, _reason(error))
        ) from None


def _reason(error: OSError) -> str:
    # Python's own complaints (a name that is too long, a timeout) have no errno.
    return posix.strerror(error.errno) if error.errno else str(error)
