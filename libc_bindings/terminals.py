"""Pseudo-terminals: ioctl_tty(2), pty(7), and the raw mode of termios(3)."""

from __future__ import annotations

import fcntl
import posix
import termios
from sys import byteorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MACHINE = posix.uname().machine
# These four families number their terminal ioctls in their own way.
_OWN = _MACHINE.startswith(("mips", "ppc", "sparc", "alpha"))
TIOCGPTPEER = 0x20005441 if _OWN else 0x5441
TIOCSPTLCK = 0x80045431 if _OWN else 0x40045431
TIOCGPTN = 0x40045430 if _OWN else 0x80045430
if _MACHINE.startswith("sparc"):
    TIOCGPTPEER, TIOCSPTLCK, TIOCGPTN = 0x20007489, 0x80047485, 0x40047486


def unlock(master: int) -> None:
    """TIOCSPTLCK: let the slave of a new pty be opened."""
    fcntl.ioctl(master, TIOCSPTLCK, (0).to_bytes(4, byteorder))


def number(master: int) -> int:
    """TIOCGPTN: N of the slave /dev/pts/N."""
    return int.from_bytes(fcntl.ioctl(master, TIOCGPTN, bytes(4)), byteorder)


def open_slave(master: int) -> int:
    """TIOCGPTPEER: the slave's descriptor, from the master and by no path that could be swapped."""
    flags = posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC
    return fcntl.ioctl(master, TIOCGPTPEER, flags)


def set_size(fd: int, rows: int, columns: int) -> None:
    """TIOCSWINSZ, in characters."""
    size = rows.to_bytes(2, byteorder) + columns.to_bytes(2, byteorder) + bytes(4)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, size)


def copy_size(source: int, target: int) -> None:
    """Give terminal `target` the window size of `source`."""
    fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8)))


def set_controlling(fd: int) -> None:
    """TIOCSCTTY: the session leader's controlling terminal becomes `fd`."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def make_raw(fd: int) -> list[Any]:
    """Put terminal `fd` in raw mode but for its output; returns the attributes for restore().

    OPOST stays: what is written here still gets its carriage returns, see leave_newlines_alone().
    """
    saved = termios.tcgetattr(fd)
    raw = list(saved)
    raw[0] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    control = list(raw[6])
    control[termios.VMIN], control[termios.VTIME] = 1, 0
    raw[6] = control
    termios.tcsetattr(fd, termios.TCSANOW, raw)
    return saved


def leave_newlines_alone(fd: int) -> None:
    """Clear ONLCR, for a pty whose master is copied to another terminal that translates."""
    attributes = termios.tcgetattr(fd)
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def restore(fd: int, saved: list[Any]) -> None:
    """Set the attributes that make_raw() returned, if the terminal has not hung up."""
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)
    except termios.error:
        # A terminal that hung up has none.
        return
