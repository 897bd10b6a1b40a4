"""Imports this program's modules from the byte code that the archive carries for this interpreter.

The program in front of the archive (program.py.in) has read that byte code in a few pieces, after
comparing the magic number, and executes this file with these names in place:

    f   the archive's path, as called
    a   the strings of all groups
    b   this interpreter's own part, c the part that it shares with others, or 0 (see bytecode.py)
    s, t    (offset in the archive, size, end of the first group) of a and of b
    o   the first group's last item: (this file's code, (packages, table, index))

A group is inflated when its first module is asked for. For that nothing is read from the file again:
after pivot_root it is out of reach, and an open descriptor to it would be one that the container could
find. A module that has no byte code here is compiled from the archive's source.

The groups of the hot paths are wanted whole: their modules are made and executed here in the order of
their imports, without importlib, which takes 15 us for each (the 65 of `run`: 1.0 ms, here 0.2). Each
import statement then finds its module in sys.modules.
"""

from __future__ import annotations

import marshal
import posix
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType, TracebackType
    from typing import Any, Sequence

    f: str
    a: bytes
    b: bytes
    c: bytes
    s: tuple[int, int, int]
    t: tuple[int, int, int, int, int]
    o: tuple[Any, ...]


class Group:
    """Modules that were packed together: {module: code object} once somebody needs one."""

    def __init__(
        self,
        names: tuple[str, ...],
        text: bytes,
        text_size: int,
        packed: bytes,
        part: tuple[int, int, int],
        table: bytes,
        whole: bool,
    ):
        self.names = names
        self.whole = whole
        self.text = text
        self.text_size = text_size
        self.packed = packed
        # Where this version's code is in the LZMA stream, and where its instructions end; of a
        # deflated group its size.
        self.part = part
        self.table = table
        self.codes: dict[str, CodeType] | None = None

    def inflate(self) -> bytes:
        """The group's marshalled object."""
        start, end, codes_end = self.part
        # With the size known the output is allocated once, and not copied to grow.
        text = zlib.decompress(self.text, 15, self.text_size)
        if not end:
            return text + zlib.decompress(self.packed, 15, start)
        import _lzma

        # As bytecode.py packs it.
        filters = [{"id": 0x21, "lc": 3, "lp": 0, "pb": 0, "dict_size": 1 << 21}]
        stream = _lzma.LZMADecompressor(3, None, filters)
        code = bytearray(stream.decompress(self.packed, end)[start:])
        # marshalling.renumbered, backwards.
        code[11:codes_end:2] = code[11:codes_end:2].translate(self.table)
        return text + code

    def open(self) -> dict[str, CodeType]:
        """The modules that nobody has taken yet; none if this interpreter lacks the group's LZMA."""
        if self.codes is None:
            try:
                loaded = marshal.loads(self.inflate())
            except ImportError:
                return {}
            self.codes = dict(zip(self.names, loaded[4]))
            self.text = self.packed = b""
        return self.codes


class ByteCode:
    """Finder and loader (sys.meta_path) of the modules in the groups."""

    def __init__(self, archive: str, packages: tuple[str, ...], groups: list[Group]):
        self.archive = archive
        self.packages = packages
        self.groups = {name: group for group in groups for name in group.names}
        self.sources: Any = None
        # Not "import importlib": that module costs 0.3 ms, and this is what it hands out.
        self.spec: Any = sys.modules["_frozen_importlib"].ModuleSpec

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> Any:
        """The module's spec, or None for a module that is not in here."""
        group = self.groups.get(name)
        codes = group and group.open()
        if not group or not codes or name not in codes:
            return self.find_source(name)
        spec = self.spec(name, self, origin=self.archive, is_package=name in self.packages)
        if group.whole:
            group.whole = False
            self.make(codes)
        # Taken out: a process that lives on (init, waiting for start) need not keep it.
        spec.loader_state = codes.pop(name, None)
        return spec

    def make(self, codes: dict[str, CodeType]) -> None:
        """Makes and executes a group's modules, but for those in a package that is not there (yet)."""
        modules = sys.modules
        kind = type(sys)
        loader: Any = self
        made = []
        for name in codes:
            package, _, last = name.rpartition(".")
            if package and package not in modules and package not in codes:
                continue
            modules[name] = module = kind(name)
            module.__loader__ = loader
            module.__package__ = package
            if name in self.packages:
                module.__package__ = name
                module.__path__ = []
            made.append((name, package, last))
        for name, package, last in made:
            if package:
                setattr(modules[package], last, modules[name])
        for name, _, _ in made:
            exec(codes.pop(name), modules[name].__dict__)

    def find_source(self, name: str) -> Any:
        """The spec of a module of this program that has no byte code for this interpreter."""
        if name.partition(".")[0] not in ("runc", "libcontainer", "libc_bindings", "pyseccomp"):
            return None
        if self.sources is None:
            self.sources = self.helper("_runc_sources").Sources(self.archive)
        return self.sources.find_spec(name)

    def helper(self, name: str) -> Any:
        """One of the archive's own modules that a quick start does not need."""
        sys.path.append(self.archive)
        try:
            return __import__(name)
        finally:
            sys.path.remove(self.archive)

    def create_module(self, spec: Any) -> ModuleType | None:
        """The module if it came with its group, or None: an ordinary one is to be made."""
        return None if spec.loader_state else sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module's code in its namespace, unless that was done with its group."""
        spec: Any = module.__spec__
        code = spec.loader_state
        spec.loader_state = None
        if code:
            exec(code, module.__dict__)

    def explain(self, error: BaseException) -> str:
        """The error's traceback with exact lines, which the byte code itself does not know.

        Raises OSError or ImportError where the archive is out of reach, as after pivot_root.
        """
        text: str = self.helper("_runc_traceback").explain(error, self.archive)
        return text

    def show(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """sys.excepthook."""
        try:
            text = self.explain(error)
        except (OSError, ImportError):
            sys.__excepthook__(kind, error, trace)
        else:
            sys.stderr.write(text)
            sys.stderr.flush()


def install() -> None:
    """Puts the finder first, so that no directory is searched for our modules."""
    packages, table, index = o[1]
    groups = []
    text_start = s[2]
    for names, whole, text_size, text_end, is_lzma, start, end, *part in index:
        packed = c[start:end] if is_lzma else b[t[2] + start : t[2] + end]
        text = a[text_start:text_end]
        groups.append(Group(names, text, text_size, packed, tuple(part), table, bool(whole)))
        text_start = text_end
    archive = f
    if not f.startswith("/"):
        # Modules without byte code are looked up after a chdir to the bundle, too.
        try:
            archive = posix.getcwd() + "/" + f
        except OSError:  # a working directory that was removed: "runc" in it cannot be either
            pass
    finder = ByteCode(archive, packages, groups)
    sys.meta_path.insert(0, finder)
    sys.excepthook = finder.show


install()
a = b = c = b""
o = ()
import runc  # noqa: E402

runc.entry()
