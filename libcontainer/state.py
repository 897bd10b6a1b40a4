"""The state directory: <root>/<id> with state.json, config.json and the exec FIFO.

state.json is written to a temporary file and renamed, so that a reader never sees half of it; its
field names are those of runc's own, so that runc's readers work. Commands that change a container
hold a lock on its directory. See the runtime-spec, runtime.md, "State".
"""

from __future__ import annotations

import fcntl
import posix
import time

from libcontainer import jsonio
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIFO = "exec.fifo"
_STATE = "state.json"
_CONFIG = "config.json"

CREATING = "creating"
CREATED = "created"
RUNNING = "running"
PAUSED = "paused"
STOPPED = "stopped"

# What every command relies on in a state.json.
_SHAPE: dict[str, type] = {
    "init_process_pid": int,
    "init_process_start": int,
    "created": str,
    "config": dict,
    "cgroup": dict,
}
_CONFIG_SHAPE: dict[str, type] = {"version": str, "rootfs": str, "labels": list, "namespaces": list}

_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")


class MissingError(Error):
    """There is no container of this name."""

    def __init__(self) -> None:
        super().__init__("container does not exist")


def check_id(container_id: str) -> None:
    """Raise Error unless `container_id` is a name that can be one directory below the root."""
    if not container_id:
        raise Error("container id cannot be empty")
    if len(container_id) > 1024 or container_id in (".", ".."):
        raise Error("invalid container ID format")
    if not _ID_CHARACTERS.issuperset(container_id):
        raise Error("invalid container ID format")


class Container:
    """One container's directory, and what its state.json says."""

    def __init__(self, root: str, container_id: str, directory: int, data: dict[str, Any]) -> None:
        self.root = root
        self.id = container_id
        self.directory = directory
        self.data = data
        self.locked = False

    @property
    def path(self) -> str:
        """The state directory's path."""
        return f"{self.root}/{self.id}"

    @property
    def pid(self) -> int:
        """The init process's pid as the host counts; 0 while there is none."""
        return self.data.get("init_process_pid", 0)  # type: ignore[no-any-return]

    @property
    def bundle(self) -> str:
        """The absolute path of the bundle."""
        return self._labels().get("bundle", "")

    @property
    def annotations(self) -> dict[str, str]:
        """The config's annotations, sorted by name."""
        labels = self._labels()
        labels.pop("bundle", None)
        return dict(sorted(labels.items()))

    def _labels(self) -> dict[str, str]:
        pairs = (label.partition("=") for label in self.data["config"].get("labels") or ())
        return {name: value for name, _, value in pairs}

    def lock(self) -> None:
        """Wait until no other command changes this container; the lock goes with the process."""
        fcntl.flock(self.directory, fcntl.LOCK_EX)
        self.locked = True

    def unlock(self) -> None:
        """Let other commands change this container while this one only waits."""
        fcntl.flock(self.directory, fcntl.LOCK_UN)
        self.locked = False

    def refresh(self) -> None:
        """Read state.json again, after the wait for the lock.  Raises Error if it is gone."""
        self.data = _read(self.directory, self.id)

    def save(self) -> None:
        """Write state.json, whole or not at all."""
        self._write(_STATE, self.data)
        self.publish()

    def stage(self) -> None:
        """Write a state.json that nobody sees before publish()."""
        self._write(_STATE, self.data)

    def publish(self) -> None:
        """Put what stage() wrote in the place of state.json."""
        self._rename(_STATE)

    def save_config(self, config: dict[str, Any]) -> None:
        """Keep the container's config as it is now, for `exec`, `update` and `delete`."""
        self._write(_CONFIG, config)
        self._rename(_CONFIG)

    def config(self) -> Any:
        """The config that the container was made with (a spec.Spec)."""
        try:
            return jsonio.read(_CONFIG, dir_fd=self.directory, name=f"{self.path}/{_CONFIG}")
        except FileNotFoundError:
            # A `delete` has begun since we read state.json.
            raise MissingError from None

    def _write(self, name: str, value: dict[str, Any]) -> None:
        content = jsonio.dumps(value).encode("utf-8", "surrogateescape")
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_CLOEXEC
        fd = posix.open(_temporary(name), flags, 0o600, dir_fd=self.directory)
        try:
            while content:
                content = content[posix.write(fd, content) :]
        except OSError as error:
            posix.unlink(_temporary(name), dir_fd=self.directory)
            raise Error(f"write {self.path}/{name}: {error.strerror}") from None
        finally:
            posix.close(fd)

    def _rename(self, name: str) -> None:
        directory = self.directory
        try:
            posix.rename(_temporary(name), name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError as error:
            raise Error(f"write {self.path}/{name}: {error.strerror}") from None

    def status(self) -> str:
        """`creating`, `created`, `running`, `paused` or `stopped`, from what the kernel says now."""
        if not self.pid:
            return CREATING if self._creator_lives() else STOPPED
        # A process can be frozen while it dies, but then it never is a zombie: ask /proc first.
        if not self.init_lives():
            return STOPPED
        if self.frozen():
            return PAUSED
        return CREATED if self.has_fifo() else RUNNING

    def _creator_lives(self) -> bool:
        """Whether a `create` holds the lock: without a pid in state.json, nobody else would."""
        if self.locked:
            return False
        try:
            # Shared: two who look at the same time are not to take each other for a creator.
            fcntl.flock(self.directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.directory, fcntl.LOCK_UN)
        return False

    def init_lives(self) -> bool:
        """Whether the recorded init still runs; another process with its number does not count."""
        stat = process_stat(self.pid)
        return (
            stat is not None
            and stat[0] not in "ZX"
            and stat[1] == self.data.get("init_process_start")
        )

    def frozen(self) -> bool:
        """Whether the container's cgroup is frozen."""
        entry = self.data.get("cgroup")
        if not entry or _thawed(entry["paths"]):
            return False
        from libcontainer import cgroups

        return cgroups.restore(entry).frozen()

    def has_fifo(self) -> bool:
        """Whether the FIFO is there, on which a created container's init waits."""
        try:
            posix.stat(FIFO, dir_fd=self.directory)
        except FileNotFoundError:
            return False
        return True

    def remove_fifo(self) -> None:
        """Remove the FIFO: the container counts as started."""
        try:
            posix.unlink(FIFO, dir_fd=self.directory)
        except FileNotFoundError:
            # Two `start` at once: the lock lets the second see that the first did it.
            return

    def remove(self) -> None:
        """Remove the state directory and everything in it."""
        remove_tree(self.path)

    def is_current(self) -> bool:
        """Whether the directory is still the one at `path`: who had the lock may have removed it."""
        try:
            there, ours = posix.stat(self.path), posix.fstat(self.directory)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _temporary(name: str) -> str:
    return f".{name}.{posix.getpid()}"


def reserve(root: str, container_id: str) -> Container:
    """Make and lock the directory of a new container.  Raises Error where the id is in use."""
    check_id(container_id)
    make_root(root)
    path = f"{root}/{container_id}"
    while True:
        try:
            posix.mkdir(path, 0o700)
        except FileExistsError:
            raise Error("container with given ID already exists") from None
        except OSError as error:
            raise Error(f"mkdir {path}: {error.strerror}") from None
        try:
            container = Container(root, container_id, _open_directory(path), {})
        except FileNotFoundError:
            # A `delete` took it for the remains of a `create`, as below.
            continue
        container.lock()
        if container.is_current():
            if posix.listdir(container.directory):
                # Ours was removed so, and this one is of another `create` that came in between.
                raise Error("container with given ID already exists")
            return container
        posix.close(container.directory)


def make_root(root: str) -> None:
    """mkdir -p of the directory that holds all state, 0700 as it tells much about the host."""
    try:
        posix.stat(root)
    except FileNotFoundError:
        parent = root.rstrip("/").rpartition("/")[0]
        if parent:
            make_root(parent)
        try:
            posix.mkdir(root, 0o700)
        except FileExistsError:
            # Another runc was first.
            return
        except OSError as error:
            raise Error(f"mkdir {root}: {error.strerror}") from None


def load(root: str, container_id: str) -> Container:
    """The container `container_id`.  Raises Error where there is none, or its state is not ours."""
    check_id(container_id)
    try:
        directory = _open_directory(f"{root}/{container_id}")
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError from None
    except OSError as error:
        raise Error(f"open {root}/{container_id}: {error.strerror}") from None
    try:
        return Container(root, container_id, directory, _read(directory, container_id))
    except BaseException:
        posix.close(directory)
        raise


def load_locked(root: str, container_id: str) -> Container:
    """load(), then the lock, then state.json again as the command before us left it."""
    container = load(root, container_id)
    container.lock()
    container.refresh()
    return container


def remove_remains(root: str, container_id: str) -> bool:
    """Remove what a `create` left that was killed before its state.json; whether nothing is left.

    If it is not killed but at work, it is waited for: then there is a container.
    """
    check_id(container_id)
    try:
        directory = _open_directory(f"{root}/{container_id}")
    except (FileNotFoundError, NotADirectoryError):
        return True
    container = Container(root, container_id, directory, {})
    try:
        container.lock()
        if posix.access(f"{container.path}/{_STATE}", posix.F_OK):
            return False
        if container.is_current():
            container.remove()
        return True
    finally:
        posix.close(directory)


def ids(root: str) -> list[str]:
    """The names of all containers' directories below `root`, sorted.

    What begins with ~ cannot be a container: the cache of seccomp filters.
    """
    return sorted(name for name in posix.listdir(root) if name[:1] != "~")


def _open_directory(path: str) -> int:
    """A state directory, which must be ours: its owner could put anything in the files' places."""
    flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
    fd = posix.open(path, flags)
    owner = posix.fstat(fd).st_uid
    if owner not in (posix.geteuid(), 0):
        posix.close(fd)
        raise Error(f"state directory {path} belongs to uid {owner}, not to us")
    return fd


def _read(directory: int, container_id: str) -> dict[str, Any]:
    flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
    try:
        fd = posix.open(_STATE, flags, dir_fd=directory)
    except FileNotFoundError:
        raise MissingError from None
    except OSError as error:
        raise Error(f"open state.json of container {container_id}: {error.strerror}") from None
    try:
        owner = posix.fstat(fd).st_uid
        if owner not in (posix.geteuid(), 0):
            raise Error(f"state.json of container {container_id} belongs to uid {owner}, not to us")
        data = jsonio.read_fd(fd, f"state.json of container {container_id}")
    except OSError as error:
        raise Error(f"read state.json of container {container_id}: {error.strerror}") from None
    finally:
        posix.close(fd)
    if not (_has(data, _SHAPE) and _has(data["config"], _CONFIG_SHAPE)):
        raise Error(f"state.json of container {container_id} is not a container's state")
    return data


def _has(value: dict[str, Any], shape: dict[str, type]) -> bool:
    return all(type(value.get(name)) is kind for name, kind in shape.items())


def remove_tree(path: str, dir_fd: int | None = None) -> None:
    """rm -r beneath descriptors, without following a link, nor one that somebody puts there now."""
    flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
    fd = posix.open(path, flags, dir_fd=dir_fd)
    try:
        for entry in posix.scandir(fd):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.name, fd)
            else:
                posix.unlink(entry.name, dir_fd=fd)
    finally:
        posix.close(fd)
    posix.rmdir(path, dir_fd=dir_fd)


def process_stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time (clock ticks after boot) of /proc/PID/stat; None if it is gone."""
    try:
        fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # The name in parentheses may hold anything, blanks and parentheses too (proc(5)).
        fields = posix.read(fd, 4096).rpartition(b")")[2].split()
    except ProcessLookupError:
        return None
    finally:
        posix.close(fd)
    return fields[0].decode(), int(fields[19])


def _thawed(paths: dict[str, str]) -> bool:
    """Whether the freezer's file says so at a first look, as it nearly always does.

    Else the cgroup's manager looks closer. Loading it takes a third of what `state` has to do.
    """
    version1 = "freezer" in paths
    name, thawed = ("freezer.state", b"THAWED") if version1 else ("cgroup.freeze", b"0")
    directory = paths.get("freezer" if version1 else "")
    try:
        fd = posix.open(f"{directory}/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            return posix.read(fd, 16).strip() == thawed
        finally:
            posix.close(fd)
    except OSError:
        return False


def now() -> str:
    """The time in RFC 3339 with nanoseconds, UTC, as Go writes it."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
