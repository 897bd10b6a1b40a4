"""`runc restore`: a container whose processes come out of an image."""

from __future__ import annotations

import posix

from libc_bindings import namespaces as kernel
from libc_bindings.paths import read_file
from libcontainer import (
    container,
    creation,
    hooks,
    jsonio,
    log,
    namespaces,
    pid_files,
    preparation,
    state,
)
from libcontainer.checkpointing import criu, external
from libcontainer.errors import Error, reason
from libcontainer.preparation import Creation, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LOG = "restore.log"
_ROOT = "criu-root"


def restore(
    root: str,
    container_id: str,
    bundle: str,
    settings: dict[str, Any],
    images: str,
    *,
    work: str = "",
    **options: Any,
) -> int:
    """Restore what `checkpoint` wrote to `images` as a container of the bundle's config.

    `settings`, `images`, `work` as for checkpoint(); `options` are preparation.Options's. In the
    foreground also wait, delete, and return the exit status. On a failure nothing is left.
    """
    images_fd = criu.open_directory(images)
    streams = _read_descriptors(images_fd, images)
    posix.close(images_fd)
    version = criu.version()
    for name in ("lsm_profile", "lsm_mount_context"):
        if name in settings and version < 31600:
            raise Error(f"--{name.replace('_', '-')} requires at least CRIU 3.16")
    chosen = Options(bundle, **options)
    # What is open by now is closed in there, as the caller's.
    begun, bundle, rootless = creation.begin(root, container_id, chosen)
    made = begun.container
    if (begun.spec.get("linux") or {}).get("intelRdt"):
        log.warning("linux.intelRdt does not hold: a restored container is in no group of resctrl")
    relay = None
    try:
        preparation.add_notify_socket(begun)
        made.data = preparation.first_state(
            made, begun.spec, bundle, begun.manager, chosen, rootless
        )
        made.save_config(begun.spec)
        made.save()
        directories = {"images_dir_fd": criu.open_directory(images)}
        if work:
            directories["work_dir_fd"] = criu.open_directory(work, make=True)
        restoration = _Restoration(begun, bundle, version, directories)
        try:
            restoration.run(settings, streams)
        except criu.FailedError:
            criu.quote_log(f"{work or images}/{_LOG}")
            raise
        pid_files.tell(begun.pid, chosen.pid_file, "", b"")
        if not chosen.detach:
            from libcontainer import supervise

            relay = supervise.terminal_relay(begun.terminal)
    except BaseException:
        creation.undo(begun)
        raise
    return 0 if chosen.detach else creation.see_through(begun, relay)


def _read_descriptors(directory: int, images: str) -> list[str]:
    """What stdio was when the image was made."""
    name = f"{images}/descriptors.json"
    flags = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
    try:
        fd = posix.open("descriptors.json", flags, dir_fd=directory)
    except OSError as error:
        raise Error(f"open {name}: {reason(error)}") from None
    try:
        streams = jsonio.loads(posix.read(fd, 65536), name)
    except OSError as error:
        raise Error(f"read {name}: {reason(error)}") from None
    finally:
        posix.close(fd)
    # Go writes null for an empty list.
    streams = [] if streams is None else streams
    if type(streams) is not list or any(type(stream) is not str for stream in streams):
        raise Error(f"{name}: must be a JSON array of strings")
    return streams


class _Restoration:
    """What criu asks for on the way."""

    def __init__(
        self, begun: Creation, bundle: str, version: int, directories: dict[str, int]
    ) -> None:
        self.begun = begun
        self.bundle = bundle
        self.version = version
        self.directories = directories
        self.console = -1
        self.options: dict[str, Any] = {}

    def run(self, settings: dict[str, Any], streams: list[str]) -> None:
        """Have the processes restored, and state.json say so; raises Error."""
        begun, spec = self.begun, self.begun.spec
        root = f"{begun.container.path}/{_ROOT}"
        # criu wants a root that is a mount, with nothing mounted over its parents.
        posix.mkdir(root, 0o755)
        joined, extra = external.restored_namespaces(spec, self.version, criu.FIRST_EXTRA)
        joined["inherit_fd"] += [
            {"key": stream, "fd": number}
            for number, stream in enumerate(streams[:3])
            if "pipe:" in stream
        ]
        self.console = preparation.console(begun)
        self.options = {
            "evasive_devices": True,
            "log_level": 4,
            "log_file": _LOG,
            "rst_sibling": True,
            "root": root,
            "manage_cgroups": True,
            "notify_scripts": True,
            "orphan_pts_master": True,
            **settings,
            **criu.config_file(spec),
            **joined,
        }
        view = begun.manager.view(external.has_cgroup_namespace(spec))
        self.options["ext_mnt"] = external.restored_mounts(spec, self.bundle, view)
        try:
            criu.ask(
                {"type": criu.RESTORE, "opts": self.options},
                self.notify,
                prepare=self.prepare,
                stdio=not spec["process"].get("terminal"),
                extra=tuple(extra),
                root=(begun.container.data["config"]["rootfs"], root),
            )
        finally:
            for fd in (*self.directories.values(), *extra, self.console):
                if fd >= 0:
                    posix.close(fd)
        posix.rmdir(root)

    def prepare(self, pid: int) -> None:
        """criu's process enters the container's cgroup; those that it restores stay there."""
        for name, fd in self.directories.items():
            path = posix.readlink(f"/proc/self/fd/{fd}")
            self.options[name] = self.directories[name] = criu.open_directory(
                f"/proc/{pid}/root{path}"
            )
            posix.close(fd)
        manager = self.begun.manager
        try:
            manager.create()
            manager.apply(pid)
            manager.set((self.begun.spec.get("linux") or {}).get("resources") or {})
        except OSError as error:
            where = f"{error.filename}: {reason(error)}"
            raise Error(f"unable to apply cgroup configuration: {where}") from None
        roots = []
        for line in (
            read_file(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape").splitlines()
        ):
            _, controllers, path = line.split(":", 2)
            roots += [{"ctrl": name, "path": path} for name in controllers.split(",")]
        self.options["cg_root"] = roots

    def notify(self, script: str, pid: int, fd: int) -> None:
        """Do what the moment asks for that criu tells of; raises Error, which ends the restore."""
        if script == "setup-namespaces":
            self._set_up_namespaces(pid)
        elif script == "orphan-pts-master" and self.console >= 0:
            from libcontainer import terminal

            console, self.console = self.console, -1
            terminal.send(console, b"orphan-pts-master", fd)
        elif script == "post-restore":
            self._record(pid)

    def _set_up_namespaces(self, pid: int) -> None:
        """What criu leaves to others: an empty network namespace, and the hooks that fill it."""
        made, spec = self.begun.container, self.begun.spec
        linux = spec.get("linux") or {}
        kinds = {entry["type"]: entry.get("path") for entry in linux.get("namespaces") or ()}
        if not kinds.get("network", "the host's"):
            _set_loopback_up(pid)
            if linux.get("netDevices"):
                from libcontainer import netdevices

                netdevices.move(linux["netDevices"], f"/proc/{pid}/ns/net")
        if not hooks.any_of(spec.get("hooks"), "prestart", "createRuntime"):
            return
        description = container.oci_state(made, state.CREATING)
        for kind in ("prestart", "createRuntime"):
            told = hooks.state(description, state.CREATING, pid)
            hooks.run(spec["hooks"], kind, told, made.bundle, posix.environ)

    def _record(self, pid: int) -> None:
        """The processes are there and about to go on: from now on the container runs."""
        made = self.begun.container
        told = state.process_stat(pid)
        if told is None:
            raise Error("the restored init is gone")
        self.begun.pid = pid
        made.data.update(
            init_process_pid=pid,
            init_process_start=told[1],
            created=state.now(),
            namespace_paths=namespaces.paths(pid),
        )
        made.save()


def _set_loopback_up(pid: int) -> None:
    """In the network namespace of `pid`, by a process that can enter it and need not come back."""
    child = posix.fork()
    if child == 0:
        try:
            fd = posix.open(f"/proc/{pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
            kernel.setns(fd, kernel.CLONE_NEWNET)
            kernel.set_loopback_up()
        except OSError as error:
            log.warning(f"lo stays down: {reason(error)}")
        finally:
            posix._exit(0)
    posix.waitpid(child, 0)
