"""Where the state of containers is kept: --root, or a directory that depends on the user."""

from __future__ import annotations

import posix

from libcontainer.commandline.loglines import describe
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.commandline import Command


def absolute(path: str) -> str:
    """Return `path` from the root on, without `.`, `..` and doubled slashes (as filepath.Abs)."""
    parts: list[str] = []
    for part in (path if path[:1] == "/" else posix.getcwd() + "/" + path).split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def find_root(command: Command) -> str:
    """Return the directory with the containers' state; makes the one in $XDG_RUNTIME_DIR."""
    if "root" in command.given:
        root = absolute(command.settings["root"])
        if root == "/":
            raise Error("Option --root argument should not be set to /")
        return root
    runtime_dir = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    if not runtime_dir or not honours_runtime_dir():
        return "/run/runc"
    root = runtime_dir + "/runc"
    try:
        make_directories(root)
        # The basedir specification: what has the sticky bit there is not cleaned away.
        posix.chmod(root, 0o1700)
    except OSError as error:
        raise Error("$XDG_RUNTIME_DIR must be writable: " + describe(error)) from None
    return root


def make_directories(path: str) -> None:
    """mkdir -p, with mode 0700."""
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        parent = path.rpartition("/")[0]
        if not parent:
            raise
        make_directories(parent)
        posix.mkdir(path, 0o700)


def honours_runtime_dir() -> bool:
    """Tell whether $XDG_RUNTIME_DIR counts: not for the real root, as ever in runc."""
    if posix.geteuid() != 0:
        return True
    try:
        fd = posix.open("/proc/self/uid_map", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        whole = posix.read(fd, 4096).split() == [b"0", b"0", b"4294967295"]
    finally:
        posix.close(fd)
    return not whole and posix.environ.get(b"USER") != b"root"
