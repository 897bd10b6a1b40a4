"""The byte code members of the archive: compiled modules of each interpreter version, in groups.

    bytecode/text       per group the strings of all versions' code, deflated
    bytecode/MAGIC      per version: magic number, first group, the other groups that it has deflated
    bytecode/FAMILY     per group one LZMA stream of versions that resemble each other

marshalling.py tells what a group's object is, quickstart.py reads it. Its last item is a tuple of code
objects; in the first group that is quickstart's own code and the index:

    (packages' names, table, per other group:
        (names, 1 if executed whole, text size, end in text, 1 for LZMA, start, end, from, to, codes))

where start and end are the place of the deflated group in MAGIC or of the stream in FAMILY, from and to
the version's part of the inflated stream (of a deflated group from is its size, to is 0), and table
and codes (marshalling.renumbered) turn the opcodes that the family's streams agree on into the
version's own.

Why two ways: deflated code is read fastest, but seven versions of it do not fit into the size that
this program wants to have. Similar versions in one LZMA stream do: with 70 modules of a container's
start 3.8, 3.9 and 3.10 take 72 kB together where each deflated takes 62, and reading one costs 2.5
to 3.5 ms instead of 0.7. So the versions that distributions ship are deflated, as many as there is
room for.
"""

from __future__ import annotations

import ast
import lzma
import marshal
import subprocess
from functools import lru_cache
from pathlib import Path

import marshalling
from groups import GROUPS, NEVER, SMALL, WHOLE, in_order, place_of
from zopfli.zlib import compress as zopfli

HERE = Path(__file__).resolve().parent
QUICKSTART = "quickstart.py"

# As quickstart.py spells it out; the raw format carries no header to read it from.
LZMA_FILTERS = [
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "lc": 3,
        "pb": 0,
        "dict_size": 1 << 21,
    }
]

# Whose code resembles each other's, and who is read first (and so fastest).
FAMILIES = {
    "old": [(3, 9), (3, 8), (3, 10)],
    "new": [(3, 11), (3, 13), (3, 12), (3, 14)],
}

# Who is deflated first: what distributions ship most.
PREFERENCE = [(3, 11), (3, 13), (3, 12), (3, 9), (3, 14), (3, 10), (3, 8)]


@lru_cache(maxsize=None)
def deflate(data: bytes) -> bytes:
    """A zlib stream, 5 % smaller than zlib itself makes it, and the same with any zlib."""
    packed: bytes = zopfli(data, numiterations=5)
    return packed


@lru_cache(maxsize=None)
def lzma_raw(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=LZMA_FILTERS)


def module_name(path: str) -> str:
    """libcontainer/rootfs/__init__.py -> libcontainer.rootfs"""
    name = path[: -len(".py")].replace("/", ".")
    return name[: -len(".__init__")] if name.endswith(".__init__") else name


@lru_cache(maxsize=None)
def imports_of(directory: Path, path: str, known: frozenset[str]) -> list[str]:
    """What a module imports at its beginning: of `from a import b` a.b, if that is a module, or a."""
    package = path.split("/")[:-1]
    found = []
    for node in ast.parse((directory / path).read_bytes()).body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            parts = [f"{module}.{alias.name}" for alias in node.names]
            found += [part if part in known else module for part in parts]
    return found


def node_of(value: object) -> marshalling.Node:
    """A tree of tuples, strings, bytes and ints as marshalling's nodes."""
    if isinstance(value, tuple):
        return (b"(", *map(node_of, value))
    if isinstance(value, bytes):
        return b"s" + len(value).to_bytes(4, "little") + value
    return (
        marshalling.name(value) if isinstance(value, str) else marshalling.number(int(str(value)))
    )


class Version:
    """The compiled modules of one interpreter version."""

    def __init__(self, interpreter: str, directory: Path, paths: list[str]):
        paths = [path for path in paths if module_name(path) not in NEVER]
        command = [interpreter, "-S", "-X", "no_debug_ranges"]
        command += [str(HERE / "compile_modules.py"), str(directory)]
        # Hash order shows in the byte code of older versions (sets of constants).
        answer = subprocess.run(
            command,
            input="\n".join(paths).encode(),
            stdout=subprocess.PIPE,
            check=True,
            env={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        magic, release, opcodes, codes = marshal.loads(answer.stdout)
        self.interpreter = interpreter
        self.magic: bytes = magic
        self.opcodes: dict[str, int] = {n: code for n, code in opcodes.items() if code < 256}
        self.release: tuple[int, int] = release
        self.family = next(name for name, members in FAMILIES.items() if release in members)
        trees = {path: self.node(data) for path, data in codes.items()}
        self.quickstart = trees.pop(QUICKSTART)
        self.packages = tuple(module_name(path) for path in trees if path.endswith("/__init__.py"))
        code = {module_name(path): tree for path, tree in trees.items()}
        known = frozenset(code)
        imports = {module_name(path): imports_of(directory, path, known) for path in trees}
        self.names: list[tuple[str, ...]] = []
        self.trees: list[marshalling.Node] = []
        for number in range(len(GROUPS)):
            names = sorted((name for name in code if place_of(name)[0] == number), key=place_of)
            if number in WHOLE:
                names = in_order(names, imports)
            self.names.append(tuple(names))
            self.trees.append((b"(", *map(code.__getitem__, names)))

    def node(self, code: bytes) -> marshalling.Node:
        tree = marshalling.Reader(code, self.release).read()
        tree = marshalling.without_lines(tree, self.release)
        return marshalling.without_local_names(tree, self.release)

    def strings(self, group: int) -> marshalling.Node:
        """A tree with all strings that the group's object holds."""
        if group:
            return self.trees[group]
        return (b"(", self.quickstart, node_of((self.packages, *self.names)))

    def first(self, text: bytes, table: bytes, index: tuple[object, ...]) -> bytes:
        """The first group, which holds the index too."""
        head = node_of((self.packages, table, index))
        tree = (b"(", self.quickstart, head)
        return deflate(marshalling.encode(tree, text, self.release))


class Packing:
    """The members for one choice of who is deflated (fast) and who goes without which group."""

    def __init__(self, versions: list[Version], fast: set[bytes], missing: set[tuple[bytes, int]]):
        self.texts = texts_of(versions)
        # A group that nobody has needs no text; which texts there are is the same for all versions.
        lacking = [{m for m, number in missing if number == group} for group in range(len(GROUPS))]
        packed = [
            b"" if len(lacking[group]) == len(versions) else deflate(text)
            for group, text in enumerate(self.texts)
        ]
        self.text = b"".join(packed)
        self.text_ends = [sum(map(len, packed[: number + 1])) for number in range(len(packed))]
        self.families = dict.fromkeys(FAMILIES, b"")
        self.places: dict[tuple[bytes, int], tuple[int, ...]] = {}
        self.tables: dict[bytes, bytes] = {}
        self.fast = fast
        self.missing = missing
        for name, order in FAMILIES.items():
            members = sorted(
                (version for version in versions if version.family == name),
                key=lambda version: order.index(version.release),
            )
            for group in range(1, len(GROUPS)):
                self.add_stream(name, members, group)
        self.members = [(version, *self.member(version)) for version in versions]

    def code(self, version: Version, group: int) -> bytes:
        return marshalling.encode(version.trees[group], self.texts[group], version.release)

    def is_deflated(self, version: Version, group: int) -> bool:
        left_out = (version.magic, group) in self.missing
        return version.magic in self.fast and group < SMALL and not left_out

    def add_stream(self, family: str, versions: list[Version], group: int) -> None:
        """Puts a group of those versions that are not deflated into the family's member."""
        taken = []
        reference = versions[0].opcodes if versions else {}
        for version in versions:
            left_out = (version.magic, group) in self.missing
            if not left_out and not self.is_deflated(version, group):
                code, codes_end = marshalling.encode_aligned(
                    version.trees[group], self.texts[group], version.release
                )
                table = marshalling.permutation(version.opcodes, reference)
                self.tables[version.magic] = bytes(map(table.index, range(256)))
                code = marshalling.renumbered(code, codes_end, table)
                taken.append((version, code, codes_end))
        if not taken:
            return
        stream = lzma_raw(b"".join(code for _, code, _ in taken))
        start = len(self.families[family])
        self.families[family] += stream
        at = 0
        for version, code, codes_end in taken:
            place = (start, start + len(stream), at, at + len(code), codes_end)
            self.places[version.magic, group] = place
            at += len(code)

    def streams(self, version: Version) -> bool:
        """Whether a group of the version lies in its family's stream."""
        return any(magic == version.magic for magic, _ in self.places)

    def member(self, version: Version) -> tuple[bytes, int]:
        """bytecode/MAGIC and the end of the first group in it."""
        index: list[object] = []
        deflated = b""
        for group in range(1, len(GROUPS)):
            names, whole = version.names[group], int(group in WHOLE)
            text = (len(self.texts[group]), self.text_ends[group])
            place = self.places.get((version.magic, group))
            if place is not None:
                index.append((names, whole, *text, 1, *place))
            elif self.is_deflated(version, group):
                start = len(deflated)
                code = self.code(version, group)
                deflated += deflate(code)
                index.append((names, whole, *text, 0, start, len(deflated), len(code), 0, 0))
        table = self.tables.get(version.magic, b"")
        first = version.magic + version.first(self.texts[0], table, tuple(index))
        return first + deflated, len(first)


def texts_of(versions: list[Version]) -> list[bytes]:
    """Per group the strings of all versions, the beginning of the group's object."""
    return [
        marshalling.common_text([version.strings(group) for version in versions])
        for group in range(len(GROUPS))
    ]


def choices(versions: list[Version]) -> list[tuple[set[bytes], set[tuple[bytes, int]]]]:
    """What Packing may be asked for, best first: ever fewer versions are fast, then ever fewer whole.

    Each is (magic numbers of the deflated, what is left out: (magic number, group)).
    """
    order = sorted(versions, key=lambda version: PREFERENCE.index(version.release))
    magics = [version.magic for version in order]
    nothing: set[tuple[bytes, int]] = set()
    found = [(set(magics[:count]), nothing) for count in range(len(magics), 0, -1)]
    missing = set(nothing)
    for group in range(len(GROUPS) - 1, 0, -1):
        for magic in reversed(magics):
            missing = missing | {(magic, group)}
            found.append((set(magics[:1]), missing))
    return found or [(set(magics), nothing)]


def additions(versions: list[Version], missing: set[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
    """What is missing, in the order in which it is most wanted."""
    order = {v.magic: PREFERENCE.index(v.release) for v in versions}
    return sorted(missing, key=lambda left_out: (left_out[1], order[left_out[0]]))


def check(versions: list[Version]) -> None:
    """Lets each interpreter itself read what was written, and compare it with what was compiled."""
    program = (
        "import marshal, sys\n"
        "for ours, plain in marshal.loads(sys.stdin.buffer.read()):\n"
        "    if marshal.loads(ours)[4] != marshal.loads(plain): sys.exit('byte code differs')\n"
    )
    texts = texts_of(versions)
    for version in versions:
        pairs = [
            (text + marshalling.encode(tree, text, version.release), marshalling.plain(tree))
            for text, tree in zip(texts[1:], version.trees[1:])
        ]
        command = [version.interpreter, "-I", "-S", "-c", program]
        subprocess.run(command, input=marshal.dumps(pairs, 2), check=True)
