"""runc: runs containers as the Open Container Initiative describes them.

This file turns a command line into one call of libcontainer, and what comes back into output, log
lines and an exit status. It is the only one that prints. Each verb imports what it needs itself:
`runc state` must not pay for what `runc run` does.
"""

from __future__ import annotations

import posix
import sys
import time

from libcontainer import log
from libcontainer.commandline import Command, parse
from libcontainer.commandline.loglines import describe, line, lowered
from libcontainer.commandline.roots import absolute, find_root
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

STDOUT = 1
STDERR = 2

FAILED = 1
EXEC_FAILED = 255
INTERRUPTED = 128 + 2
PIPE_CLOSED = 128 + 13

# Engines tell the failure of an exec from the exit status of the program by both, text and number.
PREFIXES = {
    "create": "runc create failed: ",
    "run": "runc run failed: ",
    "exec": "exec failed: ",
}


class OutputClosed(Exception):
    """Nobody reads our standard output any more (`runc list | head -1`)."""


class Log:
    """Where messages go (`--log`, else stderr), which of them (`--debug`) and in which shape.

    A forked init inherits all of this and can read no more modules, so nothing is imported late.
    """

    def __init__(self) -> None:
        self.fd = STDERR
        self.debug = False
        self.dumps: Callable[[Any], str] | None = None
        self.began = self.last = time.monotonic()

    def configure(self, settings: dict[str, Any], preserved: int = 0) -> None:
        """Obey the global options; raises Error, which then goes to stderr.

        `preserved` is how many descriptors after stdio's and systemd's are the container's.
        """
        self.debug = settings["debug"]
        form = settings["log-format"]
        if form == "json":
            from libcontainer.jsonio import dumps

            self.dumps = dumps
        elif form not in ("text", ""):
            raise Error("invalid log-format: " + form)
        if settings["log"]:
            flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC
            try:
                fd = posix.open(settings["log"], flags, 0o644)
            except OSError as error:
                raise Error("open " + describe(error)) from None
            if preserved or b"LISTEN_FDS" in posix.environ:
                fd = out_of_the_way(fd)
            self.fd = log.descriptor = fd

    def write(self, level: str, message: str) -> None:
        """Write one line; the sink of libcontainer.log."""
        if level == "debug" and not self.debug:
            return
        fields = {}
        if self.debug:
            now = time.monotonic()
            fields["elapsed"] = "%.2fms" % ((now - self.began) * 1000)
            fields["step"] = "%.2fms" % ((now - self.last) * 1000)
            self.last = now
        try:
            write(self.fd, line(level, message, fields, self.dumps))
        except OSError:
            pass  # A full disk or a closed stderr is no reason to give up on the container.

    def error(self, message: str) -> None:
        """Tell why the command failed: in the log, and on stderr if that is not the log."""
        self.write("error", message)
        if self.fd != STDERR:
            try:
                write(STDERR, message + "\n")
            except OSError:
                pass


def out_of_the_way(fd: int) -> int:
    """Move the log off the numbers that --preserve-fds and LISTEN_FDS hand to the container."""
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    high = fcntl(fd, F_DUPFD_CLOEXEC, 512)
    posix.close(fd)
    return high


def write(fd: int, text: str) -> None:
    """Write all of `text` to `fd`."""
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[posix.write(fd, data) :]


def output(text: str) -> None:
    """Write `text` to standard output; every verb's result goes through here."""
    try:
        write(STDOUT, text)
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        raise Error("write /dev/stdout: " + lowered(error.strerror or str(error))) from None


def create_options(command: Command) -> dict[str, Any]:
    """Return what `create` and `run` hand to libcontainer by the same names."""
    options = command.options
    # The bundle may become the working directory later on; the file is meant from here.
    pid_file = options["pid-file"] and absolute(options["pid-file"])
    return {
        "console_socket": options["console-socket"],
        "pid_file": pid_file,
        "pidfd_socket": options["pidfd-socket"],
        "no_pivot": options["no-pivot"],
        "no_new_keyring": options["no-new-keyring"],
        "preserve_fds": options["preserve-fds"],
        "rootless": command.settings["rootless"],
        "systemd_cgroup": command.settings["systemd-cgroup"],
    }


def by_criu(command: Command, root: str) -> int:
    """runc checkpoint, runc restore: the exit status of the latter is the container's."""
    from libcontainer.commandline import criu

    return criu.HANDLERS[command.verb](command, root)


def create(command: Command, root: str) -> int:
    """runc create."""
    from libcontainer import creation

    bundle = command.options["bundle"]
    creation.create(root, command.arguments[0], bundle, **create_options(command))
    return 0


def run(command: Command, root: str) -> int:
    """runc run: the exit status is the container's."""
    from libcontainer import creation

    options = command.options
    return creation.run(
        root,
        command.arguments[0],
        options["bundle"],
        detach=options["detach"],
        keep=options["keep"],
        no_subreaper=options["no-subreaper"],
        **create_options(command),
    )


def start(command: Command, root: str) -> int:
    """runc start."""
    from libcontainer import container

    container.start(root, command.arguments[0])
    return 0


def delete(command: Command, root: str) -> int:
    """runc delete."""
    from libcontainer import container

    container.delete(root, command.arguments[0], force=command.options["force"])
    return 0


def kill(command: Command, root: str) -> int:
    """runc kill."""
    from libcontainer import container
    from libcontainer.commandline.signals import signal_number

    container_id, *rest = command.arguments
    try:
        signal = signal_number(rest[0] if rest and rest[0] else "SIGTERM")
    except Error:
        # A container that is not there is the worse mistake.
        container.get_state(root, container_id)
        raise
    container.kill(root, container_id, signal, all=command.options["all"])
    return 0


def pause(command: Command, root: str) -> int:
    """runc pause."""
    from libcontainer import control

    control.pause(root, command.arguments[0])
    return 0


def resume(command: Command, root: str) -> int:
    """runc resume."""
    from libcontainer import control

    control.resume(root, command.arguments[0])
    return 0


def update(command: Command, root: str) -> int:
    """runc update."""
    from libcontainer import control
    from libcontainer.commandline.limits import resources

    options = command.options
    control.update(
        root,
        command.arguments[0],
        resources(options, command.given),
        l3_schema=options["l3-cache-schema"],
        bandwidth_schema=options["mem-bw-schema"],
    )
    return 0


def events(command: Command, root: str) -> int:
    """runc events."""
    from libcontainer import control
    from libcontainer.jsonio import dumps

    container_id, interval = command.arguments[0], command.options["interval"]
    if interval <= 0:
        raise Error("duration interval must be greater than 0")
    if command.options["stats"]:
        data = control.stats(root, container_id)
        output(dumps({"type": "stats", "id": container_id, "data": data}) + "\n")
        return 0
    for event in control.events(root, container_id, interval):
        output(dumps(event) + "\n")
    return 0


def state(command: Command, root: str) -> int:
    """runc state."""
    from libcontainer import container
    from libcontainer.jsonio import dumps

    output(dumps(container.get_state(root, command.arguments[0]), "  "))
    return 0


def list_(command: Command, root: str) -> int:
    """runc list."""
    from libcontainer import container

    form = command.options["format"]
    try:
        entries = container.list_states(root)
    except FileNotFoundError:
        # Without --root: nobody has made a container yet.
        if "root" in command.given:
            raise Error("open %s: no such file or directory" % root) from None
        entries = []
    if command.options["quiet"]:
        output("".join(entry["id"] + "\n" for entry in entries))
    elif form == "table":
        from libcontainer.commandline.tables import containers

        output(containers(entries))
    elif form == "json":
        from libcontainer.jsonio import dumps

        output(dumps(entries or None) + "\n")
    else:
        raise Error("invalid format option")
    return 0


def ps(command: Command, root: str) -> int:
    """runc ps."""
    from libcontainer import container

    pids = container.pids(root, command.arguments[0])
    form = command.options["format"]
    if form == "json":
        from libcontainer.jsonio import dumps

        output(dumps(pids or None) + "\n")
    elif form == "table":
        from libcontainer.commandline.tables import processes

        output(processes(pids, command.arguments[1:] or ["-ef"]))
    else:
        raise Error("invalid format option")
    return 0


def exec_(command: Command, root: str) -> int:
    """runc exec: the exit status is the process's."""
    from libcontainer import execution

    options = command.options
    process: Any = None
    if options["process"]:
        from libcontainer import config

        execution.prepare()
        process = config.load_process(options["process"])
    container_id, *args = command.arguments
    return execution.execute(
        root,
        container_id,
        process,
        args=args,
        env=options["env"],
        cwd=options["cwd"],
        user=options["user"],
        additional_gids=options["additional-gids"],
        capabilities=options["cap"],
        tty=options["tty"],
        detach=options["detach"],
        pid_file=options["pid-file"] and absolute(options["pid-file"]),
        console_socket=options["console-socket"],
        pidfd_socket=options["pidfd-socket"],
        process_label=options["process-label"],
        apparmor=options["apparmor"],
        no_new_privs=options["no-new-privs"] if "no-new-privs" in command.given else None,
        preserve_fds=options["preserve-fds"],
        cgroup=options["cgroup"],
        ignore_paused=options["ignore-paused"],
    )


def spec(command: Command, root: str) -> int:
    """runc spec."""
    from libcontainer import default_spec
    from libcontainer.jsonio import dumps

    config = default_spec.rootless() if command.options["rootless"] else default_spec.default()
    if command.options["bundle"]:
        try:
            posix.chdir(command.options["bundle"])
        except OSError as error:
            raise Error("chdir " + describe(error)) from None
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    try:
        fd = posix.open("config.json", flags, 0o666)
    except FileExistsError:
        raise Error("File config.json exists. Remove it first") from None
    except OSError as error:
        raise Error("open " + describe(error)) from None
    try:
        write(fd, dumps(config, "\t"))
    finally:
        posix.close(fd)
    return 0


def features(command: Command, root: str) -> int:
    """runc features."""
    from libcontainer.features import features as known
    from libcontainer.jsonio import dumps

    output(dumps(known(), "    ") + "\n")
    return 0


HANDLERS: dict[str, Callable[[Command, str], int]] = {
    "checkpoint": by_criu,
    "create": create,
    "delete": delete,
    "events": events,
    "exec": exec_,
    "features": features,
    "kill": kill,
    "list": list_,
    "pause": pause,
    "ps": ps,
    "restore": by_criu,
    "resume": resume,
    "run": run,
    "spec": spec,
    "start": start,
    "state": state,
    "update": update,
}


def main(argv: list[str]) -> int:
    """Do what `argv` (without the program's name) asks for; returns the exit status."""
    logger = Log()
    log.sink = logger.write
    try:
        command = parse(argv)
        if command is None:
            return explain(argv, logger)
        return dispatch(command, logger)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OutputClosed:
        return PIPE_CLOSED
    except Exception as error:
        logger.error(sentence(error, logger))
        return FAILED


def dispatch(command: Command, logger: Log) -> int:
    """Call the verb's function; its failures get the prefix and the status that engines expect."""
    if command.verb == "version":
        from libcontainer.commandline.versions import lines

        output(lines())
        return 0
    root = find_root(command)
    logger.configure(command.settings, command.options.get("preserve-fds", 0))
    log.debug("runc %s: state in %s" % (command.verb, root))
    try:
        if command.arguments and not command.arguments[0]:
            raise Error("container id cannot be empty")
        return HANDLERS[command.verb](command, root)
    except OutputClosed:
        raise
    except Exception as error:
        message = sentence(error, logger)
        if message == "container does not exist":
            from libcontainer.commandline.similar import similar_container

            message += similar_container(root, command.arguments[0])
        logger.error(PREFIXES.get(command.verb, "") + message)
        return EXEC_FAILED if command.verb == "exec" else FAILED


def traceback_of(error: Exception) -> str:
    """Return where `error` comes from, line by line.

    The archive's byte code knows first lines of functions only; its importer finds the exact ones in
    the sources, as long as the archive can be reached.
    """
    explain = getattr(sys.meta_path[0], "explain", None)
    if explain is not None:
        try:
            text: str = explain(error)
            return text
        except (OSError, ImportError):
            pass
    import traceback

    return traceback.format_exc()


def sentence(error: Exception, logger: Log) -> str:
    """Return what to tell about `error`; with --debug, where it comes from goes to the log."""
    if logger.debug:
        log.debug(traceback_of(error))
    if isinstance(error, (Error, OSError)):
        return describe(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, ModuleNotFoundError):
        # Of its own modules this program has all; a minimal Python has not.
        return (
            "%s lacks the module %s of its standard library: install all of it (Debian: python3)"
            % (
                sys.executable,
                error.name,
            )
        )
    # A defect of this program, still told in one sentence.
    return "internal error: %s: %s" % (type(error).__name__, error)


def explain(argv: list[str], logger: Log) -> int:
    """Answer a command line that is not plain: help, or what is wrong with it."""
    from libcontainer.commandline.usage import read

    answer = read(argv)
    if answer.command:
        return dispatch(answer.command, logger)
    output(answer.text)
    if answer.error:
        if answer.settings:
            logger.configure(answer.settings)
        logger.error(answer.error)
    return answer.status


def keep_stdio_open() -> None:
    """Put /dev/null where the caller closed stdio: no file of ours may get such a number."""
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:
            fd = posix.open("/dev/null", posix.O_RDWR)
            if fd == number:
                posix.set_inheritable(fd, True)
            else:
                posix.close(fd)


def entry() -> None:
    """The `runc` command: leaves without the interpreter's finalization, which costs 1.4 ms."""
    keep_stdio_open()
    posix._exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
