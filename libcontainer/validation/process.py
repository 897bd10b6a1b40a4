"""`process` of config.json, and the file of `exec --process`, which is the same object.

runtime-spec config.md, "Process", "POSIX process", "Linux Process" and "User".
"""

from __future__ import annotations

from . import ID, REQUIRED, RULE, UINT64, check, quoted, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Faults, Object

RLIMITS = words("""
    RLIMIT_AS RLIMIT_CORE RLIMIT_CPU RLIMIT_DATA RLIMIT_FSIZE RLIMIT_LOCKS RLIMIT_MEMLOCK
    RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_NOFILE RLIMIT_NPROC RLIMIT_RSS RLIMIT_RTPRIO RLIMIT_RTTIME
    RLIMIT_SIGPENDING RLIMIT_STACK
    """)
"""The resources of getrlimit(2)."""


def check_startable(process: Any, faults: Faults) -> None:
    """Check what a process that is to be started needs beyond a sound `process` object."""
    if process is None:
        faults.append("process: process property must not be empty")
    elif type(process) is dict and not process.get("args"):
        faults.append("process.args: args must not be empty")


def environment(value: Any, place: str, faults: Faults) -> None:
    """Check that `value` is an array of `NAME=value` strings."""
    before = len(faults)
    check(value, [str], place, faults)
    if len(faults) > before:
        return
    for index, variable in enumerate(value):
        separator = variable.find("=")
        if separator < 1:
            reason = "name cannot be empty" if separator == 0 else "missing '='"
            message = "%s[%d]: invalid environment variable: %s"
            faults.append(message % (place, index, reason))


def _cwd(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) > before:
        return
    if not value:
        faults.append(place + ": Cwd property must not be empty")
    elif value[0] != "/":
        faults.append("%s: Cwd must be an absolute path, not %s" % (place, quoted(value)))


def _command_line(value: Any, place: str, faults: Faults) -> None:
    faults.append(place + ": is for Windows only; use process.args")


def _rlimit_type(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) == before and value not in RLIMITS:
        faults.append("%s: wrong rlimit value: %s" % (place, quoted(value)))


def _rlimit(value: Object, place: str, faults: Faults) -> None:
    if value["soft"] > value["hard"]:
        message = "%s.soft: %d is above the hard limit, %d"
        faults.append(message % (place, value["soft"], value["hard"]))


def _rlimits(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, [_RLIMIT], place, faults)
    if len(faults) > before:
        return
    seen = set()
    for index, limit in enumerate(value):
        if limit["type"] in seen:
            faults.append("%s[%d].type: %s is there twice" % (place, index, limit["type"]))
        seen.add(limit["type"])


def _scheduler(value: Any, place: str, faults: Faults) -> None:
    from .scheduling import SCHEDULER

    check(value, SCHEDULER, place, faults)


def _io_priority(value: Any, place: str, faults: Faults) -> None:
    from .scheduling import IO_PRIORITY

    check(value, IO_PRIORITY, place, faults)


def _cpu_affinity(value: Any, place: str, faults: Faults) -> None:
    from .scheduling import CPU_AFFINITY

    check(value, CPU_AFFINITY, place, faults)


def _process(value: Object, place: str, faults: Faults) -> None:
    # Without a terminal its size must be ignored; with one it has to fit struct winsize.
    if not value.get("terminal"):
        return
    for name, cells in (value.get("consoleSize") or {}).items():
        if name in ("height", "width") and cells > 0xFFFF:
            faults.append("%s.consoleSize.%s: %d is more than 65535" % (place, name, cells))


_RLIMIT = {
    REQUIRED: ("type", "soft", "hard"),
    RULE: _rlimit,
    "type": _rlimit_type,
    "soft": UINT64,
    "hard": UINT64,
}

# runtime-spec: capabilities that the kernel does not know are warned about, not refused.
_CAPABILITIES = {
    "bounding": [str],
    "effective": [str],
    "inheritable": [str],
    "permitted": [str],
    "ambient": [str],
}

_USER = {
    "uid": ID,
    "gid": ID,
    # umask(2) drops all other bits without a word.
    "umask": (0, 0o777),
    "additionalGids": [ID],
    "username": str,
}

PROCESS = {
    REQUIRED: ("cwd",),
    RULE: _process,
    "terminal": bool,
    "consoleSize": {REQUIRED: ("height", "width"), "height": UINT64, "width": UINT64},
    "cwd": _cwd,
    "env": environment,
    "args": [str],
    "commandLine": _command_line,
    "rlimits": _rlimits,
    "apparmorProfile": str,
    "capabilities": _CAPABILITIES,
    "noNewPrivileges": bool,
    "oomScoreAdj": (-1000, 1000),
    "scheduler": _scheduler,
    "selinuxLabel": str,
    "ioPriority": _io_priority,
    "execCPUAffinity": _cpu_affinity,
    "user": _USER,
}
