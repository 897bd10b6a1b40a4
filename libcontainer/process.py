"""The process that the container runs: its attributes, identity, environment and program.

Steps of the init sequences (init.py, execution.py), in the order that those give. See the
runtime-spec, config.md, "Process" and "Linux Process".
"""

from __future__ import annotations

import errno
import posix

from libc_bindings import capabilities as caps
from libc_bindings import process as kernel
from libcontainer import log, paths, procfs
from libcontainer.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PASSWD_MAX = 16 << 20


class Sets:
    """The five capability sets as bit masks (capabilities(7))."""

    def __init__(self, wanted: dict[str, list[str]] | None, last: int) -> None:
        unknown: list[str] = []
        wanted = wanted or {}

        def mask(name: str) -> int:
            bits = 0
            for capability in wanted.get(name) or ():
                if capability in caps.NAMES and caps.NAMES.index(capability) <= last:
                    bits |= 1 << caps.NAMES.index(capability)
                elif capability not in unknown:
                    unknown.append(capability)
            return bits

        self.bounding = mask("bounding")
        self.effective = mask("effective")
        self.inheritable = mask("inheritable")
        self.permitted = mask("permitted")
        self.ambient = mask("ambient")
        if unknown:
            names = " ".join(sorted(unknown))
            log.warning(f"ignoring unknown or unavailable capabilities: [{names}]")


def capability_sets(process: Any) -> Sets:
    """The sets of the config; names that are not known here are warned about and left out."""
    return Sets(process.get("capabilities"), caps.last())


def apply_scheduling(process: Any, linux: Any) -> None:
    """scheduler and ioPriority, while the caller may (CAP_SYS_NICE)."""
    scheduler = process.get("scheduler")
    if scheduler:
        flags = 0
        for flag in scheduler.get("flags") or ():
            flags |= kernel.SCHED_FLAGS[flag]
        numbers = (
            scheduler.get(k, 0) for k in ("nice", "priority", "runtime", "deadline", "period")
        )
        try:
            kernel.sched_setattr(kernel.SCHED_POLICIES[scheduler["policy"]], flags, *numbers)
        except OSError as error:
            why = error.strerror
            if error.errno == errno.EPERM and _has_cpuset(linux):
                # sched_setattr(2): SCHED_DEADLINE wants all CPUs of the system.
                why = f"process scheduler can't be used together with AllowedCPUs: {why}"
            raise Error(f"process.scheduler: {why}") from None
    priority = process.get("ioPriority")
    if priority:
        class_ = kernel.IOPRIO_CLASSES[priority["class"]]
        try:
            kernel.ioprio_set(class_, priority.get("priority", 0))
        except OSError as error:
            raise Error(f"process.ioPriority: {error.strerror}") from None


def _has_cpuset(linux: Any) -> bool:
    return bool(((linux.get("resources") or {}).get("cpu") or {}).get("cpus"))


def apply_personality(personality: Any) -> None:
    """linux.personality: the execution domain."""
    if personality:
        kernel.personality(kernel.PERSONALITIES[personality["domain"]])


def apply_memory_policy(policy: Any) -> None:
    """linux.memoryPolicy: set_mempolicy(2), kept over execve(2)."""
    if policy:
        mode = kernel.MPOL_MODES[policy["mode"]]
        for flag in policy.get("flags") or ():
            mode |= kernel.MPOL_FLAGS[flag]
        try:
            kernel.set_mempolicy(mode, parse_list(policy.get("nodes") or ""))
        except OSError as error:
            raise Error(f"config.json: linux.memoryPolicy: {error.strerror}") from None


def parse_list(text: str) -> list[int]:
    """The numbers of a list like "0-3,7" (cpuset(7), "List format")."""
    numbers: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        first, _, final = part.partition("-")
        numbers += range(int(first), int(final or first) + 1)
    return numbers


def set_affinity(pid: int, cpus: str) -> None:
    """Bind `pid` (0 is the caller) to the CPUs of a list like "0-3,7" (sched_setaffinity(2))."""
    try:
        posix.sched_setaffinity(pid, parse_list(cpus))
    except OSError as error:
        raise Error(f"process.execCPUAffinity: set CPU affinity {cpus}: {error.strerror}") from None


def reset_affinity(pid: int) -> None:
    """Let `pid` run on every CPU of its cpuset, whatever this program itself was bound to."""
    if len(posix.sched_getaffinity(0)) >= (posix.cpu_count() or 1):
        return
    try:
        # The kernel takes what the cpuset has of it, and none is built for more CPUs.
        posix.sched_setaffinity(pid, range(8192))
    except OSError as error:
        log.warning(f"resetting CPU affinity: {error.strerror}")


def set_limits(pid: int, process: Any) -> None:
    """rlimits of process `pid` (0 is the caller)."""
    for limit in process.get("rlimits") or ():
        name = limit["type"]
        try:
            kernel.prlimit(pid, name, limit["soft"], limit["hard"])
        except OSError as error:
            raise Error(f"error setting rlimit {name}: {error.strerror}") from None


def set_oom_score(pid: int, process: Any) -> None:
    """oomScoreAdj of process `pid`."""
    score = process.get("oomScoreAdj")
    if score is None:
        return
    try:
        procfs.write_pid(pid, "oom_score_adj", str(score))
    except OSError as error:
        raise Error(f"process.oomScoreAdj: write {score}: {error.strerror}") from None


def give_stdio_to(process: Any) -> None:
    """Make the process's user the owner of its stdio, so that it can open /proc/self/fd/1 again."""
    uid, terminal = (process.get("user") or {}).get("uid", 0), process.get("terminal")
    for fd in (0, 1, 2):
        try:
            status = posix.fstat(fd)
        except OSError:
            # Closed by the caller; it stays so.
            continue
        # Other devices than the pty made for it are the host's: a null device, the caller's terminal.
        device = status.st_mode & 0o170000 in (0o020000, 0o060000)  # S_IFCHR, S_IFBLK
        if status.st_uid == uid or (device and not terminal):
            continue
        try:
            posix.fchown(fd, uid, -1)
        except OSError as error:
            # A read-only disk, an id that the user namespace does not map, a pidfd or the like.
            if error.errno not in (errno.EPERM, errno.EROFS, errno.EINVAL):
                raise


def enter_identity(process: Any, sets: Sets, may_set_groups: bool | None) -> None:
    """Become the process's user, in its directory, with the capabilities of the config.

    CAP_SYS_ADMIN stays besides them until finish_capabilities(): a seccomp filter without
    noNewPrivileges needs it.
    """
    user = process.get("user") or {}
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    caps.drop_bounding(sets.bounding)
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    groups = user.get("additionalGids") or []
    if may_set_groups or (groups and may_set_groups is None):
        _explain(lambda: posix.setgroups(groups), f"set additional groups {groups}")
    elif may_set_groups is None:
        _clear_groups()
    elif groups:
        raise Error("cannot set any additional groups in a rootless container")
    posix.umask(user.get("umask", 0o022))
    late = _change_directory_early(process["cwd"])
    _explain(lambda: kernel.set_user(uid, gid), f"set user {uid}:{gid}")
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 0)
    if sets.effective & ~sets.permitted:
        # finish_capabilities() would find out, too late for the caller of create to be told.
        raise Error("process.capabilities: unable to apply caps: effective ones are not permitted")
    try:
        caps.capset(
            sets.effective | 1 << caps.CAP_SYS_ADMIN,
            sets.permitted | sets.effective | 1 << caps.CAP_SYS_ADMIN,
            sets.inheritable,
        )
    except OSError as error:
        raise Error(f"process.capabilities: unable to apply caps: {reason(error)}") from None
    # The change of ids made it what fs.suid_dumpable says.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if late:
        try:
            _change_directory(process["cwd"])
        except PermissionError as error:
            place = f'chdir to cwd ("{process["cwd"]}") set in config.json failed'
            raise Error(f"{place}: {reason(error)}") from None


def _clear_groups() -> None:
    try:
        posix.setgroups([])
    except PermissionError:
        # setgroups(2) is denied in the user namespace that was joined.
        log.debug("the additional groups stay as they are")


def _change_directory_early(cwd: str) -> bool:
    """chdir(2) with the privileges of before; whether only the user itself may have the right."""
    try:
        _change_directory(cwd)
    except PermissionError:
        # A directory on NFS or FUSE, where root is nobody.
        return True
    return False


def _change_directory(cwd: str) -> None:
    """chdir(2), and a look whether that led out of the container (CVE-2024-21626)."""
    try:
        posix.chdir(cwd)
    except PermissionError:
        raise
    except OSError as error:
        place = "set in config.json failed"
        raise Error(f'chdir to cwd ("{cwd}") {place}: {reason(error)}') from None
    paths.verify_working_directory(cwd)


def _explain(change: Any, what: str) -> None:
    try:
        change()
    except OSError as error:
        # An id that the user namespace does not map is "invalid argument" to the kernel.
        why = "not mapped in the user namespace" if error.errno == errno.EINVAL else error.strerror
        raise Error(f"process.user: cannot {what}: {why}") from None


def finish_capabilities(sets: Sets) -> None:
    """Set the five capability sets for good."""
    caps.clear_ambient()
    caps.capset(sets.effective, sets.permitted, sets.inheritable)
    if sets.ambient:
        refused = caps.raise_ambient(sets.ambient)
        for number, name in enumerate(caps.NAMES):
            if refused >> number & 1:
                log.warning(f"can't raise ambient capability {name}: operation not permitted")


def environment(process: Any, root_fd: int) -> dict[bytes, bytes]:
    """The environment of the config: the last of duplicates wins; HOME from the image's passwd."""
    result: dict[bytes, bytes] = {}
    for entry in process.get("env") or ():
        name, _, value = entry.encode("utf-8", "surrogateescape").partition(b"=")
        result.pop(name, None)
        result[name] = value
    if not result.get(b"HOME"):
        uid = (process.get("user") or {}).get("uid", 0)
        result[b"HOME"] = home_of(uid, root_fd)
    return result


def home_of(uid: int, root_fd: int) -> bytes:
    """The home directory of the number `uid` in the image's /etc/passwd, "/" if it has none."""
    try:
        flags = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY
        fd = paths.open_beneath(root_fd, "/etc/passwd", flags)
    except OSError:
        return b"/"
    try:
        # The image's: it may be a FIFO, a device or 10 GB of zeros.
        status = posix.fstat(fd)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > _PASSWD_MAX:
            return b"/"
        content = posix.read(fd, status.st_size)
    except OSError:
        return b"/"
    finally:
        posix.close(fd)
    wanted = b"%d" % uid
    for line in content.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == wanted and b"\0" not in fields[5]:
            return fields[5] or b"/"
    return b"/"


def forget_environment() -> None:
    """Overwrite the caller's environment where /proc/PID/environ shows it (proc(5), env_start)."""
    posix.environ.clear()
    fields = procfs.read("self/stat").rpartition(b") ")[2].split()
    start, end = int(fields[47]), int(fields[48])
    kernel.memset(start, 0, end - start)


def make_directory(root_fd: int, cwd: str) -> None:
    """Make the working directory where the image lacks it, while the caller may."""
    if cwd == "/":
        return
    try:
        posix.close(paths.make_directory(root_fd, cwd))
    except FileExistsError:
        # A file: chdir(2) will say so.
        return
    except OSError as error:
        # A read-only rootfs, for example: chdir(2) tells whether that matters.
        log.debug(f"mkdir {cwd}: {error.strerror}")


def find_program(name: str, environ: dict[bytes, bytes]) -> bytes:
    """The path to execute for args[0], in the container; Error in the words that tools parse."""
    encoded = name.encode("utf-8", "surrogateescape")
    if b"/" in encoded:
        fault = _not_executable(encoded)
        if fault == errno.EISDIR:
            # Engines know one half or the other as exit status 126: Docker before 25 only EACCES.
            raise Error(f'exec: "{name}": is a directory: permission denied')
        if fault == errno.EACCES:
            raise Error(f'exec: "{name}": permission denied')
        if fault:
            raise Error(f'exec: "{name}": stat {name}: {posix.strerror(fault).lower()}')
        return encoded
    directories = environ.get(b"PATH")
    for directory in directories.split(b":") if directories else ():
        path = (directory or b".") + b"/" + encoded
        if _not_executable(path):
            continue
        if not path.startswith(b"/"):
            # As in runc: what runs must not hang on the directory.
            what = "cannot run executable found relative to current directory"
            raise Error(f'exec: "{name}": {what}')
        return path
    raise Error(f'exec: "{name}": executable file not found in $PATH')


def _not_executable(path: bytes) -> int:
    """0 if the caller may execute the file at `path`, else the errno that says why not."""
    try:
        mode = posix.stat(path).st_mode
    except OSError as error:
        return error.errno or errno.EIO
    if mode & 0o170000 == 0o040000:
        return errno.EISDIR
    if not mode & 0o111 or not posix.access(path, posix.X_OK, effective_ids=True):
        return errno.EACCES
    return 0


def execute(path: bytes, arguments: list[str], environ: dict[bytes, bytes]) -> None:
    """execve(2).  Returns only by raising Error."""
    encoded = [argument.encode("utf-8", "surrogateescape") for argument in arguments]
    try:
        posix.execve(path, encoded, environ)
    except OSError as error:
        shown = path.decode("utf-8", "replace")
        raise Error(f"exec {shown}: {reason(error)}") from None
