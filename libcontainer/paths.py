"""Every path of the container is resolved here, beneath a descriptor of the container's root.

A path that the image or another container can change while it is being used must be looked up
once, by the kernel, without leaving the root; what comes back is a descriptor, and everything later
is done on that. openat2(2) with RESOLVE_IN_ROOT does it in one call. Kernels before 5.6 lack that
call and some sandboxes forbid it; there the same walk is done here, one component at a time, each
opened with O_PATH|O_NOFOLLOW relative to the one before. The kernel's rules hold in both:
absolute links start at the root, ".." stops there, forty links are the most, and the magic links of
/proc (which lead anywhere) are refused with ELOOP.

Created files and directories get the mode given here minus the process's umask.
"""

from __future__ import annotations

import posix
from _stat import S_IFREG, S_ISLNK, S_ISVTX, S_IWOTH
from errno import (
    EACCES,
    EAGAIN,
    EINVAL,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENOENT,
    ENOSYS,
    ENOTDIR,
    EPERM,
)

from libc_bindings import paths as libc

from .errors import Error

O_PATH, O_NOFOLLOW, O_DIRECTORY = posix.O_PATH, posix.O_NOFOLLOW, posix.O_DIRECTORY
O_CLOEXEC, O_CREAT, O_EXCL = posix.O_CLOEXEC, posix.O_CREAT, posix.O_EXCL

_RESOLVE = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS

# How a directory on the way is entered: a link gives ENOTDIR.
_ENTER = O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC

# In a container that may be anything, a FIFO too.
_O_SETTING = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | O_CLOEXEC

_DIRECTORIES = (b".", b"..")

# The kernel's MAXSYMLINKS and PATH_MAX.
_MAX_LINKS = 40
_PATH_MAX = 4096

# How often a lookup is begun again because somebody is renaming below it.
_ATTEMPTS = 128

_has_openat2 = True


def open_beneath(root_fd: int, path: str, flags: int = O_PATH, mode: int = 0) -> int:
    """Open `path` as a process whose root directory is `root_fd` would; returns a descriptor.

    `flags` are open(2)'s; O_CLOEXEC is added. `mode` is that of a file which O_CREAT makes. The
    magic links of procfs are refused. Raises OSError (ENOENT, ENOTDIR, ELOOP…) with the path.
    """
    global _has_openat2
    name = path.encode("utf-8", "surrogateescape")
    attempts = _ATTEMPTS if _has_openat2 else 0
    for _ in range(attempts):
        try:
            return libc.openat2(root_fd, name, flags, _RESOLVE, mode)
        except OSError as error:
            # EAGAIN: a rename or a mount happened while the kernel was walking over "..".
            if error.errno == EAGAIN:
                continue
            # EPERM is what old seccomp profiles answer to calls that they do not know.
            if error.errno not in (ENOSYS, EPERM):
                raise _told(error, path) from None
            _has_openat2 = error.errno != ENOSYS
            break
    return _open_by_walk(root_fd, path, name, flags, mode)


def make_directory(
    root_fd: int, path: str, mode: int = 0o755, owner: tuple[int, int] | None = None
) -> int:
    """mkdir -p beneath `root_fd`; returns an O_PATH descriptor of the directory.

    Links are followed inside the root, also those whose target has to be made. The directories
    made here belong to `owner` (uid, gid) if that is given. Raises OSError with the path: ENOTDIR
    where a file is in the way.
    """
    try:
        return open_beneath(root_fd, path, O_PATH | O_DIRECTORY)
    except OSError as error:
        if error.errno != ENOENT or not path:
            raise
    for _ in range(_ATTEMPTS):
        walk = _Walk(root_fd, _encoded(path) + b"/.", make=(mode, owner))
        try:
            walk.resolve()
            return walk.open(O_PATH | O_DIRECTORY)
        except OSError as error:
            if error.errno != EAGAIN:
                raise _told(error, path) from None
        finally:
            walk.close()
    raise _restless(path)


def make_file(root_fd: int, path: str, mode: int = 0o644) -> int:
    """An O_PATH descriptor of `path` beneath `root_fd`, as an empty file if there is nothing yet.

    Missing parent directories are made (mode 0755). What exists is taken as it is, whatever its
    type. Raises OSError with the path.
    """
    try:
        return open_beneath(root_fd, path, O_PATH)
    except OSError as error:
        if error.errno != ENOENT or not path:
            raise
    for _ in range(_ATTEMPTS):
        walk = _Walk(root_fd, _encoded(path), make=(0o755, None))
        try:
            walk.resolve()
            try:
                # mknod(2) makes a regular file without opening it, and never through a link.
                posix.mknod(walk.name, S_IFREG | mode, dir_fd=walk.directory)
            except FileExistsError:
                pass
            fd = walk.open(O_PATH)
        except OSError as error:
            # ENOENT: removed again, or replaced by a link, by somebody else.
            if error.errno not in (EAGAIN, ENOENT):
                raise _told(error, path) from None
        else:
            return fd
        finally:
            walk.close()
    raise _restless(path)


def open_parent(root_fd: int, path: str, make: bool = False) -> tuple[int, str]:
    """The O_PATH descriptor of the directory that holds `path`, and the last component's name.

    For mknodat(2), symlinkat(2) and their like: the parent is resolved, the last component is not.
    With `make`, missing parent directories are made (mode 0755). Raises OSError with the path,
    EINVAL where the last component is missing, "." or "..".
    """
    parent, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(EINVAL, "the path names no directory entry", path)
    if make:
        return make_directory(root_fd, parent or "/"), name
    return open_beneath(root_fd, parent or "/", O_PATH | O_DIRECTORY), name


def fd_path(fd: int) -> str:
    """A path that leads to the file under `fd`, for calls that take nothing but paths.

    It needs the /proc of this process to be the one that is mounted: on the host's side of
    pivot_root(2) it is.
    """
    return f"/proc/self/fd/{fd}"


def verify_beneath(root_fd: int, fd: int, path: str) -> None:
    """Raise Error unless the file under `fd` lies beneath the directory under `root_fd`.

    A last check of what was resolved, after it was acted on. `path` is for the message.
    """
    root = posix.readlink(fd_path(root_fd))
    place = posix.readlink(fd_path(fd))
    if place != root and not place.startswith(root.rstrip("/") + "/"):
        raise Error(f"{path}: leads to {place}, which is outside of the root file system {root}")


def verify_working_directory(cwd: str) -> None:
    """Raise Error unless the working directory is inside the root of this process.

    chdir("/proc/self/fd/7") through a descriptor that somebody leaked puts it outside, where
    getcwd(2) has no absolute path to tell. `cwd` is what the config asked for (CVE-2024-21626).
    """
    try:
        place = posix.getcwd()
    except OSError:
        place = ""
    if not place.startswith("/"):
        raise Error(f"process.cwd: {cwd} leads outside of the container's root file system")


def _open_by_walk(root_fd: int, path: str, name: bytes, flags: int, mode: int) -> int:
    """open_beneath() without openat2."""
    follow = not flags & O_NOFOLLOW and flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL
    for _ in range(_ATTEMPTS):
        walk = _Walk(root_fd, name)
        try:
            walk.resolve(follow, create=bool(flags & O_CREAT))
            return walk.open(flags, mode, follow)
        except OSError as error:
            if error.errno != EAGAIN:
                raise _told(error, path) from None
        finally:
            walk.close()
    raise _restless(path)


class _Walk:
    """One lookup in user space: at its end `name` in `directory` is what the path means.

    Only the present directory is held open. For ".." the walk starts again at the root with the
    names that led here, less the last: they are real directories by now, not links, and should one
    have been replaced meanwhile it is resolved beneath the root like any other.
    """

    def __init__(
        self, root_fd: int, path: bytes, make: tuple[int, tuple[int, int] | None] | None = None
    ) -> None:
        self.root = self.directory = root_fd
        self.name = b"."
        self.make = make
        self.links = 0
        self.passed: list[bytes] = []
        self.too_long = len(path) >= _PATH_MAX
        self.left = _components(path)

    def resolve(self, follow: bool = True, create: bool = False) -> None:
        """Walk to the last component, and through it if it is a link and `follow` says so.

        With `create` the last component need not exist, but must be a name that a file can have.
        """
        if self.too_long:
            raise OSError(ENAMETOOLONG, posix.strerror(ENAMETOOLONG))
        if not self.left:
            raise OSError(ENOENT, posix.strerror(ENOENT))
        while self.left:
            if create and self.left[0] in _DIRECTORIES:
                raise OSError(EISDIR, posix.strerror(EISDIR))
            name = self.left.pop()
            if name == b"..":
                self._up()
            elif self.left:
                self._down(name)
            elif name != b"." and follow:
                self._finish(name, create or self.make is not None)
            else:
                self.name = name

    def open(self, flags: int, mode: int = 0, follow: bool = True) -> int:
        """Open what was resolved.  EAGAIN: somebody made it a link that has to be followed."""
        try:
            fd = posix.open(self.name, flags | O_NOFOLLOW | O_CLOEXEC, mode, dir_fd=self.directory)
        except OSError as error:
            # ENOTDIR is what O_DIRECTORY says of a link.
            if follow and error.errno in (ELOOP, ENOTDIR) and self._link_now():
                raise _again() from None
            raise
        if follow and flags & O_PATH and S_ISLNK(posix.fstat(fd).st_mode):
            posix.close(fd)
            raise _again()
        return fd

    def close(self) -> None:
        """Close the directory that the walk holds."""
        self._enter(self.root)

    def _enter(self, directory: int) -> None:
        if self.directory != self.root:
            posix.close(self.directory)
        self.directory = directory

    def _up(self) -> None:
        # The kernel looks ".." up, so the directory must be searchable.
        posix.stat(b".", dir_fd=self.directory)
        self.left = (self.left or [b"."]) + self.passed[-2::-1]
        self.passed = []
        self._enter(self.root)

    def _down(self, name: bytes) -> None:
        """Enter the directory `name`, or begin with the target of the link `name`."""
        if name == b".":
            return
        try:
            child = posix.open(name, _ENTER, dir_fd=self.directory)
        except OSError as error:
            if error.errno == ENOENT and self.make is not None:
                child = self._make(name, self.make)
            elif error.errno == ENOTDIR:
                target = self._link(name)
                if target is None:
                    raise
                self._follow(target)
                return
            else:
                raise
        self._enter(child)
        self.passed.append(name)

    def _make(self, name: bytes, make: tuple[int, tuple[int, int] | None]) -> int:
        mode, owner = make
        made = True
        try:
            posix.mkdir(name, mode, dir_fd=self.directory)
        except FileExistsError:
            made = False
        try:
            child = posix.open(name, _ENTER, dir_fd=self.directory)
        except OSError as error:
            if error.errno in (ENOENT, ENOTDIR):
                raise _again() from None
            raise
        if made and owner is not None:
            try:
                libc.fchownat(child, "", *owner)
            except OSError:
                posix.close(child)
                raise
        return child

    def _finish(self, name: bytes, missing: bool) -> None:
        """The last component, which may be a link to more."""
        try:
            target = self._link(name)
        except FileNotFoundError:
            if not missing:
                raise
            target = None
        if target is None:
            self.name = name
        else:
            self._follow(target)

    def _follow(self, target: bytes) -> None:
        self.links += 1
        if self.links > _MAX_LINKS:
            raise OSError(ELOOP, posix.strerror(ELOOP))
        if target.startswith(b"/"):
            self.passed = []
            self._enter(self.root)
        self.left += _components(target)

    def _link_now(self) -> bool:
        try:
            return S_ISLNK(
                posix.stat(self.name, dir_fd=self.directory, follow_symlinks=False).st_mode
            )
        except FileNotFoundError:
            return False

    def _link(self, name: bytes) -> bytes | None:
        """The target of `name` in the present directory, None if it is no link."""
        fd = posix.open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC, dir_fd=self.directory)
        try:
            link = posix.fstat(fd)
            if not S_ISLNK(link.st_mode):
                return None
            target: bytes = posix.readlink(b"", dir_fd=fd)
            parent = posix.stat(b".", dir_fd=self.directory)
            if _is_magic(fd, link, parent, len(target)):
                raise OSError(ELOOP, posix.strerror(ELOOP))
            if not _may_follow(link, parent):
                raise OSError(EACCES, posix.strerror(EACCES))
            return target
        finally:
            posix.close(fd)


def _components(path: bytes) -> list[bytes]:
    """The path's components, the last first; a slash at the end means what "/." means."""
    parts = [part for part in path.split(b"/") if part]
    if path.endswith(b"/"):
        parts.append(b".")
    return parts[::-1]


def _is_magic(fd: int, link: posix.stat_result, parent: posix.stat_result, length: int) -> bool:
    """Whether the link under `fd` jumps to an object of the kernel's and not to its text.

    Such are /proc/PID/{exe,cwd,root}, /proc/PID/{fd,ns,map_files}/* and AppArmor's policy link. The
    links right below /proc (self, net, mounts) are ordinary, and so are those elsewhere in it whose
    size is the length of their text: for the magic ones the kernel does not know that length.
    """
    kind = libc.fstatfs_type(fd)
    if kind == libc.AAFS_MAGIC:
        return True
    return kind == libc.PROC_SUPER_MAGIC and parent.st_ino != 1 and link.st_size != length


def _may_follow(link: posix.stat_result, parent: posix.stat_result) -> bool:
    """The kernel's fs.protected_symlinks: whose links are followed in a directory like /tmp."""
    shared = S_ISVTX | S_IWOTH
    if parent.st_mode & shared != shared or link.st_uid in (posix.geteuid(), parent.st_uid):
        return True
    try:
        fd = posix.open("/proc/sys/fs/protected_symlinks", _O_SETTING)
    except OSError:
        return False
    try:
        return posix.read(fd, 2)[:1] == b"0"
    finally:
        posix.close(fd)


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _again() -> OSError:
    """Somebody else changed the path between two steps: the lookup has to begin anew."""
    return OSError(EAGAIN, posix.strerror(EAGAIN))


def _restless(path: str) -> OSError:
    return OSError(EAGAIN, "the path is being changed all the time", path)


def _told(error: OSError, path: str) -> OSError:
    """`error` with the path as the config has it."""
    return OSError(error.errno, error.strerror, path)
