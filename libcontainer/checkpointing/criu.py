"""The host's criu: `criu swrk`, asked over a socket as its images/rpc.proto has it.

criu reaches our descriptors (the directories of images and logs) through /proc/PID/fd; what it
inherits from us is what it hands on to restored processes, under the numbers that ask() says.
"""

from __future__ import annotations

import _socket
import posix
from fcntl import F_DUPFD_CLOEXEC, fcntl
from sys import byteorder

from libc_bindings import mounts
from libc_bindings import namespaces as kernel
from libc_bindings.paths import read_file
from libcontainer import hooks, log
from libcontainer.checkpointing import protocol
from libcontainer.errors import Error, reason
from libcontainer.programs import exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    # script's name, pid (0: none), descriptor that came with it (-1: none)
    Notify = Callable[[str, int, int], None]

DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10
_NAMES = {
    DUMP: "DUMP",
    RESTORE: "RESTORE",
    PRE_DUMP: "PRE_DUMP",
    NOTIFY: "NOTIFY",
    FEATURE_CHECK: "FEATURE_CHECK",
    VERSION: "VERSION",
}

FIRST_EXTRA = 4
"""The number under which criu has the first of the descriptors that it is given."""

_OLDEST = 30000
_SOCKET = 3
_LONGEST_MESSAGE = 10 * 4096
# The lines of criu's log that are shown before one with an error.
_CONTEXT = 5


class FailedError(Error):
    """criu gave up; why, its log tells."""


def version() -> int:
    """The version of the host's criu, as 31701 for 3.17.1.  Raises Error where it cannot be used."""
    try:
        told = ask({"type": VERSION}).get("version", {})
    except Error as error:
        raise Error(f"CRIU version check failed: {error}") from None
    found: int = told.get("major_number", 0) * 10000 + told.get("minor_number", 0) * 100
    # A build out of git is on its way to the next version.
    found += 100 if told.get("gitid") else told.get("sublevel", 0)
    if found < _OLDEST:
        raise Error(f"CRIU version {found} must be {_OLDEST} or higher")
    log.debug(f"Using CRIU {found}")
    return found


def require(feature: str, words: str) -> None:
    """Raise Error, with the feature in runc's `words`, where criu or this kernel lacks it."""
    try:
        told = ask({"type": FEATURE_CHECK, "features": {feature: True}})
    except Error as error:
        raise Error(f"CRIU feature check failed: {error}") from None
    if not told.get("features", {}).get(feature, True):
        raise Error(f"criu is missing features: [{words}]")


def ask(
    request: dict[str, Any],
    notify: Notify | None = None,
    *,
    prepare: Callable[[int], None] | None = None,
    stdio: bool = False,
    extra: tuple[int, ...] = (),
    root: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Send `request` to a criu of its own, answer its notifications by `notify`; its response.

    `prepare` gets criu's pid, and may complete the request, before that is sent. With `stdio` criu
    has ours, else /dev/null; `extra` are descriptors that it has from FIRST_EXTRA on. `root`: it
    runs in a mount namespace of its own, where the first of two directories is bound on the second;
    directories that it is to work in have to be opened there, below /proc/PID/root.
    Raises Error, also where criu says that it failed.
    """
    program = _find()
    ours, theirs = _socket.socketpair(
        _socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
    )
    pid = posix.fork()
    if pid == 0:
        _become(program, theirs, stdio, extra, root)
    theirs.close()
    try:
        if root is not None and not ours.recv(1):
            raise Error("criu was not started")
        if prepare is not None:
            prepare(pid)
        log.debug(f"Using CRIU in {_NAMES[request['type']]} mode: {request.get('opts', {})}")
        ours.send(protocol.encode("request", request))
        response = _converse(ours, notify)
    except OSError as error:
        # EPIPE, ECONNRESET: it is gone.
        raise FailedError(f"criu: {reason(error)}") from None
    finally:
        # The end of the conversation is what criu ends by.
        ours.close()
        status = exit_status(posix.waitpid(pid, 0)[1])
    if status and request["type"] in (DUMP, RESTORE):
        raise FailedError(f"criu failed: exit status {status}")
    return response


def _find() -> str:
    """The program, in the directories of $PATH."""
    for directory in posix.environ.get(b"PATH", b"").decode("utf-8", "surrogateescape").split(":"):
        path = f"{directory}/criu"
        if path.startswith("/") and posix.access(path, posix.X_OK):
            return path
    raise Error('exec: "criu": executable file not found in $PATH')


def _become(
    program: str, socket: Any, stdio: bool, extra: tuple[int, ...], root: tuple[str, str] | None
) -> None:
    """In the child: exec criu with its descriptors in place."""
    try:
        if root is not None:
            # So that nothing is left mounted on the host, however this ends.
            kernel.unshare(kernel.CLONE_NEWNS)
            mounts.mount(None, "/", None, mounts.MS_SLAVE | mounts.MS_REC)
            mounts.mount(*root, None, mounts.MS_BIND | mounts.MS_REC)
            socket.send(b"1")
        above = FIRST_EXTRA + len(extra)
        # First out of the way: one may have a number that another is meant to get.
        moved = [fcntl(fd, F_DUPFD_CLOEXEC, above) for fd in (socket.fileno(), *extra)]
        for target, fd in enumerate(moved, _SOCKET):
            posix.dup2(fd, target)
        if not stdio:
            null = posix.open("/dev/null", posix.O_RDWR)
            for fd in (0, 1, 2):
                posix.dup2(null, fd)
        hooks.reset_signals()
        hooks.close_on_exec(above)
        posix.execve(program, ["criu", "swrk", str(_SOCKET)], posix.environ)
    except OSError as error:
        log.warning(f"criu: {reason(error)}")
    finally:
        posix._exit(127)


def _converse(socket: Any, notify: Notify | None) -> dict[str, Any]:
    while True:
        room = _socket.CMSG_SPACE(4)
        data, ancillary, _, _ = socket.recvmsg(_LONGEST_MESSAGE, room, _socket.MSG_CMSG_CLOEXEC)
        fd = -1
        for level, kind, rights in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                fd = int.from_bytes(rights[:4], byteorder)
        if not data:
            raise FailedError("criu: unexpected EOF")
        response = protocol.decode("response", data)
        kind = response.get("type", 0)
        if not response.get("success"):
            number = response.get("cr_errno", 0)
            raise FailedError(f"criu failed: type {_NAMES.get(kind, kind)} errno {number}")
        if kind != NOTIFY:
            return response
        script = response.get("notify", {})
        log.debug(f"notify: {script.get('script')}")
        try:
            if notify is not None:
                notify(script.get("script", ""), script.get("pid", 0), fd)
        finally:
            if fd >= 0:
                posix.close(fd)
        socket.send(protocol.encode("request", {"type": NOTIFY, "notify_success": True}))


def open_directory(path: str, make: bool = False) -> int:
    """The directory of images or of logs at `path`, with `make` made if it is missing.  Error."""
    try:
        if make:
            try:
                posix.mkdir(path, 0o700)
            except FileExistsError:
                pass
        return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        raise Error(f"open {path}: {reason(error)}") from None


def config_file(spec: Any) -> dict[str, str]:
    """The option that names criu's own configuration file, which has the last word on all others."""
    path = (spec.get("annotations") or {}).get("org.criu.config", "/etc/criu/runc.conf")
    return {"config_file": path} if path else {}


def quote_log(path: str) -> None:
    """Warn with the lines of criu's log that tell an error, each with some lines before it."""
    try:
        lines = read_file(path).decode("utf-8", "replace").split("\n")
    except OSError as error:
        log.warning(f"open {path}: {reason(error)}")
        return
    shown = 0
    for number, line in enumerate(lines, 1):
        if "Error" not in line:
            continue
        if not shown:
            log.warning(f'--- Quoting "{path}"')
        elif number - _CONTEXT - 1 > shown:
            log.warning("...")
        for other in range(max(shown + 1, number - _CONTEXT), number + 1):
            log.warning(f"{other}:{lines[other - 1]}")
        shown = number
    if shown:
        log.warning("---")
