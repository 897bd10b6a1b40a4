"""Where bind mounts come from: files of the host, opened with the privileges that this takes."""

from __future__ import annotations

import posix

from libc_bindings import mounts as libc

from .attach import LACKING
from .options import MountOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Sources:
    """Opens the sources of bind mounts; relative ones are relative to `bundle`."""

    __slots__ = ("bundle",)

    def __init__(self, bundle: str) -> None:
        self.bundle = bundle

    def open(self, source: str, options: MountOptions, mount: Any) -> tuple[int, bool]:
        """(fd, True) with a detached copy of the source's mount, or (fd, False) with an O_PATH fd.

        Raises OSError with the source's path.
        """
        path = source if source.startswith("/") else f"{self.bundle}/{source}"
        tree = libc.AT_RECURSIVE if options.flags & libc.MS_REC else 0
        try:
            return libc.open_tree(libc.AT_FDCWD, path, libc.OPEN_TREE_CLONE | tree), True
        except OSError as error:
            if error.errno not in LACKING:
                raise
        return posix.open(path, posix.O_PATH | posix.O_CLOEXEC), False

    def close(self) -> None:
        """Release what was opened ahead."""


def open_sources(spec: Any, bundle: str) -> Sources:
    """What mounting will need of the host, opened before the container's namespaces are made."""
    return Sources(bundle)
