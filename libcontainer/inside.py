"""What init and a process of `exec` do alike on their way to the program."""

from __future__ import annotations

import posix
import sys

from libcontainer import channel as words
from libcontainer import process
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.channel import Channel


def close_imports() -> None:
    """From here on paths lead into the container: import nothing any more.

    A module would be looked for at the interpreter's paths in there, and what the image has put
    in that place would run with the runtime's privileges. A late import is an error, then; what is
    needed was read beforehand (inheritance.preload).
    """
    sys.meta_path.clear()
    sys.path_importer_cache.clear()
    sys.path.clear()


def finish_privileges(proc: Any, filter: Any, sets: process.Sets) -> None:
    """Load the seccomp filter (but for one with a listener, which is in force) and drop the rest."""
    pending = filter is not None and not filter.listener
    if pending and not proc.get("noNewPrivileges"):
        # Without no_new_privs only CAP_SYS_ADMIN may load a filter: before it goes.
        filter.load()
        pending = False
    process.finish_capabilities(sets)
    if pending:
        # As late as can be: the profile need not allow what runs before.
        filter.load()


def tell(channel: Channel, error: BaseException) -> None:
    """Hand the reason to the host's side, which reports it."""
    try:
        channel.send(words.FAILED, describe(error))
    except OSError:
        say(error)


def say(error: BaseException) -> None:
    """The host's side has done its part: say the reason on the container's own stderr."""
    try:
        posix.write(2, f"{describe(error)}\n".encode("utf-8", "replace"))
    except OSError:
        # Closed, or a terminal that hung up: there is nobody left to be told.
        return


def describe(error: BaseException) -> str:
    """One sentence for an exception that ended a step."""
    if isinstance(error, OSError):
        what = f"{error.strerror or error}"
        return f"{what}: {error.filename}" if error.filename else what
    text = str(error)
    return text if isinstance(error, Error) else f"{type(error).__name__}: {text}"
