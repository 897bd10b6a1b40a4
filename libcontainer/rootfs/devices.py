"""/dev: the nodes that every container has, those of the config, and the usual links.

runtime-spec config-linux.md "Default Devices", "Devices" and "Default filesystems".
"""

from __future__ import annotations

import posix
from _stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT, S_IFREG, S_IMODE, S_ISCHR
from errno import EBADF, EEXIST, ENOENT, EPERM

from ..errors import Error
from ..paths import open_parent
from . import attach
from .mounts import clean, reason
from .options import MountOptions, is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# path, major, minor; all are character devices for everybody.
_DEFAULT = (
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
)

_TYPES = {"b": S_IFBLK, "c": S_IFCHR, "u": S_IFCHR, "p": S_IFIFO}

_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)

_O_NODE = posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC


def make_devices(root_fd: int, spec: Any, bind: bool) -> None:
    """Make the device nodes and links of /dev, unless the config mounts a /dev of its own.

    With `bind` (in a user namespace, where mknod(2) makes nodes that nobody can open) the host's
    devices are mounted on empty files. Raises Error that names the device.
    """
    if not _is_ours(spec):
        return
    umask = posix.umask(0)
    parents: dict[str, int] = {}
    try:
        for device in devices_of(spec):
            try:
                _make_device(root_fd, parents, device, bind)
            except OSError as error:
                message = "error creating device nodes: %s: %s" % (device["path"], reason(error))
                raise Error(message) from error
        posix.umask(umask)
        _make_links(_parent(root_fd, parents, "/dev/x")[0])
    finally:
        posix.umask(umask)
        for fd in parents.values():
            posix.close(fd)


def reopen_null(spec: Any) -> None:
    """Where stdin, stdout or stderr is the host's /dev/null, make it the container's."""
    if not _is_ours(spec):
        return
    streams = [stream for stream in (0, 1, 2) if _is_null(stream)]
    if not streams:
        return
    try:
        fd = posix.open("/dev/null", posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC)
    except OSError as error:
        raise Error(f"error reopening /dev/null inside container: {reason(error)}") from error
    try:
        verify_null(fd)
        for stream in streams:
            posix.dup2(fd, stream)
    finally:
        posix.close(fd)


def verify_null(fd: int) -> None:
    """Raise Error unless `fd` holds the null device, character 1:3 (CVE-2025-31133)."""
    if not _is_null(fd):
        raise Error("container's /dev/null is invalid: it is not the character device 1:3")


def _is_null(fd: int) -> bool:
    try:
        status = posix.fstat(fd)
    except OSError as error:
        # The caller may have closed a standard stream.
        if error.errno != EBADF:
            raise
        return False
    return S_ISCHR(status.st_mode) and status.st_rdev == posix.makedev(1, 3)


def _is_ours(spec: Any) -> bool:
    for mount in spec.get("mounts") or ():
        options = MountOptions(mount.get("options") or [])
        if clean(mount["destination"]) == "/dev" and is_bind(mount, options):
            return False
    return True


def devices_of(spec: Any) -> list[Any]:
    """The default devices that the config does not list itself, then the config's."""
    listed = (spec.get("linux") or {}).get("devices") or []
    paths = {device["path"] for device in listed}
    devices = [
        {"path": path, "type": "c", "major": major, "minor": minor}
        for path, major, minor in _DEFAULT
        if path not in paths
    ]
    devices.extend(listed)
    return devices


def _parent(root_fd: int, parents: dict[str, int], path: str) -> tuple[int, str]:
    """The directory of `path` beneath the root, made if it is missing, and the last name."""
    directory, _, name = path.rpartition("/")
    if directory not in parents:
        parents[directory], name = open_parent(root_fd, path, make=True)
    return parents[directory], name


def _make_device(root_fd: int, parents: dict[str, int], device: Any, bind: bool) -> None:
    if clean(device["path"]) == "/dev/ptmx":
        return
    parent, name = _parent(root_fd, parents, device["path"])
    kind = _TYPES[device["type"]]
    # A FIFO is nothing of the host's, and any user namespace may make one.
    if bind and kind != S_IFIFO:
        _bind_device(parent, name, device, kind)
        return
    mode = S_IMODE(device.get("fileMode", 0o666)) | kind
    number = 0 if kind == S_IFIFO else posix.makedev(*_numbers(device))
    try:
        posix.mknod(name, mode, number, dir_fd=parent)
    except OSError as error:
        if error.errno == EEXIST:
            return
        if error.errno != EPERM or kind == S_IFIFO:
            raise
        _bind_device(parent, name, device, kind)
        return
    uid, gid = device.get("uid", 0), device.get("gid", 0)
    if uid or gid:
        _change_owner(parent, name, mode, uid, gid)


def _change_owner(parent: int, name: str, mode: int, uid: int, gid: int) -> None:
    fd = posix.open(name, _O_NODE, dir_fd=parent)
    try:
        if S_IFMT(posix.fstat(fd).st_mode) != S_IFMT(mode):
            raise Error(f"the new device node {name} was replaced by another file")
        posix.chown(attach.place(fd), uid, gid)
        # chown(2) drops the set-id bits.
        if mode & 0o6000:
            posix.chmod(attach.place(fd), mode & 0o7777)
    finally:
        posix.close(fd)


def _bind_device(parent: int, name: str, device: Any, kind: int) -> None:
    """Mount the host's device of the same path on an empty file."""
    source = posix.open(device["path"], posix.O_PATH | posix.O_CLOEXEC)
    try:
        status = posix.fstat(source)
        number = posix.makedev(*_numbers(device))
        if S_IFMT(status.st_mode) != kind or status.st_rdev != number:
            raise Error(
                "error creating device nodes: %s: the host's is not the device %s %d:%d that the"
                " config names" % (device["path"], device["type"], *_numbers(device))
            )
        try:
            posix.mknod(name, S_IFREG, dir_fd=parent)
        except FileExistsError:
            pass
        node = posix.open(name, _O_NODE, dir_fd=parent)
        try:
            posix.close(attach.bind(source, node))
        finally:
            posix.close(node)
    finally:
        posix.close(source)


def _numbers(device: Any) -> tuple[int, int]:
    return device.get("major", 0), device.get("minor", 0)


def _make_links(dev_fd: int) -> None:
    """fd, stdin, stdout, stderr and, if the kernel has it, core; ptmx of the container's devpts."""
    try:
        posix.unlink("ptmx", dir_fd=dev_fd)
    except FileNotFoundError:
        pass
    posix.symlink("pts/ptmx", "ptmx", dir_fd=dev_fd)
    links = list(_LINKS)
    try:
        posix.stat("/proc/kcore")
        links.append(("core", "/proc/kcore"))
    except OSError as error:
        if error.errno != ENOENT:
            raise
    for name, destination in links:
        try:
            posix.symlink(destination, name, dir_fd=dev_fd)
        except FileExistsError:
            pass
