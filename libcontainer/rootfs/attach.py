"""Binding, changing and verifying mounts by file descriptor.

Every function here tries the mount-fd calls (Linux 5.2, mount_setattr 5.12) and falls back to
mount(2) on ENOSYS. mount(2) takes paths; it gets the descriptor's entry in /proc/self/fd. Once
the container's root is in place its /proc cannot be trusted for that (it may be anything, or
missing), so the host's directory is opened before (keep_places) and its entries are named
relative to it.

Measured on Linux 6.18: open_tree + mount_setattr + move_mount of a read-only bind take 12 µs
where two mount(2) take 21; a new tmpfs takes 31 µs through fsopen where one mount(2) takes 22.
So binds go the new way, new file systems (mounts.py) the old one, onto the descriptor that was
resolved.
"""

from __future__ import annotations

import posix
from errno import ENOSYS, EPERM

from libc_bindings import mounts as libc
from libc_bindings.paths import mount_id

from ..errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .options import MountOptions

_O_PLACE = posix.O_PATH | posix.O_CLOEXEC

# The flags that a mount copied into another user namespace keeps locked, as mount(2) has them.
# statvfs(3) shows them under the same bits, but for strictatime, which is the lack of the others.
_LOCKABLE = (
    libc.MS_RDONLY
    | libc.MS_NOSUID
    | libc.MS_NODEV
    | libc.MS_NOEXEC
    | libc.MS_NOATIME
    | libc.MS_NODIRATIME
)
_ST_RELATIME = 4096
_ATIME = libc.MS_NOATIME | libc.MS_NODIRATIME | libc.MS_RELATIME | libc.MS_STRICTATIME

# What a kernel, or a seccomp profile older than the call, says of open_tree. mount(2) then either
# works or tells the real reason.
LACKING = (ENOSYS, EPERM)

# The directory that holds the entries of /proc/self/fd, once it cannot be named by path any more.
_places = -1

kept: dict[str, int] = {}
"""The config's procfs and sysfs by their places, while the rootfs is made.

Who may rename their directories takes the mounts along: what is masked in them is looked up from here.
"""


def keep(place: str, covered_fd: int) -> None:
    """Hold the mount that was just put on what `covered_fd` holds at `place`."""
    kept[place] = top_of(covered_fd)


def forget(place: str = "") -> None:
    """Let go of those at `place` and beneath, which are about to be covered; "" of all."""
    for held in [held for held in kept if (held + "/").startswith(place + "/")]:
        posix.close(kept.pop(held))


def place(fd: int) -> str:
    """The path by which mount(2) finds what `fd` holds.

    Between keep_places() and drop_places() it is relative, and the working directory is changed for it.
    """
    if _places < 0:
        return "/proc/self/fd/%d" % fd
    posix.fchdir(_places)
    return str(fd)


def keep_places() -> None:
    """Hold the host's /proc/self/fd: called before the root is changed."""
    global _places
    _places = posix.open("/proc/self/fd", _O_PLACE | posix.O_DIRECTORY)


def drop_places() -> None:
    """Let go of the host's procfs; the working directory is the root afterwards."""
    global _places
    if _places >= 0:
        posix.chdir("/")
        posix.close(_places)
        _places = -1


def bind(source_fd: int, target_fd: int, recursive: bool = False) -> int:
    """Mount what `source_fd` holds on what `target_fd` holds; returns the new mount's O_PATH fd."""
    tree = libc.AT_RECURSIVE if recursive else 0
    try:
        mount_fd = libc.open_tree(source_fd, "", libc.OPEN_TREE_CLONE | libc.AT_EMPTY_PATH | tree)
    except OSError as error:
        if error.errno not in LACKING:
            raise
    else:
        try:
            libc.move_mount(mount_fd, target_fd)
        except OSError:
            posix.close(mount_fd)
            raise
        return mount_fd
    flags = libc.MS_BIND | libc.MS_REC if recursive else libc.MS_BIND
    libc.mount(place(source_fd), place(target_fd), None, flags)
    return top_of(target_fd)


def top_of(covered_fd: int) -> int:
    """An O_PATH fd of the mount that was just put on what `covered_fd` holds.

    `covered_fd` goes on meaning the covered file, so its path is looked up again; should somebody
    change the path meanwhile, what was found has another one, and that is an error.
    """
    path = posix.readlink(place(covered_fd))
    fd = posix.open(path, _O_PLACE | posix.O_NOFOLLOW)
    if posix.readlink(place(fd)) != path or mount_id(fd) == mount_id(covered_fd):
        posix.close(fd)
        raise Error(f"{path}: the mount point was moved while it was mounted on")
    return fd


def set_attributes(
    mount_fd: int, attr_set: int, attr_clr: int = 0, recursive: bool = False
) -> None:
    """mount_setattr(2) of the mount `mount_fd`; raises ENOSYS before Linux 5.12."""
    tree = libc.AT_RECURSIVE if recursive else 0
    libc.mount_setattr(
        mount_fd, "", libc.AT_EMPTY_PATH | tree, attr_set=attr_set, attr_clr=attr_clr
    )


def set_propagation(mount_fd: int, flags: int) -> None:
    """Make the mount shared, slave, private or unbindable (MS_*), with MS_REC all beneath too."""
    tree = libc.AT_RECURSIVE if flags & libc.MS_REC else 0
    try:
        libc.mount_setattr(
            mount_fd, "", libc.AT_EMPTY_PATH | tree, propagation=flags & ~libc.MS_REC
        )
    except OSError as error:
        if error.errno != ENOSYS:
            raise
        libc.mount(None, place(mount_fd), None, flags)


def set_readonly(mount_fd: int) -> None:
    """Make this one mount read-only and leave its other flags."""
    try:
        set_attributes(mount_fd, libc.MOUNT_ATTR_RDONLY)
    except OSError as error:
        if error.errno != ENOSYS:
            raise
        remount = libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY | _present_flags(mount_fd)
        libc.mount(None, place(mount_fd), None, remount)


def set_bind_flags(mount_fd: int, options: MountOptions) -> None:
    """Give a bind mount the flags that its options ask for.

    Flags that are locked because the mount came from another user namespace stay where the
    options do not clear them by name; where they do, this raises Error.
    """
    try:
        try:
            _setattr_bind_flags(mount_fd, options)
        except OSError as error:
            if error.errno != ENOSYS:
                raise
            _remount_bind(mount_fd, options)
    except OSError as error:
        if error.errno != EPERM:
            raise
        told = "operation not permitted (what a user namespace has locked stays set)"
        raise Error(f"cannot change the flags: {told}") from None


def _setattr_bind_flags(mount_fd: int, options: MountOptions) -> None:
    try:
        set_attributes(mount_fd, *options.attributes())
    except OSError as error:
        if error.errno != EPERM:
            raise
        set_attributes(mount_fd, *options.attributes(all_flags=False))


def _remount_bind(mount_fd: int, options: MountOptions) -> None:
    flags = options.flags & ~libc.MS_REC | libc.MS_BIND | libc.MS_REMOUNT
    try:
        libc.mount(None, place(mount_fd), None, flags)
    except OSError as error:
        if error.errno != EPERM:
            raise
        present = _present_flags(mount_fd)
        # The kernel would quietly take one of two values of the access time.
        if present & options.cleared & _LOCKABLE:
            raise
        if options.flags & _ATIME and options.flags & _ATIME != present & _ATIME:
            raise
        libc.mount(None, place(mount_fd), None, flags | present)


def _present_flags(mount_fd: int) -> int:
    """The mount's flags that a remount has to repeat to keep."""
    shown = posix.fstatvfs(mount_fd).f_flag
    flags = shown & _LOCKABLE
    if shown & _ST_RELATIME:
        flags |= libc.MS_RELATIME
    elif not shown & libc.MS_NOATIME:
        flags |= libc.MS_STRICTATIME
    return flags
