"""Makes the quick-starting file out of the archive that shiv built.

    python3 pack.py SHIV_ARCHIVE OUTPUT [INTERPRETER…]

The output is a zip archive with a few lines of shell in front (stub.sh.in):

    stub.sh.in          chooses the interpreter, hands it program.py.in's text
    bytecode/           stored; read by program.py.in at known offsets (see bytecode.py)
    sources.gz          the modules' sources, project and pyseccomp: what is run without byte code
    environment.json    shiv's description, for shiv-info
    __main__.py, _runc_start.py, _runc_sources.py
                        for `python3 runc` and for what has no byte code
    _runc_traceback.py  the exact lines of an unexpected error
    LICENSE             this project's, and those of what is in here

Same sources and interpreters: same bytes. Entries are sorted, have one time (SOURCE_DATE_EPOCH) and
one mode, and what pip notes down about the installation (RECORD, direct_url.json) stays out.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import sys
import time
import tokenize
import zipfile
from pathlib import Path
from typing import Iterator, Tuple

import bytecode
from groups import GROUPS, NEVER
from squeeze import named, squeeze
from zopfli.gzip import compress as zopfli_gzip

HERE = Path(__file__).resolve().parent
LIMIT = 600_000
# Groups are left out to stay below it, so little is enough: for the offsets, written last.
RESERVE = 1_000

PLACES = "/usr/bin/python3 /usr/local/bin/python3 /usr/libexec/platform-python"
NAMES = " ".join(["python3", *(f"python3.{minor}" for minor in range(14, 7, -1))])
OWN = ("__main__.py", "_runc_start.py", "_runc_sources.py", "_runc_traceback.py")

# Size of a zip member's local header without its name; plain members have no extra field.
LOCAL_HEADER = 30


def environment(described: bytes, sources: dict[str, bytes], epoch: int) -> bytes:
    """shiv's environment.json without what differs from build to build."""
    content = json.loads(described)
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name] + b"\0")
    content["build_id"] = digest.hexdigest()
    content["built_at"] = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(epoch))
    return json.dumps(content, sort_keys=True, indent=1).encode() + b"\n"


class Layout:
    """The stored members and where they lie in the file."""

    def __init__(self, packing: bytecode.Packing):
        self.packing = packing
        self.stored = {"text": packing.text}
        self.stored.update({name: data for name, data in packing.families.items() if data})
        for version, data, _ in packing.members:
            self.stored[version.magic[:2].hex()] = data
        self.offsets = dict.fromkeys(self.stored, 0)

    def place(self, name: str) -> str:
        """Offset and size, always as wide."""
        return "%6d,%6d" % (self.offsets.get(name, 0), len(self.stored.get(name, b"")))

    def stub(self) -> bytes:
        """The lines in front of the archive; as long for any offsets."""
        table = ",\n".join(
            'b"%s":(%s,%5d,%s)'
            % (
                "".join(f"\\x{byte:02x}" for byte in version.magic),
                self.place(version.magic[:2].hex()),
                first_end,
                # A version that has all its groups deflated does not read the family's stream.
                self.place(version.family if self.packing.streams(version) else ""),
            )
            for version, _, first_end in self.packing.members
        )
        text_place = "%s,%5d" % (self.place("text"), self.packing.text_ends[0])
        program = (HERE / "program.py.in").read_text()
        program = program.replace("@TABLE@", table).replace("@TEXT@", text_place)
        text = fill((HERE / "stub.sh.in").read_text()).replace("@PROGRAM@", program.rstrip("\n"))
        # A shell reads its script in pieces of this size; the second would be the archive's bytes.
        if len(text) >= 8192:
            raise SystemExit("pack.py: the lines in front of the archive are too long")
        return text.encode("ascii")


def fill(text: str) -> str:
    return text.replace("@PLACES@", PLACES).replace("@NAMES@", NAMES)


def write(output: Path, layout: Layout, files: dict[str, bytes], epoch: int) -> int:
    """Writes stub and archive; returns the size."""
    when = time.gmtime(max(epoch, 315532800))[:6]  # a zip's time begins in 1980
    with open(output, "wb") as file:
        file.write(layout.stub())
        with zipfile.ZipFile(file, "w") as archive:
            for short, data in layout.stored.items():
                name = "bytecode/" + short
                layout.offsets[short] = file.tell() + LOCAL_HEADER + len(name)
                archive.writestr(entry(name, when, zipfile.ZIP_STORED), data)
            for name in sorted(files):
                packed = zipfile.ZIP_STORED if name.endswith(".gz") else zipfile.ZIP_DEFLATED
                info = entry(name, when, packed)
                archive.writestr(info, files[name], compresslevel=9)
        file.seek(0)
        file.write(layout.stub())
    output.chmod(0o755)
    return output.stat().st_size


def entry(name: str, when: tuple[int, ...], compression: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, when)  # type: ignore[arg-type]
    info.compress_type = compression
    info.create_system = 3  # Unix, wherever it is built
    info.external_attr = 0o100644 << 16
    return info


def unpack(shiv_archive: Path, epoch: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """(the modules' sources, the other files of the archive to be), by name."""
    prefix = "site-packages/"
    sources, files = {}, {}
    with zipfile.ZipFile(shiv_archive) as archive:
        for name in archive.namelist():
            if name.startswith(prefix) and name.endswith(".py"):
                sources[name[len(prefix) :]] = archive.read(name)
            elif "LICENSE" in name.rsplit("/", 1)[-1] and ".dist-info/" in name:
                owner = name[len(prefix) :].split("-", 1)[0]
                files["LICENSE" if owner == "runc" else "LICENSE." + owner] = archive.read(name)
        described = archive.read("environment.json")
    files["environment.json"] = environment(described, sources, epoch)
    for name in OWN:
        files[name] = fill((HERE / name).read_text()).encode()
    return sources, files


def joined(sources: dict[str, bytes]) -> bytes:
    """The sources in one file, as _runc_sources.py reads it."""
    text = b"".join(b"\f%s\n%s" % (name.encode(), sources[name]) for name in sorted(sources))
    assert text.count(b"\f") == len(sources), "a source with a form feed"
    packed: bytes = zopfli_gzip(text, numiterations=5)
    return packed


def bare(source: bytes) -> bytes:
    """A source without what its byte code lacks too, every statement on its old line.

    Comments, docstrings, annotations of functions and what is for type checkers go, and three of
    four blanks of the indentation. Raises SystemExit where that would have changed the meaning.
    """
    lines = source.split(b"\n")
    texts: set[int] = set()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            # The tokenizer counts characters; what stands before a comment here is ASCII.
            lines[row - 1] = lines[row - 1][:column].rstrip()
        elif token.type == tokenize.STRING:
            texts.update(range(token.start[0], token.end[0]))
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if is_documented(node):
            string = node.body[0]  # type: ignore[attr-defined]
            lines[string.lineno - 1 : string.end_lineno] = [
                b" " * string.col_offset + b'""',
                *[b""] * (string.end_lineno - string.lineno),
            ]
    # From the end, so that what stands before keeps its place in the line.
    for start, end in sorted(written_types(tree, lines), reverse=True):
        cut(lines, start, end)
    for statement in tree.body:
        if isinstance(statement, ast.If) and is_type_checking(statement):
            cut(lines, (statement.lineno - 1, 0), end_of(statement))
    for row, line in enumerate(lines):
        if row not in texts:
            blanks = len(line) - len(line.lstrip(b" "))
            lines[row] = b" " * ((blanks + 3) // 4) + line[blanks:]
    found = b"\n".join(lines)
    if meaning(found) != meaning(source):
        raise SystemExit(
            "pack.py: a source would mean something else without its comments:\n"
            + source[:200].decode()
        )
    return found


def is_documented(node: ast.AST) -> bool:
    """Whether the node begins with a docstring."""
    holder = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
    return holder and ast.get_docstring(node, clean=False) is not None  # type: ignore[arg-type]


def is_type_checking(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse


def meaning(source: bytes) -> tuple[str, list[int]]:
    """What of a source bare() must keep: its tree, and the lines of its statements."""
    tree = ast.parse(source)
    tree.body = [
        one for one in tree.body if not (isinstance(one, ast.If) and is_type_checking(one))
    ]
    for node in ast.walk(tree):
        if is_documented(node):
            node.body[0].value = ast.Constant("")  # type: ignore[attr-defined]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return ast.dump(tree), [n.lineno for n in ast.walk(tree) if isinstance(n, ast.stmt)]


Place = Tuple[int, int]


def written_types(tree: ast.Module, lines: list[bytes]) -> Iterator[tuple[Place, Place]]:
    """Where the annotations of functions stand, with their ":" or "->": (line from 0, byte) each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.returns:
            yield before(node.returns, b"->", lines), end_of(node.returns)
        elif isinstance(node, ast.arg) and node.annotation:
            yield before(node.annotation, b":", lines), end_of(node.annotation)


def before(node: ast.expr, mark: bytes, lines: list[bytes]) -> Place:
    """The place of the mark in front of an annotation."""
    row = node.lineno - 1
    return row, lines[row].rindex(mark, 0, node.col_offset)


def end_of(node: ast.expr | ast.stmt) -> Place:
    assert node.end_lineno and node.end_col_offset is not None
    return node.end_lineno - 1, node.end_col_offset


def cut(lines: list[bytes], start: Place, end: Place) -> None:
    """Take the bytes from start to end out; the lines stay as many."""
    rest = lines[end[0]][end[1] :]
    lines[start[0]] = lines[start[0]][: start[1]].rstrip() + (rest if start[0] == end[0] else b"")
    if start[0] != end[0]:
        lines[start[0] + 1 : end[0]] = [b""] * (end[0] - start[0] - 1)
        lines[end[0]] = rest


def main(shiv_archive: Path, output: Path, interpreters: list[str]) -> None:
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    sources, files = unpack(shiv_archive, epoch)
    directory = output.parent / (output.name + ".compile")
    compiled = {bytecode.QUICKSTART: (HERE / bytecode.QUICKSTART).read_bytes(), **sources}
    for name, data in compiled.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found: dict[bytes, bytecode.Version] = {}
    for interpreter in interpreters:
        version = bytecode.Version(interpreter, directory, sorted(compiled))
        found.setdefault(version.magic, version)
    versions = sorted(found.values(), key=lambda version: version.release)
    bytecode.check(versions)
    whole = joined(sources)
    keywords = named(sources.values())
    small = joined(
        {
            name: squeeze(bare(data), keywords)
            for name, data in sources.items()
            if bytecode.module_name(name) not in NEVER
        }
    )
    choices = bytecode.choices(versions)
    # Sizes fall from choice to choice: the first that fits, by halving.
    low, high = 0, len(choices) - 1
    while low < high:
        middle = (low + high) // 2
        layout = Layout(bytecode.Packing(versions, *choices[middle]))
        size = write(output, layout, {**files, "sources.gz": small}, epoch)
        low, high = (low, middle) if size <= LIMIT - RESERVE else (middle + 1, high)
    fast, missing = choices[low]
    # Room may be left for something small that was given up on the way.
    for addition in [None, *bytecode.additions(versions, missing)]:
        attempt = Layout(bytecode.Packing(versions, fast, missing - {addition}))
        size = write(output, attempt, {**files, "sources.gz": small}, epoch)
        if addition is None or size <= LIMIT - RESERVE:
            layout, missing = attempt, missing - {addition}
    size = write(output, layout, {**files, "sources.gz": small}, epoch)
    if size > LIMIT - RESERVE:
        raise SystemExit(f"pack.py: {output} has {size} bytes, over {LIMIT - RESERVE}")
    for version in versions:
        way = "deflated" if version.magic in fast else "LZMA"
        groups = [name for n, (name, _) in enumerate(GROUPS) if (version.magic, n) in missing]
        rest = ", from sources: " + ", ".join(groups) if groups else ""
        print("byte code for Python %d.%d: %s" % (*version.release, way + rest))
    if size + len(whole) - len(small) <= LIMIT - RESERVE:
        write(output, layout, {**files, "sources.gz": whole}, epoch)
    else:
        print("sources: without comments and docstrings")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
