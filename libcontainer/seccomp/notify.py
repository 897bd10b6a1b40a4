"""SCMP_ACT_NOTIFY: how the filter's listener reaches the agent at `linux.seccomp.listenerPath`.

The descriptor is born in init by loading the filter, which is in force from then on, also for the
calls that hand the descriptor over. Were one of them to be answered by the agent, init would wait
for an agent that waits for init. So before it loads the filter, init makes a helper: a process with
the same table of descriptors, and no filter. Init only writes the listener's number into a pipe
(that is why profiles may not have SCMP_ACT_NOTIFY for write(2)), and the helper sends the descriptor
to the host. From there on the agent can answer for init, and does.

pidfd_getfd(2) would need no helper, but the right to trace init. That is not dumpable, and its
memory is the runtime's: only the host's root has the right.
"""

from __future__ import annotations

import _socket
import posix
from sys import byteorder

from libc_bindings import namespaces, process, signals

from .. import channel as words
from .. import sockets, terminal
from ..errors import Error
from ..jsonio import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ..channel import Channel
    from . import Filter

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
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    try:
        socket.settimeout(_PATIENCE)
        sockets.connect(socket, path)
        socket.settimeout(None)
        return socket.detach()
    except OSError as error:
        socket.close()
        raise Error(
            "failed to connect with seccomp agent specified in the seccomp profile: %s: %s"
            % (path, _reason(error))
        ) from None


def load(filter: Filter, channel: Channel) -> None:
    """In the container's process: load the `filter` and have its listener sent to the host.

    Back when the agent has it. Raises OSError, Error.
    """
    here = posix.getpid()
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    helper = namespaces.clone(namespaces.CLONE_FILES)
    if helper == 0:
        _carry(filter.outbox, reader, here)
    listener = filter.load()
    posix.write(writer, b"%d" % listener)
    channel.send(words.LISTENER)
    if channel.receive()[0] != words.GO:
        posix._exit(1)
    posix.waitpid(helper, 0)
    # While it is open here too, the end of the agent would leave the calls without an answer.
    posix.close(listener)


def _carry(outbox: int, reader: int, parent: int) -> NoReturn:
    """The helper: send the descriptor whose number comes through the pipe."""
    try:
        # It has the pipe's other end too, and would never see an end of file.
        process.prctl(process.PR_SET_PDEATHSIG, signals.SIGKILL)
        if posix.getppid() == parent:
            terminal.send(outbox, b"listener", int(posix.read(reader, 16)))
    finally:
        posix._exit(0)


def hand_over(
    agent: int, filter: Filter, pid: int, state: dict[str, Any], metadata: str = ""
) -> None:
    """On the host's side: pass the listener of process `pid` on to the agent.  Raises Error."""
    # Else the end of the process would not be seen.
    posix.close(filter.outbox)
    try:
        listener = terminal.receive(filter.inbox, _PATIENCE)
    except OSError as error:
        reason = _reason(error)
        raise Error("cannot get the seccomp fd from the container: " + reason) from None
    if listener == -1:
        raise Error("cannot get the seccomp fd from the container: its process has ended")
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


def _reason(error: OSError) -> str:
    # Python's own complaints (a name that is too long, a timeout) have no errno.
    return posix.strerror(error.errno) if error.errno else str(error)
