"""The config's mounts, in their order, onto the container's root file system.

runtime-spec config.md "Mounts". A mount point is resolved once, beneath the root, and held by a
descriptor; the mount is made on that, and afterwards its place is verified to be beneath the
root still (CVE-2021-30465). What may lie on /proc is decided on the resolved place
(CVE-2019-16884).
"""

from __future__ import annotations

import posix
from _stat import S_IMODE, S_ISDIR, S_ISLNK
from errno import EINVAL, ELOOP, ENODEV, ENOENT, ENOSYS, ENOTDIR

from libc_bindings import mounts as libc
from libc_bindings.paths import PROC_SUPER_MAGIC, fstatfs_type

from .. import log
from ..errors import Error
from ..paths import make_directory, make_file, open_beneath
from . import attach
from .options import MountOptions, is_bind, is_mapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .sources import Sources

# Files of procfs that lxcfs and its like put their own over.
_EMULATED_IN_PROC = frozenset(
    (
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/slabinfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/sys/crypto/fips_enabled",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/uptime",
    )
)

# One page, less the NUL at the end.
_LONGEST_DATA = 4095

# Only the root directory of a procfs has this inode number (<linux/proc_ns.h>).
_PROC_ROOT_INO = 1


class Target:
    """What mounting needs to know of the root: its fd and path, the label, sources and cgroups."""

    __slots__ = ("cgroup", "fd", "label", "path", "sources")

    def __init__(self, root_fd: int, label: str, sources: Sources, cgroup: Any) -> None:
        self.fd = root_fd
        self.path = posix.readlink(attach.place(root_fd)).rstrip("/")
        self.label = label
        self.sources = sources
        self.cgroup = cgroup

    def place_of(self, fd: int) -> str:
        """The path of `fd` in the root, as `/dev/shm`.  Raises Error for the root and outside."""
        path = posix.readlink(attach.place(fd))
        if path == (self.path or "/"):
            raise Error(f"mountpoint {path} is on the top of rootfs {path}")
        if not path.startswith(self.path + "/"):
            raise Error(f"mountpoint {path} is outside of rootfs {self.path}")
        return path[len(self.path) :]

    def labelled(self, data: str) -> str:
        """`data` with the SELinux context that files of a new file system get."""
        if not self.label:
            return data
        context = f'context="{self.label}"'
        return f"{data},{context}" if data else context

    def destination(self, mount: Any) -> str:
        """The mount's destination in the container; it may be given as a path of the host's."""
        destination: str = mount["destination"]
        if self.path and destination.startswith(self.path + "/"):
            return destination[len(self.path) :]
        return destination


def mount_all(root_fd: int, spec: Any, sources: Sources, cgroup: Any) -> None:
    """Make all mounts of the config beneath `root_fd`.

    `cgroup` is the manager's view, for mounts of type cgroup. Raises Error that names the mount.
    """
    label = (spec.get("linux") or {}).get("mountLabel", "")
    target = Target(root_fd, label, sources, cgroup)
    try:
        for index, mount in enumerate(spec.get("mounts") or ()):
            try:
                _mount(target, mount, sources.options[index])
            except (OSError, Error) as error:
                raise Error(
                    'error mounting "%s" to rootfs at "%s": %s (config.json: mounts[%d])'
                    % (mount.get("source", ""), mount["destination"], reason(error), index)
                ) from error
    finally:
        sources.close()


def reason(error: Exception) -> str:
    """An exception as the end of a sentence, the system's words as Go programs spell them."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    call, _, words = error.strerror.rpartition(": ")
    words = words[:1].lower() + words[1:]
    told = f"{call}: {words}" if call else words
    name = error.filename
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    if name and not name.startswith("/proc/self/fd/"):
        return f"{told}: {name}" if call else f"{name}: {told}"
    return told


def is_unified(cgroup: Any) -> bool:
    """Whether the host has cgroup v2 alone, by the CgroupView; also where it is not known (None)."""
    return cgroup is None or cgroup.version == 2


def _mount(target: Target, mount: Any, options: MountOptions) -> None:
    kind = mount.get("type") or ""
    if options.flags & libc.MS_REMOUNT:
        _remount(target, mount, options)
    elif is_bind(mount, options):
        source = mount.get("source") or ""
        _bind(target, source, target.destination(mount), options, mount)
    elif kind == "cgroup" or (kind == "cgroup2" and is_unified(target.cgroup)):
        from .cgroup_mounts import mount_cgroup

        mount_cgroup(target, mount, options)
    else:
        _new_filesystem(target, mount, options)


def _new_filesystem(target: Target, mount: Any, options: MountOptions) -> None:
    """A file system of its own: tmpfs, proc, devpts, overlay, whatever the kernel has."""
    kind = mount.get("type") or ""
    destination = target.destination(mount)
    if kind in ("proc", "sysfs"):
        fd, made = _real_directory(target, destination, kind), False
    else:
        fd, made = open_mount_point(target, destination, directory=True)
    covered = -1
    try:
        check_proc(target, target.place_of(fd), kind)
        data = options.data
        if kind == "tmpfs" and not made:
            # A tmpfs takes over the permissions of the directory that it covers.
            inherited = "mode=%04o" % S_IMODE(posix.fstat(fd).st_mode)
            data = f"{inherited},{data}" if data else inherited
            if options.copy_up:
                covered = posix.open(attach.place(fd), posix.O_RDONLY | posix.O_CLOEXEC)
        if kind not in ("proc", "sysfs", "mqueue"):
            data = target.labelled(data)
        mount_fd = -1
        if is_mapped(mount, options):
            mount_fd = _mapped_mount(target, fd, mount, options, data)
        else:
            source = mount.get("source") or kind
            flags = first_flags(mount, options)
            new_mount(target, fd, source, kind, flags=flags, data=data)
        if kind in ("proc", "sysfs"):
            attach.keep(clean(destination), fd)
        if (
            mount_fd >= 0
            or covered >= 0
            or changes_later(options)
            or (kind == "mqueue" and target.label)
        ):
            if mount_fd < 0:
                mount_fd = attach.top_of(fd)
            _finish_filesystem(target, mount_fd, covered, kind, options)
    finally:
        posix.close(fd)
        if covered >= 0:
            posix.close(covered)


def _finish_filesystem(
    target: Target, mount_fd: int, covered: int, kind: str, options: MountOptions
) -> None:
    """What is done with a mount of its own once it is in place; closes `mount_fd`."""
    try:
        if covered >= 0:
            from .copyup import copy_up

            copy_up(covered, attach.place(mount_fd))
        if kind == "mqueue" and target.label:
            # mqueue takes no context option.
            label = target.label.encode() + b"\0"
            posix.setxattr(attach.place(mount_fd), "security.selinux", label)
        finish_mount(mount_fd, options)
    finally:
        posix.close(mount_fd)


def _mapped_mount(target: Target, fd: int, mount: Any, options: MountOptions, data: str) -> int:
    """An id-mapped new file system on what `fd` holds; returns the mount's fd."""
    mount_fd = target.sources.new_filesystem(mount, options, data)
    try:
        libc.move_mount(mount_fd, fd)
        target.place_of(fd)
        if options.flags & libc.MS_RDONLY and not is_late_readonly(mount, options):
            attach.set_readonly(mount_fd)
    except BaseException:
        posix.close(mount_fd)
        raise
    return mount_fd


def new_mount(target: Target, fd: int, source: str, kind: str, *, flags: int, data: str) -> None:
    """mount(2) of a new file system on what `fd` holds, verified to be in the root afterwards."""
    if len(data.encode("utf-8", "surrogateescape")) > _LONGEST_DATA:
        raise Error(f"the options are longer than the {_LONGEST_DATA} bytes that mount(2) takes")
    try:
        libc.mount(source, attach.place(fd), kind, flags, data or None)
    except OSError as error:
        if error.errno == ENODEV:
            words = f'no such device (the kernel has no file system "{kind}")'
            raise Error(f"mount: {words}") from error
        if error.errno not in (EINVAL, ELOOP):
            raise
        words = _explanation(kind, source, flags, data)
        if not words:
            raise
        raise Error(f"mount: {words}") from error
    target.place_of(fd)


def _explanation(kind: str, source: str, flags: int, data: str) -> str:
    """What the kernel would say through fsopen(2) about options that mount(2) refused, or ""."""
    try:
        from .filesystems import explain
    except ImportError:
        # Root in a user namespace may be unable to read the program's own files.
        return ""
    return explain(kind, source, flags, data)


def first_flags(mount: Any, options: MountOptions) -> int:
    """mount(2)'s flags at first: what still has to be written to is made read-only at the end."""
    if is_late_readonly(mount, options):
        return options.flags & ~libc.MS_RDONLY
    return options.flags


def is_late_readonly(mount: Any, options: MountOptions) -> bool:
    """Whether finish() has to make this mount read-only.

    /dev, for its nodes and links, and every tmpfs, because later mounts make their mount points
    in it.
    """
    if not options.flags & libc.MS_RDONLY or is_bind(mount, options):
        return False
    return mount.get("type") == "tmpfs" or clean(mount["destination"]) == "/dev"


def clean(path: str) -> str:
    """`path` as an absolute one without empty, "." and ".." components, going by the text alone."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part and part != ".":
            parts.append(part)
    return "/" + "/".join(parts)


def changes_later(options: MountOptions) -> bool:
    """Whether the mount needs calls that take the mount itself."""
    return bool(options.propagation or options.attr_set or options.attr_clr)


def finish_mount(mount_fd: int, options: MountOptions) -> None:
    """Recursive attributes and propagation, which are set on the finished mount."""
    if options.attr_set or options.attr_clr:
        try:
            attach.set_attributes(mount_fd, options.attr_set, options.attr_clr, recursive=True)
        except OSError as error:
            if error.errno == ENOSYS:
                raise Error("recursive mount options need mount_setattr(2), Linux 5.12") from None
            raise
    for flags in options.propagation:
        attach.set_propagation(mount_fd, flags)


def bind(target: Target, source: str, destination: str, options: MountOptions) -> None:
    """Bind the host's `source` on `destination`, with the options' flags."""
    _bind(target, source, destination, options, {})


def _bind(target: Target, source: str, destination: str, options: MountOptions, mount: Any) -> None:
    source_fd, detached = target.sources.open(source, options, mount)
    try:
        fd, _ = open_mount_point(target, destination, _is_directory(source_fd))
        try:
            place = target.place_of(fd)
            check_proc(target, place, "", source_fd)
            if detached:
                libc.move_mount(source_fd, fd)
            else:
                recursive = bool(options.flags & libc.MS_REC)
                source_fd = _exchange(source_fd, attach.bind(source_fd, fd, recursive))
        except OSError as error:
            if error.errno == EINVAL and _is_directory(source_fd) != _is_directory(fd):
                # mount(2)'s words for what is "invalid argument" to move_mount(2): engines look
                # for them and tell which option of theirs is meant.
                raise OSError(ENOTDIR, "mount: not a directory") from None
            raise
        finally:
            posix.close(fd)
        target.place_of(source_fd)
        if options.changes_bind():
            attach.set_bind_flags(source_fd, options)
        finish_mount(source_fd, options)
        if place in ("/proc", "/sys"):
            attach.kept[place] = posix.dup(source_fd)
    finally:
        posix.close(source_fd)


def _remount(target: Target, mount: Any, options: MountOptions) -> None:
    """Change the flags (and without "bind" the file system's options) of what is mounted there."""
    fd = open_beneath(target.fd, target.destination(mount))
    try:
        target.place_of(fd)
        if is_bind(mount, options):
            attach.set_bind_flags(fd, options)
        else:
            libc.mount(None, attach.place(fd), None, options.flags, options.data or None)
        finish_mount(fd, options)
    finally:
        posix.close(fd)


def open_mount_point(target: Target, destination: str, directory: bool) -> tuple[int, bool]:
    """The O_PATH fd of the mount point, and whether it had to be made."""
    try:
        return open_beneath(target.fd, destination), False
    except OSError as error:
        if error.errno != ENOENT:
            raise
    # Nothing can be made in a procfs; say why it would be wrong anyway.
    check_proc(target, clean(destination), "proc")
    if directory:
        return make_directory(target.fd, destination), True
    return make_file(target.fd, destination), True


def _real_directory(target: Target, destination: str, kind: str) -> int:
    """The mount point for proc or sysfs, which must be a directory itself and no link to one.

    Through a link what is written there later (labels, sysctls) would go to another file
    (CVE-2019-19921, CVE-2023-27561).
    """
    path = clean(destination)
    try:
        fd = open_beneath(target.fd, path, posix.O_PATH | posix.O_NOFOLLOW)
    except OSError as error:
        if error.errno != ENOENT:
            raise
        return make_directory(target.fd, path)
    mode = posix.fstat(fd).st_mode
    if S_ISLNK(mode) or not S_ISDIR(mode):
        posix.close(fd)
        raise Error(f'filesystem "{kind}" must be mounted on ordinary directory')
    return fd


def check_proc(target: Target, place: str, kind: str, source_fd: int = -1) -> None:
    """Raise Error for a mount on /proc that is no procfs, or beneath it and not emulated there."""
    attach.forget(place)
    if place != "/proc" and not place.startswith("/proc/"):
        return
    path = target.path + place
    if place != "/proc":
        if place not in _EMULATED_IN_PROC:
            raise Error(f'"{path}" cannot be mounted because it is inside /proc')
    elif source_fd >= 0:
        if fstatfs_type(source_fd) != PROC_SUPER_MAGIC:
            raise Error(f'"{path}" cannot be mounted because it is not of type proc')
        if posix.fstat(source_fd).st_ino != _PROC_ROOT_INO:
            log.warning(f"bind-mount {path} is of type procfs but is not the root of a procfs")
    elif kind != "proc":
        raise Error(f'"{path}" cannot be mounted because it is not of type proc')


def _is_directory(fd: int) -> bool:
    return S_ISDIR(posix.fstat(fd).st_mode)


def _exchange(old_fd: int, new_fd: int) -> int:
    posix.close(old_fd)
    return new_fd
