"""The tables that `list` and `ps` show, as text."""

from __future__ import annotations

from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MIN_WIDTH = 12
_PADDING = 3


def containers(entries: list[dict[str, Any]]) -> str:
    """Return the table of `runc list`; scripts cut it at the columns that runc has."""
    rows: list[tuple[str, ...]] = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
    for entry in entries:
        keys = ("id", "pid", "status", "bundle", "created", "owner")
        rows.append(tuple(str(entry[key]) for key in keys))
    widths = [max(_MIN_WIDTH, _PADDING + max(map(len, column))) for column in zip(*rows)]
    widths[-1] = 0
    return "".join("".join(map(str.ljust, row, widths)) + "\n" for row in rows)


def processes(pids: list[int], arguments: list[str]) -> str:
    """Return those lines of the host's `ps` that are about `pids`, below its header.

    `arguments` are ps's own. Raises Error where ps fails or shows no column PID.
    """
    import subprocess

    try:
        done = subprocess.run(
            ["ps", *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except FileNotFoundError:
        raise Error('exec: "ps": executable file not found in $PATH') from None
    text = done.stdout.decode("utf-8", "surrogateescape")
    if done.returncode < 0:
        raise Error("ps: killed by signal %d: %s" % (-done.returncode, text))
    if done.returncode:
        raise Error("exit status %d: %s" % (done.returncode, text))
    header, *lines = text.split("\n")
    titles = header.split()
    if "PID" not in titles:
        raise Error("couldn't find PID field in ps output")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    kept = [
        line
        for line in lines
        if line.split()[column : column + 1] and line.split()[column] in wanted
    ]
    return "\n".join([header, *kept]) + "\n"
