"""The systemd driver: a container's cgroups are those of a transient unit that systemd makes.

systemd.scope(5), and org.freedesktop.systemd1(5) for the calls. systemd owns the tree of cgroups:
it has to be told of every limit, or it puts its own values back at the next reload. What it has no
property for is written to the control files, which it leaves alone since the unit is delegated.
"""

from __future__ import annotations

import posix

from libcontainer.cgroups import files, hierarchies
from libcontainer.cgroups.base import Manager
from libcontainer.cgroups.v1 import LegacyManager
from libcontainer.cgroups.v2 import UnifiedManager
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.cgroups.entrance import Entrance
    from libcontainer.cgroups.systemd.units import Properties, Unit


class SystemdManager(Manager):
    """What it takes to have systemd make and stop the unit, in front of a version's manager."""

    unit: Unit
    annotations: dict[str, str]
    started: bool
    """Whether the unit is there already, as it is for a restored manager."""
    starting: bool
    """Whether the next set() is of the limits that it was started with."""

    def create(self) -> None:
        # The unit makes the cgroups, and a scope cannot be made without a process.
        return

    def entrance(self, cgroup: list[str] | None = None, init: int = 0) -> Entrance:
        if self.started:
            return super().entrance(cgroup, init)
        from libcontainer.cgroups.entrance import Entrance

        found = Entrance()
        found.by_host = True
        return found

    def join(self, pid: int, cgroup: list[str] | None = None, init: int = 0) -> None:
        if self.started:
            super().join(pid, cgroup, init)
        else:
            self.apply(pid)

    def destroy(self) -> None:
        try:
            self.unit.stop()
        finally:
            super().destroy()

    def to_state(self) -> dict[str, Any]:
        return {**super().to_state(), "systemd": self.unit.to_state()}


class LegacySystemdManager(SystemdManager, LegacyManager):
    """A unit on a host with cgroup v1."""

    def apply(self, pid: int) -> None:
        _start(self, pid)
        # systemd leaves out the hierarchies of controllers that it does not manage.
        LegacyManager.create(self)
        LegacyManager.apply(self, pid)

    def set(self, resources: dict[str, Any], *, devices: bool = True) -> None:
        from libcontainer.cgroups.systemd import properties

        if resources.get("unified"):
            raise Error("invalid configuration: cannot use unified on cgroup v1")
        if self.starting:
            # The unit was made with its limits.
            self.starting = False
            super().set(properties.rounded(resources), devices=devices)
            return
        changes = properties.of_v1(resources, _policy(self, resources, devices), self.unit.version)
        exact = properties.rounded(resources)
        # The kernel first, as it may refuse.
        super().set(exact, devices=devices)
        # For every change systemd writes the device rules anew, first of all a denial of everything:
        # what runs then would see it.
        freeze = not devices and bool(changes) and bool(self.paths.get("freezer"))
        freeze = freeze and not self.frozen()
        if freeze:
            self.freeze()
        try:
            self.unit.set(changes)
        finally:
            if freeze:
                self.thaw()
        super().set(properties.inexact(exact), devices=False)


class UnifiedSystemdManager(SystemdManager, UnifiedManager):
    """A unit on a host with cgroup v2."""

    def entrance(self, cgroup: list[str] | None = None, init: int = 0) -> Entrance:
        found = super().entrance(cgroup, init)
        if found.by_host:
            from libcontainer.cgroups.entrance import is_roomy

            found.tight = not is_roomy((self.resources.get("memory") or {}).get("limit"))
        return found

    def join(self, pid: int, cgroup: list[str] | None = None, init: int = 0) -> None:
        if not self.started:
            self.apply(pid)
            return
        target = self.targets(cgroup)[""]
        try:
            files.join(target, pid)
        except PermissionError:
            # A user may not move processes between units; the user's systemd has somebody do it.
            self.unit.attach(pid, target[len(self.main) :] or "/")
        except OSError:
            super().join(pid, cgroup, init)

    def apply(self, pid: int) -> None:
        _start(self, pid)
        UnifiedManager.create(self)

    def set(self, resources: dict[str, Any], *, devices: bool = True) -> None:
        from libcontainer.cgroups.systemd import properties

        exact = properties.rounded(resources)
        if not self.starting:
            policy = _policy(self, resources, devices)
            changes = properties.of_v2(resources, policy, self.unit.version)
            # The kernel first, as it may refuse.
            super().set(exact, devices=devices)
            self.unit.set(changes)
            exact, devices = properties.inexact(exact), False
        self.starting = False
        super().set(exact, devices=devices)


def _start(manager: SystemdManager, pid: int) -> None:
    from libcontainer.cgroups.systemd import properties

    # With all limits at once. Told of the devices later, systemd realizes the controllers of v1 anew,
    # and moves the process out of the cgroup that is meant to confine it, into the slice's.
    unit, resources = manager.unit, manager.resources
    policy = _policy(manager, resources, True)
    limits = properties.of_v2 if manager.version == 2 else properties.of_v1
    start: Properties = [
        *properties.of_unit(unit, resources, manager.version),
        *limits(resources, policy, unit.version),
        # Last, so that they have the last word.
        *properties.of_annotations(manager.annotations),
    ]
    unit.start(pid, start)
    manager.started = manager.starting = True


def _policy(manager: SystemdManager, resources: dict[str, Any], devices: bool) -> Any:
    """The device policy to tell systemd of; None where it is to stay as it is."""
    if not devices:
        return None
    from libcontainer.cgroups.devices import policy

    return policy(resources, manager.devices)


def manager(
    cgroups_path: str,
    container_id: str,
    resources: dict[str, Any],
    *,
    rootless: bool,
    annotations: dict[str, str],
    devices: list[dict[str, Any]],
    owner: int | None,
) -> SystemdManager:
    """The manager of a unit for a config: see libcontainer.cgroups.manager.

    `cgroups_path` is `slice:prefix:name` or empty. Error for another form, for a malformed annotation
    `org.systemd.property.*`, and where systemd does not run.
    """
    from libcontainer.cgroups.systemd.units import Unit, slice_path

    if not _runs():
        raise Error("systemd not running on this host, cannot use systemd cgroups manager")
    unified = hierarchies.is_unified()
    if rootless and not unified:
        raise Error("cannot use rootless systemd cgroups manager on cgroup v1")
    slice_name, prefix, name = "", "runc", container_id
    if cgroups_path:
        parts = cgroups_path.split(":")
        if len(parts) != 3:
            raise Error(
                'linux.cgroupsPath: expected cgroupsPath to be of format "slice:prefix:name" for'
                ' systemd cgroups, got "%s" instead' % cgroups_path
            )
        slice_name, prefix, name = parts
    # A container without resources is in the slice for users' things, or that of the system's.
    slice_name = slice_name or ("user.slice" if rootless else "system.slice")
    unit_name = name if name.endswith(".slice") else "%s-%s.scope" % (prefix, name)
    if "/" in unit_name:
        raise Error("linux.cgroupsPath: %s is no name of a systemd unit" % unit_name)
    unit = Unit(unit_name, slice_name, name, user=rootless)
    path = slice_path(slice_name)
    if rootless:
        path = unit.control_group_of_manager() + path
    path = path.rstrip("/") + "/" + unit_name
    found: SystemdManager
    if unified:
        found = UnifiedSystemdManager(hierarchies.v2_path(path, container_id))
    else:
        found = LegacySystemdManager(*hierarchies.v1_paths(path, container_id))
    found.unit, found.annotations = unit, annotations
    found.started = found.starting = False
    found.resources, found.devices, found.owner = resources, devices, owner
    found.rootless, found.explicit = rootless, bool(cgroups_path)
    if annotations:
        from libcontainer.cgroups.systemd import properties

        # Only to refuse what is malformed before anything is made.
        properties.of_annotations(annotations)
    return found


def _runs() -> bool:
    """Whether systemd is the host's init: sd_booted(3)."""
    try:
        posix.listdir("/run/systemd/system")
    except OSError:
        return False
    return True


def restore(state: dict[str, Any]) -> SystemdManager:
    """The manager that its to_state() described."""
    from libcontainer.cgroups.systemd.units import Unit

    found: SystemdManager
    if state["version"] == 2:
        found = UnifiedSystemdManager(state["paths"].get("", ""))
    else:
        found = LegacySystemdManager(dict(state["paths"]), {})
    described = state["systemd"]
    found.unit = Unit(
        described["unit"], described["slice"], described["name"], user=described["user"]
    )
    found.annotations, found.started, found.starting = {}, True, False
    found.rootless, found.explicit = state["rootless"], state["explicit"]
    return found
