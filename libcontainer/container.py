"""What is done with a container that is there: start, kill, delete, and what is told of it.

How it is made is in creation.py. See the runtime-spec, runtime.md, "Lifecycle".
"""

from __future__ import annotations

import posix
import time

from libc_bindings import signals
from libcontainer import log, state
from libcontainer.errors import Error, reason
from libcontainer.state import CREATED, PAUSED, RUNNING, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.state import Container

_POLLERR = 0x008
_KILL_SECONDS = 10.0
_END_SECONDS = 0.1


def start(root: str, container_id: str) -> None:
    """Let a created container's init execute its program, and run the poststart hooks."""
    container = state.load_locked(root, container_id)
    status = container.status()
    if status == STOPPED:
        if container.has_fifo():
            raise Error("container process is already dead")
        raise Error("cannot start a container that has stopped")
    if status == PAUSED:
        raise Error("cannot start a container in the paused state")
    if status != CREATED:
        raise Error("cannot start an already running container")
    socket = listen_for_ready(container)
    release(container)
    pass_on_ready(container, socket, container.pid)


def listen_for_ready(container: Container) -> Any:
    """The container's end of NOTIFY_SOCKET, to be there before its program; None without one.

    As in runc, a `start` that has no NOTIFY_SOCKET itself does not wait: nobody listens.
    """
    if not (container.data.get("notify_socket") and posix.environ.get(b"NOTIFY_SOCKET")):
        return None
    from libcontainer import notify

    return notify.listen(container.path)


def pass_on_ready(
    container: Container, socket: Any, main_pid: int, background: bool = False
) -> None:
    """Wait for READY=1 of a container with NOTIFY_SOCKET and tell the service manager.

    In the `background` of a command that has signals and a terminal to look after meanwhile.
    """
    if socket is None:
        return
    from libcontainer import notify

    container.unlock()
    relay = notify.relay_in_background if background else notify.relay
    relay(socket, container.data["notify_socket"], main_pid, container.init_lives)


def release(container: Container) -> None:
    """Write to the FIFO that init waits on; back when it has executed its program or is gone."""
    import select

    try:
        flags = posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
        fifo = posix.open(state.FIFO, flags, dir_fd=container.directory)
    except OSError:
        # ENXIO: nobody has it open for reading any more.
        raise Error("container process is already dead") from None
    try:
        posix.write(fifo, b"0")
        container.remove_fifo()
        # Init's own descriptor closes at its execve(2): the pipe then has no reader, an error.
        waiting = select.poll()
        waiting.register(fifo, 0)
        waiting.poll()
    finally:
        posix.close(fifo)
    log.debug("host: the program runs")
    try:
        run_hooks(container, "poststart", RUNNING)
    except Error:
        # The runtime-spec, "Lifecycle": stop the container, and go on as if it had been deleted.
        stop(container)
        destroy(container)
        raise


def kill(root: str, container_id: str, signal: int, all: bool = False) -> None:
    """Send `signal` to the container's init; `all` makes a stopped container no error."""
    container = state.load(root, container_id)
    status = container.status()
    lives = status != STOPPED
    log.debug(f"host: the container is {status}")
    if signal == signals.SIGKILL and not own_pid_namespace(container):
        # Without a pid namespace the others do not die with init.
        manager = _manager(container)
        try:
            populated = bool(manager.pids())
        except FileNotFoundError:
            # systemd removes a scope with its last process.
            populated = False
        if populated:
            manager.kill(signal)
            log.debug("host: all processes of its cgroup are killed")
            return
        if not lives and not all:
            raise Error("unable to kill all processes: container not running")
    if lives:
        signal_init(container, signal)
        log.debug(f"host: signal {signal} is sent to process {container.pid}")
        if signal == signals.SIGKILL and container.frozen():
            # A frozen process of cgroup v1 dies only when it is thawed.
            _manager(container).thaw()
    elif not all:
        raise Error("container not running")


def signal_init(container: Container, signal: int) -> None:
    """kill(2) for init, and for nobody else who got its number meanwhile."""
    try:
        pidfd = posix.pidfd_open(container.pid)
    except (AttributeError, OSError):
        # Before Python 3.9 or Linux 5.3, forbidden by an old seccomp profile, or it is gone.
        pidfd = -1
    try:
        if not container.init_lives():
            raise ProcessLookupError
        if pidfd < 0:
            posix.kill(container.pid, signal)
        else:
            signals.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        raise Error("container not running") from None
    except OSError as error:
        raise Error(f"unable to signal init: {reason(error)}") from None
    finally:
        if pidfd >= 0:
            posix.close(pidfd)


def delete(root: str, container_id: str, force: bool = False) -> None:
    """Remove a stopped container; a created one is killed first, with `force` any."""
    while True:
        try:
            container = state.load_locked(root, container_id)
            break
        except state.MissingError:
            if not state.remove_remains(root, container_id):
                continue
            if force:
                return
            raise
    status = container.status()
    if status == RUNNING and not force and _ends(container, _END_SECONDS):
        # `kill PID; runc delete ID` comes sooner than a process that was told to end has ended.
        status = STOPPED
    if status in (RUNNING, PAUSED) and not force:
        raise Error(f"cannot delete container {container_id} that is not stopped: {status}")
    log.debug(f"host: the container is {status}")
    if status != STOPPED:
        stop(container)
        log.debug("host: its processes are killed and gone")
    destroy(container)


def delete_ended(container: Container) -> None:
    """Remove the container that this command has run, unless somebody else did (and reused its id)."""
    container.lock()
    if container.is_current():
        container.refresh()
        destroy(container)


def stop(container: Container) -> None:
    """SIGKILL to init, and the wait for its end.  Raises Error after ten seconds."""
    if not container.pid:
        return
    if container.frozen():
        manager = _manager(container)
        manager.kill(signals.SIGKILL)
        manager.thaw()
    elif not own_pid_namespace(container):
        _manager(container).kill(signals.SIGKILL)
    try:
        signal_init(container, signals.SIGKILL)
    except Error as error:
        # It goes by itself.
        log.debug(str(error))
    if not _ends(container, _KILL_SECONDS):
        raise Error("container init still running")


def _ends(container: Container, seconds: float) -> bool:
    """Wait for init's end; whether it came in time."""
    deadline = time.monotonic() + seconds
    pause = 0.0005
    while container.init_lives():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return True


def destroy(container: Container) -> None:
    """Remove everything of a container whose init is gone, then run the poststop hooks."""
    ended = container.pid and own_pid_namespace(container)
    if container.data.get("cgroup") and not (ended and _had_empty_cgroups(container)):
        manager = _manager(container)
        if not ended:
            # Of a `create` that was killed, init may be on its way still.
            manager.kill(signals.SIGKILL)
        try:
            manager.destroy()
        except OSError as error:
            why = f"{error.strerror}: {error.filename}"
            raise Error(f"unable to remove container's cgroup: {why}") from None
    log.debug("host: the cgroup is removed")
    if container.data.get("intel_rdt_path") or container.data.get("intel_rdt_mon_path"):
        from libcontainer import intelrdt

        intelrdt.destroy(container.data)
    hooks = container.data["config"].get("Hooks")
    container.remove()
    log.debug("host: the state is removed")
    if hooks:
        run_hooks(container, "poststop", STOPPED)


def _had_empty_cgroups(container: Container) -> bool:
    """Whether its cgroups could be removed just so, as those of a dead init nearly always can.

    Else their manager goes deeper. Loading it takes a fifth of what `delete` has to do.
    """
    if "systemd" in container.data["cgroup"]:
        return False
    for path in container.data["cgroup"]["paths"].values():
        try:
            posix.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def run_hooks(container: Container, kind: str, status: str) -> None:
    """Run the hooks of a kind that state.json kept."""
    kept = container.data["config"].get("Hooks")
    if not kept or not kept.get(kind):
        return
    from libcontainer import hooks

    pid = 0 if status == STOPPED else container.pid
    description = hooks.state(oci_state(container, status), status, pid)
    directory = container.bundle if posix.access(container.bundle, posix.X_OK) else "/"
    hooks.run(kept, kind, description, directory, posix.environ)


def own_pid_namespace(container: Container) -> bool:
    """Whether all processes of the container die with its init."""
    return any(
        entry["type"] == "NEWPID" and not entry.get("path")
        for entry in container.data["config"].get("namespaces") or ()
    )


def _manager(container: Container) -> Any:
    from libcontainer import cgroups

    return cgroups.restore(container.data["cgroup"])


def oci_state(container: Container, status: str | None = None) -> dict[str, Any]:
    """The state as `runc state` prints it; keys in its order."""
    if status is None:
        status = container.status()
    data = container.data
    told = {
        "ociVersion": data["config"]["version"],
        "id": container.id,
        "pid": 0 if status == STOPPED else container.pid,
        "status": status,
        "bundle": container.bundle,
        "rootfs": data["config"]["rootfs"],
        "created": data["created"],
    }
    if container.annotations:
        told["annotations"] = container.annotations
    told["owner"] = ""
    return told


def get_state(root: str, container_id: str) -> dict[str, Any]:
    """The state of one container, as `runc state` prints it."""
    return oci_state(state.load(root, container_id))


def list_states(root: str) -> list[dict[str, Any]]:
    """The states of all containers below `root` with `owner`, sorted by id.

    One that cannot be read is logged and left out, as runc does. Raises OSError without a `root`.
    """
    told = []
    names: dict[int, str] = {}
    for container_id in state.ids(root):
        try:
            container = state.load(root, container_id)
            one = oci_state(container)
            one["owner"] = _owner(posix.fstat(container.directory).st_uid, names)
            posix.close(container.directory)
        except state.MissingError:
            # It was deleted meanwhile, or is being made.
            continue
        except (Error, OSError) as error:
            log.warning(f"load container {container_id}: {error}")
            continue
        told.append(one)
    return told


def _owner(uid: int, names: dict[int, str]) -> str:
    if uid not in names:
        import pwd

        try:
            names[uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            names[uid] = f"#{uid}"
    return names[uid]


def pids(root: str, container_id: str) -> list[int]:
    """The pids, as the host counts, of all processes in the container's cgroup; sorted."""
    container = state.load(root, container_id)
    stopped = container.status() == STOPPED
    # Init is outlived only by what shares its pid namespace with others.
    if stopped and (not container.pid or own_pid_namespace(container)):
        return []
    try:
        found: list[int] = sorted(_manager(container).pids())
    except OSError:
        # With systemd the cgroup goes before `delete`.
        if not stopped:
            raise
        return []
    return found
