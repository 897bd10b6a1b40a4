"""Where bind mounts come from: files of the host, opened with the privileges that this takes.

Root in a user namespace may neither search directories that only the host's root may, nor map
the ids of the host's file systems. A source has to be opened in the container's mount namespace
all the same, because earlier mounts of the config can be part of it. So a small process with the
host's privileges (broker.py) joins that namespace and hands over descriptors.
"""

from __future__ import annotations

import posix
from errno import EACCES

from libc_bindings import mounts as libc

from .attach import LACKING
from .options import MountOptions, is_bind, is_mapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .broker import Broker
    from .idmap import Mapper


class Sources:
    """Opens the sources of mounts; relative ones are relative to `bundle`."""

    __slots__ = ("broker", "bundle", "mapper", "options")

    def __init__(self, bundle: str, options: list[MountOptions]) -> None:
        self.bundle = bundle
        self.options = options
        """Those of the config's mounts, in their order."""
        self.broker: Broker | None = None
        self.mapper: Mapper | None = None

    def open(self, source: str, options: MountOptions, mount: Any) -> tuple[int, bool]:
        """(fd, True) with a detached copy of the source's mount, or (fd, False) with an O_PATH fd.

        `mount` is the config's, or empty for a source of our own. Raises OSError with the
        source's path.
        """
        path = self.path(source)
        if mount and is_mapped(mount, options):
            return self._mapped(path, mount, options), True
        try:
            return _clone(libc.AT_FDCWD, path, options)
        except OSError as error:
            if error.errno != EACCES or self.broker is None or not mount:
                raise
        fd = self.broker.ask(mount)
        try:
            tree, detached = _clone(fd, "", options)
        except BaseException:
            posix.close(fd)
            raise
        if detached:
            posix.close(fd)
            return tree, True
        return fd, False

    def path(self, source: str) -> str:
        """`source` as an absolute path of the host's."""
        return source if source.startswith("/") else f"{self.bundle}/{source}"

    def close(self) -> None:
        """Release what was opened ahead: on the host once init runs, in init after mounting."""
        if self.broker is not None:
            self.broker.close()
            self.broker = None
        if self.mapper is not None:
            self.mapper.close()
            self.mapper = None

    def _mapped(self, path: str, mount: Any, options: MountOptions) -> int:
        if self.broker is not None:
            return self.broker.ask(mount)
        return self._own_mapper().open(path, mount, options)

    def new_filesystem(self, mount: Any, options: MountOptions, data: str) -> int:
        """The fd of a detached, id-mapped mount of a new file system."""
        if self.broker is not None:
            return self.broker.ask(mount, data)
        from .filesystems import mapped_filesystem

        return mapped_filesystem(self._own_mapper(), mount, options, data)

    def _own_mapper(self) -> Mapper:
        if self.mapper is None:
            from .idmap import Mapper

            self.mapper = Mapper()
        return self.mapper


def _clone(directory_fd: int, path: str, options: MountOptions) -> tuple[int, bool]:
    """open_tree(2), or where the kernel has none an O_PATH fd (of `path`, or the one given)."""
    flags = libc.OPEN_TREE_CLONE
    if options.flags & libc.MS_REC:
        flags |= libc.AT_RECURSIVE
    if not path:
        flags |= libc.AT_EMPTY_PATH
    try:
        return libc.open_tree(directory_fd, path, flags), True
    except OSError as error:
        if error.errno not in LACKING:
            raise
    if not path:
        return directory_fd, False
    return posix.open(path, posix.O_PATH | posix.O_CLOEXEC), False


def open_sources(spec: Any, bundle: str) -> Sources:
    """What mounting will need of the host, before the container's namespaces are made.

    A process is started only if there is a user namespace, mounts that may need the host's
    privileges, and those privileges. Raises OSError.
    """
    mounts = spec.get("mounts") or []
    sources = Sources(bundle, [MountOptions(mount.get("options") or []) for mount in mounts])
    namespaces = (spec.get("linux") or {}).get("namespaces") or ()
    if not any(entry["type"] == "user" for entry in namespaces):
        return sources
    needing = []
    for mount, options in zip(mounts, sources.options):
        if options.copy_up:
            # Loaded now: root in the user namespace may not be able to read the program's files.
            from . import copyup  # noqa: F401
        if is_bind(mount, options) or is_mapped(mount, options):
            needing.append(mount)
    if needing and posix.geteuid() == 0:
        from .broker import start

        sources.broker = start(needing, sources.path)
    return sources
