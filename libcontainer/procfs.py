"""Writes to /proc that end in the kernel, whatever a container has mounted there.

Labels, id maps, sysctls and scores take effect by being written to a file of procfs. If that
file, or a directory on the way, is something else (a tmpfs with an empty attr/exec,
/proc/sys/kernel/hostname mounted over attr/exec), the write succeeds and the container runs
unconfined, or the host is changed (CVE-2019-16884, CVE-2025-52881). So the files are opened beneath
a procfs of this process's own, a detached mount that nobody else can mount anything on. Where it
cannot be had (no CAP_SYS_ADMIN, Linux before 5.2), /proc is taken if it is the root of a procfs,
and no lookup may cross a mount point in it.

The procfs is opened at the first use and kept, as one descriptor; release() closes it. A process
that waits for others must not keep it: everything under /proc/sys can be written through it.
"""

from __future__ import annotations

import posix
from errno import EINVAL, ELOOP, ENOSYS, EPERM, EXDEV

from libc_bindings import mounts
from libc_bindings import paths as libc

from .errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

O_PATH, O_NOFOLLOW, O_CLOEXEC = posix.O_PATH, posix.O_NOFOLLOW, posix.O_CLOEXEC

_RESOLVE = libc.RESOLVE_BENEATH | libc.RESOLVE_NO_XDEV | libc.RESOLVE_NO_MAGICLINKS

# PROC_ROOT_INO of <linux/proc_ns.h>: no other file of a procfs has it.
_ROOT_INODE = 1

_root = -1


def write_self(path: str, data: str | bytes) -> None:
    """Write `data` to /proc/self/`path` in one write(2).  Raises OSError with the path."""
    _write("self/" + path, data)


def write_pid(pid: int, path: str, data: str | bytes) -> None:
    """Write `data` to /proc/`pid`/`path` in one write(2).  Raises OSError with the path.

    `pid` is counted in the pid namespace of the process that first used this module.
    """
    _write(f"{pid:d}/{path}", data)


def write_sysctl(key: str, value: str) -> None:
    """Set the kernel parameter `key`, written as for sysctl(8), in the present namespaces.

    Raises Error that names the property.
    """
    path = sysctl_path(key)
    try:
        _write("sys/" + path, value)
    except OSError as error:
        reason = posix.strerror(error.errno or 0)
        raise Error(
            f"linux.sysctl: cannot write {value!r} to /proc/sys/{path} for {key}: {reason}"
        ) from None


def sysctl_path(key: str) -> str:
    """The path beneath /proc/sys of `key`: net.ipv4.ip_forward, or net/ipv4/ip_forward.

    As sysctl(8) has it, the separator that comes first is that of the key, and the other
    one is part of the names: "net.ipv4.conf.eth0/1.mtu" and "net/ipv4/conf/eth0.1/mtu" are one.
    Raises Error for what is no such path.
    """
    path = key
    if "." in key.partition("/")[0]:
        path = key.translate({ord("."): "/", ord("/"): "."})
    if any(name in ("", ".", "..") for name in path.split("/")) or "\0" in path:
        raise Error(f"linux.sysctl: {key!r} is not the name of a kernel parameter")
    return path


def read(path: str) -> bytes:
    """The whole content of /proc/`path` ("self/…", "sys/…"), verified like what is written to.

    Raises OSError with the path.
    """
    return libc.read_all(_open(path, posix.O_RDONLY))


def prepare() -> None:
    """Open the procfs now, for writes at a time when /proc is no longer the host's.

    In a user namespace the kernel gives a procfs only to those who see a whole one already. Raises
    Error where there is none.
    """
    global _root
    if _root == -1:
        _root = _open_root()


def release() -> None:
    """Close the procfs; the next use opens it again."""
    global _root
    if _root != -1:
        posix.close(_root)
        _root = -1


def number() -> str:
    """The number of the calling process as the procfs counts, for write_pid().  Raises Error."""
    prepare()
    return str(posix.readlink("self", dir_fd=_root))


def follow(path: str, flags: int) -> int:
    """Open what the magic link /proc/`path` jumps to ("self/fd/7", "123/ns/user").

    Where the procfs is not a private one a mount on it can lead astray: the caller compares what
    was opened, if it can tell. Raises OSError, Error.
    """
    prepare()
    return posix.open(path, flags | O_CLOEXEC, dir_fd=_root)


def _write(path: str, data: str | bytes) -> None:
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    fd = _open(path, posix.O_WRONLY)
    try:
        written = posix.write(fd, data)
    except OSError as error:
        raise OSError(error.errno, f"write: {error.strerror}", "/proc/" + path) from None
    finally:
        posix.close(fd)
    if written != len(data):
        raise OSError(EINVAL, f"write: only {written} of {len(data)} bytes", "/proc/" + path)


def _open(path: str, flags: int) -> int:
    prepare()
    try:
        return libc.openat2(_root, path, flags | O_NOFOLLOW, _RESOLVE)
    except OSError as error:
        # EPERM is also what old seccomp profiles answer to calls that they do not know.
        if error.errno not in (ENOSYS, EPERM):
            raise _told(error, path) from None
    try:
        return _open_by_walk(path, flags)
    except OSError as error:
        raise _told(error, path) from None


def _open_root() -> int:
    try:
        return _private()
    except OSError:
        pass
    try:
        return _verified()
    except OSError as error:
        raise Error(f"no procfs to write to: /proc: {error.strerror}") from None


def _private() -> int:
    """The root of a new procfs for this pid namespace, mounted nowhere."""
    context = mounts.fsopen("proc")
    try:
        mounts.fsconfig(context, mounts.FSCONFIG_CMD_CREATE)
        return mounts.fsmount(context)
    finally:
        posix.close(context)


def _verified() -> int:
    """The root of the procfs that is mounted on /proc."""
    fd: int = posix.open("/proc", O_PATH | O_NOFOLLOW | posix.O_DIRECTORY | O_CLOEXEC)
    kind, inode = libc.fstatfs_type(fd), posix.fstat(fd).st_ino
    if kind != libc.PROC_SUPER_MAGIC or inode != _ROOT_INODE:
        posix.close(fd)
        raise OSError(EINVAL, "not a procfs")
    return fd


def _open_by_walk(path: str, flags: int) -> int:
    """The same as openat2(2), one component after the other, each on the mount of the root."""
    mount = _mount_id(_root)
    first, _, rest = path.partition("/")
    if first == "self":
        # The only link that is followed. Its text is this process's id in the procfs's namespace.
        first = posix.readlink("self", dir_fd=_root)
        if not first.isdigit():
            raise OSError(ELOOP, posix.strerror(ELOOP))
    names = [first, *rest.split("/")]
    directory = _root
    try:
        while True:
            name = names.pop(0)
            how: Any = O_PATH | posix.O_DIRECTORY if names else flags
            fd = posix.open(name, how | O_NOFOLLOW | O_CLOEXEC, dir_fd=directory)
            if directory != _root:
                posix.close(directory)
            directory = fd
            if _mount_id(fd) != mount or name in (".", ".."):
                raise OSError(EXDEV, posix.strerror(EXDEV))
            if not names:
                directory = _root
                return fd
    finally:
        if directory != _root:
            posix.close(directory)


def _mount_id(fd: int) -> int:
    info = libc.statx(fd, mask=libc.STATX_MNT_ID)
    if info.mask & libc.STATX_MNT_ID:
        return info.mnt_id
    # Linux before 5.8. It is read beneath the root, which is the host's /proc if prepare() came
    # before pivot_root(2).
    fdinfo = posix.open(f"self/fdinfo/{fd}", posix.O_RDONLY | O_CLOEXEC, dir_fd=_root)
    try:
        text = posix.read(fdinfo, 4096)
    finally:
        posix.close(fdinfo)
    return int(text.partition(b"mnt_id:")[2].split(None, 1)[0])


def _told(error: OSError, path: str) -> OSError:
    return OSError(error.errno, error.strerror, "/proc/" + path)
