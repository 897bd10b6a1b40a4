"""GVariant's text format, in which annotations give values for D-Bus.

"GVariant Text Format" in GLib's manual: `uint32 7`, `true`, `'text'`, `['a', 'b']`, `(1, 2.5)`,
`{'key': <1>}`, `@as []`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Tuple

    Value = Tuple[str, Any]

_WORDS = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u",
    "int64": "x", "uint64": "t", "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
_RANGES = {
    "y": (0, 2**8 - 1),
    "n": (-(2**15), 2**15 - 1),
    "q": (0, 2**16 - 1),
    "i": (-(2**31), 2**31 - 1),
    "u": (0, 2**32 - 1),
    "x": (-(2**63), 2**63 - 1),
    "t": (0, 2**64 - 1),
}
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def parse(text: str) -> Value:
    """The D-Bus signature and the value of a text; ValueError says what is wrong with it."""
    reader = _Reader(text)
    found = reader.value("")
    reader.space()
    if reader.rest():
        raise ValueError("unexpected %r at the end" % reader.rest())
    return found


class _Reader:
    """The text, and how far it is read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def rest(self) -> str:
        return self.text[self.position :]

    def space(self) -> None:
        while self.rest()[:1].isspace():
            self.position += 1

    def take(self, letter: str) -> bool:
        """Whether `letter` is next; then it is passed over."""
        self.space()
        if self.rest().startswith(letter):
            self.position += len(letter)
            return True
        return False

    def word(self, stops: str = " \t\n,:]})>([{<") -> str:
        self.space()
        start = self.position
        while self.position < len(self.text) and self.text[self.position] not in stops:
            self.position += 1
        return self.text[start : self.position]

    def value(self, wanted: str) -> Value:
        """A value of the type `wanted`, or with "" of the one that it shows."""
        self.space()
        first = self.rest()[:1]
        if first == "@":
            self.position += 1
            return self.value(_checked(self.word(stops=" \t\n")))
        if first in ("'", '"'):
            return self.string(wanted or "s")
        if first == "[":
            return self.array(wanted)
        if first == "(":
            return self.tuple(wanted)
        if first == "{":
            return self.dictionary(wanted)
        if first == "<":
            self.position += 1
            inner = self.value("")
            self.expect(">")
            return _as(wanted, "v"), inner
        word = self.word()
        if not word:
            raise ValueError("a value is missing")
        if word in _WORDS:
            return self.value(_WORDS[word])
        if word in ("true", "false"):
            return _as(wanted, "b"), word == "true"
        return _number(word, wanted)

    def expect(self, letter: str) -> None:
        if not self.take(letter):
            raise ValueError("%r expected at %r" % (letter, self.rest()))

    def string(self, wanted: str) -> Value:
        if wanted not in ("s", "o", "g"):
            raise ValueError("a string where type %s is wanted" % wanted)
        quote = self.text[self.position]
        self.position += 1
        letters: list[str] = []
        while True:
            letter = self.rest()[:1]
            if not letter:
                raise ValueError("a string does not end")
            self.position += 1
            if letter == quote:
                return wanted, "".join(letters)
            letters.append(self.escape() if letter == "\\" else letter)

    def escape(self) -> str:
        letter = self.rest()[:1]
        self.position += 1
        length = {"u": 4, "U": 8}.get(letter)
        if not length:
            return _ESCAPES.get(letter, letter)
        digits = self.rest()[:length]
        self.position += length
        return chr(int(digits, 16))

    def array(self, wanted: str) -> Value:
        if wanted and wanted[0] != "a":
            raise ValueError("an array where type %s is wanted" % wanted)
        self.position += 1
        inner = wanted[1:]
        entries: list[Any] = []
        while not self.take("]"):
            if entries:
                self.expect(",")
            # The first entry gives the type of those after it.
            inner, entry = self.value(inner)
            entries.append(entry)
        if not inner:
            raise ValueError("an empty array needs its type, such as @as []")
        return "a" + inner, entries

    def tuple(self, wanted: str) -> Value:
        from libc_bindings.sdbus import split

        if wanted and wanted[0] != "(":
            raise ValueError("a tuple where type %s is wanted" % wanted)
        kinds = split(wanted[1:-1]) if wanted else []
        self.position += 1
        found: list[Value] = []
        while not self.take(")"):
            if found:
                self.expect(",")
                if self.take(")"):
                    break
            found.append(self.value(kinds[len(found)] if len(found) < len(kinds) else ""))
        signature = "(%s)" % "".join([kind for kind, _ in found])
        return _as(wanted, signature), tuple([value for _, value in found])

    def dictionary(self, wanted: str) -> Value:
        from libc_bindings.sdbus import split

        if wanted and wanted[:2] != "a{":
            raise ValueError("a dictionary where type %s is wanted" % wanted)
        key_kind, value_kind = split(wanted[2:-1]) if wanted else ("", "")
        self.position += 1
        entries: list[tuple[Any, Any]] = []
        while not self.take("}"):
            if entries:
                self.expect(",")
            key_kind, key = self.value(key_kind)
            self.expect(":")
            value_kind, value = self.value(value_kind)
            entries.append((key, value))
        if not key_kind:
            raise ValueError("an empty dictionary needs its type, such as @a{sv} {}")
        return "a{%s%s}" % (key_kind, value_kind), entries


def _as(wanted: str, shown: str) -> str:
    if wanted and wanted != shown:
        raise ValueError("type %s where %s is wanted" % (shown, wanted))
    return shown


def _number(word: str, wanted: str) -> Value:
    try:
        if wanted == "d" or (
            not wanted and any(letter in word for letter in ".eE") and "x" not in word
        ):
            return "d", float(word)
        value = int(word, 0)
    except ValueError:
        raise ValueError("%r is no value" % word) from None
    kind = wanted or "i"
    if kind not in _RANGES:
        raise ValueError("a number where type %s is wanted" % wanted)
    low, high = _RANGES[kind]
    if not low <= value <= high:
        raise ValueError("%d does not fit its type, %s" % (value, kind))
    return kind, value


def _checked(signature: str) -> str:
    from libc_bindings.sdbus import split

    allowed = "ybnqiuxtdsogva(){}"
    if not signature or signature.strip(allowed):
        raise ValueError("%r is no D-Bus type" % signature)
    try:
        kinds = split(signature)
    except IndexError:
        raise ValueError("%r is no D-Bus type" % signature) from None
    if len(kinds) != 1:
        raise ValueError("%r is not one D-Bus type" % signature)
    return signature
