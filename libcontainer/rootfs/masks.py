"""What is hidden or made read-only once the container's root is in place.

runtime-spec config-linux.md "Masked Paths" and "Readonly Paths". Paths that do not exist are
skipped.
"""

from __future__ import annotations

import posix
from _stat import S_ISDIR
from errno import EINVAL, ENOENT, ENOTDIR

from libc_bindings import mounts as libc

from ..errors import Error
from ..paths import open_beneath
from . import attach
from .devices import reopen_null, verify_null
from .mounts import clean, is_late_readonly, reason
from .options import MountOptions
from .pivot import propagate_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def finish(spec: Any) -> None:
    """Everything that needs the container's root as "/": read-only mounts and root, masks.

    Raises Error that names the path.
    """
    linux = spec.get("linux") or {}
    root_fd = posix.open("/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        reopen_null(spec)
        _finish_readonly_mounts(root_fd, spec)
        if (spec.get("root") or {}).get("readonly"):
            attach.set_readonly(root_fd)
        for path in linux.get("readonlyPaths") or ():
            try:
                _make_readonly(root_fd, path)
            except OSError as error:
                raise Error(f"can't make {path} read-only: {reason(error)}") from error
        mask_paths(root_fd, linux.get("maskedPaths") or (), linux.get("mountLabel", ""))
        propagate_root(root_fd, spec)
    finally:
        posix.close(root_fd)
        attach.forget()
        attach.drop_places()


def _finish_readonly_mounts(root_fd: int, spec: Any) -> None:
    for mount in spec.get("mounts") or ():
        options = mount.get("options") or []
        if "ro" in options and is_late_readonly(mount, MountOptions(options)):
            fd = open_beneath(root_fd, mount["destination"])
            try:
                attach.set_readonly(fd)
            finally:
                posix.close(fd)


def _open_existing(root_fd: int, path: str) -> int:
    """The O_PATH fd of `path`, or -1 where there is nothing of that name."""
    name = clean(path)
    for place, fd in attach.kept.items():
        if name.startswith(place + "/"):
            root_fd, path = fd, name[len(place) :]
    try:
        return open_beneath(root_fd, path)
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR):
            return -1
        raise


def _make_readonly(root_fd: int, path: str) -> None:
    """Bind `path`, with the mounts beneath it, on itself and make that mount read-only."""
    if clean(path) == "/":
        # A mount on top of "/" is seen by nobody whose root lies beneath it.
        attach.set_readonly(root_fd)
        return
    fd = _open_existing(root_fd, path)
    if fd < 0:
        return
    try:
        mount_fd = attach.bind(fd, fd, recursive=True)
        try:
            attach.set_readonly(mount_fd)
        finally:
            posix.close(mount_fd)
    finally:
        posix.close(fd)


def mask_paths(root_fd: int, paths: Any, label: str) -> None:
    """Hide each path: files behind the null device, directories behind one empty read-only tmpfs.

    Raises Error that names the path.
    """
    if not paths:
        return
    if "/" in paths:
        # A mount on it would hide nothing from those whose root it is.
        raise Error("can't mask path /: it is the root")
    try:
        null = posix.open("/dev/null", posix.O_PATH | posix.O_CLOEXEC)
    except OSError as error:
        raise Error(f"can't mask paths: open {reason(error)}") from error
    empty = -1
    masked = set()
    try:
        verify_null(null)
        for path in paths:
            name = clean(path)
            if name in masked:
                continue
            masked.add(name)
            fd = -1
            try:
                fd = _open_existing(root_fd, path)
                if fd < 0:
                    continue
                if not S_ISDIR(posix.fstat(fd).st_mode):
                    posix.close(attach.bind(null, fd))
                elif empty < 0:
                    empty = mask_directory(fd, label)
                else:
                    posix.close(attach.bind(empty, fd))
            except OSError as error:
                raise Error(f"can't mask path {path}: {reason(error)}") from error
            finally:
                if fd >= 0:
                    posix.close(fd)
    finally:
        posix.close(null)
        if empty >= 0:
            posix.close(empty)


def mask_directory(fd: int, label: str) -> int:
    """Put an empty read-only tmpfs over the directory `fd`; returns the mount's O_PATH fd.

    More directories are masked by binding that mount.
    """
    try:
        return _mask(fd, label, "1")
    except OSError as error:
        if error.errno != EINVAL:
            raise
    # Ubuntu's 5.4 kernel wants two inodes at least.
    return _mask(fd, label, "2")


def _mask(fd: int, label: str, inodes: str) -> int:
    try:
        context = libc.fsopen("tmpfs")
    except OSError as error:
        if error.errno not in attach.LACKING:
            raise
        data = f"nr_blocks=1,nr_inodes={inodes}"
        if label:
            data += f',context="{label}"'
        libc.mount("tmpfs", attach.place(fd), "tmpfs", libc.MS_RDONLY, data)
        return attach.top_of(fd)
    try:
        libc.fsconfig(context, libc.FSCONFIG_SET_STRING, "source", "tmpfs")
        libc.fsconfig(context, libc.FSCONFIG_SET_STRING, "nr_blocks", "1")
        libc.fsconfig(context, libc.FSCONFIG_SET_STRING, "nr_inodes", inodes)
        if label:
            libc.fsconfig(context, libc.FSCONFIG_SET_STRING, "context", label)
        libc.fsconfig(context, libc.FSCONFIG_SET_FLAG, "ro")
        libc.fsconfig(context, libc.FSCONFIG_CMD_CREATE)
        mount_fd = libc.fsmount(context, libc.MOUNT_ATTR_RDONLY)
    finally:
        posix.close(context)
    try:
        libc.move_mount(mount_fd, fd)
    except OSError:
        posix.close(mount_fd)
        raise
    return mount_fd
