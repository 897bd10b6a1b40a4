"""Control groups of a container: one interface, `Manager`, over cgroup v1, v2, and systemd.

The order in which a container is made:

    found = manager(cgroups_path, id, resources)   computes paths, touches nothing
    found.check()                                  refuses what this host cannot do
    found.create()                                 the directories
    way = found.entrance()                         through which init, once it is cloned, goes in
    way.finish(found, pid, born)                   init is in: entrance.py tells how
    found.set(resources)                           the limits

A process that is not our own to clone (criu) is moved in by apply(pid), which takes its time.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.cgroups.base import Manager


class CgroupView:
    """What mounts of type `cgroup` in a container need to know of the host's hierarchies.

    `version`: 1 or 2. `hierarchies`: (controllers such as "cpu,cpuacct" or "name=systemd", mount
    point on the host, path of the container's cgroup below that, starting with "/") each.
    `namespace`: the container has a cgroup namespace of its own.
    """

    def __init__(
        self, version: int, hierarchies: list[tuple[str, str, str]], namespace: bool
    ) -> None:
        self.version = version
        self.hierarchies = hierarchies
        self.namespace = namespace


def manager(
    cgroups_path: str | None,
    container_id: str,
    resources: dict[str, Any] | None,
    *,
    systemd: bool = False,
    rootless: bool = False,
    annotations: dict[str, str] | None = None,
    devices: list[dict[str, Any]] | None = None,
    owner: int | None = None,
) -> Manager:
    """The manager for a config: `linux.cgroupsPath`, `linux.resources`, `linux.devices`.

    Nothing is made. `systemd` asks for the systemd driver; `rootless` lets a container without
    limits and cgroupsPath live without cgroups where the caller may not make them; `owner` is the
    host uid of the container's root in its user namespace, to whom a v2 cgroup is delegated.
    Error for a host without cgroups or a malformed path.
    """
    from libcontainer.cgroups import hierarchies

    if systemd:
        from libcontainer.cgroups.systemd import manager as manager_of_unit

        return manager_of_unit(
            cgroups_path or "",
            container_id,
            resources or {},
            rootless=rootless,
            annotations=annotations or {},
            devices=devices or [],
            owner=owner,
        )
    path = cgroups_path or ""
    found: Manager
    if hierarchies.is_unified():
        from libcontainer.cgroups.v2 import UnifiedManager

        found = UnifiedManager(hierarchies.v2_path(path, container_id))
    else:
        from libcontainer.cgroups.v1 import LegacyManager

        paths, mounts = hierarchies.v1_paths(path, container_id)
        found = LegacyManager(paths, mounts)
    found.resources = resources or {}
    found.devices = devices or []
    found.rootless = rootless
    found.explicit = bool(path)
    found.owner = owner
    return found


def restore(state: dict[str, Any]) -> Manager:
    """The manager that `Manager.to_state()` described; nothing of the host is looked at."""
    found: Manager
    if "systemd" in state:
        from libcontainer.cgroups.systemd import restore as restore_unit

        return restore_unit(state)
    if state["version"] == 2:
        from libcontainer.cgroups.v2 import UnifiedManager

        found = UnifiedManager("")
        # Rootless there may be none.
        found.paths = dict(state["paths"])
    else:
        from libcontainer.cgroups.v1 import LegacyManager

        found = LegacyManager(dict(state["paths"]), {})
    found.rootless = state.get("rootless", False)
    found.explicit = state.get("explicit", True)
    return found
