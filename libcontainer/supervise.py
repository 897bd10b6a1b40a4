"""`run` and `exec` in the foreground: signals forwarded, the terminal copied, the exit waited for."""

from __future__ import annotations

import posix

from libc_bindings import signals
from libcontainer.errors import Error
from libcontainer.programs import exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What is told to this process alone: its children's ends, its window; SIGURG, as Go programs keep it.
_KEPT = (signals.SIGCHLD, signals.SIGWINCH, signals.SIGURG)


class Relay:
    """The caller's terminal and the container's: what is typed goes in, what is shown comes out."""

    def __init__(self, master: int, terminal: int, saved: Any) -> None:
        self.master = master
        self.terminal = terminal
        """The caller's terminal, for its size and its mode."""
        self.saved = saved


def hold_signals() -> None:
    """Block all signals; wait() takes them one by one, so none is lost and none interrupts."""
    signals.block_all()


def wait(pid: int, relay: Relay | None) -> int:
    """Forward signals to `pid` and copy its terminal until it ends; its exit status.

    Other children (the process may be subreaper) are reaped on the way.
    """
    if relay is not None:
        from libcontainer import relaying

        return relaying.wait(pid, relay)
    every = signals.valid_signals()
    while True:
        status = reap(pid)
        if status is not None:
            return status
        number = signals.sigwait(every)
        forward(pid, number)


def reap(pid: int) -> int | None:
    """Reap every child that has ended; the exit status of `pid` if it is one of them."""
    while True:
        try:
            ended, status = posix.waitpid(-1, posix.WNOHANG)
        except ChildProcessError:
            raise Error("the container's process is no child of ours any more") from None
        if ended == 0:
            return None
        if ended == pid:
            return exit_status(status)


def forward(pid: int, number: int) -> None:
    """Hand signal `number` on to the container's process."""
    if number in _KEPT:
        return
    try:
        posix.kill(pid, number)
    except ProcessLookupError:
        # It has ended; its SIGCHLD is next.
        return


def terminal_relay(connection: int) -> Relay | None:
    """The relay for the pty whose master comes through `connection`; None if that is -1."""
    if connection < 0:
        return None
    from libcontainer import relaying

    return relaying.begin(connection)


def restore_terminal(relay: Relay | None) -> None:
    """Give the caller's terminal the mode that it had."""
    if relay is not None and relay.saved is not None:
        from libc_bindings import terminals

        terminals.restore(relay.terminal, relay.saved)
        relay.saved = None
