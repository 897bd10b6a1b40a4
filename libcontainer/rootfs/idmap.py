"""Id-mapped mounts: MOUNT_ATTR_IDMAP, and user namespaces that only carry a mapping.

runtime-spec config.md "Mounts" (uidMappings, gidMappings, options idmap and ridmap).
"""

from __future__ import annotations

import posix
from errno import EINVAL, ENOSYS

from libc_bindings import mounts as libc
from libc_bindings import namespaces

from .. import procfs
from ..errors import Error
from .options import MountOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Mapper:
    """Makes detached, id-mapped mounts; one user namespace serves all mounts of a mapping.

    `container_ns` is the fd of the container's user namespace, for mounts that name no mapping of
    their own, or -1.
    """

    def __init__(self, container_ns: int = -1) -> None:
        self._container_ns = container_ns
        self._cache: dict[str, int] = {}

    def open(self, path: str, mount: Any, options: MountOptions) -> int:
        """The fd of a detached, mapped copy of the mount at `path`.

        Raises OSError with the path, Error where the file system cannot be mapped.
        """
        tree = libc.AT_RECURSIVE if options.flags & libc.MS_REC else 0
        try:
            fd = libc.open_tree(libc.AT_FDCWD, path, libc.OPEN_TREE_CLONE | tree)
        except OSError as error:
            if error.errno != ENOSYS:
                raise
            raise Error(f"{path}: id-mapped mounts need mount_setattr(2), Linux 5.12") from None
        try:
            self.map(fd, path, mount, options)
        except BaseException:
            posix.close(fd)
            raise
        return fd

    def map(self, mount_fd: int, path: str, mount: Any, options: MountOptions) -> None:
        """Map the ids of the detached mount `mount_fd`, with "ridmap" of all beneath it too."""
        tree = libc.AT_RECURSIVE if options.idmap == "ridmap" else 0
        try:
            libc.mount_setattr(
                mount_fd,
                "",
                libc.AT_EMPTY_PATH | tree,
                attr_set=libc.MOUNT_ATTR_IDMAP,
                userns_fd=self._namespace(mount),
            )
        except OSError as error:
            hint = ""
            if error.errno == EINVAL:
                hint = " (maybe the filesystem used doesn't support idmap mounts on this kernel?)"
            elif error.errno == ENOSYS:
                hint = " (id-mapped mounts need Linux 5.12)"
            words = posix.strerror(error.errno or 0)
            message = f"failed to set MOUNT_ATTR_IDMAP on {path}: {words.lower()}{hint}"
            raise Error(message) from error

    def close(self) -> None:
        """Let go of the user namespaces; the mounts keep what they need."""
        for fd in self._cache.values():
            posix.close(fd)
        self._cache.clear()
        if self._container_ns >= 0:
            posix.close(self._container_ns)
            self._container_ns = -1

    def _namespace(self, mount: Any) -> int:
        uids, gids = _lines(mount.get("uidMappings")), _lines(mount.get("gidMappings"))
        if not uids and not gids:
            if self._container_ns < 0:
                raise Error("id-mapped mounts must have both uid and gid mappings specified")
            return self._container_ns
        key = f"{uids}/{gids}"
        if key not in self._cache:
            self._cache[key] = make_user_namespace(uids, gids)
        return self._cache[key]


def _lines(mappings: Any) -> str:
    """Mappings as the lines of uid_map: first id inside, first id outside, how many."""
    return "".join(
        "%d %d %d\n" % (line["containerID"], line["hostID"], line["size"])
        for line in mappings or ()
    )


def make_user_namespace(uid_map: str, gid_map: str) -> int:
    """The fd of a user namespace with these mappings, in which nothing runs.

    A child makes it and lives only until the maps are written. Raises OSError.
    """
    # Opened once, for both: this process may be in another PID namespace than the host's /proc.
    procfs.prepare()
    ready, tell = posix.pipe2(posix.O_CLOEXEC)
    wait, release = posix.pipe2(posix.O_CLOEXEC)
    child = posix.fork()
    if child == 0:
        posix.close(release)
        _be_the_namespace(tell, wait)
    posix.close(tell)
    posix.close(wait)
    try:
        answer = posix.read(ready, 64).decode()
        if not answer.isdigit():
            number = int(answer[1:] or 0)
            raise OSError(number, f"unshare of a user namespace: {posix.strerror(number)}")
        fd = procfs.follow(f"{answer}/ns/user", posix.O_RDONLY)
        try:
            procfs.write_pid(int(answer), "uid_map", uid_map)
            procfs.write_pid(int(answer), "gid_map", gid_map)
        except OSError:
            posix.close(fd)
            raise
        return fd
    finally:
        posix.close(release)
        posix.close(ready)
        posix.waitpid(child, 0)


def _be_the_namespace(tell: int, wait: int) -> None:
    try:
        namespaces.unshare(namespaces.CLONE_NEWUSER)
        posix.write(tell, procfs.number().encode())
        posix.read(wait, 1)
    except OSError as error:
        posix.write(tell, b"-%d" % (error.errno or 0))
    finally:
        posix._exit(0)
