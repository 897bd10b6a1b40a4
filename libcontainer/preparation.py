"""What `create` and `run` decide, look up and open before the clone, and refuse before anything is made.

creation.py has the steps in their order; init inherits what prepare() returns.
"""

from __future__ import annotations

import posix

from libc_bindings import namespaces as kernel
from libcontainer import (
    cgroups,
    config,
    hooks,
    inheritance,
    init,
    log,
    namespaces,
    process,
    rootfs,
    sealing,
    state,
)
from libcontainer.cgroups.hierarchies import in_user_namespace
from libcontainer.errors import Error, reason
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


def load(options: Options) -> tuple[Any, str, bool]:
    """The checked config, the absolute bundle, and whether cgroups may be out of reach.

    The working directory is the bundle afterwards, and the interpreter is sealed.
    """
    listen_fds = _listen_fds()
    first = inheritance.preserved(3, listen_fds, "LISTEN_FDS descriptor")
    options.first_free_fd = inheritance.preserved(first, options.preserve_fds)
    hooks.close_inherited(options.first_free_fd)
    start = posix.open(".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        posix.chdir(options.bundle or ".")
    except OSError as error:
        raise Error(f"chdir {options.bundle}: {reason(error)}") from None
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
        deferrable=posix.geteuid() != 0 and has_new_user_namespace(spec.get("linux") or {})
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
    return posix.geteuid() != 0 or in_user_namespace()


def cgroup_manager(container_id: str, spec: Any, options: Options, rootless: bool) -> Any:
    """The manager of the config's cgroup, checked against this host; nothing is made."""
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


def prepare(creation: Creation, bundle: str) -> init.Preparation:
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
    prep.maps_groups = inheritance.maps_groups(proc, linux, prep.plan)
    prep.filter = inheritance.seccomp_filter(linux.get("seccomp"), made.root)
    if proc.get("apparmorProfile") or proc.get("selinuxLabel") or linux.get("mountLabel"):
        from libcontainer import lsm

        lsm.check(proc, linux.get("mountLabel"))
    inheritance.preload(proc)
    if any(kind == kernel.CLONE_NEWNS for kind, _, _ in prep.plan.joined):
        # Init goes to other files before it mounts: the same holds for what it mounts with.
        import _socket  # noqa: F401

        from libcontainer.rootfs import copyup, filesystems  # noqa: F401
    prep.sets = process.capability_sets(proc)
    prep.cgroup = creation.manager.view(prep.plan.has(kernel.CLONE_NEWCGROUP))
    add_notify_socket(creation)
    prep.sources = rootfs.open_sources(spec, bundle)
    prep.console = console(creation)
    creation.agent = inheritance.connect_agent(prep.filter, linux)
    prep.fifo = _make_fifo(made)
    return prep


def _listen_fds() -> int:
    """How many descriptors systemd's socket activation has for us (sd_listen_fds(3))."""
    if posix.environ.get(b"LISTEN_PID") != b"%d" % posix.getpid():
        return 0
    count = posix.environ.get(b"LISTEN_FDS", b"")
    return int(count[:9]) if count.isdigit() else 0


def console(creation: Creation) -> int:
    """Where init has to send its pty's master."""
    if not creation.spec["process"].get("terminal"):
        return -1
    from libcontainer import terminal

    if creation.options.console_socket:
        return terminal.connect(creation.options.console_socket)
    creation.terminal, theirs = terminal.pair()
    return theirs


def add_notify_socket(creation: Creation) -> None:
    """Give the container a NOTIFY_SOCKET of its own where the caller has one."""
    path = posix.environ.get(b"NOTIFY_SOCKET")
    if path:
        from libcontainer import notify

        notify.add(creation.spec, creation.container.path, path.decode("utf-8", "surrogateescape"))


def _make_fifo(made: Container) -> int:
    """The exec FIFO, opened in both directions: so it opens at once, and read(2) waits for `start`."""
    posix.mkfifo(state.FIFO, 0o600, dir_fd=made.directory)
    return posix.open(state.FIFO, posix.O_RDWR | posix.O_CLOEXEC, dir_fd=made.directory)


def first_state(
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
        # For `checkpoint`; a terminal is the container's own.
        "external_descriptors": [
            posix.readlink("/proc/self/fd/" + fd)
            for fd in ("" if spec["process"].get("terminal") else "012")
        ],
        "cgroup": manager.to_state(),
    }
    notify = posix.environ.get(b"NOTIFY_SOCKET")
    if notify:
        data["notify_socket"] = notify.decode("utf-8", "surrogateescape")
    return data


def has_new_user_namespace(linux: Any) -> bool:
    """Whether the container gets a user namespace of its own."""
    return any(
        entry["type"] == "user" and not entry.get("path") for entry in linux.get("namespaces") or ()
    )
