"""Messages on the way: they go to whatever the command line put into `sink`.

Nothing in this package prints. A forked init inherits the sink, so its warnings reach the same log.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


def _discard(level: str, message: str) -> None:
    """The sink of a program that set none (a test, a library user)."""


descriptor = -1
"""The sink's own open file above stdio, -1 without one; everything else of the caller is closed."""

sink: Callable[[str, str], None] = _discard


def warning(message: str) -> None:
    """Something that the user asked for does not hold fully, or a name that is not known."""
    sink("warning", message)


def debug(message: str) -> None:
    """A step, told with --debug."""
    sink("debug", message)
