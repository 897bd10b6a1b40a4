"""cgroup v1: one hierarchy per controller, one file here per controller.

Documentation/admin-guide/cgroup-v1/cgroups.rst. Hybrid hosts have a v2 hierarchy beside it (the
controller "" here).
"""

from __future__ import annotations

import posix

from libcontainer.cgroups import files, hierarchies
from libcontainer.cgroups.base import Manager
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from libcontainer.cgroups import CgroupView
    from libcontainer.cgroups.entrance import Entrance


class LegacyManager(Manager):
    """A container's cgroups in the v1 hierarchies."""

    version = 1

    def __init__(self, paths: dict[str, str], mounts: dict[str, str]) -> None:
        super().__init__(paths)
        self.mounts = mounts

    @property
    def main(self) -> str:
        # Any hierarchy would do; devices is the one that has to be there.
        return self.paths.get("devices") or next(iter(self.paths.values()), "")

    def check_limits(self) -> None:
        resources = self.resources
        if resources.get("unified"):
            raise Error("invalid configuration: cannot use unified on cgroup v1")
        for controller, asked, _ in setters(resources):
            if controller not in self.paths:
                if controller in self._unified_controllers():
                    continue
                raise Error(
                    "%s%s cannot be set: the host has no cgroup v1 %s hierarchy"
                    % (files.RESOURCES, asked[0][0], controller)
                )
            # The container's own cgroup is not there yet when it is made, but the mount point is.
            place = self.mounts.get(controller) or self.paths[controller]
            for prop, name in asked:
                if name and not files.exists(place + "/" + name):
                    raise Error(
                        "%s%s cannot be set: this kernel's %s controller has no %s"
                        % (files.RESOURCES, prop, controller, name)
                    )
        if "devices" not in self.paths and not self.rootless:
            raise Error("the host has no cgroup v1 devices hierarchy, which containers rely on")

    def create(self) -> None:
        made = set()
        for controller, directory in list(self.paths.items()):
            if directory in made:
                continue
            try:
                if controller == "cpuset":
                    from libcontainer.cgroups.v1 import cpuset

                    cpuset.create(directory, self.mounts[controller], self.resources)
                else:
                    files.make(directory)
            except OSError as failure:
                self._drop(controller, failure)
            made.add(directory)
        self._hand_down()

    def _unified_controllers(self) -> list[str]:
        """The controllers that a hybrid host has on its v2 hierarchy, by their names on v1."""
        if "" not in self.paths:
            return []
        names = files.read_if_there(hierarchies.HYBRID + "/cgroup.controllers").split()
        return ["blkio" if name == "io" else name for name in names]

    def _hand_down(self) -> None:
        """Have the v2 controllers that a limit needs in the container's v2 cgroup."""
        needed = [name for name, _, _ in setters(self.resources) if name not in self.paths]
        if needed and "" in self.paths:
            from libcontainer.cgroups.v2 import hand_down_to

            names = ["io" if name == "blkio" else name for name in needed]
            hand_down_to(hierarchies.HYBRID, self.paths[""], names)

    def apply(self, pid: int) -> None:
        self._set_realtime()
        self.join(pid)

    def join(self, pid: int, cgroup: list[str] | None = None, init: int = 0) -> None:
        joined = set()
        for controller, directory in self.targets(cgroup).items():
            if directory in joined:
                continue
            try:
                files.join(directory, pid)
            except OSError as failure:
                self._drop(controller, failure)
            joined.add(directory)

    def _drop(self, controller: str, failure: OSError) -> None:
        """Go on without a hierarchy that refused us, if that is allowed; else raise."""
        if not self.may_do_without(failure) and not _optional(controller):
            raise failure
        refused = self.paths[controller]
        for name in [name for name, directory in self.paths.items() if directory == refused]:
            del self.paths[name]

    def entrance(self, cgroup: list[str] | None = None, init: int = 0) -> Entrance:
        from libcontainer.cgroups.entrance import Entrance, is_roomy

        self._set_realtime()
        found = Entrance()
        found.tight = not is_roomy((self.resources.get("memory") or {}).get("limit"))
        opened = set()
        for controller, directory in self.targets(cgroup).items():
            if directory in opened:
                continue
            opened.add(directory)
            try:
                if controller:
                    fd = posix.open(directory + "/tasks", posix.O_WRONLY | posix.O_CLOEXEC)
                    (found.memory if controller == "memory" else found.tasks).append(fd)
                else:
                    found.open_unified(directory)
            except OSError as failure:
                try:
                    self._drop(controller, failure)
                except OSError:
                    found.close()
                    raise
        return found

    def _set_realtime(self) -> None:
        """A real-time task may only join a cgroup that has real-time bandwidth."""
        cpu = self.resources.get("cpu") or {}
        if cpu.get("realtimeRuntime") and "cpu" in self.paths:
            from libcontainer.cgroups.v1.cpu import set_realtime

            set_realtime(self.paths["cpu"], cpu)

    def set(self, resources: dict[str, Any], *, devices: bool = True) -> None:
        if resources.get("unified"):
            raise Error("invalid configuration: cannot use unified on cgroup v1")
        if devices:
            self._set_devices(resources)
        missing = []
        for controller, _, setter in setters(resources):
            if controller in self.paths:
                setter(self.paths[controller], resources)
            else:
                missing.append(controller)
        if missing:
            self._set_unified(missing, resources)

    def _set_unified(self, controllers: list[str], resources: dict[str, Any]) -> None:
        """Write the limits of controllers that are not on a v1 hierarchy, but on a hybrid v2 one."""
        from libcontainer.cgroups.v2 import setters as v2_setters

        there = self._unified_controllers()
        for controller in controllers:
            if controller not in there:
                raise Error(
                    "cannot set %s limit: container could not join or create cgroup" % controller
                )
        for name, _, setter in v2_setters(resources):
            if ("blkio" if name == "io" else name) in controllers:
                setter(self.paths[""], resources)

    def _set_devices(self, resources: dict[str, Any]) -> None:
        from libcontainer.cgroups.devices import policy
        from libcontainer.cgroups.v1 import devices

        wanted = policy(resources, self.devices)
        if "devices" not in self.paths:
            return
        try:
            devices.set(self.paths["devices"], wanted)
        except (OSError, files.LimitError):
            # A user namespace's root may not change them; nor may it open more than it could before.
            if not self.rootless and not hierarchies.in_user_namespace():
                raise

    def freeze(self) -> None:
        from libcontainer.cgroups.v1 import freezer

        freezer.freeze(self._freezer())

    def thaw(self) -> None:
        from libcontainer.cgroups.v1 import freezer

        freezer.thaw(self._freezer())

    def frozen(self) -> bool:
        directory = self.paths.get("freezer")
        if not directory or not files.exists(directory):
            return False
        from libcontainer.cgroups.v1 import freezer

        return freezer.frozen(directory)

    def _freezer(self) -> str:
        directory = self.paths.get("freezer")
        if not directory:
            raise Error("cannot toggle freezer: cgroups not configured for container")
        return directory

    def oom_killed(self) -> bool:
        return files.count(self.paths.get("memory", "") + "/memory.oom_control", "oom_kill") > 0

    def stats(self) -> dict[str, Any]:
        from libcontainer.cgroups.v1 import stats

        return stats.stats(self.paths)

    def view(self, namespaced: bool) -> CgroupView:
        from libcontainer.cgroups import CgroupView

        grouped: dict[str, list[str]] = {}
        for controller in self.paths:
            if controller:
                grouped.setdefault(self.mounts[controller], []).append(controller)
        hierarchies = [
            (",".join(names), mount, self.paths[names[0]][len(mount) :])
            for mount, names in grouped.items()
        ]
        return CgroupView(1, hierarchies, namespaced)


def _optional(controller: str) -> bool:
    """Whether a container does without: named hierarchies limit nothing, nor does misc."""
    return controller in ("", "misc") or "=" in controller


def setters(
    resources: dict[str, Any],
) -> list[tuple[str, list[tuple[str, str]], Callable[[str, dict[str, Any]], None]]]:
    """(controller, properties with their files, function) for each controller with a limit.

    In the order in which they are to be set; only the modules that are needed are imported.
    """
    found: list[tuple[str, list[tuple[str, str]], Callable[[str, dict[str, Any]], None]]] = []
    if resources.get("cpu"):
        from libcontainer.cgroups.v1 import cpu, cpuset

        found.append((cpuset.CONTROLLER, cpuset.wanted(resources), cpuset.set))
        found.append((cpu.CONTROLLER, cpu.wanted(resources), cpu.set))
    if resources.get("memory"):
        from libcontainer.cgroups.v1 import memory

        found.append((memory.CONTROLLER, memory.wanted(resources), memory.set))
    if resources.get("pids"):
        from libcontainer.cgroups.v1 import pids

        found.append((pids.CONTROLLER, pids.wanted(resources), pids.set))
    if resources.get("blockIO"):
        from libcontainer.cgroups.v1 import blkio

        found.append((blkio.CONTROLLER, blkio.wanted(resources), blkio.set))
    if resources.get("hugepageLimits"):
        from libcontainer.cgroups.v1 import hugetlb

        found.append((hugetlb.CONTROLLER, hugetlb.wanted(resources), hugetlb.set))
    if resources.get("network"):
        from libcontainer.cgroups.v1 import net

        for controller, asked, setter in net.setters(resources):
            found.append((controller, asked, setter))
    if resources.get("rdma"):
        from libcontainer.cgroups.v1 import rdma

        found.append((rdma.CONTROLLER, rdma.wanted(resources), rdma.set))
    return [entry for entry in found if entry[1]]
