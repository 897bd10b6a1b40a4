"""What an image does not hold but only names: the host's files, and namespaces of others.

A name is the mount point in the container, as in runc's images; restored, it stands for the source
that the config has now.
"""

from __future__ import annotations

import posix
from _stat import S_ISDIR

from libc_bindings import mounts as libc
from libc_bindings import namespaces as kernel
from libc_bindings.paths import read_all, read_file
from libcontainer import jsonio, namespaces, rootfs
from libcontainer.errors import Error, reason
from libcontainer.paths import open_beneath
from libcontainer.rootfs.devices import devices_of
from libcontainer.rootfs.mounts import clean, mount_all
from libcontainer.rootfs.mounts import reason as mount_reason
from libcontainer.rootfs.options import MountOptions, is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NULL = "/dev/null"
_O_DIRECTORY = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC

# Type in the config, the kernel's name, and since which criu they may be somebody else's.
_EXTERNAL = (("network", "net", 31100), ("pid", "pid", 31500))
# Those that criu can only enter. It knows nothing of cgroup namespaces.
_ENTERED = (("mount", "mnt"), ("ipc", "ipc"), ("uts", "uts"), ("user", "user"), ("time", "time"))


def _binds(spec: Any) -> list[Any]:
    """The mounts that show files of the host's."""
    found = []
    for mount in spec.get("mounts") or ():
        options = MountOptions(mount.get("options") or [])
        if is_bind(mount, options) and not options.flags & libc.MS_REMOUNT:
            found.append(mount)
    return found


def _place(root_fd: int, destination: str) -> str:
    """The mount point, links resolved, as a path in the container whose root is `root_fd`."""
    try:
        fd = open_beneath(root_fd, destination)
    except OSError:
        # The container has unmounted it, for example.
        return clean(destination)
    try:
        path = posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)
    root = posix.readlink(f"/proc/self/fd/{root_fd}").rstrip("/")
    return path[len(root) :] if path.startswith(root + "/") else clean(destination)


def dumped_mounts(spec: Any, pid: int) -> list[dict[str, str]]:
    """criu's `ext_mnt` of a container whose init is `pid`: mount point and the name in the image."""
    root_fd = posix.open(f"/proc/{pid}/root", _O_DIRECTORY)
    try:
        listed = [mount["destination"] for mount in _binds(spec)]
        listed += [device["path"] for device in devices_of(spec)]
        places = [_place(root_fd, path) for path in listed]
        places += _cgroup_mounts(spec, pid)
        found = [{"key": place, "val": place} for place in places]
        for path in (spec.get("linux") or {}).get("maskedPaths") or ():
            try:
                fd = open_beneath(root_fd, path)
            except OSError:
                continue
            directory = S_ISDIR(posix.fstat(fd).st_mode)
            posix.close(fd)
            if not directory:
                # A directory is masked by a file system of its own, which is in the image.
                found.append({"key": _place(root_fd, path), "val": _NULL})
    finally:
        posix.close(root_fd)
    return found


def _cgroup_mounts(spec: Any, pid: int) -> list[str]:
    """Where parts of cgroup v1's hierarchies are mounted: without a cgroup namespace, the host's."""
    if has_cgroup_namespace(spec):
        return []
    mounts = read_file(f"/proc/{pid}/mountinfo").decode("utf-8", "surrogateescape")
    lines = [line.split(" ") for line in mounts.splitlines()]
    return [fields[4] for fields in lines if fields[fields.index("-") + 1] == "cgroup"]


def has_cgroup_namespace(spec: Any) -> bool:
    """Whether mounts of type `cgroup` show a namespace's own hierarchies, and no part of the host's."""
    return any(
        entry["type"] == "cgroup" for entry in (spec.get("linux") or {}).get("namespaces") or ()
    )


def restored_mounts(spec: Any, bundle: str, cgroup: Any) -> list[dict[str, str]]:
    """criu's `ext_mnt` to restore: names in the image, and what of the host is mounted for them.

    Missing mount points are made as by `run`. `cgroup` is the manager's view. Raises Error.
    """
    binds = _binds(spec)
    found = []
    for place, mount in zip(_make_mount_points(spec, bundle), binds):
        source = mount["source"]
        # criu looks for it in mountinfo, where there is no "." and no "..".
        source = clean(source if source[:1] == "/" else f"{bundle}/{source}")
        found.append({"key": place, "val": source})
    if cgroup.version == 1 and not has_cgroup_namespace(spec):
        for mount in spec.get("mounts") or ():
            if mount.get("type") == "cgroup":
                found += [
                    {"key": f"{clean(mount['destination'])}/{where.rpartition('/')[2]}",
                     "val": f"{where}/{path.strip('/')}".rstrip("/")}
                    for _, where, path in cgroup.hierarchies
                ]  # fmt: skip
    if (spec.get("linux") or {}).get("maskedPaths"):
        found.append({"key": _NULL, "val": _NULL})
    return found + [{"key": clean(d["path"]), "val": d["path"]} for d in devices_of(spec)]


def _make_mount_points(spec: Any, bundle: str) -> list[str]:
    """Make what the config mounts on, where it is missing; the mount points of the binds.

    Later mounts may have theirs in earlier ones, so it is all mounted once, in a process with a
    mount namespace of its own: but for file systems that might keep what is written, for which a
    tmpfs stands.
    """
    mounts = []
    for mount in spec.get("mounts") or ():
        options = MountOptions(mount.get("options") or [])
        if options.flags & libc.MS_REMOUNT:
            continue
        if is_bind(mount, options):
            kept = "rbind" if options.flags & libc.MS_REC else "bind"
            mounts.append({**mount, "options": [kept], "uidMappings": None, "gidMappings": None})
        elif mount.get("type") in ("proc", "sysfs"):
            mounts.append({**mount, "options": []})
        else:
            place = {"destination": mount["destination"], "type": "tmpfs", "source": "tmpfs"}
            mounts.append(place)
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    pid = posix.fork()
    if pid == 0:
        answer: Any = "it was interrupted"
        try:
            answer = _mount_once({"root": spec["root"], "mounts": mounts}, bundle)
        except (OSError, Error) as error:
            answer = mount_reason(error)
        finally:
            posix.write(writer, jsonio.dumps(answer).encode("utf-8", "surrogateescape"))
            posix._exit(0)
    posix.close(writer)
    text = read_all(reader)
    posix.waitpid(pid, 0)
    places = jsonio.loads(text, "the mount points") if text else "the process for it was killed"
    if isinstance(places, str):
        raise Error(f"create criu restore mountpoint: {places}")
    return places  # type: ignore[no-any-return]


def _mount_once(spec: Any, bundle: str) -> list[str]:
    kernel.unshare(kernel.CLONE_NEWNS)
    libc.mount(None, "/", None, libc.MS_SLAVE | libc.MS_REC)
    root_fd = rootfs.bind_root(spec, bundle)
    mount_all(root_fd, spec, rootfs.open_sources(spec, bundle), None)
    return [_place(root_fd, mount["destination"]) for mount in _binds(spec)]


def dumped_namespaces(spec: Any, pid: int, version: int) -> list[str]:
    """criu's `external` for the namespaces that the container of init `pid` has joined."""
    found = []
    for kind, name, since in _EXTERNAL:
        if namespaces.path_of(spec, kind):
            _check_version(name, since, version, "checkpointing")
            inode = posix.stat(f"/proc/{pid}/ns/{name}").st_ino
            found.append(f"{name}[{inode}]:{_key(name)}")
    return found


def restored_namespaces(spec: Any, version: int, first: int) -> tuple[dict[str, Any], list[int]]:
    """criu's `inherit_fd` and `join_ns` for the namespaces that the config joins.

    And the descriptors that criu has to have from number `first` on, which are the caller's to
    close. Raises Error.
    """
    inherited: list[dict[str, Any]] = []
    entered: list[dict[str, str]] = []
    if namespaces.path_of(spec, "cgroup"):
        raise Error("linux.namespaces: criu cannot restore into the cgroup namespace of another")
    for kind, name in _ENTERED:
        path = namespaces.path_of(spec, kind)
        if path:
            entered.append({"ns": name, "ns_file": path})
    fds: list[int] = []
    for kind, name, since in _EXTERNAL:
        path = namespaces.path_of(spec, kind)
        if not path:
            continue
        _check_version(name, since, version, "the restoration")
        try:
            fds.append(posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC))
        except OSError as error:
            raise Error(f"Requested {kind} namespace {path}: {reason(error)}") from None
        inherited.append({"key": _key(name), "fd": first + len(fds) - 1})
    return {"inherit_fd": inherited, "join_ns": entered}, fds


def _check_version(name: str, since: int, version: int, doing: str) -> None:
    if version < since:
        raise Error(
            f"criu lacks support for external {name} namespace during {doing} process"
            " (old criu version?)"
        )


def _key(name: str) -> str:
    """The name of a joined namespace in the image, runc's: extRootNetNS."""
    return f"extRoot{name.capitalize()}NS"
