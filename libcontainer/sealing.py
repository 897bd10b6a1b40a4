"""No container gets at the interpreter that set it up: /proc/self/exe can only be read.

A container's first process is, until its execve(2), this program. If the container makes it execute
/proc/self/exe (as args[0], in a `#!` line), or looks at /proc/PID/exe of a process that is joining
it, it holds the host's interpreter, and once that is idle it can write to it (CVE-2019-5736). So
before any code or file of a container can be reached the process exchanges its own program file for
the same file seen through a detached read-only mount: it is in no mount namespace, so nobody can
remount it, and opening it for writing gives EROFS for ever.

Where that cannot be done (an old kernel, musl, no CAP_SYS_ADMIN), the interpreter is executed again
with the same arguments, from such a mount or from a sealed copy in memory: a second start.

What else the process has mapped (libpython, the C library, extension modules) is not in danger: a
mapped file can be opened only through /proc/PID/map_files, which wants CAP_SYS_ADMIN or
CAP_CHECKPOINT_RESTORE in the initial user namespace of whoever looks, and whoever has those
owns the host already. The program's archive is closed again after each import.

Order: seal() comes before PR_SET_DUMPABLE (a process that is not dumpable cannot read its own
pagemap in a user namespace), before threads, before the first clone(2); children inherit the seal.
"""

from __future__ import annotations

import posix
import sys
from errno import EINVAL, ENOENT, ENOSYS, EPERM

from libc_bindings import mounts, sealing
from libc_bindings.paths import mount_id, read_file

from . import log
from .errors import Error
from .paths import fd_path

_SEALS = sealing.F_SEAL_SEAL | sealing.F_SEAL_SHRINK | sealing.F_SEAL_GROW | sealing.F_SEAL_WRITE

# Set for the second start. It never spares the seal: it only turns a missing one into an error.
_MARK = b"_RUNC_SEALED"

_sealed = False


def seal(deferrable: bool = False) -> bool:
    """Seal the interpreter, or execute it again sealed; True when it is sealed.

    With `deferrable` the caller promises to call seal_in_place() in the container's init, in a user
    and a mount namespace of its own and before anything of the container is reached: then False
    says that this process lacks the privileges but init will have them. Raises Error when there is
    no way to seal.
    """
    global _sealed
    if _sealed:
        return True
    if _MARK in posix.environ:
        _second_start()
        _sealed = True
        return True
    try:
        seal_in_place()
    except OSError as error:
        later = error.errno == EPERM and sealing.replaceable_later() and _mount_setattr_exists()
        if deferrable and later:
            return False
        log.debug(f"the interpreter is started again to be sealed: {error}")
        _execute_again()
    return True


def seal_in_place() -> None:
    """Make /proc/self/exe the same file on a detached read-only mount, without execve(2).

    It takes CAP_SYS_ADMIN in the user namespace that owns the mount namespace, Linux 5.12, glibc
    and one thread. Raises OSError where something is missing, and has changed nothing then.
    """
    global _sealed
    if _sealed:
        return
    fd = _through_read_only_mount()
    try:
        sealing.replace_program_file(fd)
    finally:
        posix.close(fd)
    _sealed = True


def is_sealed() -> bool:
    """Whether /proc/self/exe is a sealed memfd, or on a read-only mount that is nowhere mounted.

    A read-only mount in a mount namespace does not count: its owner may remount it.
    """
    import fcntl

    fd = posix.open("/proc/self/exe", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        try:
            # Every file of a tmpfs has seals, but not these.
            if fcntl.fcntl(fd, sealing.F_GET_SEALS) & _SEALS == _SEALS:
                return True
        except OSError as error:
            if error.errno != EINVAL:
                raise
        if not posix.fstatvfs(fd).f_flag & posix.ST_RDONLY:
            return False
        return b"%d" % mount_id(fd) not in _mounted()
    finally:
        posix.close(fd)


def _through_read_only_mount() -> int:
    """A descriptor of the program file, opened through a detached read-only mount of it alone."""
    try:
        # The link leads to the very file, whatever its name is by now.
        tree = mounts.open_tree(mounts.AT_FDCWD, "/proc/self/exe", mounts.OPEN_TREE_CLONE)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        # EINVAL: the program was started in another mount namespace than the present one.
        program = posix.readlink("/proc/self/exe")
        tree = mounts.open_tree(mounts.AT_FDCWD, program, mounts.OPEN_TREE_CLONE)
    try:
        mounts.mount_setattr(tree, "", mounts.AT_EMPTY_PATH, attr_set=mounts.MOUNT_ATTR_RDONLY)
        # Once `tree` is closed the mount belongs to no namespace, and lives as long as the file.
        fd = posix.open(fd_path(tree), posix.O_RDONLY | posix.O_CLOEXEC)
    finally:
        posix.close(tree)
    opened, running = posix.fstat(fd), posix.stat("/proc/self/exe")
    if (opened.st_dev, opened.st_ino) != (running.st_dev, running.st_ino):
        posix.close(fd)
        raise OSError(
            ENOENT, "the program file has been replaced since the start", "/proc/self/exe"
        )
    return fd


def _mount_setattr_exists() -> bool:
    try:
        mounts.mount_setattr(-1, "", mounts.AT_EMPTY_PATH)
    except OSError as error:
        return error.errno != ENOSYS
    return True


def _execute_again() -> None:
    """execve(2) the interpreter from a read-only mount or from memory, with the same arguments."""
    try:
        fd = _through_read_only_mount()
    except OSError:
        fd = _sealed_copy()
    arguments = read_file("/proc/self/cmdline").split(b"\0")[:-1]
    # Python finds its library from argv[0], and sh may have put a bare "python3" there.
    arguments[0] = _encoded(sys.executable) or posix.readlink(b"/proc/self/exe")
    environment = dict(posix.environ)
    library_path = environment.get(b"LD_LIBRARY_PATH")
    environment[_MARK] = b"" if library_path is None else b"=" + library_path
    libraries = _libpython_directory()
    if libraries:
        # The dynamic linker's $ORIGIN is derived from /proc/self/exe, which is nowhere now.
        parts = [libraries] if library_path is None else [libraries, library_path]
        environment[b"LD_LIBRARY_PATH"] = b":".join(parts)
    try:
        posix.execve(fd, arguments, environment)
    except OSError as error:
        raise Error(f"the interpreter cannot be executed sealed: {error.strerror}") from None


def _second_start() -> None:
    """Verify the seal and take back what _execute_again() put into the environment."""
    mark = posix.environ.pop(_MARK)
    posix.unsetenv(_MARK)
    if mark:
        posix.environ[b"LD_LIBRARY_PATH"] = mark[1:]
        posix.putenv(b"LD_LIBRARY_PATH", mark[1:])
    elif b"LD_LIBRARY_PATH" in posix.environ:
        del posix.environ[b"LD_LIBRARY_PATH"]
        posix.unsetenv(b"LD_LIBRARY_PATH")
    if not is_sealed():
        raise Error(
            "the interpreter is not sealed although it was started again for that "
            f"({_MARK.decode()} is in the environment)"
        )


def _sealed_copy() -> int:
    """A read-only descriptor of a sealed memfd with the interpreter's content."""
    import fcntl

    flags = sealing.MFD_CLOEXEC | sealing.MFD_ALLOW_SEALING
    try:
        memory = sealing.memfd_create("python", flags | sealing.MFD_EXEC)
    except OSError as error:
        if error.errno != EINVAL:
            raise Error(f"the interpreter cannot be sealed: {error.strerror}") from None
        # Before Linux 6.3 every memfd can be executed, and the flag is unknown.
        memory = sealing.memfd_create("python", flags)
    program = posix.open("/proc/self/exe", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        left = posix.fstat(program).st_size
        while left:
            sent = posix.sendfile(memory, program, None, left)
            if not sent:
                raise Error("the interpreter cannot be sealed: its file has become shorter")
            left -= sent
        fcntl.fcntl(memory, sealing.F_ADD_SEALS, _SEALS)
        # A file that is open for writing cannot be executed (ETXTBSY).
        return posix.open(fd_path(memory), posix.O_RDONLY | posix.O_CLOEXEC)
    finally:
        posix.close(program)
        posix.close(memory)


def _libpython_directory() -> bytes:
    """The directory that libpythonX.Y.so was loaded from, b"" if Python is in the program itself."""
    for line in read_file("/proc/self/maps").splitlines():
        # address, perms, offset, dev, inode, and the path of what is mapped from a file
        directory, slash, name = line.split(None, 5)[-1].rpartition(b"/")
        if slash and name.startswith(b"libpython"):
            return directory
    return b""


def _mounted() -> set[bytes]:
    return {line.split(None, 1)[0] for line in read_file("/proc/self/mountinfo").splitlines()}


def _encoded(path: str) -> bytes:
    return path.encode(sys.getfilesystemencoding(), "surrogateescape")
