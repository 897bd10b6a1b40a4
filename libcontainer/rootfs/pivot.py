"""The root: mount propagation, the root file system as a mount, and the change into it."""

from __future__ import annotations

import posix
from errno import EINVAL, ENOENT, EPERM

from libc_bindings import mounts as libc

from ..errors import Error
from . import attach
from .options import PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_O_DIRECTORY = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC

# With these no mount of the container's is shared, so that the rootfs's parent needs no change.
_APART = (0, libc.MS_PRIVATE | libc.MS_REC, libc.MS_SLAVE | libc.MS_REC)


def _root_propagation(spec: Any) -> int:
    """linux.rootfsPropagation as MS_* flags, 0 if it is not given."""
    name = (spec.get("linux") or {}).get("rootfsPropagation")
    if not name:
        return 0
    if name not in PROPAGATION:
        raise Error(f"linux.rootfsPropagation: {name} is not supported")
    return PROPAGATION[name]


def has_mount_namespace(spec: Any) -> bool:
    """Whether the container's mounts are apart from the host's."""
    return any(
        namespace["type"] == "mount"
        for namespace in (spec.get("linux") or {}).get("namespaces") or ()
    )


def set_propagation(spec: Any) -> None:
    """Keep the container's mounts from the host's, as linux.rootfsPropagation wants it.

    Without a mount namespace "/" is the host's and stays as it is.
    """
    if not has_mount_namespace(spec):
        return
    flags = _root_propagation(spec) or libc.MS_SLAVE | libc.MS_REC
    if flags & libc.MS_UNBINDABLE:
        # The host's mounts are to be bound yet; propagate_root() does the rest.
        flags = libc.MS_PRIVATE | libc.MS_REC
    libc.mount(None, "/", None, flags)


def bind_root(spec: Any, bundle: str) -> int:
    """Bind root.path, with the mounts beneath it, on itself; returns the new mount's O_PATH fd.

    pivot_root(2) needs a mount of its own, whose parent is not shared. Raises Error that names
    root.path.
    """
    path: str = spec["root"]["path"]
    if not path.startswith("/"):
        path = f"{bundle}/{path}"
    flags = _root_propagation(spec)
    try:
        fd = posix.open(path, _O_DIRECTORY)
        try:
            if flags not in _APART and has_mount_namespace(spec):
                _make_parent_private(posix.readlink(attach.place(fd)), flags)
            root_fd = attach.bind(fd, fd, recursive=True)
        finally:
            posix.close(fd)
        if not flags & libc.MS_SLAVE:
            # Of a slave the bind would be one too, and get what the host mounts in the rootfs.
            attach.set_propagation(root_fd, libc.MS_PRIVATE)
    except OSError as error:
        from .mounts import reason

        raise Error(f"error preparing rootfs: root.path {path}: {reason(error)}") from error
    return root_fd


def _make_parent_private(path: str, flags: int) -> None:
    """Stop the mount that holds `path` from passing on what is mounted there."""
    wanted = libc.MS_SLAVE if flags & libc.MS_SLAVE else libc.MS_PRIVATE
    while True:
        try:
            libc.mount(None, path, None, wanted)
            return
        except OSError as error:
            # EINVAL: not the root of a mount.
            if error.errno != EINVAL or path == "/":
                raise
        path = path.rpartition("/")[0] or "/"


def pivot(root_fd: int, spec: Any, no_pivot: bool) -> None:
    """Make `root_fd` the root and working directory, and let go of the host's mounts.

    Closes `root_fd`. Raises OSError.
    """
    attach.keep_places()
    if no_pivot:
        _move_root(root_fd)
    elif has_mount_namespace(spec):
        _pivot_root(root_fd)
    else:
        posix.fchdir(root_fd)
        posix.chroot(".")
        posix.chdir("/")
    posix.close(root_fd)


def propagate_root(root_fd: int, spec: Any) -> None:
    """Make the container's root shared or unbindable if linux.rootfsPropagation says so.

    Last of all: only now is "/" the container's alone, and what is unbindable cannot be masked.
    """
    flags = _root_propagation(spec)
    if flags & (libc.MS_SHARED | libc.MS_UNBINDABLE) and has_mount_namespace(spec):
        attach.set_propagation(root_fd, flags)


def _pivot_root(root_fd: int) -> None:
    """pivot_root(".", "."): the old root ends up on top of the new one and is unmounted there.

    So no directory for it is needed in the container.
    """
    old = posix.open("/", _O_DIRECTORY)
    try:
        posix.fchdir(root_fd)
        libc.pivot_root(".", ".")
        posix.fchdir(old)
    finally:
        posix.close(old)
    # The unmount must not reach the host's mounts.
    libc.mount(None, ".", None, libc.MS_SLAVE | libc.MS_REC)
    libc.umount(".", libc.MNT_DETACH)
    posix.chdir("/")


def _move_root(root_fd: int) -> None:
    """--no-pivot, for a root that pivot_root(2) cannot leave, such as the initial ramfs.

    The mount `root_fd` is moved onto "/", and chroot(2) enters it. The host's mounts stay in the
    namespace beneath it. With a complete procfs or sysfs among them the kernel would let a process
    in the container mount another one without the masks, so they are unmounted or covered first.
    """
    rootfs = posix.readlink(attach.place(root_fd))
    for mount_point in _pseudo_mounts(rootfs):
        _hide(mount_point)
    posix.fchdir(root_fd)
    libc.mount(rootfs, "/", None, libc.MS_MOVE)
    posix.chroot(".")
    posix.chdir("/")


def _pseudo_mounts(rootfs: str) -> list[str]:
    """Where complete copies of procfs and sysfs are mounted outside of `rootfs`."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mountinfo:
        lines = mountinfo.read().splitlines()
    found = []
    for line in lines:
        fields, _, rest = line.partition(" - ")
        root, mount_point = fields.split(" ")[3:5]
        mount_point = _unescape(mount_point)
        inside = mount_point == rootfs or mount_point.startswith(rootfs.rstrip("/") + "/")
        if root == "/" and rest.split(" ", 1)[0] in ("proc", "sysfs") and not inside:
            found.append(mount_point)
    return found


def _unescape(field: str) -> str:
    """A field of mountinfo, where space, tab, newline and backslash are octal."""
    for escaped, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escaped, character)
    return field


def _hide(mount_point: str) -> None:
    try:
        libc.mount(None, mount_point, None, libc.MS_SLAVE | libc.MS_REC)
    except OSError as error:
        # Gone together with a mount above it.
        if error.errno in (ENOENT, EINVAL):
            return
        raise
    try:
        libc.umount(mount_point, libc.MNT_DETACH)
    except OSError as error:
        if error.errno not in (EINVAL, EPERM):
            raise
        # Locked by a user namespace.
        libc.mount("tmpfs", mount_point, "tmpfs")
