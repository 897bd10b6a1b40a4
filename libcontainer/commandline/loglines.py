"""Lines of the log and of errors, in the shape that logrus, and so runc, gives them."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def line(
    level: str, message: str, fields: dict[str, str], dumps: Callable[[Any], str] | None
) -> str:
    """Return a line of the log with its line feed.

    `fields` are further values for it. `dumps` makes JSON of it; without, it is text.
    """
    if dumps:
        # A file name that is not UTF-8 would make the whole line unreadable.
        readable = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        entry = {**fields, "level": level, "msg": readable, "time": timestamp()}
        return dumps(dict(sorted(entry.items()))) + "\n"
    entry = {"time": timestamp(), "level": level, "msg": message, **fields}
    # The time of day is always quoted: it has colons.
    return " ".join(name + "=" + quoted(value) for name, value in entry.items()) + "\n"


def timestamp() -> str:
    """Return the present time as RFC 3339 has it, in the local zone: 2026-01-02T03:04:05+01:00."""
    now = time.localtime()
    text = time.strftime("%Y-%m-%dT%H:%M:%S", now)
    minutes = now.tm_gmtoff // 60
    if not minutes:
        return text + "Z"
    return "%s%s%02d:%02d" % (text, "-" if minutes < 0 else "+", *divmod(abs(minutes), 60))


_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
_ESCAPES = {'"': '\\"', "\\": "\\\\"}
# The characters 7 to 13, as strconv.Quote writes them.
_ESCAPES.update(zip("\a\b\t\n\v\f\r", ("\\" + letter for letter in "abtnvfr")))


def quoted(text: str) -> str:
    """Return a value of a log line in logrus's form: bare where it is one plain word."""
    if _BARE.issuperset(text):
        return text
    return '"' + "".join(_ESCAPES.get(c) or _printable(c) for c in text) + '"'


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # A byte of a file name that is not UTF-8.
        return "\\x%02x" % (code - 0xDC00)
    if code < 0x80:
        return "\\x%02x" % code
    return "\\u%04x" % code if code < 0x10000 else "\\U%08x" % code


def lowered(reason: str) -> str:
    """Return an errno's text as Go words it: engines search errors for `no such file…`."""
    return reason[:1].lower() + reason[1:]


def describe(error: BaseException) -> str:
    """Return one sentence for `error`; an OSError becomes `call path: reason`."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    call, _, reason = (error.strerror or "").rpartition(": ")
    words = [call] if call else []
    for name in (error.filename, error.filename2):
        if isinstance(name, bytes):
            words.append(name.decode("utf-8", "surrogateescape"))
        elif isinstance(name, int):
            words.append("descriptor %d" % name)
        elif name:
            words.append(str(name))
    return " ".join(words) + (": " if words else "") + lowered(reason)
