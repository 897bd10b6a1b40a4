"""cgroup v1's cpuset controller: cpuset(7)."""

from __future__ import annotations

import posix

from libcontainer.cgroups.files import exists, limit, make, read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLER = "cpuset"


def wanted(resources: dict[str, Any]) -> list[tuple[str, str]]:
    """The properties asked for, each with the control file that it needs ("" if it varies)."""
    cpu = resources.get("cpu") or {}
    return [("cpu." + prop, "") for prop in ("cpus", "mems") if cpu.get(prop)]


def set(directory: str, resources: dict[str, Any]) -> None:
    """Write the lists; LimitError names the one that the kernel refuses."""
    cpu = resources.get("cpu") or {}
    for prop in ("cpus", "mems"):
        if cpu.get(prop):
            limit(directory, _prefix(directory) + prop, cpu[prop], "cpu." + prop)


def create(directory: str, mount: str, resources: dict[str, Any] | None = None) -> None:
    """Make the cgroup and those above it, each with its parent's CPUs and memory nodes.

    A cpuset is born empty, and nothing may join an empty one. The cgroup itself has what `resources` ask
    for at once: all of its parent's is refused where a sibling has some for itself
    (cpuset.cpu_exclusive). OSError, LimitError.
    """
    parent = directory.rpartition("/")[0]
    try:
        posix.mkdir(directory, 0o755)
        new = True
    except FileExistsError:
        new = False
    except FileNotFoundError:
        if directory == mount:
            raise
        create(parent, mount)
        new = make(directory)
    if directory == mount:
        return
    prefix = _prefix(mount)
    cpu = (resources or {}).get("cpu") or {}
    for prop in ("cpus", "mems"):
        name = prefix + prop
        if new or cpu.get(prop) or not read(directory + "/" + name).strip():
            value = read(parent + "/" + name)
            if not value.strip() and parent != mount:
                # Someone else made the parent and left it empty.
                create(parent, mount)
                value = read(parent + "/" + name)
            if cpu.get(prop):
                limit(directory, name, cpu[prop], "cpu." + prop)
            else:
                write(directory + "/" + name, value)


def _prefix(directory: str) -> str:
    """Android mounts the controller without the prefix in its file names."""
    return "cpuset." if exists(directory + "/cpuset.cpus") else ""
