"""The host's half of `create` and `run`: from the config to an init that waits for `start`.

create() below is one list of steps, init.py has the other; they talk through channel.py.
"""

from __future__ import annotations

import posix

from libc_bindings import namespaces as kernel
from libc_bindings import process as attributes
from libc_bindings import signals
from libcontainer import (
    cgroups,
    config,
    container,
    hooks,
    init,
    log,
    namespaces,
    process,
    procfs,
    rootfs,
    sealing,
    state,
)
from libcontainer import channel as words
from libcontainer.errors import Error
from libcontainer.version import SPEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.channel import Channel
    from libcontainer.state import Container


class Options:
    """What the command line says about a container to be made; see `runc create --help`."""

    def __init__(
        self,
        bundle: str = "",
        console_socket: str = "",
        pid_file: str = "",
        pidfd_socket: str = "",
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
        systemd_cgroup: bool = False,
        rootless: str = "auto",
        detach: bool = True,
        keep: bool = False,
        no_subreaper: bool = False,
    ) -> None:
        self.bundle = bundle
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.pidfd_socket = pidfd_socket
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.preserve_fds = preserve_fds
        self.systemd_cgroup = systemd_cgroup
        self.rootless = rootless
        self.detach = detach
        self.keep = keep
        self.no_subreaper = no_subreaper
        self.first_free_fd = 3
        """The first descriptor that the container does not get."""
        self.sealed = False
        """Whether the interpreter is sealed; init does it where only init can."""


class Creation:
    """A container that is being made: what has to be undone when a step fails."""

    def __init__(self, made: Container, spec: Any, options: Options) -> None:
        self.container = made
        self.spec = spec
        self.options = options
        self.manager: Any = None
        self.pid = 0
        self.channel: Channel | None = None
        self.terminal = -1
        """Where init sends the pty's master to, when it is for us; else -1."""
        self.agent = -1
        """Connected to the seccomp agent, or -1."""


def create(root: str, container_id: str, bundle: str, **options: Any) -> None:
    """Make a container whose init waits for `start`; on any failure nothing of it is left."""
    creation = _create(root, container_id, Options(bundle, **options))
    assert creation.channel is not None
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
    made = creation.container
    try:
        relay = supervise.terminal_relay(creation.terminal)
    except BaseException:
        _undo(creation)
        raise
    try:
        _start(creation)
        posix.close(made.directory)
        status = supervise.wait(creation.pid, relay)
        log.debug(f"host: the program has ended, exit status {status}")
    finally:
        supervise.restore_terminal(relay)
    if not chosen.keep:
        try:
            container.delete(root, container_id, force=True)
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
        made.remove_fifo()
        # Init's end closes at its execve(2), or when it could not do that and has said so.
        channel.receive()
        channel.close()
        log.debug("host: the program runs")
        container.run_hooks(made, "poststart", state.RUNNING)
    except BaseException:
        _undo(creation)
        raise
    if creation.options.detach:
        container.pass_on_ready(made, socket, creation.pid)
    else:
        container.pass_on_ready(made, socket, posix.getpid(), background=True)


def _create(root: str, container_id: str, options: Options) -> Creation:
    """The steps of `create`, in order."""
    spec, bundle, rootless_cgroups = _load(options)
    _check_terminal(spec, options)
    if not options.detach:
        from libcontainer import supervise

        # From here on signals wait until there is a process that they can be forwarded to.
        supervise.hold_signals()
        if not options.no_subreaper:
            attributes.prctl(attributes.PR_SET_CHILD_SUBREAPER, 1)
    made = state.reserve(root, container_id)
    creation = Creation(made, spec, options)
    try:
        # What cannot be had must be known before anything is made.
        creation.manager = _cgroup_manager(container_id, spec, options, rootless_cgroups)
        log.debug("host: the id is reserved, the cgroup chosen")
        prep = _prepare(creation, bundle)
        log.debug("host: all that init needs is looked up and open")
        made.data = _first_state(made, spec, bundle, creation.manager, options, rootless_cgroups)
        made.save_config(spec)
        made.save()
        log.debug("host: state.json is written")
        _make_init(creation, prep)
        _accompany(creation, prep)
    except BaseException:
        _undo(creation)
        raise
    return creation


def _load(options: Options) -> tuple[Any, str, bool]:
    """The checked config, the absolute bundle, and whether cgroups may be out of reach.

    The working directory is the bundle afterwards, and the interpreter is sealed.
    """
    listen_fds = _listen_fds()
    options.first_free_fd = preserved(3 + listen_fds, options.preserve_fds)
    hooks.close_inherited(options.first_free_fd)
    start = posix.open(".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        posix.chdir(options.bundle or ".")
    except OSError as error:
        raise Error(f"chdir {options.bundle}: {_reason(error)}") from None
    bundle = posix.getcwd()
    spec: Any = config.load("")
    rootless_cgroups = _rootless_cgroups(options.rootless)
    config.check(spec, options.no_pivot, posix.geteuid() != 0, rootless_cgroups)
    config.check_host(spec, bundle)
    log.debug("host: config.json is read and in order")
    # Sealing may start the program again, with the same arguments: from where it was started.
    posix.fchdir(start)
    posix.close(start)
    options.sealed = sealing.seal(
        deferrable=posix.geteuid() != 0 and _has_new_user_namespace(spec.get("linux") or {})
    )
    if options.sealed:
        log.debug("runc exeseal: /proc/self/exe is sealed (read-only mount, or memory)")
    posix.chdir(bundle)
    if listen_fds:
        variables = [f"LISTEN_FDS={listen_fds}", "LISTEN_PID=1"]
        spec["process"].setdefault("env", []).extend(variables)
    return spec, bundle, rootless_cgroups


def _rootless_cgroups(rootless: str) -> bool:
    """--rootless: whether missing permissions on cgroups are to be expected."""
    if rootless != "auto":
        return rootless in ("true", "1", "t", "T", "TRUE", "True")
    if posix.geteuid() != 0:
        return True
    fd = posix.open("/proc/self/uid_map", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        # The initial user namespace maps everything on itself.
        return posix.read(fd, 256).split() != [b"0", b"0", b"4294967295"]
    except FileNotFoundError:
        return False
    finally:
        posix.close(fd)


def _check_terminal(spec: Any, options: Options) -> None:
    terminal = spec["process"].get("terminal")
    if options.detach and terminal and not options.console_socket:
        raise Error("cannot allocate tty if runc will detach without setting console socket")
    if options.console_socket and not (options.detach and terminal):
        raise Error("cannot use console socket if runc will not detach or allocate tty")
    if terminal and not options.console_socket:
        from libcontainer import relaying

        # Without one nothing is made.
        relaying.find_terminal()


def _cgroup_manager(container_id: str, spec: Any, options: Options, rootless: bool) -> Any:
    linux = spec.get("linux") or {}
    manager = cgroups.manager(
        linux.get("cgroupsPath"),
        container_id,
        linux.get("resources"),
        systemd=options.systemd_cgroup,
        rootless=rootless,
        annotations=spec.get("annotations"),
        devices=linux.get("devices"),
        owner=_cgroup_owner(spec),
    )
    manager.check()
    return manager


def _cgroup_owner(spec: Any) -> int | None:
    """The host's uid of the process, if it gets a cgroup namespace with a writable /sys/fs/cgroup."""
    linux = spec.get("linux") or {}
    kinds = [entry["type"] for entry in linux.get("namespaces") or ()]
    if "cgroup" not in kinds or not any(map(_is_writable_cgroup, spec.get("mounts") or ())):
        return None
    uid = int((spec["process"].get("user") or {}).get("uid", 0))
    if "user" not in kinds:
        return uid or None
    for mapping in linux.get("uidMappings") or ():
        if 0 <= uid - mapping["containerID"] < mapping["size"]:
            return int(mapping["hostID"]) + uid - int(mapping["containerID"])
    return None


def _is_writable_cgroup(mount: Any) -> bool:
    if mount.get("source") != "cgroup" or mount["destination"].rstrip("/") != "/sys/fs/cgroup":
        return False
    return "ro" not in (mount.get("options") or ())


def _prepare(creation: Creation, bundle: str) -> init.Preparation:
    """Open, look up and build all that init inherits, and refuse what this host cannot do."""
    spec, options, made = creation.spec, creation.options, creation.container
    linux, proc = spec.get("linux") or {}, spec["process"]
    prep = init.Preparation()
    prep.spec, prep.bundle, prep.id = spec, bundle, made.id
    prep.sealed = options.sealed
    prep.no_pivot, prep.new_keyring = options.no_pivot, not options.no_new_keyring
    prep.state = {"ociVersion": SPEC, "id": made.id, "bundle": bundle}
    if spec.get("annotations"):
        prep.state["annotations"] = spec["annotations"]
    prep.first_free_fd = options.first_free_fd
    prep.plan = namespaces.plan(spec)
    # What is not dumpable only the host's root may look into: an ordinary user could neither exec in
    # the created container, nor its hooks reach the namespaces. Nobody else is in these yet.
    prep.visible = bool(
        posix.geteuid() and prep.plan.new & kernel.CLONE_NEWUSER and not prep.plan.joined
    )
    prep.maps_groups = maps_groups(proc, linux, prep.plan)
    prep.filter = seccomp_filter(linux.get("seccomp"), made.root)
    if proc.get("apparmorProfile") or proc.get("selinuxLabel") or linux.get("mountLabel"):
        from libcontainer import lsm

        lsm.check(proc, linux.get("mountLabel"))
    if prep.new_keyring:
        from libcontainer import keyring  # noqa: F401
    preload(proc, prep.plan)
    prep.sets = process.capability_sets(proc)
    prep.cgroup = creation.manager.view(prep.plan.has(kernel.CLONE_NEWCGROUP))
    _add_notify_socket(creation)
    prep.sources = rootfs.open_sources(spec, bundle)
    prep.console = _console(creation)
    creation.agent = connect_agent(prep.filter, linux)
    prep.fifo = _make_fifo(made)
    return prep


def preload(process: Any, plan: namespaces.Plan) -> None:
    """Import here what the process imports on its way: in there it must not (init.close_imports)."""
    if process.get("terminal"):
        import termios  # noqa: F401

        from libcontainer import terminal  # noqa: F401
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        from libcontainer import lsm  # noqa: F401
    if any(kind == kernel.CLONE_NEWNS for kind, _, _ in plan.joined):
        import _socket  # noqa: F401

        from libcontainer.rootfs import cgroup_mounts, copyup, filesystems  # noqa: F401


def _listen_fds() -> int:
    """How many descriptors systemd's socket activation has for us (sd_listen_fds(3))."""
    if posix.environ.get(b"LISTEN_PID") != b"%d" % posix.getpid():
        return 0
    count = posix.environ.get(b"LISTEN_FDS", b"")
    return int(count) if count.isdigit() else 0


def preserved(first: int, count: int) -> int:
    """first + count, if all descriptors in between are there to be preserved; they lose O_CLOEXEC."""
    for fd in range(first, first + count):
        try:
            posix.set_inheritable(fd, True)
        except OSError:
            text = f"unable to stat preserved-fd {fd - first} (of {count})"
            raise Error(f"{text}: no such file or directory") from None
    return first + count


def maps_groups(proc: Any, linux: Any, plan: namespaces.Plan) -> bool | None:
    """Whether setgroups(2) works in there; None where that shows in there only.

    It is denied in a user namespace whose gid map an unprivileged writer made alone, and in all
    below. The additional groups of `proc` are left out where the namespace around us denies it.
    """
    if posix.geteuid() == 0:
        if not procfs.read("self/setgroups").startswith(b"deny"):
            return None if _joins_unknown_user_namespace(linux, plan) else True
        user = proc.get("user") or {}
        if user.get("additionalGids"):
            # Rootless engines pass on what the image's /etc/group says, mapped or not.
            log.debug(f"setgroups(2) is denied here: without groups {user['additionalGids']}")
            user["additionalGids"] = []
        return False
    if not plan.has(kernel.CLONE_NEWUSER):
        return True
    if _joins_unknown_user_namespace(linux, plan):
        return None
    return not namespaces.is_only(linux.get("gidMappings") or [], posix.getegid())


def _joins_unknown_user_namespace(linux: Any, plan: namespaces.Plan) -> bool:
    """Whether its maps are somebody else's (a config that joins one need not tell them)."""
    joins = plan.has(kernel.CLONE_NEWUSER) and not plan.new & kernel.CLONE_NEWUSER
    return joins and not linux.get("gidMappings")


def seccomp_filter(profile: Any, root: str) -> Any:
    """The filter of linux.seccomp, from the cache below the root directory if it can be."""
    if not profile:
        return None
    from libcontainer import seccomp

    return seccomp.filter_program(profile, f"{root}/~seccomp")


def connect_agent(filter: Any, linux: Any) -> int:
    """Connected to the agent that a filter with SCMP_ACT_NOTIFY needs; -1 without one.

    The filter then has the sockets that its listener comes through.
    """
    if filter is None or not filter.listener:
        return -1
    from libcontainer import terminal
    from libcontainer.seccomp import notify

    agent = notify.connect(linux["seccomp"]["listenerPath"])
    filter.inbox, filter.outbox = terminal.pair()
    return agent


def _console(creation: Creation) -> int:
    """Where init has to send its pty's master."""
    if not creation.spec["process"].get("terminal"):
        return -1
    from libcontainer import terminal

    if creation.options.console_socket:
        return terminal.connect(creation.options.console_socket)
    creation.terminal, theirs = terminal.pair()
    return theirs


def _add_notify_socket(creation: Creation) -> None:
    path = posix.environ.get(b"NOTIFY_SOCKET")
    if path:
        from libcontainer import notify

        notify.add(creation.spec, creation.container.path, path.decode("utf-8", "surrogateescape"))


def _make_fifo(made: Container) -> int:
    """The exec FIFO, opened in both directions: so it opens at once, and read(2) waits for `start`."""
    posix.mkfifo(state.FIFO, 0o622, dir_fd=made.directory)
    return posix.open(state.FIFO, posix.O_RDWR | posix.O_CLOEXEC, dir_fd=made.directory)


def _first_state(
    made: Container, spec: Any, bundle: str, manager: Any, options: Options, rootless: bool
) -> dict[str, Any]:
    """What state.json says before there is a process: enough for `delete --force` to clean up."""
    linux = spec.get("linux") or {}
    labels = [f"{name}={value}" for name, value in (spec.get("annotations") or {}).items()]
    namespace_types = {"network": "NET", "mount": "NS"}
    described = {
        "rootfs": config.rootfs(spec, bundle),
        "readonlyfs": bool((spec.get("root") or {}).get("readonly")),
        "hostname": spec.get("hostname", ""),
        "namespaces": [
            {
                "type": "NEW" + namespace_types.get(entry["type"], entry["type"].upper()),
                "path": entry.get("path", ""),
            }
            for entry in linux.get("namespaces") or ()
        ],
        "cgroups": {"path": linux.get("cgroupsPath", ""), "Systemd": options.systemd_cgroup},
        "no_new_privileges": bool(spec["process"].get("noNewPrivileges")),
        "Hooks": {
            kind: entries
            for kind, entries in (spec.get("hooks") or {}).items()
            if kind in ("poststart", "poststop")
        },
        "version": SPEC,
        "labels": [*labels, f"bundle={bundle}"],
        "no_new_keyring": options.no_new_keyring,
        "rootless_euid": posix.geteuid() != 0,
        "rootless_cgroups": rootless,
    }
    data = {
        "id": made.id,
        "init_process_pid": 0,
        "init_process_start": 0,
        "created": state.now(),
        "config": described,
        "rootless": posix.geteuid() != 0,
        "cgroup_paths": manager.paths,
        "namespace_paths": {},
        "external_descriptors": [],
        "cgroup": manager.to_state(),
    }
    notify = posix.environ.get(b"NOTIFY_SOCKET")
    if notify:
        data["notify_socket"] = notify.decode("utf-8", "surrogateescape")
    return data


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
        where = f"{error.filename}: {_reason(error)}"
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
        if _has_new_user_namespace(linux):
            namespaces.write_id_maps(pid, linux["uidMappings"], linux["gidMappings"])
            log.debug("host: the user namespace's ids are mapped")
            channel.send(words.MAPPED)
        if prep.plan.new & kernel.CLONE_NEWTIME:
            _write_time_offsets(creation, channel)
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
        _converse(creation, prep, channel)
        if prep.plan.new & kernel.CLONE_NEWUSER:
            process.set_limits(pid, spec["process"])
        _record(creation)
        log.debug("host: the container is created, and state.json says so")
        channel.send(words.GO)
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


def _has_new_user_namespace(linux: Any) -> bool:
    return any(
        entry["type"] == "user" and not entry.get("path") for entry in linux.get("namespaces") or ()
    )


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


def _record(creation: Creation) -> None:
    """state.json with the process, the pid file, the pidfd."""
    made, pid, options = creation.container, creation.pid, creation.options
    told = state.process_stat(pid)
    if told is None or told[0] in "ZX":
        raise Error(_why_it_died(creation))
    made.data["init_process_pid"] = pid
    made.data["init_process_start"] = told[1]
    made.data["created"] = state.now()
    made.data["namespace_paths"] = namespaces.paths(pid)
    made.save()
    tell_pid(pid, options.pid_file, options.pidfd_socket, b"standard")


def tell_pid(pid: int, pid_file: str, pidfd_socket: str, word: bytes) -> None:
    """Write --pid-file (whole or not at all) and send the pidfd to --pidfd-socket."""
    if pid_file:
        directory, _, name = pid_file.rpartition("/")
        temporary = f"{directory}/.{name}" if "/" in pid_file else f".{name}"
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
        try:
            try:
                fd = posix.open(temporary, flags, 0o666)
            except FileExistsError:
                # Left by one that was killed. Never written through: it may be somebody's link.
                posix.unlink(temporary)
                fd = posix.open(temporary, flags, 0o666)
            try:
                posix.write(fd, b"%d" % pid)
            finally:
                posix.close(fd)
            posix.rename(temporary, pid_file)
        except OSError as error:
            raise Error(f"open {temporary}: {_reason(error)}") from None
    if pidfd_socket:
        from libcontainer import terminal

        pidfd = kernel.pidfd_open(pid)
        if pidfd < 0:
            raise Error("--pidfd-socket requires >= v5.3 kernel")
        terminal.send(terminal.connect(pidfd_socket), word, pidfd)
        posix.close(pidfd)


def _undo(creation: Creation) -> None:
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
        _remove_pid_file(creation.options.pid_file, made.pid)


def _remove_pid_file(path: str, pid: int) -> None:
    """Remove a pid file if it is the one that tell_pid() wrote."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
        try:
            ours = posix.read(fd, 32) == b"%d" % pid
        finally:
            posix.close(fd)
        if ours:
            posix.unlink(path)
    except OSError as error:
        log.debug(f"pid file {path}: {error.strerror}")


def _reason(error: OSError) -> str:
    return posix.strerror(error.errno or 0).lower()
