"""Signals as people name them."""

from __future__ import annotations

from libcontainer.commandline import decimal
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    # The package `signal` makes enums of the same numbers, which takes a millisecond.
    import _signal


def signal_number(text: str) -> int:
    """Return the number of a signal given as 9, KILL, SIGKILL, sigkill or SIGRTMIN+1."""
    try:
        return decimal(text)
    except ValueError:
        pass
    name, plus, offset = text.upper().partition("+")
    if name[:3] != "SIG":
        name = "SIG" + name
    # Python before 3.11 has no name for this one; it is 16 wherever it exists.
    value = 16 if name == "SIGSTKFLT" else getattr(_signal, name, None)
    if "_" in name or not isinstance(value, int) or (plus and name != "SIGRTMIN"):
        raise Error('unknown signal "%s"' % text)
    if not plus:
        return int(value)
    number = value + int(offset) if offset.isdigit() else 65
    if number > _signal.SIGRTMAX:
        raise Error('unknown signal "%s"' % text)
    return int(number)
