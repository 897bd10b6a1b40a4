"""Finished filters, kept on disk: what makes the second start with a profile a fast one.

An entry's file is named by the hash of all that its program depends on, except libseccomp: which
library made it stands in the entry, as the path and the stat(2) of the file that was mapped. So a
look-up costs one stat(2) and no search for the library; a library that was replaced makes the entry
old but not useless, since it is still a right filter for its profile: it serves where there
is no libseccomp any more.

A filter from here is what holds a container, so nothing is believed: directory and file have to be
ours, closed to all others, not links, and the content has to carry its own name and checksum.
"""

from __future__ import annotations

import posix
import sys
from _stat import S_IMODE, S_ISREG
from errno import EEXIST, ENOENT

from libc_bindings.seccomp import BPF_MAXINSNS, INSTRUCTION_SIZE

from .. import log
from ..jsonio import dumps
from ..version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec import Seccomp

# The modules beneath hashlib, which would load OpenSSL.
try:
    if sys.version_info >= (3, 12):
        from _sha2 import sha256
    else:
        from _sha256 import sha256  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha256

# To be raised when build.py or enosys.py come to another program, or when the layout changes.
_REVISION = 1

_DIGEST_SIZE = 32
_MAX_SIZE = 2 * _DIGEST_SIZE + 2 + 4096 + BPF_MAXINSNS * INSTRUCTION_SIZE
_MAX_ENTRIES = 256

_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
# O_NONBLOCK: somebody's FIFO must not hold us up.
_READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_CREATE = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC


class Entry:
    """A program from the cache; `current` if the libseccomp that made it is still in place."""

    __slots__ = ("current", "program")

    def __init__(self, program: bytes, current: bool) -> None:
        self.program = program
        self.current = current


def key_of(seccomp: Seccomp) -> bytes:
    """The hash (32 bytes) of what decides on the program: profile, architecture, our own version.

    The flags and the listener belong to the loading and are not part of it, so containers that
    differ in `listenerMetadata` share a filter.
    """
    text = dumps(
        [
            _REVISION,
            VERSION,
            posix.uname().machine,
            sys.maxsize,
            sys.byteorder,
            seccomp.get("defaultAction"),
            seccomp.get("defaultErrnoRet"),
            seccomp.get("architectures"),
            seccomp.get("syscalls"),
        ]
    )
    return _digest(text.encode("utf-8", "surrogatepass"))


def identity(library: str) -> str:
    """What tells the library file at the path `library` from another; "" if there is none."""
    try:
        status = posix.stat(library)
    except OSError:
        return ""
    return "%d %d %d %s" % (status.st_mtime_ns, status.st_size, status.st_ino, library)


def read(directory: str, key: bytes) -> Entry | None:
    """The entry of `key`, or None if there is none that can be trusted."""
    try:
        directory_fd = _open_directory(directory)
        try:
            content = _read_own_file(key.hex(), directory_fd)
        finally:
            posix.close(directory_fd)
        return _parse(content, key)
    except OSError as error:
        if error.errno != ENOENT:
            log.debug("seccomp cache not used: %s" % error)
    except ValueError as error:
        log.debug("seccomp cache not used: %s: %s" % (directory, error))
    return None


def write(directory: str, key: bytes, program: bytes, library: str) -> None:
    """Keep `program`, made by the library file at the path `library`, as the entry of `key`.

    The container does not depend on it, so a failure (a read-only disk) is only a debug message.
    """
    name = identity(library).encode("utf-8", "surrogateescape")
    body = key + len(name).to_bytes(2, "big") + name + program
    try:
        try:
            posix.mkdir(directory, 0o700)
        except OSError as error:
            if error.errno != EEXIST:
                raise
        directory_fd = _open_directory(directory)
        try:
            _make_room(directory_fd)
            _write_file(key.hex(), _digest(body) + body, directory_fd)
        finally:
            posix.close(directory_fd)
    except (OSError, ValueError) as error:
        log.debug("seccomp filter not kept: %s: %s" % (directory, error))


def _digest(data: bytes) -> bytes:
    return bytes(sha256(data).digest())


def _open_directory(path: str) -> int:
    """A descriptor of the directory; ValueError where others could have put something there."""
    fd = posix.open(path, _DIRECTORY)
    status = posix.fstat(fd)
    if status.st_uid != posix.geteuid() or S_IMODE(status.st_mode) & 0o077:
        posix.close(fd)
        raise ValueError("the directory is not ours alone")
    return fd


def _read_own_file(name: str, directory_fd: int) -> bytes:
    """The content of a file that nobody but us can have written; ValueError for another one."""
    fd = posix.open(name, _READ, dir_fd=directory_fd)
    try:
        status = posix.fstat(fd)
        if (
            not S_ISREG(status.st_mode)
            or S_IMODE(status.st_mode) != 0o600
            or status.st_uid != posix.geteuid()
            # A second name could be in a directory that others can write to.
            or status.st_nlink != 1
        ):
            raise ValueError("%s is not a file of ours alone" % name)
        content = posix.read(fd, _MAX_SIZE + 1)
    finally:
        posix.close(fd)
    if len(content) != status.st_size or len(content) > _MAX_SIZE:
        raise ValueError("%s has the wrong size" % name)
    return content


def _parse(content: bytes, key: bytes) -> Entry:
    """The entry in a file's `content`; ValueError if it is damaged or was renamed."""
    body = content[_DIGEST_SIZE:]
    if _digest(body) != content[:_DIGEST_SIZE] or body[:_DIGEST_SIZE] != key:
        raise ValueError("%s is damaged" % key.hex())
    start = _DIGEST_SIZE + 2
    end = start + int.from_bytes(body[_DIGEST_SIZE:start], "big")
    library = body[start:end].decode("utf-8", "surrogateescape")
    program = body[end:]
    if not program or len(program) % INSTRUCTION_SIZE:
        raise ValueError("%s holds no program" % key.hex())
    path = library.split(" ", 3)[3] if library else ""
    return Entry(program, bool(path) and identity(path) == library)


def _write_file(name: str, content: bytes, directory_fd: int) -> None:
    """Put a file in place in one step; a reader sees the old one or the new one."""
    temporary = ".%d-%s" % (posix.getpid(), posix.urandom(8).hex())
    fd = posix.open(temporary, _CREATE, 0o600, dir_fd=directory_fd)
    try:
        try:
            # The umask may have taken bits away.
            posix.fchmod(fd, 0o600)
            if posix.write(fd, content) != len(content):
                raise ValueError("no space left")
        finally:
            posix.close(fd)
        posix.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    except BaseException:
        posix.unlink(temporary, dir_fd=directory_fd)
        raise


def _make_room(directory_fd: int) -> None:
    """Keep profiles that are never used again from filling the disk: the oldest half goes."""
    names = posix.listdir(directory_fd)
    if len(names) < _MAX_ENTRIES:
        return
    ages = []
    for name in names:
        try:
            status = posix.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        except OSError:
            continue
        ages.append((status.st_mtime, name))
    for _, name in sorted(ages)[: _MAX_ENTRIES // 2]:
        try:
            posix.unlink(name, dir_fd=directory_fd)
        except OSError:
            continue
