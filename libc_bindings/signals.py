"""signal(7) as CPython's C module has it; the package `signal` on top of it costs enums at start."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

SIGKILL = int(_signal.SIGKILL)
SIGTERM = int(_signal.SIGTERM)
SIGSTOP = int(_signal.SIGSTOP)
SIGCHLD = int(_signal.SIGCHLD)
SIGWINCH = int(_signal.SIGWINCH)
SIGURG = int(_signal.SIGURG)
SIGTTIN = int(_signal.SIGTTIN)
SIGTTOU = int(_signal.SIGTTOU)

# What ends a process that has no handler, and is sent to ask it to end.
DEADLY = tuple(
    map(int, (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGABRT))
)

SIG_DFL = _signal.SIG_DFL
SIG_IGN = _signal.SIG_IGN
NSIG = _signal.NSIG

getsignal = _signal.getsignal
signal = _signal.signal
sigwait = _signal.sigwait
strsignal = _signal.strsignal
valid_signals = _signal.valid_signals
set_wakeup_fd = _signal.set_wakeup_fd


def block_all() -> None:
    """Block every signal that can be blocked (sigprocmask(2))."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals())


def unblock_all() -> None:
    """Block no signal."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """pidfd_send_signal(2), where Python has it (3.9)."""
    _signal.pidfd_send_signal(pidfd, number)
