"""The container's side: from the clone to the execve, as one list of steps.

It runs in the child that creation.py made, in the new namespaces, in the same interpreter: nothing was
executed yet. Each step lives in its area's module; here is their order, and why it matters.
"""

from __future__ import annotations

import posix

from libc_bindings import namespaces as kernel
from libc_bindings import process as attributes
from libc_bindings import signals
from libcontainer import channel as words
from libcontainer import (
    config,
    hooks,
    inside,
    keyring,
    log,
    namespaces,
    process,
    procfs,
    rootfs,
    sealing,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from libcontainer.channel import Channel


class Preparation:
    """What the host's side opened and decided before the clone; init inherits it."""

    __slots__ = (
        "bundle",
        "cgroup",
        "console",
        "entrance",
        "fifo",
        "filter",
        "first_free_fd",
        "id",
        "maps_groups",
        "new_keyring",
        "no_pivot",
        "plan",
        "sealed",
        "sets",
        "sources",
        "spec",
        "state",
        "visible",
    )  # fmt: skip

    spec: Any
    bundle: str
    id: str
    plan: namespaces.Plan
    sources: Any
    """rootfs.open_sources()."""
    cgroup: Any
    """A CgroupView for the cgroup mounts."""
    entrance: Any
    """The way into the container's cgroups (cgroups/entrance.py)."""
    filter: Any
    """The seccomp filter, or None."""
    sets: process.Sets
    console: int
    """Socket for the pty's master, or -1."""
    fifo: int
    """The exec FIFO, open for reading and writing."""
    first_free_fd: int
    """3 + the number of preserved descriptors."""
    sealed: bool
    no_pivot: bool
    new_keyring: bool
    maps_groups: bool | None
    """Whether setgroups(2) is allowed in there, None if unknown."""
    state: dict[str, Any]
    """The state that hooks get, without pid and status."""
    visible: bool
    """Whether those with privileges over its namespaces may look into it until `start`."""


def run(prep: Preparation, channel: Channel) -> NoReturn:
    """Be the container's init; leaves by execve(2) or, when a step fails, by _exit."""
    try:
        program, environ = _prepare(prep, channel)
        _wait_for_start(prep, channel)
    except BaseException as error:
        inside.tell(channel, error)
        posix._exit(1)
    try:
        _become(prep, program, environ)
    except BaseException as error:
        inside.say(error)
    finally:
        posix._exit(255)


def _prepare(prep: Preparation, channel: Channel) -> tuple[bytes, dict[bytes, bytes]]:
    """All that happens before `created`."""
    spec, linux = prep.spec, prep.spec.get("linux") or {}
    proc = spec["process"]
    log.debug("child process in init()")
    # The parent may be killed; then so must this be, until end of file in the channel tells it.
    attributes.prctl(attributes.PR_SET_PDEATHSIG, signals.SIGKILL)
    if not prep.plan.new & kernel.CLONE_NEWNS:
        inside.close_imports()
    prep.entrance.enter()
    prep.entrance.get_ready()
    if prep.sealed and posix.geteuid() == 0:
        # There may be others in a namespace that is joined. (An ordinary user's parent could not
        # map its ids then, nor could it be sealed.)
        attributes.prctl(attributes.PR_SET_DUMPABLE, 0)
    namespaces.enter(prep.plan)
    if prep.plan.new & kernel.CLONE_NEWUSER:
        # Before its ids are mapped nothing can be made that has an owner.
        _expect(channel, words.MAPPED)
        namespaces.become_root()
        namespaces.make_owned(prep.plan)
        if not prep.sealed:
            # An ordinary user has the privilege for that only in here.
            sealing.seal_in_place()
    elif prep.plan.has(kernel.CLONE_NEWUSER):
        namespaces.check_joined_maps(linux)
    if prep.plan.new & kernel.CLONE_NEWTIME:
        # Its offsets have to be written while it is empty, by somebody who may write to our files.
        namespaces.make_time_namespace()
        channel.send(words.TIMED)
        _expect(channel, words.GO)
        namespaces.enter_time_namespace()
    log.debug("init: in its namespaces")
    # Whatever enters or looks at the container's namespaces must not reach into this memory.
    attributes.prctl(attributes.PR_SET_DUMPABLE, prep.visible)
    posix.setsid()
    _join_keyring(prep, proc)
    if prep.plan.new & kernel.CLONE_NEWNET:
        kernel.set_loopback_up()
    # The root of the mounts is set apart before the first mount, or the host would see it.
    rootfs.set_propagation(spec)
    root_fd = rootfs.bind_root(spec, prep.bundle)
    if prep.entrance.tight:
        channel.send(words.APART)
    # The cgroup namespace's root is the cgroup that its maker is in; cgroup mounts show it.
    _expect(channel, words.PLACED)
    log.debug("init: placed in its cgroup by the host's side")
    # Not before: what it allocates from here on is the container's.
    prep.entrance.enter_memory()
    if prep.plan.new & kernel.CLONE_NEWCGROUP:
        kernel.unshare(kernel.CLONE_NEWCGROUP)
    rootfs.mount_all(root_fd, spec, prep.sources, prep.cgroup)
    log.debug("init: all is mounted")
    rootfs.make_devices(root_fd, spec, bind=prep.plan.has(kernel.CLONE_NEWUSER))
    _meet_host_hooks(prep, channel)
    hooks.run(
        spec.get("hooks"), "createContainer", _state(prep, "creating"),
        config.rootfs(spec, prep.bundle), posix.environ,
    )  # fmt: skip
    for key, value in (linux.get("sysctl") or {}).items():
        procfs.write_sysctl(key, value)
    # Still on the host's /proc, which the pty's descriptors are mounted through.
    _set_up_terminal(prep, proc, root_fd)
    process.make_directory(root_fd, proc["cwd"])
    environ = process.environment(proc, root_fd)
    _set_labels(proc)
    if prep.visible:
        process.forget_environment()
    procfs.release()
    inside.close_imports()
    log.debug("init: devices, hooks, sysctls, terminal are done")
    rootfs.pivot(root_fd, spec, prep.no_pivot)
    log.debug("init: the root file system is entered, the host's is gone")
    if spec.get("hostname"):
        kernel.sethostname(spec["hostname"])
    if spec.get("domainname"):
        kernel.setdomainname(spec["domainname"])
    rootfs.finish(spec)
    # Scheduling, policies and ids of the process, while all capabilities are there.
    process.apply_scheduling(proc, linux)
    process.apply_personality(linux.get("personality"))
    process.apply_memory_policy(linux.get("memoryPolicy"))
    log.debug("init: paths are masked and read-only, scheduling is set")
    _take_identity(prep, proc)
    program = process.find_program(proc["args"][0], environ)
    log.debug("init: closing the pipe to signal completion")
    return program, environ


def _wait_for_start(prep: Preparation, channel: Channel) -> None:
    """Tell that all is done, wait until it is recorded, then for `start`."""
    if prep.visible:
        # Changing the ids took it away (fs.suid_dumpable).
        attributes.prctl(attributes.PR_SET_DUMPABLE, 1)
    if prep.filter is not None and prep.filter.listener:
        # Its descriptor has to reach the agent while somebody is there to hand it on.
        from libcontainer.seccomp import notify

        notify.load(prep.filter, channel)
    # A parent that ends from now on has done its part, or closes the channel before it has.
    attributes.prctl(attributes.PR_SET_PDEATHSIG, 0)
    channel.send(words.READY)
    _expect(channel, words.GO)
    _be_mortal()
    log.debug("init: about to wait on exec fifo")
    posix.read(prep.fifo, 1)
    # What keeps others out while it is visible is that it has more capabilities: these go now.
    attributes.prctl(attributes.PR_SET_DUMPABLE, 0)


def _become(prep: Preparation, program: bytes, environ: dict[bytes, bytes]) -> None:
    """From `start` to the program: the last hooks, the filter, the last privileges."""
    proc = prep.spec["process"]
    with_hooks = hooks.any_of(prep.spec.get("hooks"), "startContainer")
    if with_hooks:
        # They run inside, so under the filter and with the capabilities of the process, as in runc.
        inside.finish_privileges(proc, prep.filter, prep.sets)
        hooks.run(prep.spec["hooks"], "startContainer", _state(prep, "created"), "/", environ)
    hooks.close_on_exec(prep.first_free_fd)
    hooks.reset_signals()
    if not with_hooks:
        inside.finish_privileges(proc, prep.filter, prep.sets)
    process.execute(program, proc["args"], environ)


def _be_mortal() -> None:
    """Let SIGTERM and the like end a created container: pid 1 of a namespace ignores what it has
    no handler for."""
    for number in signals.DEADLY:
        signals.signal(number, lambda number, frame: posix._exit(128 + number))


def _expect(channel: Channel, word: str) -> None:
    got, _ = channel.receive()
    if got != word:
        # The host's side is gone, or has met a fault that it reports itself.
        posix._exit(1)


def _state(prep: Preparation, status: str) -> dict[str, Any]:
    return hooks.state(prep.state, status, posix.getpid())


def _meet_host_hooks(prep: Preparation, channel: Channel) -> None:
    """prestart and createRuntime run on the host's side while the rootfs stands but is not entered."""
    if hooks.any_of(prep.spec.get("hooks"), "prestart", "createRuntime"):
        channel.send(words.MOUNTED)
        _expect(channel, words.GO)


def _join_keyring(prep: Preparation, proc: Any) -> None:
    """A session keyring of the container's own, so that the caller's keys stay out of reach."""
    if not prep.new_keyring:
        return
    keyring.join(f"_ses.{prep.id}", proc.get("selinuxLabel"))


def _set_up_terminal(prep: Preparation, proc: Any, root_fd: int) -> None:
    if not proc.get("terminal"):
        return
    from libcontainer import terminal

    terminal.set_up(root_fd, proc, prep.console, console=True)


def _set_labels(proc: Any) -> None:
    """AppArmor's and SELinux's labels for the execve, through a procfs that the image cannot forge."""
    if proc.get("apparmorProfile") or proc.get("selinuxLabel"):
        from libcontainer import lsm

        lsm.set_exec_label(procfs, proc)


def _take_identity(prep: Preparation, proc: Any) -> None:
    """Become the process's user in its directory, keeping the privileges that are left to use."""
    process.give_stdio_to(proc)
    if not prep.plan.new & kernel.CLONE_NEWUSER:
        # In a new user namespace the host's side has the privileges for it, and does it.
        process.set_limits(0, proc)
    if proc.get("noNewPrivileges"):
        attributes.prctl(attributes.PR_SET_NO_NEW_PRIVS, 1)
    process.enter_identity(proc, prep.sets, prep.maps_groups)
