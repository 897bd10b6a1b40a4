"""`runc checkpoint`: a container's processes written to files, to be restored later or elsewhere."""

from __future__ import annotations

import errno
import fcntl
import posix

from libcontainer import container, log, state
from libcontainer.checkpointing import criu, external
from libcontainer.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.state import Container

_LOG = "dump.log"


def checkpoint(
    root: str,
    container_id: str,
    settings: dict[str, Any],
    images: str,
    *,
    work: str = "",
    parent: str = "",
    pre_dump: bool = False,
    status_fd: int = -1,
) -> None:
    """Dump the container to the directory `images`; what does not go on running is deleted.

    `settings` are those of criu's options (protocol.py) that the caller decides; `work` is the
    directory of its log, by default `images`; `parent` that of an earlier `pre_dump` of its memory,
    relative to `images`. `status_fd` gets a zero byte when the pages can be fetched (lazy_pages).
    Directories are absolute paths. Raises Error; the container then runs on.
    """
    made = state.load_locked(root, container_id)
    status = made.status()
    if status not in (state.RUNNING, state.PAUSED):
        raise Error(f"Container cannot be checkpointed in {status} state")
    version = criu.version()
    spec = made.config()
    options: dict[str, Any] = {
        "log_level": 4,
        "log_file": _LOG,
        "root": made.data["config"]["rootfs"],
        "manage_cgroups": True,
        "notify_scripts": True,
        "pid": made.pid,
        "orphan_pts_master": True,
        **settings,
        **criu.config_file(spec),
        "external": external.dumped_namespaces(spec, made.pid, version),
    }
    freezer = _freezer(made, version)
    if freezer:
        options["freeze_cgroup"] = freezer
    if pre_dump:
        criu.require("mem_track", "MemTrack")
    if settings.get("lazy_pages"):
        criu.require("lazy_pages", "LazyPages")
        if status_fd != -1:
            _check_status_fd(status_fd)
    if not pre_dump:
        options["ext_mnt"] = external.dumped_mounts(spec, made.pid)
    if status_fd != -1 and version < 31500:
        # Newer ones tell us.
        options["status_fd"] = status_fd
    # From here on something is made.
    state.make_root(images)
    if parent:
        _check_parent(images, parent)
        options.update({"parent_img": parent, "track_mem": True})
    options["images_dir_fd"] = criu.open_directory(images)
    if work:
        options["work_dir_fd"] = criu.open_directory(work, make=True)
    if not pre_dump:
        _write_descriptors(made, options["images_dir_fd"], images)

    def notify(script: str, pid: int, fd: int) -> None:
        if script == "status-ready" and status_fd != -1:
            try:
                posix.write(status_fd, b"\0")
            except OSError as error:
                log.warning(f"can't write \\0 to status fd: {reason(error)}")
            posix.close(status_fd)

    request = {"type": criu.PRE_DUMP if pre_dump else criu.DUMP, "opts": options}
    try:
        criu.ask(request, notify)
    except criu.FailedError:
        criu.quote_log(f"{work or images}/{_LOG}")
        raise
    if pre_dump or settings.get("leave_running"):
        return
    try:
        container.stop(made)
        container.destroy(made)
    except (Error, OSError) as error:
        # Nothing is lost: `delete` does the rest.
        log.warning(str(error))


def _freezer(made: Container, version: int) -> str:
    """The cgroup by which criu stops all processes at once, "" where it has to use ptrace(2)."""
    cgroup = made.data["cgroup"]
    if cgroup["version"] == 2:
        return cgroup["paths"].get("", "") if version >= 31400 else ""
    return cgroup["paths"].get("freezer", "")  # type: ignore[no-any-return]


def _check_status_fd(fd: int) -> None:
    try:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    except (OSError, OverflowError):
        why = posix.strerror(errno.EBADF).lower()
        raise Error(f"invalid --status-fd argument {fd}: {why}") from None
    if flags & (posix.O_WRONLY | posix.O_RDWR) == 0:
        raise Error(f"invalid --status-fd argument {fd}: not writable")


def _check_parent(images: str, parent: str) -> None:
    try:
        # The slash makes the kernel refuse everything but a directory.
        posix.stat(f"{images}/{parent}/")
    except OSError as error:
        raise Error(f"invalid --parent-path: stat {images}/{parent}: {reason(error)}") from None


def _write_descriptors(made: Container, directory: int, images: str) -> None:
    """Note what stdio was: the ends of pipes that are not in the container are no part of the image."""
    from libcontainer import jsonio

    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC
    text = jsonio.dumps(made.data.get("external_descriptors") or [])
    try:
        fd = posix.open("descriptors.json", flags, 0o600, dir_fd=directory)
        try:
            posix.write(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            posix.close(fd)
    except OSError as error:
        raise Error(f"write {images}/descriptors.json: {reason(error)}") from None
