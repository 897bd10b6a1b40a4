"""The container's namespaces: which are new, which are joined, and the process made in them.

See the runtime-spec, config-linux.md, "Namespaces", and namespaces(7).
"""

from __future__ import annotations

import posix

from libc_bindings import namespaces as kernel
from libc_bindings import process as attributes
from libcontainer import procfs
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# In the order in which they are entered: the user namespace first, for the capabilities that the
# others need; the mount namespace late, because paths mean something else behind it.
_TYPES = (
    ("user", kernel.CLONE_NEWUSER, "user"),
    ("ipc", kernel.CLONE_NEWIPC, "ipc"),
    ("uts", kernel.CLONE_NEWUTS, "uts"),
    ("network", kernel.CLONE_NEWNET, "net"),
    ("pid", kernel.CLONE_NEWPID, "pid"),
    ("mount", kernel.CLONE_NEWNS, "mnt"),
    ("cgroup", kernel.CLONE_NEWCGROUP, "cgroup"),
    ("time", kernel.CLONE_NEWTIME, "time"),
)

USER = kernel.CLONE_NEWUSER

# What clone(2) cannot make in one go: the cgroup namespace's root is the cgroup that its maker
# is in, and it is not there yet; a time namespace's offsets must be written while it is empty.
_LATER = kernel.CLONE_NEWCGROUP | kernel.CLONE_NEWTIME


class Plan:
    """What clone(2), unshare(2) and setns(2) are to do for one process."""

    def __init__(self, new: int, joined: list[tuple[int, int, str]]) -> None:
        self.new = new
        """The CLONE_NEW* flags of the namespaces to make."""
        self.joined = joined
        """(CLONE_NEW* flag, descriptor, path) of those to enter, in order."""
        self._kinds = new
        for kind, _, _ in joined:
            self._kinds |= kind
        self.cgroup = -1
        """A cgroup v2 that spawn() tries to have the child born in, or -1."""
        self.born_there = False

    def has(self, flag: int) -> bool:
        """Whether the process gets a namespace of this kind that is not the caller's."""
        return bool(self._kinds & flag)

    def close(self) -> None:
        """Close the descriptors of the namespaces to join."""
        for _, fd, _ in self.joined:
            posix.close(fd)
        self.joined = []


def plan(spec: Any) -> Plan:
    """The Plan of a config.  Raises Error naming the property whose path cannot be opened."""
    wanted = (spec.get("linux") or {}).get("namespaces") or ()
    by_type = {entry["type"]: (index, entry.get("path")) for index, entry in enumerate(wanted)}
    new, joined = 0, []
    for name, flag, _ in _TYPES:
        if name not in by_type:
            continue
        index, path = by_type[name]
        if not path:
            new |= flag
            continue
        try:
            fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        except OSError as error:
            place = f"config.json: linux.namespaces[{index}].path"
            raise Error(f"{place}: namespace path: {path}: {error.strerror}") from None
        joined.append((flag, fd, path))
    return Plan(new, joined)


def plan_to_join(pid: int) -> Plan:
    """The Plan that enters every namespace of process `pid` that is not the caller's own already."""
    joined = []
    for _, flag, name in _TYPES:
        path = f"/proc/{pid}/ns/{name}"
        try:
            own = posix.stat(f"/proc/self/ns/{name}")
        except FileNotFoundError:
            # This kernel has no such namespaces.
            continue
        try:
            other = posix.stat(path)
            if own.st_ino == other.st_ino and own.st_dev == other.st_dev:
                continue
            fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except FileNotFoundError:
            raise Error("cannot exec in a stopped container") from None
        joined.append((flag, fd, path))
    return Plan(0, joined)


def path_of(spec: Any, kind: str) -> str:
    """The path of the namespace of this type that the config joins, "" if it joins none."""
    for entry in (spec.get("linux") or {}).get("namespaces") or ():
        if entry["type"] == kind:
            return entry.get("path") or ""
    return ""


def paths(pid: int) -> dict[str, str]:
    """state.json's namespace_paths of the process `pid`."""
    names = ("CGROUP", "IPC", "NET", "NS", "PID", "TIME", "USER", "UTS")
    files = ("cgroup", "ipc", "net", "mnt", "pid", "time", "user", "uts")
    return {f"NEW{name}": f"/proc/{pid}/ns/{file}" for name, file in zip(names, files)}


def spawn(plan: Plan) -> int:
    """A child of the caller in the planned namespaces (but for new cgroup and time ones).

    Returns its pid, and 0 in the child; there enter() has to follow, and in a new user namespace
    make_owned(). No other process is left. The caller stays where it is. Raises OSError.
    """
    flags = plan.new & ~_LATER
    if flags & kernel.CLONE_NEWUSER:
        flags &= ~kernel.CLONE_NEWIPC
    user = any(kind == kernel.CLONE_NEWUSER for kind, _, _ in plan.joined)
    if user or (plan.joined and flags & kernel.CLONE_NEWUSER):
        return _spawn_through_a_process(plan, flags)
    for kind, fd, path in plan.joined:
        if kind == kernel.CLONE_NEWPID:
            return _spawn_in_pid_namespace(plan, fd, path, flags)
    return _clone(plan, flags)


def _clone(plan: Plan, flags: int) -> int:
    """The child, born in the planned cgroup if the kernel lets us."""
    if plan.cgroup >= 0:
        pid = kernel.clone_into(plan.cgroup, flags)
        if pid >= 0:
            plan.born_there = True
            return pid
    return kernel.clone(flags)


def _spawn_in_pid_namespace(plan: Plan, fd: int, path: str, flags: int) -> int:
    """setns(2) to a pid namespace concerns only later children, so the caller can come back."""
    own = posix.open("/proc/self/ns/pid", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        kernel.setns(own, kernel.CLONE_NEWPID)
    except PermissionError:
        # Root of a user namespace (rootless Podman) may enter its own pid namespaces, but not
        # the host's again.
        posix.close(own)
        return _spawn_through_a_process(plan, flags)
    pid = -1
    try:
        _setns(fd, kernel.CLONE_NEWPID, path)
        pid = _clone(plan, flags)
        return pid
    finally:
        if pid:
            kernel.setns(own, kernel.CLONE_NEWPID)
        posix.close(own)


def _spawn_through_a_process(plan: Plan, flags: int) -> int:
    """A process in between enters the namespaces, then makes our child (CLONE_PARENT) and leaves.

    Needed where what is entered before the clone(2) cannot be left again: a user namespace, and for
    root of one a pid namespace.
    """
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    between = posix.fork()
    if between == 0:
        try:
            dumpable = attributes.prctl(attributes.PR_GET_DUMPABLE)
            _enter_with_user_namespace(plan)
            # With the ids it changed to what fs.suid_dumpable says, and the child is born so.
            attributes.prctl(attributes.PR_SET_DUMPABLE, dumpable == 1)
            child = _clone(plan, flags | kernel.CLONE_PARENT)
        except (OSError, Error) as error:
            why = error.strerror if isinstance(error, OSError) else error
            posix.write(writer, f"error {why}".encode("utf-8", "replace"))
            posix._exit(1)
        if child == 0:
            plan.joined = []
            posix.close(reader)
            posix.close(writer)
            return 0
        # clone(2) tells the number in the namespace that this process was born in: the host's.
        posix.write(writer, b"%d %d" % (child, plan.born_there))
        posix._exit(0)
    posix.close(writer)
    try:
        answer = posix.read(reader, 4096).decode("utf-8", "replace")
    finally:
        posix.close(reader)
        posix.waitpid(between, 0)
    first, _, rest = answer.partition(" ")
    if not first.isdigit():
        raise Error(rest or "the process that joins the namespaces was killed")
    plan.born_there = rest == "1"
    return int(first)


def become_root() -> None:
    """Become uid and gid 0 of the user namespace just entered, where it maps them."""
    for change in (posix.setresgid, posix.setresuid):
        try:
            change(0, 0, 0)
        except OSError:
            # No id 0 in there: whoever it is now has all capabilities over the namespace anyway.
            continue


def make_owned(plan: Plan) -> None:
    """As root of the new user namespace: make what belongs to the user, not just the namespace,
    that its maker is."""
    if plan.new & kernel.CLONE_NEWIPC:
        # Its mqueue comes with it, and would be the host's root's.
        kernel.unshare(kernel.CLONE_NEWIPC)


def enter(plan: Plan) -> None:
    """In the child of spawn(): enter the joined namespaces that are left, and close them all."""
    for kind, fd, path in plan.joined:
        if kind != kernel.CLONE_NEWPID:
            _setns(fd, kind, path)
    plan.close()


def _enter_with_user_namespace(plan: Plan) -> None:
    """Enter all, with the privileges of before where the user namespace does not own one."""
    left: list[tuple[int, int, str]] = []
    for entry in plan.joined:
        kind, fd, _ = entry
        if kind == kernel.CLONE_NEWUSER:
            left.insert(0, entry)
            continue
        try:
            kernel.setns(fd, kind)
        except OSError:
            # Owned by the user namespace, very likely: once more from inside.
            left.append(entry)
    for kind, fd, path in left:
        _setns(fd, kind, path)
        if kind == kernel.CLONE_NEWUSER:
            become_root()


def _setns(fd: int, kind: int, path: str) -> None:
    try:
        kernel.setns(fd, kind)
    except OSError as error:
        raise Error(f"setns {path}: {posix.strerror(error.errno or 0)}") from None


def make_time_namespace() -> None:
    """unshare(2) for a time namespace; its offsets can be written until somebody enters it."""
    kernel.unshare(kernel.CLONE_NEWTIME)


def enter_time_namespace() -> None:
    """Enter what make_time_namespace() made: unshare(2) moves only later children, not execve(2)."""
    fd = posix.open("/proc/self/ns/time_for_children", posix.O_RDONLY | posix.O_CLOEXEC)
    kernel.setns(fd, kernel.CLONE_NEWTIME)
    posix.close(fd)


def write_time_offsets(pid: int, offsets: Any) -> None:
    """linux.timeOffsets (secs, nanosecs by clock) of the time namespace that `pid` has made."""
    lines = [
        f"{clock} {value.get('secs', 0)} {value.get('nanosecs', 0)}\n"
        for clock, value in (offsets or {}).items()
    ]
    if lines:
        try:
            procfs.write_pid(pid, "timens_offsets", "".join(lines))
        except OSError as error:
            raise Error(f"config.json: linux.timeOffsets: {error.strerror}") from None


def write_id_maps(pid: int, uids: list[Any], gids: list[Any]) -> None:
    """Write the id maps of process `pid`'s new user namespace (user_namespaces(7)).

    Mappings are the config's (containerID, hostID, size). Without the privilege over those host
    ids, newuidmap(1) and newgidmap(1) write them; one's own single id needs neither.
    """
    uid, gid = posix.geteuid(), posix.getegid()
    if uid == 0:
        _write_map(pid, "gid_map", gids)
        _write_map(pid, "uid_map", uids)
        return
    if is_only(uids, uid) and is_only(gids, gid):
        # An unprivileged writer must give up setgroups(2) first.
        _write(pid, "setgroups", "deny")
        _write_map(pid, "gid_map", gids)
        _write_map(pid, "uid_map", uids)
        return
    _run_mapper("newuidmap", pid, uids)
    _run_mapper("newgidmap", pid, gids)


def check_joined_maps(linux: Any) -> None:
    """In the joined user namespace: its maps are those of the config, if that has any.  Raises Error.

    /proc/self/uid_map tells the ids outside as the parent namespace has them.
    """
    for kind in ("uid", "gid"):
        wanted = linux.get(kind + "Mappings") or ()
        if not wanted:
            continue
        lines = procfs.read(f"self/{kind}_map").decode().splitlines()
        there = sorted([int(number) for number in line.split()] for line in lines)
        if there != sorted([m["containerID"], m["hostID"], m["size"]] for m in wanted):
            raise Error(
                f"linux.{kind}Mappings: user namespaces enabled, but both namespace path and "
                "non-matching mapping specified -- you may only provide one"
            )


def is_only(mappings: list[Any], host_id: int) -> bool:
    """Whether an unprivileged process may write this map: one id, the writer's own."""
    return len(mappings) == 1 and mappings[0]["size"] == 1 and mappings[0]["hostID"] == host_id


def _write_map(pid: int, file: str, mappings: list[Any]) -> None:
    # The kernel takes the whole map in one write(2).
    _write(pid, file, "".join(f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in mappings))


def _write(pid: int, file: str, text: str) -> None:
    try:
        procfs.write_pid(pid, file, text)
    except OSError as error:
        raise Error(f"write {file} of the user namespace: {error.strerror}") from None


def _run_mapper(program: str, pid: int, mappings: list[Any]) -> None:
    from libcontainer import programs

    arguments = [str(pid)]
    for m in mappings:
        arguments += [str(m["containerID"]), str(m["hostID"]), str(m["size"])]
    status, output = programs.run(program, arguments)
    if status:
        raise Error(f"{program} failed: {output.strip() or f'exit status {status}'}")
