"""The sources in the archive, for interpreters and modules without byte code (Python 3.8 and newer).

They lie in one compressed text (`unzip -p runc sources.gz | gunzip`), each after a line with a form feed
and its path: as members of the zip archive they would take half as much again.
"""

from __future__ import annotations

import sys
import zlib
from zipimport import zipimporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Sequence

GZIP = 31  # zlib's wbits for a gzip header


def read(archive: str) -> dict[str, bytes]:
    """{path: source} of all modules, pyseccomp included. Raises OSError."""
    data = zlib.decompress(zipimporter(archive).get_data(archive + "/sources.gz"), GZIP)
    found = {}
    for piece in data.split(b"\f")[1:]:
        name, _, source = piece.partition(b"\n")
        found[name.decode()] = source
    return found


class Sources:
    """Finder and loader (sys.meta_path) of the archive's sources."""

    def __init__(self, archive: str):
        self.site = archive + "/sources"
        self.sources = read(archive)
        self.spec: Any = sys.modules["_frozen_importlib"].ModuleSpec

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> Any:
        """The module's spec, or None for a module that is not in here."""
        stem = name.replace(".", "/")
        for file in (stem + ".py", stem + "/__init__.py"):
            if file in self.sources:
                package = file.endswith("/__init__.py")
                spec = self.spec(name, self, origin=self.site, is_package=package)
                spec.loader_state = file
                return spec
        return None

    def create_module(self, spec: Any) -> None:
        """None: an ordinary module."""
        return

    def exec_module(self, module: ModuleType) -> None:
        """Compiles the module as the build would have, and runs it in its namespace."""
        file = module.__spec__.loader_state  # type: ignore[union-attr]
        exec(compile(self.sources[file], file, "exec", 0, True, 2), module.__dict__)

    def get_source(self, name: str) -> str:
        """The module's source, for the lines of a traceback."""
        spec = self.find_spec(name)
        if spec is None:
            raise ImportError(name)
        return self.sources[spec.loader_state].decode()
