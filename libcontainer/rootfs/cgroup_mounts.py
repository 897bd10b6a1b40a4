"""Mounts of type cgroup: the v1 hierarchies in one tmpfs, or the one tree of v2."""

from __future__ import annotations

import posix
from errno import EBUSY, ENOENT, EPERM

from libc_bindings import mounts as libc
from libc_bindings.paths import read_file

from . import attach
from .mounts import (
    Target,
    bind,
    check_proc,
    finish_mount,
    is_unified,
    new_mount,
    open_mount_point,
)
from .options import MountOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RESTRICTED = libc.MS_NOEXEC | libc.MS_NOSUID | libc.MS_NODEV
_V2_ROOT = "/sys/fs/cgroup"


def mount_cgroup(target: Target, mount: Any, options: MountOptions) -> None:
    """Mount the cgroups as this host has them: the type `cgroup` stands for v2 too."""
    if is_unified(target.cgroup):
        _mount_v2(target, mount, options)
    else:
        _mount_v1(target, mount, options)


def _mount_v1(target: Target, mount: Any, options: MountOptions) -> None:
    """A tmpfs with a directory for each hierarchy, and links for the controllers that share one."""
    destination = target.destination(mount)
    fd, _ = open_mount_point(target, destination, directory=True)
    try:
        check_proc(target, target.place_of(fd), "tmpfs")
        data = target.labelled("mode=755")
        new_mount(target, fd, "tmpfs", "tmpfs", flags=_RESTRICTED, data=data)
        root = attach.top_of(fd)
    finally:
        posix.close(fd)
    try:
        for controllers, host_path, own_path in target.cgroup.hierarchies:
            name = host_path.rpartition("/")[2]
            posix.mkdir(name, 0o755, dir_fd=root)
            if target.cgroup.namespace:
                _mount_hierarchy(root, name, controllers, options)
            else:
                own = (host_path + "/" + own_path.strip("/")).rstrip("/")
                try:
                    _bind_hierarchy(target, root, name, own, options)
                except OSError as error:
                    if error.errno != ENOENT:
                        raise
                    # Rootless, the container stays in the cgroup that its maker was in.
                    own = host_path + _present_cgroup(controllers, host_path)
                    _bind_hierarchy(target, root, name, own, options)
            if "," in controllers:
                for controller in controllers.split(","):
                    if controller != name:
                        posix.symlink(name, controller, dir_fd=root)
        # "ro" is for the hierarchies: as under runc, the directory that holds them stays writable for
        # images that make one of their own in it.
        finish_mount(root, options)
    finally:
        posix.close(root)


# Nobody else has reached into the tmpfs yet, so names in it may be used as they are.


def _mount_hierarchy(root: int, name: str, controllers: str, options: MountOptions) -> None:
    """The hierarchy as the container's cgroup namespace shows it."""
    place = attach.place(root) + "/" + name
    flags = _RESTRICTED | options.flags & libc.MS_RDONLY
    libc.mount("systemd" if name == "systemd" else "cgroup", place, "cgroup", flags, controllers)


def _bind_hierarchy(
    target: Target, root: int, name: str, source: str, options: MountOptions
) -> None:
    """The container's own cgroup of the hierarchy, from the host's mount."""
    own = MountOptions([])
    own.flags = options.flags | libc.MS_BIND | libc.MS_REC
    own.cleared = options.cleared
    source_fd, detached = target.sources.open(source, own, {})
    try:
        fd = posix.open(name, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=root)
        try:
            if detached:
                libc.move_mount(source_fd, fd)
            else:
                mount_fd = attach.bind(source_fd, fd, recursive=True)
                posix.close(source_fd)
                source_fd = mount_fd
        finally:
            posix.close(fd)
        if own.changes_bind():
            attach.set_bind_flags(source_fd, own)
        finish_mount(source_fd, options)
    finally:
        posix.close(source_fd)


def _present_cgroup(controllers: str, host_path: str) -> str:
    """The path below the hierarchy's mount of the cgroup that this process is in."""
    present = "/"
    for line in _lines("/proc/self/cgroup"):
        _, listed, path = line.split(":", 2)
        if controllers.split(",", maxsplit=1)[0] in listed.split(","):
            present = path
    top = "/"
    for line in _lines("/proc/self/mountinfo"):
        fields = line.split(" ")
        if fields[4] == host_path:
            top = fields[3]
    # In a container the mount's own root is not the hierarchy's.
    prefix = top.rstrip("/")
    if (present + "/").startswith(prefix + "/"):
        present = present[len(prefix) :]
    return present.rstrip("/")


def _lines(path: str) -> list[str]:
    return read_file(path).decode("utf-8", "surrogateescape").splitlines()


def _mount_v2(target: Target, mount: Any, options: MountOptions) -> None:
    destination = target.destination(mount)
    fd, _ = open_mount_point(target, destination, directory=True)
    try:
        check_proc(target, target.place_of(fd), "cgroup2")
        source = mount.get("source") or "cgroup"
        try:
            new_mount(target, fd, source, "cgroup2", flags=options.flags, data=options.data)
        except OSError as error:
            # In a user namespace without a cgroup namespace of its own the kernel refuses.
            if error.errno not in (EPERM, EBUSY):
                raise
        else:
            if options.propagation or options.attr_set or options.attr_clr:
                root = attach.top_of(fd)
                try:
                    finish_mount(root, options)
                finally:
                    posix.close(root)
            return
        _bind_v2(target, fd, destination, options)
    finally:
        posix.close(fd)


def _bind_v2(target: Target, fd: int, destination: str, options: MountOptions) -> None:
    """The host's tree, or with a cgroup namespace the container's own part of it."""
    path = _V2_ROOT
    if target.cgroup is not None and target.cgroup.hierarchies:
        _, host_path, own_path = target.cgroup.hierarchies[0]
        path = host_path
        if target.cgroup.namespace:
            path = (host_path + "/" + own_path.lstrip("/")).rstrip("/")
    own = MountOptions([])
    own.flags = options.flags | libc.MS_BIND
    own.propagation = options.propagation
    try:
        bind(target, path, destination, own)
    except OSError as error:
        if error.errno != ENOENT:
            raise
        # Rootless and outside of the namespaces in which the path exists: an empty read-only
        # directory hides the host's cgroups, which would be writable (CVE-2023-25809).
        from .masks import mask_directory

        mask_directory(fd, target.label)
