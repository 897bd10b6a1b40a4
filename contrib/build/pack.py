"""Makes the quick-starting file out of the archive that shiv built.

    python3 pack.py SHIV_ARCHIVE OUTPUT [INTERPRETER…]

The output is a zip archive with a few lines of shell in front (stub.sh.in):

    stub.sh.in          chooses the interpreter, hands it program.py.in's text
    bytecode/           stored; read by program.py.in at known offsets (see bytecode.py)
    site-packages/      the sources: what zipimport falls back to
    environment.json    shiv's description, for shiv-info
    __main__.py, _runc_start.py     for `python3 runc` and for interpreters without byte code
    _runc_traceback.py  the exact lines of an unexpected error

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

import bytecode

HERE = Path(__file__).resolve().parent
LIMIT = 600_000
# So that a small change elsewhere does not pass the limit at once.
RESERVE = 4_000

PLACES = "/usr/bin/python3 /usr/local/bin/python3 /usr/libexec/platform-python"
NAMES = " ".join(["python3", *(f"python3.{minor}" for minor in range(14, 7, -1))])
OWN = ("__main__.py", "_runc_start.py", "_runc_traceback.py")

# Size of a zip member's local header without its name; plain members have no extra field.
LOCAL_HEADER = 30


def wanted(name: str) -> bool:
    """Whether an entry of shiv's archive belongs into ours."""
    if not name.startswith("site-packages/") or name.endswith("/"):
        return False
    if ".dist-info/" in name:
        last = name.rsplit("/", 1)[1]
        return last == "METADATA" or "LICEN" in last.upper()
    return name.endswith(".py")


def ours(name: str) -> bool:
    """Whether it is a source of this project."""
    return name.endswith(".py") and name != "site-packages/pyseccomp.py"


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
                self.place(version.family),
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


def write(output: Path, layout: Layout, files: dict[str, bytes], epoch: int) -> None:
    """Writes stub and archive."""
    when = time.gmtime(max(epoch, 315532800))[:6]  # a zip's time begins in 1980
    with open(output, "wb") as file:
        file.write(layout.stub())
        with zipfile.ZipFile(file, "w") as archive:
            for short, data in layout.stored.items():
                name = "bytecode/" + short
                layout.offsets[short] = file.tell() + LOCAL_HEADER + len(name)
                archive.writestr(entry(name, when, zipfile.ZIP_STORED), data)
            for name in sorted(files):
                info = entry(name, when, zipfile.ZIP_DEFLATED)
                archive.writestr(info, files[name], compresslevel=9)
        file.seek(0)
        file.write(layout.stub())
    output.chmod(0o755)


def entry(name: str, when: tuple[int, ...], compression: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, when)  # type: ignore[arg-type]
    info.compress_type = compression
    info.create_system = 3  # Unix, wherever it is built
    info.external_attr = 0o100644 << 16
    return info


def unpack(shiv_archive: Path, directory: Path, epoch: int) -> dict[str, bytes]:
    """The files of the archive to be, by name; those to compile are also put into directory."""
    with zipfile.ZipFile(shiv_archive) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if wanted(name)}
        described = archive.read("environment.json")
    files["environment.json"] = environment(described, files, epoch)
    for name in OWN:
        files[name] = fill((HERE / name).read_text()).encode()
    compiled = {name: data for name, data in files.items() if name.startswith("site-packages/")}
    compiled[bytecode.QUICKSTART] = (HERE / bytecode.QUICKSTART).read_bytes()
    for name, data in compiled.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return files


def bare(source: bytes) -> bytes:
    """A source without comments and docstrings, every statement on its old line."""
    lines = source.decode().split("\n")
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(source)):
        holder = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if holder and ast.get_docstring(node, clean=False) is not None:  # type: ignore[arg-type]
            string = node.body[0]  # type: ignore[attr-defined]
            lines[string.lineno - 1 : string.end_lineno] = [
                " " * string.col_offset + '""',
                *[""] * (string.end_lineno - string.lineno),
            ]
    return "\n".join(lines).encode()


def main(shiv_archive: Path, output: Path, interpreters: list[str]) -> None:
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    directory = output.parent / (output.name + ".compile")
    files = unpack(shiv_archive, directory, epoch)
    paths = sorted(name for name in files if name.startswith("site-packages/"))
    paths = [bytecode.QUICKSTART, *(path for path in paths if path.endswith(".py"))]
    found: dict[bytes, bytecode.Version] = {}
    for interpreter in interpreters:
        version = bytecode.Version(interpreter, directory, paths)
        found.setdefault(version.magic, version)
    versions = sorted(found.values(), key=lambda version: version.release)
    small = {name: bare(data) if ours(name) else data for name, data in files.items()}
    for versions, fast, without_rest in (
        (subset, *choice) for subset in bytecode.subsets(versions) for choice in bytecode.choices(subset)
    ):
        layout = Layout(bytecode.Packing(versions, fast, without_rest))
        write(output, layout, small, epoch)
        if output.stat().st_size <= LIMIT - RESERVE:
            break
    else:
        raise SystemExit(f"pack.py: {output} has {output.stat().st_size} bytes, over {LIMIT}")
    bytecode.check(versions)
    for version in versions:
        way = "deflated" if version.magic in fast else "LZMA"
        rest = ", last group from sources" if version.magic in without_rest else ""
        print("byte code for Python %d.%d: %s" % (*version.release, way + rest))
    write(output, layout, files, epoch)
    if output.stat().st_size > LIMIT - RESERVE:
        print("sources without comments and docstrings")
        write(output, layout, small, epoch)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
