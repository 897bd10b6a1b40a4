"""The ways into the archive that need not be fast (Python 3.4 can read this file, to say no well).

``from_sources``: the program in front of the archive found no byte code for this interpreter.
``again``: somebody called ``python3 runc …`` instead of ``runc …``. That interpreter has already
obeyed PYTHONPATH, sitecustomize and the caller's directory; nothing undoes that from within, so the
same interpreter is started once more, isolated, through the same program. It takes 10 ms.
"""

import posix
import sys

PLACES = "@PLACES@".split()
NAMES = "@NAMES@".split()
FLAGS = ["-X", "utf8", "-BIS", "-c"]


def program(archive: str) -> str:
    """The text that starts the archive: what its first lines hand to ``python3 -c``."""
    fd = posix.open(archive, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        head = posix.read(fd, 8192).decode("ascii", "replace")
    finally:
        posix.close(fd)
    return head.split("\np='", 1)[1].split("'\n", 1)[0]


def next_interpreter(archive: str) -> None:
    """Replaces a too old interpreter by the candidate after it; 127 if there is none."""
    candidates = list(PLACES)
    path = posix.environ.get(b"PATH", b"").decode("utf-8", "surrogateescape").split(":")
    for name in NAMES:
        candidates.extend(place + "/" + name for place in path if place.startswith("/"))
    # Not sys.executable: the candidate may be a script that starts some other interpreter.
    tried = sys._xoptions.get("tried")
    if tried in candidates:
        candidates = candidates[candidates.index(tried) + 1 :]
    for candidate in candidates:
        if posix.access(candidate, 1):
            mark = ["-X", "tried=" + candidate]
            command = [candidate] + mark + FLAGS + [program(archive)] + sys.argv
            try:
                posix.execv(candidate, command)
            except OSError:
                continue
    sys.stderr.write(
        "runc: no usable Python found: %s is %d.%d, install python3 3.8 or newer\n"
        % ((sys.executable,) + sys.version_info[:2])
    )
    sys.stderr.flush()
    posix._exit(127)


def from_sources(archive: str) -> None:
    """Runs the archive's sources; with an interpreter older than 3.8, looks for another."""
    if sys.version_info < (3, 8):
        next_interpreter(archive)
    from _runc_sources import Sources

    sys.path.remove(archive)
    sys.meta_path.insert(0, Sources(archive))
    import runc

    runc.entry()


def again() -> None:
    """``python3 runc …``: the same interpreter, isolated."""
    archive = sys.argv[0]
    if sys.executable:
        command = [sys.executable] + FLAGS + [program(archive)] + sys.argv
        posix.execv(sys.executable, command)
    from_sources(sys.path[0])
