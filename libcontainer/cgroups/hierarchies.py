"""Which cgroup hierarchies the host has, and where a container's cgroups stand in them.

cgroups(7); the rules for `linux.cgroupsPath` are those of the runtime-spec (config-linux.md,
"Cgroups Path") with runc's choices for what it leaves open.
"""

from __future__ import annotations

from libcontainer.cgroups.files import exists, read, read_if_there
from libcontainer.errors import Error

UNIFIED = "/sys/fs/cgroup"
"""Where cgroup v2 is mounted on a host that has nothing else."""

HYBRID = "/sys/fs/cgroup/unified"
"""Where systemd mounts cgroup v2 beside cgroup v1."""

V1_CONTROLLERS = (
    "cpuset devices memory cpu cpuacct pids blkio hugetlb net_cls net_prio perf_event freezer"
    " rdma name=systemd misc"
).split()
"""The v1 hierarchies that a container gets a cgroup in, in this order, where they are mounted."""


def is_unified() -> bool:
    """Whether the host has cgroup v2 only."""
    return exists(UNIFIED + "/cgroup.controllers")


def clean(path: str) -> str:
    """`path` without `.`, `..`, and double slashes, never climbing above its start.

    It stays relative or absolute; "" stays "".
    """
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return ("/" if path[:1] == "/" else "") + "/".join(parts)


def own_cgroups() -> dict[str, tuple[str, str]]:
    """The caller's cgroup in each hierarchy, and all controllers of that, such as "cpu,cpuacct".

    By controller ("" is cgroup v2): /proc/self/cgroup.
    """
    found = {}
    for line in read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = (path, controllers)
    return found


def v1_paths(cgroups_path: str, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The container's cgroup and the mount point of each mounted v1 hierarchy, by controller.

    An absolute `cgroups_path` counts from the hierarchy's mount point, a relative one (or `name`,
    where it is empty) from the caller's own cgroup. Hybrid hosts have the controller "" as well.
    Error if there is no cgroup hierarchy at all.
    """
    own = own_cgroups()
    inner = clean(cgroups_path) or clean(name)
    absolute = inner[:1] == "/"
    paths: dict[str, str] = {}
    mounts: dict[str, str] = {}
    table: dict[str, tuple[str, str]] | None = None
    for controller in V1_CONTROLLERS:
        if controller not in own:
            continue
        cgroup, controllers = own[controller]
        # The names that systemd gives them; of one with several controllers theirs are links.
        mount = UNIFIED + "/" + controllers.rpartition("=")[2]
        start = mount if absolute or cgroup == "/" else mount + cgroup
        # Where the usual place does not show the cgroup, the list of mounts has to be read.
        if not exists(start + "/cgroup.procs"):
            if table is None:
                table = _v1_mounts()
            if controller not in table:
                continue
            mount, root = table[controller]
            start = mount if absolute else mount + _below(root, cgroup)
        mounts[controller] = mount
        paths[controller] = start.rstrip("/") + "/" + inner.lstrip("/")
    if not paths:
        raise Error("no cgroup mount found: neither cgroup v2 on %s nor cgroup v1" % UNIFIED)
    if "" in own and exists(HYBRID + "/cgroup.procs"):
        mounts[""] = HYBRID
        paths[""] = HYBRID + "/" + inner.lstrip("/")
    return paths, mounts


def _below(root: str, cgroup: str) -> str:
    """`cgroup` seen from a mount whose root is the cgroup `root`.

    In a container without a cgroup namespace the mounts show a part of the host's tree, but
    /proc/self/cgroup gives the whole path.
    """
    if root == "/":
        return cgroup
    if cgroup == root or cgroup.startswith(root + "/"):
        return cgroup[len(root) :]
    ups = root.count("/")
    return "/.." * ups + cgroup


def _v1_mounts() -> dict[str, tuple[str, str]]:
    """Mount point and root of each v1 hierarchy, by controller: proc_pid_mountinfo(5)."""
    found: dict[str, tuple[str, str]] = {}
    for line in read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind != "cgroup":
            continue
        fields = left.split(" ")
        for option in options.split(","):
            found.setdefault(option, (_plain(fields[4]), _plain(fields[3])))
    return found


def _plain(field: str) -> str:
    """A mountinfo field without its octal escapes."""
    if "\\" not in field:
        return field
    head, *parts = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in parts)


def v2_path(cgroups_path: str, name: str) -> str:
    """The directory of the container's cgroup on a v2 host.

    A relative path counts from the parent of the caller's cgroup: the caller's own has processes,
    and a cgroup with processes cannot hand controllers down (cgroups(7), "no internal processes").
    """
    inner = clean(cgroups_path) or clean(name)
    if inner[:1] == "/":
        return UNIFIED + inner
    own = own_cgroups().get("")
    if own is None:
        raise Error("/proc/self/cgroup has no cgroup v2 entry")
    return UNIFIED + own[0].rpartition("/")[0] + "/" + inner


def in_user_namespace() -> bool:
    """Whether the caller is in another user namespace than the machine's first."""
    # A kernel that was built without them has no such file.
    return read_if_there("/proc/self/uid_map").split() not in ([], ["0", "0", "4294967295"])
