"""`exec`: one more process in the namespaces and the cgroup of a running container.

The host's steps are execute()'s, those of the process _Execution.become()'s. Nothing of the host may be
seen by those who are in the container already: the process is not dumpable before it joins the
first namespace, and has no descriptor that its program does not get (CVE-2016-9962).
"""

from __future__ import annotations

import posix

from libc_bindings import process as attributes
from libc_bindings import signals
from libcontainer import (
    cgroups,
    config,
    container,
    hooks,
    inheritance,
    inside,
    keyring,
    log,
    namespaces,
    pid_files,
    procfs,
    sealing,
    state,
)
from libcontainer import channel as words
from libcontainer import process as processes
from libcontainer.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from libcontainer.channel import Channel

_PREFIX = "unable to start container process: "


class _Execution:
    """What the process inherits of the host's preparations."""

    def __init__(self, process: Any, spec: Any) -> None:
        self.process = process
        self.spec = spec
        self.plan: Any = None
        self.manager: Any = None
        """The container's cgroups."""
        self.entrance: Any = None
        """The way into them (cgroups/entrance.py), unless it is to be moved there."""
        self.plan_has_user = False
        self.sets: Any = None
        self.filter: Any = None
        self.console = -1
        self.terminal = -1
        self.agent = -1
        self.first_free_fd = 3
        self.maps_groups: bool | None = True
        self.keyring = ""
        """The name of the container's session keyring, if it has one."""

    def become(self, channel: Channel) -> NoReturn:
        """Be the process: join, wait for the cgroup, take the identity, execute."""
        try:
            self._join(channel)
            self._set_attributes()
            environ = self._take_identity()
            program = processes.find_program(self.process["args"][0], environ)
            if self.filter is not None and self.filter.listener:
                from libcontainer.seccomp import notify

                notify.load(self.filter, channel)
            log.debug("setns_init: about to exec")
            # A parent that ends from now on has done its part, or closes the channel before.
            attributes.prctl(attributes.PR_SET_PDEATHSIG, 0)
            channel.send(words.READY)
            self._expect(channel)
        except BaseException as error:
            inside.tell(channel, error)
            posix._exit(255)
        try:
            hooks.close_on_exec(self.first_free_fd)
            hooks.reset_signals()
            inside.finish_privileges(self.process, self.filter, self.sets)
            processes.execute(program, self.process["args"], environ)
        except BaseException as error:
            inside.say(error)
        finally:
            posix._exit(255)

    def _expect(self, channel: Channel) -> None:
        if not channel.receive()[0]:
            posix._exit(255)

    def _join(self, channel: Channel) -> None:
        log.debug("child process in init()")
        attributes.prctl(attributes.PR_SET_PDEATHSIG, signals.SIGKILL)
        inside.close_imports()
        if self.entrance:
            self.entrance.enter()
            self.entrance.get_ready()
        # Before it can be seen in there nobody in there may trace it, or reach its descriptors.
        attributes.prctl(attributes.PR_SET_DUMPABLE, 0)
        namespaces.enter(self.plan)
        # Joining a user namespace may make it dumpable again (fs.suid_dumpable).
        attributes.prctl(attributes.PR_SET_DUMPABLE, 0)
        if self.entrance and self.entrance.tight:
            channel.send(words.APART)
        # Whatever it allocates from here on is the container's.
        self._expect(channel)
        if self.entrance:
            self.entrance.enter_memory()
        posix.setsid()
        if self.keyring:
            keyring.join(self.keyring, self.process.get("selinuxLabel"))

    def _set_attributes(self) -> None:
        process, linux = self.process, self.spec.get("linux") or {}
        if process.get("terminal"):
            from libcontainer import terminal

            root_fd = posix.open("/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
            terminal.set_up(root_fd, process, self.console, console=False)
            posix.close(root_fd)
        if process.get("apparmorProfile") or process.get("selinuxLabel"):
            from libcontainer import lsm

            lsm.set_exec_label(procfs, process)
        processes.apply_scheduling(process, linux)
        processes.apply_personality(linux.get("personality"))
        processes.apply_memory_policy(linux.get("memoryPolicy"))

    def _take_identity(self) -> dict[bytes, bytes]:
        root_fd = posix.open("/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        environ = processes.environment(self.process, root_fd)
        posix.close(root_fd)
        if not self.plan_has_user:
            processes.set_limits(0, self.process)
        processes.give_stdio_to(self.process)
        if self.process.get("noNewPrivileges"):
            attributes.prctl(attributes.PR_SET_NO_NEW_PRIVS, 1)
        processes.enter_identity(self.process, self.sets, self.maps_groups)
        return environ


def prepare() -> None:
    """Seal the interpreter; to be called before --process is read, which may be a pipe.

    Sealing may start the program again, with the same arguments.
    """
    sealing.seal()


def execute(
    root: str,
    container_id: str,
    process: dict[str, Any] | None = None,
    *,
    args: list[str],
    env: list[str],
    cwd: str = "",
    user: str = "",
    additional_gids: list[int],
    capabilities: list[str],
    tty: bool = False,
    detach: bool = False,
    pid_file: str = "",
    console_socket: str = "",
    pidfd_socket: str = "",
    process_label: str = "",
    apparmor: str = "",
    no_new_privs: bool | None = None,
    preserve_fds: int = 0,
    cgroup: list[str],
    ignore_paused: bool = False,
) -> int:
    """Run a process in a container; its exit status, or 0 with `detach`. Options as `runc exec`'s.

    `process` is the checked content of --process, which then counts alone (but for `tty`).
    Raises Error, ConfigError, OSError.
    """
    prepare()
    first_free_fd = inheritance.preserved(3, preserve_fds)
    hooks.close_inherited(first_free_fd)
    made = state.load(root, container_id)
    status = made.status()
    if status == state.STOPPED:
        raise Error("cannot exec in a stopped container")
    if status == state.PAUSED and not ignore_paused:
        raise Error("cannot exec in a paused container (use --ignore-paused to override)")
    spec = made.config()
    log.debug(f"host: the container is {status}, its config read")
    if process is None:
        process = _process_of(made, args)
        _set_options(process, env, cwd, user, additional_gids, capabilities, no_new_privs)
        process["terminal"] = tty
        if process_label:
            process["selinuxLabel"] = process_label
        if apparmor:
            process["apparmorProfile"] = apparmor
    elif tty:
        process["terminal"] = True
    checked: Any = process
    config.check_process(checked, "exec")
    _inherit(process, spec["process"])
    execution = _Execution(process, spec)
    execution.first_free_fd = first_free_fd
    inheritance.check_terminal(bool(process.get("terminal")), detach, console_socket)
    relay = None
    if not detach:
        from libcontainer import supervise

        supervise.hold_signals()
    execution.manager = cgroups.restore(made.data["cgroup"])
    try:
        if not process.get("execCPUAffinity"):
            # Going in itself is faster by far, but the affinities are for before and after it: then
            # it is moved, in between.
            execution.entrance = _entrance(execution.manager, cgroup, made.pid)
        pid, channel = _spawn(execution, made, console_socket)
        log.debug(f"host: the process is {pid}")
    except (Error, OSError):
        if made.init_lives():
            raise
        # It ended meanwhile, and its cgroups and namespaces with it.
        raise Error("cannot exec in a stopped container") from None
    try:
        _accompany(execution, made, pid, channel, cgroup)
        log.debug("host: the process has joined the container")
        pid_files.tell(pid, pid_file, pidfd_socket, b"setns")
        if not detach:
            relay = supervise.terminal_relay(execution.terminal)
        channel.send(words.GO)
        # The other end closes at the execve(2), or when that failed and the process has said so.
        channel.receive()
        channel.close()
        log.debug("host: the program runs")
    except BaseException as error:
        if relay is not None:
            supervise.restore_terminal(relay)
        why = channel.last_words() if isinstance(error, (OSError, Error)) else ""
        _end(pid)
        if why or isinstance(error, BrokenPipeError):
            raise Error(f"{_PREFIX}{why or 'the process was killed'}") from None
        raise
    if detach:
        return 0
    try:
        exit_status = supervise.wait(pid, relay)
        log.debug(f"host: the program has ended, exit status {exit_status}")
        return exit_status
    finally:
        supervise.restore_terminal(relay)


def _entrance(manager: Any, cgroup: list[str], init_pid: int) -> Any:
    """The way into the container's cgroups, or into those below them that --cgroup names."""
    try:
        return manager.entrance(cgroup, init_pid)
    except OSError as error:
        where = f"{error.filename}: {reason(error)}"
        raise Error(f"error adding pid {posix.getpid()} to cgroups: {where}") from None


def _process_of(made: state.Container, args: list[str]) -> Any:
    """The process of the bundle's config as it is now, with other arguments."""
    if not args:
        raise Error("exec args cannot be empty")
    path = f"{made.bundle}/{config.FILE_NAME}"
    if posix.access(path, posix.F_OK):
        process: Any = config.load(made.bundle).get("process")
        if type(process) is dict:
            process["args"] = args
        config.check_process(process, path)
    else:
        # The bundle may be gone; the container remembers what it was made with.
        process = made.config()["process"]
        process["args"] = args
    return process


def _inherit(process: Any, first: Any) -> None:
    """Give a process what it does not say itself, from the container's first process.

    A process without `capabilities` is meant to have the container's, not all of the caller's.
    """
    for name in (
        "capabilities", "apparmorProfile", "selinuxLabel", "rlimits", "oomScoreAdj", "ioPriority",
        "scheduler", "execCPUAffinity",
    ):  # fmt: skip
        if process.get(name) in (None, "", []) and first.get(name) is not None:
            process[name] = first[name]
    umask = (first.get("user") or {}).get("umask")
    if umask is not None:
        process.setdefault("user", {"uid": 0, "gid": 0}).setdefault("umask", umask)


def _set_options(
    process: Any,
    env: list[str],
    cwd: str,
    user: str,
    additional_gids: list[int],
    capabilities: list[str],
    no_new_privs: bool | None,
) -> None:
    """Put the command line's options in place of what the bundle says."""
    if cwd:
        process["cwd"] = cwd
    process["env"] = [*(process.get("env") or ()), *env]
    if no_new_privs is not None:
        process["noNewPrivileges"] = no_new_privs
    if capabilities:
        # Inheritable and ambient stay as they are: set by default, they survive any execve(2) of a
        # program with file capabilities (CVE-2022-29162).
        sets = process.setdefault("capabilities", {})
        for name in ("bounding", "effective", "permitted"):
            sets[name] = [*(sets.get(name) or ()), *capabilities]
        if sets.get("inheritable"):
            # The config wants its capabilities to pass execve(2): then so shall these, as far as
            # they are inheritable.
            sets["ambient"] = [*(sets.get("ambient") or ()), *capabilities]
    identity = process.setdefault("user", {"uid": 0, "gid": 0})
    if user:
        uid, separator, gid = user.partition(":")
        identity["uid"] = _number("uid", uid)
        if separator:
            identity["gid"] = _number("gid", gid)
    if additional_gids:
        for number in additional_gids:
            if number < 0:
                raise Error(f"additional-gids must be a positive number {number}")
        identity["additionalGids"] = [*(identity.get("additionalGids") or ()), *additional_gids]


def _number(what: str, text: str) -> int:
    """A numeric id and nothing else: names are never looked up (CVE-2016-3697, CVE-2026-30892)."""
    if not text.isascii() or not text.isdigit():
        raise Error(f'bad {what}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number > 0xFFFFFFFE:
        raise Error(f'bad {what}: strconv.Atoi: parsing "{text}": value out of range')
    return number


def _spawn(
    execution: _Execution, made: state.Container, console_socket: str
) -> tuple[int, Channel]:
    """Seal, open, clone: the process's pid and the channel to it."""
    process, linux = execution.process, execution.spec.get("linux") or {}
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        from libcontainer import lsm

        lsm.check(process)
    execution.sets = processes.capability_sets(process)
    execution.filter = inheritance.seccomp_filter(linux.get("seccomp"), made.root)
    execution.agent = inheritance.connect_agent(execution.filter, linux)
    execution.plan = namespaces.plan_to_join(made.pid)
    execution.plan_has_user = execution.plan.has(namespaces.USER)
    execution.maps_groups = inheritance.maps_groups(process, linux, execution.plan)
    if not made.data["config"].get("no_new_keyring"):
        execution.keyring = f"_ses.{made.id}"
    if not made.init_lives():
        # What was opened could be another process's namespaces.
        raise Error("cannot exec in a stopped container")
    inheritance.preload(process)
    if process.get("terminal"):
        from libcontainer import terminal

        if console_socket:
            execution.console = terminal.connect(console_socket)
        else:
            execution.terminal, execution.console = terminal.pair()
    affinity = process.get("execCPUAffinity") or {}
    attributes.prctl(attributes.PR_SET_DUMPABLE, 0)
    log.debug("nsexec container setup: into the namespaces of the container's init")
    ours, theirs = words.pair()
    if execution.entrance:
        execution.plan.cgroup = execution.entrance.cgroup_fd
    pid = namespaces.spawn(execution.plan)
    if pid == 0:
        ours.close()
        posix.close(made.directory)
        for fd in (execution.terminal, execution.agent):
            if fd >= 0:
                posix.close(fd)
        execution.become(theirs)
    theirs.close()
    execution.plan.close()
    if execution.console >= 0:
        posix.close(execution.console)
    if affinity.get("initial"):
        processes.set_affinity(pid, affinity["initial"])
        mask = sum(1 << cpu for cpu in posix.sched_getaffinity(pid))
        log.debug(f"nsexec: affinity: {mask:#x}")
    return pid, ours


def _accompany(
    execution: _Execution, made: state.Container, pid: int, channel: Channel, cgroup: list[str]
) -> None:
    """Put the process in its cgroup and see it through to the point before its program."""
    process = execution.process
    manager = execution.manager
    if execution.entrance:
        if execution.entrance.tight:
            _receive(execution, channel, words.APART)
        execution.entrance.finish(manager, pid, execution.plan.born_there)
    else:
        manager.join(pid, cgroup, made.pid)
    if made.data.get("intel_rdt_path"):
        from libcontainer import intelrdt

        intelrdt.join(made.data, pid)
    affinity = process.get("execCPUAffinity") or {}
    if affinity.get("final"):
        processes.set_affinity(pid, affinity["final"])
    elif not affinity.get("initial"):
        processes.reset_affinity(pid)
    processes.set_oom_score(pid, process)
    channel.send(words.PLACED)
    while _receive(execution, channel, words.READY, words.LISTENER) == words.LISTENER:
        _hand_listener_to_agent(execution, made, pid)
        channel.send(words.GO)
    if execution.plan_has_user:
        processes.set_limits(pid, process)


def _receive(execution: _Execution, channel: Channel, *wanted: str) -> str:
    """The process's next word; Error with its reason if it is another."""
    word, value = channel.receive()
    if word in wanted:
        return word
    if word == words.FAILED:
        raise Error(f"{_PREFIX}{value}")
    killed = " (possibly OOM-killed)" if execution.manager.oom_killed() else ""
    raise Error(f"{_PREFIX}the process was killed{killed}")


def _hand_listener_to_agent(execution: _Execution, made: state.Container, pid: int) -> None:
    from libcontainer.seccomp import notify

    description = hooks.state(container.oci_state(made, state.RUNNING), state.RUNNING, made.pid)
    metadata = execution.spec["linux"]["seccomp"].get("listenerMetadata") or ""
    notify.hand_over(execution.agent, execution.filter, pid, description, metadata)


def _end(pid: int) -> None:
    try:
        posix.kill(pid, signals.SIGKILL)
        posix.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        # It was reaped already.
        return
