"""The container's file system, as the steps in which init makes it.

open_sources      on the host: what only the host's privileges can open
set_propagation   the container's mounts are kept from the host's
bind_root         the root file system becomes a mount, held by its fd
mount_all         the config's mounts
make_devices      /dev
pivot             "/" is the container's
finish            read-only root, masks
"""

from __future__ import annotations

# mounts.py asks for it when init may have no way to the program's file any more.
from . import cgroup_mounts as _cgroup_mounts  # noqa: F401
from .devices import make_devices
from .masks import finish
from .mounts import mount_all
from .pivot import bind_root, pivot, set_propagation
from .sources import Sources, open_sources

__all__ = [
    "Sources",
    "bind_root",
    "finish",
    "make_devices",
    "mount_all",
    "open_sources",
    "pivot",
    "set_propagation",
]
