"""The option tmpcopyup: a tmpfs that starts with what its mount point held."""

from __future__ import annotations

import posix
from _stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG, S_ISSOCK
from errno import ENOTSUP

from ..errors import Error

_O_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
# O_NONBLOCK: what was a file a moment ago may be a FIFO when it is opened.
_O_READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_O_CREATE = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
_CHUNK = 1 << 20


def copy_up(source: int, mount_point: str) -> None:
    """Fill the new file system at `mount_point` with what `source`, which it covers, holds."""
    target = posix.open(mount_point, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        try:
            copy_tree(source, target)
        except RecursionError:
            raise Error("what the tmpfs is to start with is nested too deeply") from None
        status = posix.fstat(source)
        posix.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        posix.close(target)


def copy_tree(source: int, target: int) -> None:
    """Copy what the directory `source` holds into the directory `target`, both open for reading.

    Owners, modes, times and extended attributes are kept; sockets, whose process is elsewhere, are
    left out; a hard link becomes a file of its own. No name is followed out of the tree.
    Raises OSError with the file's name.
    """
    for name in posix.listdir(source):
        status = posix.stat(name, dir_fd=source, follow_symlinks=False)
        if S_ISDIR(status.st_mode):
            _copy_directory(source, target, name, status)
        elif S_ISREG(status.st_mode):
            _copy_file(source, target, name, status)
        elif S_ISLNK(status.st_mode):
            posix.symlink(posix.readlink(name, dir_fd=source), name, dir_fd=target)
            _change_owner(target, name, status)
        elif not S_ISSOCK(status.st_mode):
            posix.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
            _change_owner(target, name, status)
            posix.chmod(name, S_IMODE(status.st_mode), dir_fd=target)


def _change_owner(directory: int, name: str, status: posix.stat_result) -> None:
    posix.chown(name, status.st_uid, status.st_gid, dir_fd=directory, follow_symlinks=False)


def copy_attributes(source: int, target: int, status: posix.stat_result) -> None:
    """Give the open file `target` the owner, mode, times and extended attributes of `source`."""
    posix.fchown(target, status.st_uid, status.st_gid)
    posix.fchmod(target, S_IMODE(status.st_mode))
    try:
        for name in posix.listxattr(source):
            posix.setxattr(target, name, posix.getxattr(source, name))
    except OSError as error:
        # One of the two file systems has no such attributes.
        if error.errno != ENOTSUP:
            raise
    posix.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_directory(source: int, target: int, name: str, status: posix.stat_result) -> None:
    posix.mkdir(name, 0o700, dir_fd=target)
    below = posix.open(name, _O_DIRECTORY, dir_fd=source)
    try:
        made = posix.open(name, _O_DIRECTORY, dir_fd=target)
        try:
            copy_tree(below, made)
            copy_attributes(below, made, status)
        finally:
            posix.close(made)
    finally:
        posix.close(below)


def _copy_file(source: int, target: int, name: str, status: posix.stat_result) -> None:
    old = posix.open(name, _O_READ, dir_fd=source)
    try:
        new = posix.open(name, _O_CREATE, 0o600, dir_fd=target)
        try:
            while posix.sendfile(new, old, None, _CHUNK):
                pass
            copy_attributes(old, new, status)
        finally:
            posix.close(new)
    finally:
        posix.close(old)
