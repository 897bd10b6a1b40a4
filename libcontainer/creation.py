"""The host's half of `create` and `run`: from the config to an init that waits for `start`.

_create() below is one list of steps, init.py has the other; they talk through channel.py.
What comes before the clone is in preparation.py.
"""

from __future__ import annotations

import posix

from libc_bindings import namespaces as kernel
from libc_bindings import process as attributes
from libc_bindings import signals
from libcontainer import channel as words
from libcontainer import (
    container,
    hooks,
    inheritance,
    init,
    log,
    namespaces,
    pid_files,
    preparation,
    process,
    state,
)
from libcontainer.errors import Error, reason
from libcontainer.preparation import Creation, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.channel import Channel


def create(root: str, container_id: str, bundle: str, **options: Any) -> None:
    """Make a container whose init waits for `start`; on any failure nothing of it is left."""
    creation = _create(root, container_id, Options(bundle, **options))
    assert creation.channel is not None
    try:
        _let_go(creation)
    except BaseException:
        undo(creation)
        raise
    creation.channel.close()


def run(root: str, container_id: str, bundle: str, **options: Any) -> int:
    """create and start; in the foreground also wait, delete, and return the exit status."""
    chosen = Options(bundle, **options)
    if chosen.detach:
        creation = _create(root, container_id, chosen)
        _start(creation)
        return 0
    from libcontainer import supervise

    creation = _create(root, container_id, chosen)
    try:
        relay = supervise.terminal_relay(creation.terminal)
    except BaseException:
        undo(creation)
        raise
    try:
        _start(creation)
    except BaseException:
        supervise.restore_terminal(relay)
        raise
    return see_through(creation, relay)


def see_through(creation: Creation, relay: Any) -> int:
    """Wait in the foreground for the container's end and delete it, unless it is to be kept.

    Returns the exit status. `relay` is supervise.terminal_relay()'s.
    """
    from libcontainer import supervise

    made = creation.container
    try:
        made.unlock()
        status = supervise.wait(creation.pid, relay)
        log.debug(f"host: the program has ended, exit status {status}")
    finally:
        supervise.restore_terminal(relay)
    if not creation.options.keep:
        try:
            container.delete_ended(made)
            log.debug("host: the container is deleted")
        except Error as error:
            log.warning(f"unable to destroy container: {error}")
    return status


def _start(creation: Creation) -> None:
    """Let init go on, and wait until it has executed its program."""
    made, channel = creation.container, creation.channel
    assert channel is not None
    try:
        socket = container.listen_for_ready(made)
        flags = posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
        try:
            fifo = posix.open(state.FIFO, flags, dir_fd=made.directory)
        except OSError:
            # ENXIO: init, which had it open, is gone already.
            raise Error(_why_it_died(creation)) from None
        posix.write(fifo, b"0")
        posix.close(fifo)
        # Now that the FIFO is filled: init then need not wait twice.
        _let_go(creation)
        made.remove_fifo()
        # Init's end closes at its execve(2), or when it could not do that and has said so.
        channel.receive()
        channel.close()
        log.debug("host: the program runs")
        container.run_hooks(made, "poststart", state.RUNNING)
    except BaseException:
        undo(creation)
        raise
    if creation.options.detach:
        container.pass_on_ready(made, socket, creation.pid)
    else:
        container.pass_on_ready(made, socket, posix.getpid(), background=True)


def _create(root: str, container_id: str, options: Options) -> Creation:
    """The steps of `create`, in order."""
    creation, bundle, rootless_cgroups = begin(root, container_id, options)
    made, spec = creation.container, creation.spec
    try:
        prep = preparation.prepare(creation, bundle)
        log.debug("host: all that init needs is looked up and open")
        made.data = preparation.first_state(
            made, spec, bundle, creation.manager, options, rootless_cgroups
        )
        made.save_config(spec)
        made.save()
        log.debug("host: state.json is written")
        _make_init(creation, prep)
        _accompany(creation, prep)
    except BaseException:
        undo(creation)
        raise
    return creation


def begin(root: str, container_id: str, options: Options) -> tuple[Creation, str, bool]:
    """Read and check the config, reserve the id, choose the cgroup; `restore` begins so too.

    Returns, besides, the absolute bundle and whether cgroups may be out of reach.
    """
    spec, bundle, rootless_cgroups = preparation.load(options)
    terminal = bool(spec["process"].get("terminal"))
    inheritance.check_terminal(terminal, options.detach, options.console_socket)
    if not options.detach:
        from libcontainer import supervise

        # From here on signals wait until there is a process that they can be forwarded to.
        supervise.hold_signals()
        if not options.no_subreaper:
            attributes.prctl(attributes.PR_SET_CHILD_SUBREAPER, 1)
    creation = Creation(state.reserve(root, container_id), spec, options)
    try:
        # What cannot be had must be known before anything is made.
        creation.manager = preparation.cgroup_manager(container_id, spec, options, rootless_cgroups)
    except BaseException:
        undo(creation)
        raise
    log.debug("host: the id is reserved, the cgroup chosen")
    return creation, bundle, rootless_cgroups


def _make_init(creation: Creation, prep: init.Preparation) -> None:
    """Clone, with the interpreter sealed."""
    if not (posix.geteuid() and prep.plan.new & kernel.CLONE_NEWUSER):
        # From here on nobody in a namespace of the container can look into this process or init.
        # (An ordinary user could not write the id maps of a child that is not dumpable: there init
        # does it as soon as it is mapped, in a namespace that nobody else is in.)
        attributes.prctl(attributes.PR_SET_DUMPABLE, 0)
    log.debug(f"nsexec container setup: clone with flags {prep.plan.new:#x}")
    ours, theirs = words.pair()
    creation.channel = ours
    # Init goes into its cgroups itself: being moved takes 5 to 15 ms (see cgroups/entrance.py).
    _make_cgroups(creation, prep)
    log.debug("host: the cgroup is made")
    prep.entrance = creation.manager.entrance()
    prep.plan.cgroup = prep.entrance.cgroup_fd
    pid = namespaces.spawn(prep.plan)
    if pid == 0:
        # A copy of the lock's descriptor would hold the lock, a copy of the other end the channel.
        ours.close()
        posix.close(creation.container.directory)
        for fd in (creation.terminal, creation.agent):
            if fd >= 0:
                posix.close(fd)
        init.run(prep, theirs)
    creation.pid = pid
    log.debug(f"host: init is process {pid}")
    theirs.close()
    prep.plan.close()
    prep.sources.close()
    for fd in (prep.fifo, prep.console):
        if fd >= 0:
            posix.close(fd)


def _make_cgroups(creation: Creation, prep: init.Preparation) -> None:
    try:
        creation.manager.create()
    except OSError as error:
        where = f"{error.filename}: {reason(error)}"
        text = "unable to start container process: unable to apply cgroup configuration"
        raise Error(f"{text}: {where}") from None
    if not creation.manager.main and not prep.plan.has(kernel.CLONE_NEWPID):
        log.warning(
            "Creating a rootless container with no cgroup and no private pid namespace. "
            "Such configuration is strongly discouraged (as it is impossible to properly kill all "
            "container's processes) and will result in an error in a future runc version."
        )


def _accompany(creation: Creation, prep: init.Preparation) -> None:
    """Do for init what it cannot do itself, until it is ready and state.json says so."""
    spec, made, pid = creation.spec, creation.container, creation.pid
    linux, channel = spec.get("linux") or {}, creation.channel
    assert channel is not None
    try:
        if preparation.has_new_user_namespace(linux):
            namespaces.write_id_maps(pid, linux["uidMappings"], linux["gidMappings"])
            log.debug("host: the user namespace's ids are mapped")
            channel.send(words.MAPPED)
        if prep.plan.new & kernel.CLONE_NEWTIME:
            _write_time_offsets(creation, channel)
        if prep.entrance.tight:
            word, value = channel.receive()
            if word != words.APART:
                raise _failure(creation, word, value)
        prep.entrance.finish(creation.manager, pid, prep.plan.born_there)
        creation.manager.set(linux.get("resources") or {})
        process.reset_affinity(pid)
        process.set_oom_score(pid, spec["process"])
        if linux.get("intelRdt"):
            from libcontainer import intelrdt

            made.data.update(intelrdt.apply(linux["intelRdt"], made.id, pid))
            made.save()
        if linux.get("netDevices"):
            from libcontainer import netdevices

            # Not of /proc/PID: init may be on its way to a namespace that it joins.
            network = namespaces.path_of(spec, "network") or f"/proc/{pid}/ns/net"
            netdevices.move(linux["netDevices"], network)
        log.debug("host: init is in its cgroup, limits are set; now its mounts and privileges")
        channel.send(words.PLACED)
        # While init works.
        _stage_record(creation)
        _converse(creation, prep, channel)
        if prep.plan.new & kernel.CLONE_NEWUSER:
            process.set_limits(pid, spec["process"])
        made.publish()
        pid_files.tell(pid, creation.options.pid_file, creation.options.pidfd_socket, b"standard")
        log.debug("host: the container is created, and state.json says so")
    except (OSError, Error) as error:
        why = channel.last_words()
        if why:
            raise _failure(creation, words.FAILED, why) from None
        if isinstance(error, BrokenPipeError):
            raise Error(_why_it_died(creation)) from None
        raise


def _write_time_offsets(creation: Creation, channel: Channel) -> None:
    word, value = channel.receive()
    if word != words.TIMED:
        raise _failure(creation, word, value)
    namespaces.write_time_offsets(creation.pid, creation.spec["linux"].get("timeOffsets"))
    channel.send(words.GO)


def _converse(creation: Creation, prep: init.Preparation, channel: Channel) -> None:
    """Answer init until it is ready."""
    while True:
        word, value = channel.receive()
        if word == words.READY:
            return
        if word == words.MOUNTED:
            _run_host_hooks(creation)
            channel.send(words.GO)
        elif word == words.LISTENER:
            _hand_listener_to_agent(creation, prep.filter)
            channel.send(words.GO)
        else:
            raise _failure(creation, word, value)


def _failure(creation: Creation, word: str, value: Any) -> Error:
    """The Error for what init said instead of what was expected of it."""
    if word == words.FAILED:
        return Error(f"unable to start container process: error during container init: {value}")
    return Error(_why_it_died(creation))


def _run_host_hooks(creation: Creation) -> None:
    made = creation.container
    description = hooks.state(
        container.oci_state(made, state.CREATING), state.CREATING, creation.pid
    )
    for kind in ("prestart", "createRuntime"):
        hooks.run(creation.spec["hooks"], kind, description, made.bundle, posix.environ)


def _hand_listener_to_agent(creation: Creation, filter: Any) -> None:
    from libcontainer.seccomp import notify

    description = hooks.state(
        container.oci_state(creation.container, state.CREATING), state.CREATING, creation.pid
    )
    metadata = creation.spec["linux"]["seccomp"].get("listenerMetadata") or ""
    notify.hand_over(creation.agent, filter, creation.pid, description, metadata)


def _why_it_died(creation: Creation) -> str:
    text = "unable to start container process: "
    if creation.manager.oom_killed():
        return text + "container init was OOM-killed (memory limit too low?)"
    status = posix.waitpid(creation.pid, 0)[1]
    creation.pid = 0
    if posix.WIFSIGNALED(status):
        return text + f"container init was killed by signal {posix.WTERMSIG(status)}"
    return text + f"container init exited with status {posix.WEXITSTATUS(status)}"


def _let_go(creation: Creation) -> None:
    """Tell init, which is ready, that all is recorded: it goes on to wait for `start`."""
    assert creation.channel is not None
    try:
        creation.channel.send(words.GO)
    except BrokenPipeError:
        raise Error(_why_it_died(creation)) from None


def _stage_record(creation: Creation) -> None:
    """The state.json with the process, not to be seen before init is ready: `exec` could join it."""
    made, pid = creation.container, creation.pid
    told = state.process_stat(pid)
    if told is None or told[0] in "ZX":
        raise Error(_why_it_died(creation))
    made.data["init_process_pid"] = pid
    made.data["init_process_start"] = told[1]
    made.data["created"] = state.now()
    made.data["namespace_paths"] = namespaces.paths(pid)
    made.stage()


def undo(creation: Creation) -> None:
    """Remove all that a failed step and those before it made; keeps the first error the one told."""
    made = creation.container
    if creation.pid:
        try:
            posix.kill(creation.pid, signals.SIGKILL)
            posix.waitpid(creation.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            log.debug("init was gone already")
    try:
        if made.data:
            container.destroy(made)
        else:
            made.remove()
    except (Error, OSError) as error:
        log.warning(f"unable to destroy container: {error}")
    if creation.options.pid_file and made.data:
        pid_files.remove(creation.options.pid_file, made.pid)
