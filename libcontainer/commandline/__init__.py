"""The command line: one table of verbs and options, and the plain reader of both.

The reader here takes every command line that is in order. For anything else (an error, a request
for help) it returns None, and `usage`, which costs argparse, tells the person what is wrong. Both
are made from the same table, and a test compares them over thousands of command lines.

The grammar is the one of Go's flag package, as runc's users know it: one dash or two for every
name, long or short; `--name=value` or `--name value`; a value is whatever follows, also with a dash
in front; no bundles of short options.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    # Names separated by blanks, the one that the program uses first; kind; metavar; help. An option
    # that only old callers give has no help, and no help text mentions it.
    Option = tuple[str, str, str, str]

FLAG = "flag"
TEXT = "text"
NUMBER = "number"
TEXTS = "texts"
NUMBERS = "numbers"
DURATION = "duration"


class Verb:
    """What the command line of one verb consists of.

    `least` and `most` bound the number of arguments (`most` None: no bound). A verb that hands
    arguments on to another program (`passes`) reads no options after its first argument. Options of
    rare verbs are a name in criu.py, which the others do not load.
    """

    def __init__(
        self,
        summary: str,
        options: tuple[Option, ...] | str = (),
        least: int = 1,
        most: int | None = 1,
        passes: bool = False,
    ) -> None:
        self.summary = summary
        self._options = options
        self.least = least
        self.most = most
        self.passes = passes

    @property
    def options(self) -> tuple[Option, ...]:
        """The verb's own options."""
        if isinstance(self._options, str):
            from libcontainer.commandline import criu

            self._options = getattr(criu, self._options)
        return self._options  # type: ignore[return-value]


class Command:
    """A command line that was understood.

    `settings` holds the global options and `options` the verb's, by first name, with the defaults
    filled in; `given` the names of those that were on the command line. `arguments` is the rest.
    """

    def __init__(self, verb: str, settings: dict[str, Any], options: dict[str, Any]) -> None:
        self.verb = verb
        self.settings = settings
        self.options = options
        self.given: set[str] = set()
        self.arguments: list[str] = []


HELP: Option = ("help h", FLAG, "", "show this help and exit")

GLOBALS: tuple[Option, ...] = (
    ("debug", FLAG, "", "tell every step in the log, with the time it took"),
    ("log", TEXT, "FILE", "append the log to FILE instead of writing it to stderr"),
    ("log-format", TEXT, "FORMAT", "'text' or 'json', one object a line"),
    (
        "root",
        TEXT,
        "DIR",
        "where the state of containers is kept; a tmpfs, so that a reboot clears it",
    ),
    ("rootless", TEXT, "WHEN", "go on where cgroups may not be changed: 'true', 'false' or 'auto'"),
    ("systemd-cgroup", FLAG, "", "let systemd make the cgroups; cgroupsPath is slice:prefix:name"),
    HELP,
    ("version v", FLAG, "", "show the version and exit"),
)

BUNDLE: Option = ("bundle b", TEXT, "DIR", "directory of config.json (default: the current one)")
CONSOLE: Option = (
    "console-socket",
    TEXT,
    "SOCKET",
    "unix socket that is sent the terminal's master side",
)
_PIDFD: Option = ("pidfd-socket", TEXT, "SOCKET", "unix socket that is sent a pidfd of the process")
PID_FILE: Option = ("pid-file", TEXT, "FILE", "write the pid of the process to FILE")
_PRESERVE: Option = (
    "preserve-fds",
    NUMBER,
    "N",
    "pass N more file descriptors on, after stdio and those of $LISTEN_FDS",
)
DETACH: Option = ("detach d", FLAG, "", "return as soon as the process runs")
_FORMAT: Option = ("format f", TEXT, "FORMAT", "'table' or 'json'")

_CREATE: tuple[Option, ...] = (
    BUNDLE,
    CONSOLE,
    _PIDFD,
    PID_FILE,
    ("no-pivot", FLAG, "", "enter the root file system without pivot_root(2), for an initramfs"),
    ("no-new-keyring", FLAG, "", "keep the caller's session keyring instead of making a new one"),
    _PRESERVE,
)

_RUN: tuple[Option, ...] = (
    *_CREATE,
    DETACH,
    ("keep", FLAG, "", "keep the container after its process has exited"),
    ("no-subreaper", FLAG, "", "leave orphaned processes to the system's init"),
)

_EXEC: tuple[Option, ...] = (
    CONSOLE,
    _PIDFD,
    ("cwd", TEXT, "DIR", "working directory in the container"),
    ("env e", TEXTS, "NAME=VALUE", "add an environment variable"),
    ("tty t", FLAG, "", "give the process a terminal"),
    ("user u", TEXT, "UID[:GID]", "run as this user and group"),
    ("additional-gids g", NUMBERS, "GID", "add a supplementary group"),
    (
        "process p",
        TEXT,
        "FILE",
        "take the whole process from a JSON file (config.json's `process`)",
    ),
    DETACH,
    PID_FILE,
    ("process-label", TEXT, "LABEL", "SELinux label of the process"),
    ("apparmor", TEXT, "PROFILE", "AppArmor profile of the process"),
    ("no-new-privs", FLAG, "", "forbid the process to gain privileges by execve(2)"),
    ("cap c", TEXTS, "CAP", "add a capability"),
    _PRESERVE,
    ("cgroup", TEXTS, "[CONTROLLER:]PATH", "run in this existing cgroup below the container's"),
    ("ignore-paused", FLAG, "", "do not refuse a paused container"),
)

_UPDATE: tuple[Option, ...] = (
    (
        "resources r",
        TEXT,
        "FILE",
        "take all limits from a JSON file or, for `-`, from stdin",
    ),
    ("blkio-weight", NUMBER, "N", "share of block I/O, 10 to 1000"),
    ("cpu-period", TEXT, "USEC", "length of the period that --cpu-quota is about"),
    ("cpu-quota", TEXT, "USEC", "CPU time in each period; -1 for no limit"),
    ("cpu-burst", TEXT, "USEC", "CPU time that may be saved up for later periods"),
    ("cpu-share", TEXT, "N", "share of CPU time, 1024 being the usual one"),
    (
        "cpu-rt-period",
        TEXT,
        "USEC",
        "length of the period that --cpu-rt-runtime is about",
    ),
    ("cpu-rt-runtime", TEXT, "USEC", "realtime CPU time in each period"),
    ("cpuset-cpus", TEXT, "LIST", "CPUs to run on, such as 0-3,7"),
    ("cpuset-mems", TEXT, "LIST", "memory nodes to use, such as 0,1"),
    ("kernel-memory", TEXT, "BYTES", ""),
    ("kernel-memory-tcp", TEXT, "BYTES", ""),
    ("memory", TEXT, "BYTES", "memory, such as 64M; -1 for no limit"),
    (
        "cpu-idle",
        TEXT,
        "N",
        "1 to run only when nothing else wants to (SCHED_IDLE), 0 for as usual",
    ),
    (
        "memory-reservation",
        TEXT,
        "BYTES",
        "memory that is left alone while the host has enough",
    ),
    ("memory-swap", TEXT, "BYTES", "memory and swap together; -1 for no limit"),
    ("pids-limit", NUMBER, "N", "number of processes and threads; -1 for no limit"),
    ("l3-cache-schema", TEXT, "SCHEMA", "Intel RDT's schema for the L3 cache"),
    ("mem-bw-schema", TEXT, "SCHEMA", "Intel RDT's schema for memory bandwidth"),
)

VERBS: dict[str, Verb] = {
    "checkpoint": Verb("write a running container to files", "CHECKPOINT"),
    "create": Verb("create a container that waits for `start`", _CREATE),
    "delete": Verb(
        "remove what is left of a container",
        (("force f", FLAG, "", "kill the container first (SIGKILL) if it still runs"),),
    ),
    "events": Verb(
        "show what a container uses, and when it runs out of memory",
        (
            (
                "interval",
                DURATION,
                "TIME",
                "time between two statistics, such as 500ms or 1m30s",
            ),
            ("stats", FLAG, "", "show the statistics once and exit"),
        ),
    ),
    "exec": Verb("run another process in a container", _EXEC, most=None, passes=True),
    "kill": Verb(
        "send a signal to a container (default: SIGTERM)",
        (("all a", FLAG, "", ""),),
        most=2,
    ),
    "list": Verb(
        "list the containers",
        (_FORMAT, ("quiet q", FLAG, "", "show only the ids")),
        least=0,
        most=0,
    ),
    "pause": Verb("stop all processes of a container for a while"),
    "ps": Verb("show the processes in a container", (_FORMAT,), most=None, passes=True),
    "restore": Verb("run a container from what `checkpoint` wrote", "RESTORE"),
    "resume": Verb("let the processes of a paused container run on"),
    "run": Verb("create a container, start it and wait for its end", _RUN),
    "spec": Verb(
        "write a config.json to start from",
        (BUNDLE, ("rootless", FLAG, "", "for a container that an ordinary user runs")),
        least=0,
        most=0,
    ),
    "start": Verb("run the process of a created container"),
    "state": Verb("show the state of a container as JSON"),
    "update": Verb("change the limits of a container", _UPDATE),
    "features": Verb("show what this runtime can do, as JSON", least=0, most=0),
}

# Other defaults than those of the kinds (see defaults()). That of `root` depends on the user: roots.py.
DEFAULTS: dict[str, object] = {
    "format": "table",
    "interval": 5.0,
    "log-format": "text",
    "rootless": "auto",
    "status-fd": -1,
}


def flag(text: str) -> bool:
    """Return the value of a flag's `--name=text`; ValueError if it is neither true nor false."""
    if text in ("true", "1", "t", "T", "TRUE", "True"):
        return True
    if text in ("false", "0", "f", "F", "FALSE", "False"):
        return False
    raise ValueError(text)


def number(text: str) -> int:
    """Return a number as Go's flag package reads it: 10, 0x1f, 0o17, 017 or 0b11, with a sign."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits[:1].isdigit() or not digits.isascii() or digits[-1:].isspace():
        raise ValueError(text)
    legacy_octal = digits.isdigit() and digits[0] == "0"
    return _in_64_bits(-1 if text[0] == "-" else 1, int(digits, 8 if legacy_octal else 0))


def decimal(text: str) -> int:
    """Return a decimal number of at most 64 bits; ValueError for anything else."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isdigit() or not digits.isascii():
        raise ValueError(text)
    return _in_64_bits(-1 if text[0] == "-" else 1, int(digits[:24]))


def duration(text: str) -> float:
    """Return seconds, given as Go writes durations: 5s, 1m30s, 500ms, 1.5h, -2s, 0."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    total = 0.0
    while rest:
        end = len(rest) - len(rest.lstrip("0123456789."))
        digits, rest = rest[:end], rest[end:]
        end = len(rest) - len(rest.lstrip("hmsnuµμ"))
        unit = rest[:end]
        # A minute's m is followed by digits, a millisecond's by an s: `1ms` is one unit.
        if unit not in _SECONDS or not digits.replace(".", "", 1).isdigit():
            raise ValueError(text)
        total += float(digits) * _SECONDS[unit]
        rest = rest[end:]
    if not total and not text[-1:].isalpha():
        raise ValueError(text)
    return -total if text[0] == "-" else total


_SECONDS = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ns": 1e-9,
}


def _in_64_bits(sign: int, magnitude: int) -> int:
    if not -(1 << 63) <= sign * magnitude < 1 << 63:
        raise ValueError(magnitude)
    return sign * magnitude


CONVERT: dict[str, Callable[[str], Any]] = {
    FLAG: flag,
    TEXT: str,
    NUMBER: number,
    TEXTS: str,
    NUMBERS: decimal,
    DURATION: duration,
}


def names(options: tuple[Option, ...]) -> dict[str, tuple[str, str]]:
    """Return the first name and the kind of an option by each of its names."""
    table = {}
    for option in options:
        words = option[0].split()
        for word in words:
            table[word] = (words[0], option[1])
    return table


def defaults(options: tuple[Option, ...]) -> dict[str, Any]:
    """Return the value that each option has where the command line does not mention it."""
    values: dict[str, Any] = {}
    for name, kind, _, _ in options:
        first = name.split(None, 1)[0]
        if kind == FLAG:
            values[first] = False
        elif kind == TEXT:
            values[first] = DEFAULTS.get(first, "")
        elif kind in (NUMBER, DURATION):
            values[first] = DEFAULTS.get(first, 0)
        else:
            values[first] = []
    return values


def parse(argv: list[str]) -> Command | None:
    """Return what `argv` (without the program's name) asks for, or None where it is not plain."""
    settings = defaults(GLOBALS)
    given: set[str] = set()
    words = _read(argv, names(GLOBALS), settings, given, True)
    if words is None or settings["help"]:
        return None
    if settings["version"]:
        return Command("version", settings, {})
    verb = VERBS.get(words[0]) if words else None
    if verb is None:
        return None
    command = Command(words[0], settings, defaults(verb.options))
    rest = _read(words[1:], names(verb.options), command.options, given, verb.passes)
    if rest is None or len(rest) < verb.least or (verb.most is not None and len(rest) > verb.most):
        return None
    command.given = given
    command.arguments = rest
    return command


def _read(
    argv: list[str],
    table: dict[str, tuple[str, str]],
    values: dict[str, Any],
    given: set[str],
    stop: bool,
) -> list[str] | None:
    """Put the options of `argv` into `values`; return the arguments, or None for an error.

    With `stop`, the first argument ends the options; without, only `--` does.
    """
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word[:1] != "-" or word == "-":
            rest.append(word)
            if stop:
                break
            continue
        if word == "--":
            break
        name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        if name not in table:
            return None
        name, kind = table[name]
        if not equals:
            if kind == FLAG:
                value = "true"
            else:
                following = next(words, None)
                if following is None:
                    return None
                value = following
        try:
            converted = CONVERT[kind](value)
        except ValueError:
            return None
        if kind in (TEXTS, NUMBERS):
            values[name].append(converted)
        else:
            values[name] = converted
        given.add(name)
    rest.extend(words)
    return rest
