"""Rewrites marshalled code so that it deflates to half the size, and shares text between versions.

``marshal.dumps`` of a module puts each function's instructions, line table, names and constants next to
each other, and repeats every string in every module. What is alike then lies further apart than
deflate looks back (32 KiB). The marshal format itself allows better: any object may be written once
and referred to (TYPE_REF) from then on. So here a whole group of modules becomes one object,

    (strings, instructions, line tables, exception tables, …the code objects, made of references)

which ``marshal.loads`` reads in C like any other, as fast as before. The strings come first, in
the same bytes for every interpreter version: the archive holds them once.

Line tables are left out, a fifth of what remains: each function says its first line for all of its
code, and _runc_traceback.py finds the exact lines by compiling the archive's source when somebody asks.

Measured with 70 modules, 396 kB of marshalled code on 3.11 (size deflated; time to inflate + load):
as marshal.dumps writes it 120 kB, 1.11 + 0.83 ms; streams 89 kB plus the shared strings (19 kB,
once for all versions), 1.03 + 0.47 ms; without lines 76 kB, 0.68 + 0.5 ms; deflated by zopfli 72 kB.
LZMA needs 62 kB, but 2.9 ms, and 0.4 ms for the import of _lzma.

The format: CPython's Python/marshal.c. Read here as a tree of nodes; a node is bytes (an object without
parts, in its final encoding) or a tuple (type byte, parts…).
"""

from __future__ import annotations

import re
import struct
from typing import Union, cast

Node = Union[bytes, tuple]  # type: ignore[type-arg]

FLAG_REF = 0x80
CODE = b"c"
# Fields of a code object, in order: l a 32-bit number, o any object, and what the streams hold:
# i instructions, t line table, x exception table.
FIELDS_3_8 = "lllllliooooooolt"
FIELDS_3_11 = "lllllioooooooltx"

# A code object's flags: their field (before 3.11, from 3.11 on) and bits; the kind of a plain local.
FLAGS = (5, 4)
OPTIMIZED, VARARGS, VARKEYWORDS = 1, 4, 8
LOCAL = 0x20

# Where the first opcode is in encode's bytes: after a tuple's head (5) and None and a bytes' head (6).
OPCODES = 11

SINGLETONS = b"NTFS."
SEQUENCES = {b"(": 4, b")": 1, b"<": 4, b">": 4, b"[": 4}
FIXED = {b"i": 4, b"g": 8, b"y": 16}
STRINGS = {b"z": 1, b"Z": 1, b"a": 4, b"A": 4, b"u": 4, b"t": 4}


def fields_of(release: tuple[int, int]) -> str:
    """The layout of the version's code objects."""
    return FIELDS_3_8 if release < (3, 11) else FIELDS_3_11


class Number(bytes):
    """A code object's numeric field: four bytes without a type in front."""


class Reader:
    """Parses one marshalled object."""

    def __init__(self, data: bytes, release: tuple[int, int]):
        self.data = data
        self.at = 0
        self.fields = fields_of(release)
        self.references: list[Node] = []

    def take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        self.at += size
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def read(self) -> Node:
        first = self.take(1)[0]
        kind = bytes([first & ~FLAG_REF])
        if kind == b"r":
            return self.references[self.number(4)]
        place = None
        if first & FLAG_REF:
            place = len(self.references)
            self.references.append(b"")
        node = self.body(kind)
        if place is not None:
            self.references[place] = node
        return node

    def body(self, kind: bytes) -> Node:
        if kind in SINGLETONS:
            return kind
        if kind in FIXED:
            return kind + self.take(FIXED[kind])
        if kind in SEQUENCES:
            count = self.number(SEQUENCES[kind])
            # The short form of tuples is b")"; both mean the same object.
            name = b"(" if kind == b")" else kind
            return (name, *[self.read() for _ in range(count)])
        if kind == b":":
            return (kind, self.read(), self.read(), self.read())
        if kind == b"s":
            size = self.take(4)
            return kind + size + self.take(int.from_bytes(size, "little"))
        if kind == b"l":
            digits = self.take(4)
            count = abs(int.from_bytes(digits, "little", signed=True))
            return kind + digits + self.take(2 * count)
        if kind in STRINGS:
            return string(self.take(self.number(STRINGS[kind])))
        if kind == CODE:
            return (CODE, *[Number(self.take(4)) if f == "l" else self.read() for f in self.fields])
        raise SystemExit(f"marshalling.py: unknown type {kind!r} at {self.at}")


def string(text: bytes) -> bytes:
    """One encoding for one string, whatever version wrote it; identifiers are interned."""
    if not text.isascii():
        return b"u" + struct.pack("<I", len(text)) + text
    identifier = re.fullmatch(rb"\w*", text) is not None
    if len(text) < 256:
        return (b"Z" if identifier else b"z") + bytes([len(text)]) + text
    return (b"A" if identifier else b"a") + struct.pack("<I", len(text)) + text


def is_string(node: Node) -> bool:
    return isinstance(node, bytes) and node[:1] in STRINGS


def strings_in(node: Node) -> list[bytes]:
    """All strings of a tree, as encoded, in the order of their appearance."""
    if isinstance(node, bytes):
        return [node] if is_string(node) else []
    parts = (part for part in node[1:] if not isinstance(part, Number))
    return [found for part in parts for found in strings_in(part)]


class Writer:
    """Writes trees with references; streams first."""

    def __init__(self, release: tuple[int, int]):
        self.fields = fields_of(release)
        self.known: dict[Node, int] = {}

    def remember(self, node: Node) -> None:
        self.known[node] = len(self.known)

    def sequence(self, atoms: list[bytes], between: bytes = b"") -> bytes:
        """A tuple of atoms, each to be referred to later; before each, perhaps, a filler (N: None)."""
        pieces = [b"(", struct.pack("<I", len(atoms) * (1 + len(between)))]
        for atom in atoms:
            self.remember(atom)
            pieces.append(between + bytes([atom[0] | FLAG_REF]) + atom[1:])
        return b"".join(pieces)

    def write(self, node: Node) -> bytes:
        known = self.known.get(node)
        if known is not None:
            return b"r" + struct.pack("<I", known)
        if isinstance(node, bytes):
            if node in SINGLETONS or len(node) <= 5:
                return node
            self.remember(node)
            return bytes([node[0] | FLAG_REF]) + node[1:]
        kind, *parts = node
        if kind == CODE:
            return CODE + b"".join(p if isinstance(p, Number) else self.write(p) for p in parts)
        head: bytes = kind
        if kind == b"(":
            # Reserved before its parts, as the reader does.
            self.remember(node)
            head = bytes([kind[0] | FLAG_REF])
        if kind == b"(" and len(parts) < 256:
            head = bytes([b")"[0] | FLAG_REF]) + bytes([len(parts)])
        elif kind != b":":
            head += struct.pack("<I", len(parts))
        return head + b"".join(self.write(part) for part in parts)


def one_line(size: int, release: tuple[int, int]) -> bytes:
    """A line table that gives all of a function's code (size in bytes) the function's first line."""
    if release < (3, 10):
        table = b""
    elif release < (3, 11):
        table = b"\xfe\0" * (size // 254) + bytes([size % 254, 0] if size % 254 else [])
    else:
        # Entries "line without columns" (code 13) for up to 8 units of 2 bytes, line delta 0.
        units = size // 2
        table = b"\xef\0" * (units // 8)
        if units % 8:
            table += bytes([0xE8 | (units % 8 - 1), 0])
    return b"s" + struct.pack("<I", len(table)) + table


def without_lines(node: Node, release: tuple[int, int]) -> Node:
    """The tree with line tables that know first lines only."""
    if isinstance(node, bytes):
        return node
    if node[0] != CODE:
        return (node[0], *[without_lines(part, release) for part in node[1:]])
    fields = fields_of(release)
    instructions = node[1 + fields.index("i")]
    table = one_line(len(instructions) - 5, release)
    parts = (
        table if field == "t" else without_lines(part, release)
        for field, part in zip(fields, node[1:])
    )
    return (CODE, *parts)


def without_local_names(node: Node, release: tuple[int, int]) -> Node:
    """The tree with functions' local variables named by their numbers (arguments keep their names).

    Only locals() would notice; functions then share their lists of names, a hundredth of the file.
    """
    if isinstance(node, bytes):
        return node
    parts = [without_local_names(part, release) for part in node[1:]]
    if node[0] == CODE and int.from_bytes(parts[FLAGS[release >= (3, 11)]], "little") & OPTIMIZED:
        place = 8 if release >= (3, 11) else 9
        kinds = cast("bytes", parts[9])[5:] if release >= (3, 11) else b""
        parts[place] = numbered(parts[place], arguments_of(parts, release), kinds)
    return (node[0], *parts)


def arguments_of(parts: list[Node], release: tuple[int, int]) -> int:
    """How many arguments a code object has, *args and **kwargs included."""
    count, _, keywords = (int.from_bytes(cast("bytes", part), "little") for part in parts[:3])
    flags = int.from_bytes(cast("bytes", parts[FLAGS[release >= (3, 11)]]), "little")
    return count + keywords + bool(flags & VARARGS) + bool(flags & VARKEYWORDS)


def numbered(names: Node, first: int, kinds: bytes) -> Node:
    """A tuple of names with those from `first` on that are plain locals replaced."""
    return (
        names[0],
        *(
            known if index < first or (kinds and kinds[index] != LOCAL) else name("v%d" % index)
            for index, known in enumerate(names[1:])
        ),
    )


def streams_of(node: Node, fields: str, found: dict[str, dict[bytes, None]]) -> None:
    """Collects instructions and tables of all code objects of a tree."""
    if isinstance(node, bytes):
        return
    for number, part in enumerate(node[1:]):
        if node[0] == CODE and fields[number] in found:
            found[fields[number]].setdefault(part)
        streams_of(part, fields, found)


def number(value: int) -> bytes:
    """The node of an int of 32 bits."""
    return b"i" + struct.pack("<i", value)


def name(text: str) -> bytes:
    """The node of a str."""
    return string(text.encode())


def common_text(trees: list[Node]) -> bytes:
    """The first bytes of a group's object in every version: the outer tuple and its strings."""
    strings: dict[bytes, None] = {}
    for tree in trees:
        strings.update(dict.fromkeys(strings_in(tree)))
    ordered = list(strings)
    return b"(" + struct.pack("<I", 5) + Writer((3, 11)).sequence(ordered)


def plain(node: Node) -> bytes:
    """The tree without any reference: what encode's bytes must mean."""
    if isinstance(node, bytes):
        return bytes(node)
    if node[0] == CODE or node[0] == b":":
        head: bytes = node[0]
    else:
        head = node[0] + struct.pack("<I", len(node) - 1)
    return head + b"".join(map(plain, node[1:]))


def permutation(opcodes: dict[str, int], reference: dict[str, int]) -> bytes:
    """A table for bytes.translate: a version's opcodes to those of the same name elsewhere."""
    target = {number: reference[name] for name, number in opcodes.items() if name in reference}
    free = [number for number in range(256) if number not in target.values()]
    for number in range(256):
        if number not in target:
            target[number] = number if number in free else free[0]
            free.remove(target[number])
    return bytes(target[number] for number in range(256))


def renumbered(code: bytes, end: int, table: bytes) -> bytes:
    """encode's bytes with other opcodes: 3.12 and 3.13 number alike instructions differently.

    The stream of instructions is aligned so that each second byte up to `end` is an opcode (or a
    piece of an object's head, which the table brings back, too).
    """
    changed = bytearray(code)
    changed[OPCODES:end:2] = changed[OPCODES:end:2].translate(table)
    return bytes(changed)


def encode(tree: Node, text: bytes, release: tuple[int, int]) -> bytes:
    """What follows common_text's bytes in the object of one version; its last item is the tree."""
    return encode_aligned(tree, text, release)[0]


def encode_aligned(tree: Node, text: bytes, release: tuple[int, int]) -> tuple[bytes, int]:
    """(encode's bytes, end of the stream of instructions in them)."""
    writer = Writer(release)
    for atom in Reader(text[5:], release).read()[1:]:
        writer.remember(cast("bytes", atom))
    found: dict[str, dict[bytes, None]] = {"i": {}, "t": {}, "x": {}}
    streams_of(tree, writer.fields, found)
    pieces: list[bytes] = []
    seen: set[bytes] = set()
    for stream in found.values():
        atoms = [atom for atom in stream if atom not in seen]
        seen.update(atoms)
        pieces.append(writer.sequence(atoms, b"" if pieces else b"N"))
    pieces.append(writer.write(tree))
    return b"".join(pieces), len(pieces[0])
