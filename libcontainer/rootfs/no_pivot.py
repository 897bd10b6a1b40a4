"""--no-pivot: for a root file system that pivot_root(2) cannot leave, such as the initial ramfs."""

from __future__ import annotations

import posix
from errno import EINVAL, ENOENT, EPERM

from libc_bindings import mounts as libc

from . import attach


def move_root(root_fd: int) -> None:
    """Move the mount `root_fd` onto "/" and chroot(2) into it.

    The host's mounts stay in the namespace beneath it. With a complete procfs or sysfs
    among them the kernel would let a process in the container mount another one without the masks,
    so they are unmounted or covered first.
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
