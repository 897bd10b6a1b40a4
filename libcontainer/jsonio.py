"""JSON in and out, without the cost of the `json` package.

`import json` takes longer than everything else `runc state` does, because it compiles regular
expressions. The work itself is done by the C module `_json`, which needs none of that; it is
used here directly, and the `json` package only where `_json` is missing or has changed.

Reading is strict where tolerance would let two readers see different documents: the text is
UTF-8 without a byte order mark, without NaN and Infinity, without lone surrogates, and nothing
follows the value. Every failure is an `Error` that begins with the name of the document.
"""

from __future__ import annotations

import posix

from .errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

MAX_BYTES = 16 << 20
"""Largest document that is read.

The kernel takes at most 6 MiB of arguments and environment, and a config with thousands of mounts
stays far below 2 MiB; parsed, 16 MiB of the most wasteful JSON become about 400 MiB of objects.
"""

_MAX_DIGITS = 24
"""More digits than any 64-bit integer has; int() takes quadratic time on long numbers."""

_SPACE = " \t\n\r"


def loads(text: str | bytes, name: str = "JSON") -> Any:
    """Return the value of the JSON document `text`; `name` begins the message of every Error."""
    if isinstance(text, bytes):
        text = _decode(text, name)
    elif len(text) > MAX_BYTES:
        raise _too_large(name)
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _scan_worded(text, start)
    except StopIteration as stop:
        raise _malformed(text, stop.value, "a value is expected", name) from None
    except RecursionError:
        raise Error(name + ": nested too deeply") from None
    except MemoryError:
        raise Error(name + ": too large for the memory at hand") from None
    except _Unwanted as fault:
        raise Error("%s: %s" % (name, fault)) from None
    except ValueError as fault:
        message = str(getattr(fault, "msg", fault))
        raise _malformed(text, getattr(fault, "pos", 0), message, name) from None
    rest = text[end:].lstrip(_SPACE)
    if rest:
        raise _malformed(text, len(text) - len(rest), "text after the end of the value", name)
    if "\\ud" in text or "\\uD" in text:
        _refuse_surrogates(value, name)
    return value


def loads_object(text: str | bytes, name: str = "JSON") -> dict[str, Any]:
    """Return the JSON object that the document `text` is; Error where it is another value."""
    value = loads(text, name)
    if not isinstance(value, dict):
        raise Error("%s: must be a JSON object, not %s" % (name, kind(value)))
    return value


def read(path: str, dir_fd: int | None = None, name: str | None = None) -> dict[str, Any]:
    """Return the JSON object in the file `path`, relative to the directory `dir_fd` if given.

    Raises OSError where the file cannot be opened or read, Error where its content is at fault.
    """
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return read_fd(fd, name or path)
    finally:
        posix.close(fd)


def read_fd(fd: int, name: str) -> dict[str, Any]:
    """Return the JSON object that reading `fd` to its end gives (a file, a pipe, stdin)."""
    return loads_object(read_bytes(fd, name), name)


def read_bytes(fd: int, name: str) -> bytes:
    """Return everything that can be read from `fd`; Error if it is more than `MAX_BYTES`."""
    chunks: list[bytes] = []
    total = 0
    size = 1 << 16
    while True:
        chunk = posix.read(fd, size)
        if not chunk:
            return b"".join(chunks)
        total += len(chunk)
        if total > MAX_BYTES:
            raise _too_large(name)
        chunks.append(chunk)
        if len(chunk) == size:
            size = 1 << 20


def dumps(value: Any, indent: str | None = None) -> str:
    """Return `value` as JSON text, in the bytes that Go's encoding/json would write.

    Without `indent` there is no white space at all (json.Marshal); with it, each member stands on
    a line of its own behind that string once for each level (json.MarshalIndent). Keys must be
    strings and keep their order; `<`, `>`, `&`, U+2028 and U+2029 are escaped as Go escapes them.
    Raises Error for NaN, an infinity, a value that is not JSON's, or one nested too deeply.
    """
    try:
        text = _encode(value) if indent is None else _indented(value, indent, "\n")
    except RecursionError:
        raise Error("JSON: nested too deeply to be written") from None
    except (TypeError, ValueError) as fault:
        raise Error("JSON: cannot be written: %s" % fault) from None
    # None of these characters occurs in JSON outside strings.
    for character, escape in _GO_ESCAPES:
        if character in text:
            text = text.replace(character, escape)
    return text


_GO_ESCAPES = (
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)


def kind(value: object) -> str:
    """Return what a parsed value is called in messages: `a string`, `an object`, `null`…"""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    for type_, word in _KINDS:
        if isinstance(value, type_):
            return word
    return "a " + type(value).__name__


_KINDS: tuple[tuple[type, str], ...] = (
    (str, "a string"),
    (dict, "an object"),
    (list, "an array"),
    (int, "a number"),
    (float, "a number"),
)


class _Unwanted(Exception):
    """A number that JSON's grammar or Python's reader allows and this one does not."""


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise _Unwanted("a number of %d digits is too large" % len(digits))
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value - value != 0.0:
        raise _Unwanted("the number %s is too large" % digits[:32])
    return value


def _constant(word: str) -> None:
    raise _Unwanted("%s is not a JSON number" % word)


class _Context:
    """What `_json.make_scanner` reads its settings from."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None
    parse_int = staticmethod(_integer)
    parse_float = staticmethod(_float)
    parse_constant = staticmethod(_constant)
    memo: dict[str, str] = {}


def _scan_worded(text: str, start: int) -> tuple[Any, int]:
    try:
        return _scan(text, start)
    except SystemError:
        # The scanner of 3.10 and 3.11 can only word an error once json.decoder has been imported.
        import json.decoder  # noqa: F401

        return _scan(text, start)


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise _too_large(name)
    if data[:3] == b"\xef\xbb\xbf":
        raise Error(name + ": begins with a byte order mark, which JSON does not allow")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise Error("%s: not UTF-8 at byte %d" % (name, fault.start)) from None


def _too_large(name: str) -> Error:
    return Error("%s: larger than %d MiB" % (name, MAX_BYTES >> 20))


def _malformed(text: str, position: int, message: str, name: str) -> Error:
    if not text[position:].strip(_SPACE):
        message = "unexpected end of JSON input"
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return Error("%s: line %d column %d: %s" % (name, line, column, message))


def _refuse_surrogates(value: object, name: str) -> None:
    """Raise Error where half of a `\\ud83d\\ude00` pair stands alone: no byte string has it."""
    try:
        dumps(value).encode("utf-8")
    except Error:
        # Writing may allow fewer levels than reading did.
        raise Error(name + ": nested too deeply") from None
    except UnicodeEncodeError:
        raise Error(name + ": a \\ud8xx escape without its other half") from None


def _indented(value: Any, indent: str, newline: str) -> str:
    """Return `value` over several lines; `newline` is the line break with the present indent."""
    if not isinstance(value, (dict, list, tuple)) or not value:
        return _encode(value)
    inner = newline + indent
    if isinstance(value, dict):
        members = [
            _encode(str(key)) + ": " + _indented(member, indent, inner)
            for key, member in value.items()
        ]
        return "{" + inner + ("," + inner).join(members) + newline + "}"
    members = [_indented(member, indent, inner) for member in value]
    return "[" + inner + ("," + inner).join(members) + newline + "]"


def _refuse_type(value: object) -> None:
    raise TypeError("%s is not a JSON value" % type(value).__name__)


def _c_codec() -> tuple[Callable[[str, int], tuple[Any, int]], Callable[[Any], str]]:
    """Return the C scanner and an encoder on `_json`; raises where they are not as expected."""
    from _json import encode_basestring, make_encoder, make_scanner

    context: Any = _Context()
    scan = make_scanner(context)
    chunks = make_encoder(
        None, _refuse_type, encode_basestring, None, ":", ",", False, False, False
    )

    def encode(value: Any) -> str:
        return "".join(chunks(value, 0))

    probe = {"a": [1, None, True, "\u00e9"]}
    text = '{"a":[1,null,true,"\u00e9"]}'
    if encode(probe) != text or scan(text, 0) != (probe, len(text)):
        raise ImportError("_json behaves differently")
    return scan, encode


def _package_codec() -> tuple[Callable[[str, int], tuple[Any, int]], Callable[[Any], str]]:
    """Return the same two on the `json` package, for interpreters without a usable `_json`."""
    import json

    decoder: Any = json.JSONDecoder(
        parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
    )
    encoder = json.JSONEncoder(
        ensure_ascii=False,
        check_circular=False,
        allow_nan=False,
        separators=(",", ":"),
        default=_refuse_type,
    )
    return decoder.scan_once, encoder.encode


try:
    _scan, _encode = _c_codec()
except (ImportError, AttributeError, TypeError, ValueError):
    _scan, _encode = _package_codec()
