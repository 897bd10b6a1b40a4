"""mount(2), its relatives, and the mount-fd calls of Linux 5.2 (fsopen, open_tree, move_mount…).

A mount point is best given as a file descriptor: the mount-fd calls take one directly, mount(2)
takes ``/proc/self/fd/N``. Where the kernel lacks a mount-fd call, the caller sees ENOSYS and
decides. Flags and structures as in <linux/mount.h>; file descriptors made here are close-on-
exec.
"""

from __future__ import annotations

import posix

from libc_bindings.ffi import BYTES, INT, PATH, UINT, ULONG, bind, bind_syscall, check, pack

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MNT_DETACH = 2

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = posix.O_CLOEXEC

MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

_mount = bind("mount", PATH, PATH, PATH, ULONG, PATH)
_umount2 = bind("umount2", PATH, INT)
_pivot_root = bind_syscall("pivot_root", PATH, PATH)
_open_tree = bind_syscall("open_tree", INT, PATH, UINT)
# The path is empty nearly always, and BYTES takes that at a third of what PATH.from_param() costs.
_open_tree_of = bind_syscall("open_tree", INT, BYTES, UINT)
_move_mount = bind_syscall("move_mount", INT, BYTES, INT, BYTES, UINT)
_mount_setattr = bind_syscall("mount_setattr", INT, PATH, UINT, BYTES, ULONG)
_fsopen = bind_syscall("fsopen", PATH, UINT)
_fsconfig = bind_syscall("fsconfig", INT, UINT, PATH, PATH, INT)
_fsmount = bind_syscall("fsmount", INT, UINT, UINT)


def mount(
    source: str | None,
    target: str,
    fstype: str | None = None,
    flags: int = 0,
    data: str | None = None,
) -> None:
    """mount(2): new mount, bind, remount, move or propagation change, as `flags` say."""
    if _mount(source, target, fstype, flags, data) == -1:
        check(-1, "mount", target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    check(_umount2(target, flags), "umount", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    check(_pivot_root(new_root, put_old), "pivot_root", new_root)


def open_tree(directory_fd: int, path: str, flags: int) -> int:
    """open_tree(2): fd of the mount at `path`, or of a detached copy with OPEN_TREE_CLONE.

    An empty `path` with AT_EMPTY_PATH stands for `directory_fd` itself; AT_RECURSIVE copies
    the mounts beneath as well.
    """
    flags |= OPEN_TREE_CLOEXEC
    if path:
        return check(_open_tree(directory_fd, path, flags), "open_tree", path)
    return check(_open_tree_of(directory_fd, b"", flags), "open_tree")


def move_mount(mount_fd: int, target_fd: int) -> None:
    """move_mount(2): the detached mount `mount_fd` onto the file that `target_fd` holds."""
    check(
        _move_mount(
            mount_fd, b"", target_fd, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
        ),
        "move_mount",
    )


def mount_setattr(
    directory_fd: int,
    path: str,
    flags: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """mount_setattr(2): MOUNT_ATTR_* set and cleared, propagation (MS_SHARED, …) changed.

    `userns_fd` is a user namespace's fd when MOUNT_ATTR_IDMAP is set. Linux 5.12.
    """
    attributes = pack((attr_set, 8), (attr_clr, 8), (propagation, 8), (userns_fd, 8))
    check(_mount_setattr(directory_fd, path, flags, attributes, 32), "mount_setattr", path)


def fsopen(fstype: str) -> int:
    """fsopen(2): a context in which a file system of `fstype` is configured."""
    return check(_fsopen(fstype, FSOPEN_CLOEXEC), "fsopen", fstype)


def fsconfig(
    context_fd: int, command: int, key: str | None = None, value: str | None = None
) -> None:
    """fsconfig(2) with FSCONFIG_SET_FLAG, SET_STRING or one of the CMDs."""
    check(_fsconfig(context_fd, command, key, value, 0), "fsconfig", key)


def fsmount(context_fd: int, attributes: int = 0) -> int:
    """fsmount(2): fd of a detached mount of what was configured, with MOUNT_ATTR_* `attributes`."""
    return check(_fsmount(context_fd, FSMOUNT_CLOEXEC, attributes), "fsmount")
