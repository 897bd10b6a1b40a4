"""cgroup v2: one hierarchy, one directory per container; Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import errno
import posix

from libcontainer.cgroups import files
from libcontainer.cgroups.base import Manager
from libcontainer.cgroups.hierarchies import UNIFIED
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from libcontainer.cgroups import CgroupView
    from libcontainer.cgroups.entrance import Entrance


class UnifiedManager(Manager):
    """A container's cgroup in the v2 hierarchy."""

    version = 2

    def __init__(self, directory: str) -> None:
        super().__init__({"": directory})

    @property
    def main(self) -> str:
        return self.paths.get("", "")

    def check_limits(self) -> None:
        check_unified(self.resources.get("unified") or {})
        for prop, asked in (self.resources.get("network") or {}).items():
            if asked:
                raise Error(
                    "%snetwork.%s cannot be set: cgroup v2 has no net_cls and net_prio"
                    % (files.RESOURCES, prop)
                )
        needed = setters(self.resources)
        if not needed:
            return
        available = files.read(UNIFIED + "/cgroup.controllers").split()
        for controller, asked, _ in needed:
            if controller not in available:
                raise Error(
                    "%s%s cannot be set: the host's cgroup v2 has no %s controller"
                    % (files.RESOURCES, asked[0], controller)
                )

    def create(self) -> None:
        made: list[str] = []
        try:
            self._make(made)
            if self.owner is not None:
                from libcontainer.cgroups.v2 import delegation

                delegation.give(self.main, self.owner)
        except OSError as failure:
            _unmake(made)
            if not self.may_do_without(failure):
                raise
            if setters(self.resources):
                raise Error(
                    "rootless needs no limits + no cgrouppath when no permission is granted for"
                    " cgroups: %s: %s" % (self.main, failure.strerror)
                ) from None
            self.paths.clear()
        except Error:
            _unmake(made)
            raise

    def _make(self, made: list[str]) -> None:
        """Make the directory, those above it, and hand all controllers down to it."""
        target = self.main
        available = files.read(UNIFIED + "/cgroup.controllers").split()
        try:
            posix.mkdir(target, 0o755)
            made.append(target)
        except (FileExistsError, FileNotFoundError):
            pass
        if made and set(files.read(target + "/cgroup.controllers").split()) >= set(available):
            return
        limited = bool(setters(self.resources) or self.resources.get("unified"))
        for current, parent in _ancestors(UNIFIED, target):
            _hand_down(parent, available, limited)
            try:
                posix.mkdir(current, 0o755)
                made.append(current)
            except FileExistsError:
                pass
            self._check_type(current)

    def _check_type(self, directory: str) -> None:
        """A cgroup below one with processes is invalid, or threaded: only some controllers work."""
        kind = files.read_if_there(directory + "/cgroup.type").strip()
        if kind in ("", "domain"):
            return
        domain = [c for c, _, _ in setters(self.resources) if c not in ("pids", "cpuset")]
        if domain:
            state = "an invalid state" if kind == "domain invalid" else kind + " mode"
            raise Error(
                "cannot enter cgroupv2 %s with domain controllers -- it is in %s"
                % (directory, state)
            )
        if kind == "domain invalid":
            files.write(directory + "/cgroup.type", "threaded")

    def apply(self, pid: int) -> None:
        if self.main:
            files.join(self.main, pid)

    def join(self, pid: int, cgroup: list[str] | None = None, init: int = 0) -> None:
        for target in self.targets(cgroup).values():
            try:
                files.join(target, pid)
            except OSError as failure:
                if not self._join_init(pid, target, init) and not self.rootless:
                    raise failure

    def _join_init(self, pid: int, target: str, init: int) -> bool:
        """Join the cgroup that the container's init is in now, unless another was asked for."""
        if not init or target != self.main:
            return False
        for line in files.read_if_there("/proc/%d/cgroup" % init).splitlines():
            path = UNIFIED + line[3:].rstrip("/")
            if line.startswith("0::") and path != target:
                try:
                    files.join(path, pid)
                except OSError:
                    return False
                return True
        return False

    def entrance(self, cgroup: list[str] | None = None, init: int = 0) -> Entrance:
        from libcontainer.cgroups.entrance import Entrance, is_roomy

        found = Entrance()
        found.cgroup, found.init = cgroup, init
        # What joins a cgroup later is not charged for what it had before, what is born there is.
        limit = (self.resources.get("memory") or {}).get("limit")
        now = files.read_if_there(self.main + "/memory.max").strip() if self.main else ""
        found.tight = not is_roomy(limit or (int(now) if now.isdigit() else 0))
        if self.main and not found.tight:
            try:
                found.open_unified(self.targets(cgroup)[""])
            except OSError as failure:
                # join() tells, or finds another.
                if failure.errno != errno.ENOENT:
                    raise
        return found

    def set(self, resources: dict[str, Any], *, devices: bool = True) -> None:
        unified = resources.get("unified") or {}
        check_unified(unified)
        if not self.main:
            for controller, _, _ in setters(resources):
                raise Error(
                    "cannot set %s limit: container could not join or create cgroup" % controller
                )
            return
        for controller, asked, setter in setters(resources):
            try:
                setter(self.main, resources)
            except files.LimitError as failure:
                if failure.errno == errno.ENOENT and controller not in self._controllers():
                    raise Error(
                        "%s%s cannot be set: controller %s not available in %s"
                        % (files.RESOURCES, asked[0], controller, self.main)
                    ) from None
                raise
        if devices:
            self._set_devices(resources)
        self._set_unified(unified)

    def _controllers(self) -> list[str]:
        return files.read_if_there(self.main + "/cgroup.controllers").split()

    def _set_devices(self, resources: dict[str, Any]) -> None:
        from libcontainer.cgroups.devices import denies, policy
        from libcontainer.cgroups.v2 import devices

        wanted = policy(resources, self.devices)
        devices.set(self.main, wanted, self.rootless, denies(resources))

    def _set_unified(self, unified: dict[str, str]) -> None:
        for name, value in unified.items():
            path = self.main + "/" + name
            try:
                for line in value.splitlines() or [""]:
                    former = files.read(path) if files.journal is not None else ""
                    files.write(path, line)
                    if files.journal is not None:
                        files.journal.append((path, former, line))
            except OSError as failure:
                controller = name.partition(".")[0]
                absent = controller not in ("cgroup", *self._controllers())
                if absent and failure.errno in (errno.EPERM, errno.EACCES, errno.ENOENT):
                    raise Error(
                        'unified resource "%s" can\'t be set: controller "%s" not available'
                        % (name, controller)
                    ) from None
                raise Error(
                    'unable to set unified resource "%s": write %s: %s'
                    % (name, path, failure.strerror)
                ) from None

    def freeze(self) -> None:
        from libcontainer.cgroups.v2 import freezer

        if not self.main:
            raise Error("cannot toggle freezer: cgroups not configured for container")
        freezer.freeze(self.main)

    def thaw(self) -> None:
        from libcontainer.cgroups.v2 import freezer

        if self.main:
            freezer.thaw(self.main)

    def frozen(self) -> bool:
        if not self.main or not files.exists(self.main):
            return False
        from libcontainer.cgroups.v2 import freezer

        return freezer.frozen(self.main)

    def kill(self, signal: int) -> None:
        # Linux 5.14 kills a whole tree at once, those that are just being born included.
        if signal == 9 and self.main:
            try:
                files.write(self.main + "/cgroup.kill", "1")
                return
            except OSError as failure:
                if failure.errno == errno.ENODEV:
                    return
                if failure.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
                    raise
        super().kill(signal)

    def oom_killed(self) -> bool:
        return files.count(self.main + "/memory.events", "oom_kill") > 0

    def stats(self) -> dict[str, Any]:
        from libcontainer.cgroups.v2 import stats

        return stats.stats(self.main)

    def view(self, namespaced: bool) -> CgroupView:
        from libcontainer.cgroups import CgroupView

        path = self.main[len(UNIFIED) :] if self.main else "/"
        return CgroupView(2, [("", UNIFIED, path or "/")], namespaced)


def _ancestors(root: str, target: str) -> list[tuple[str, str]]:
    """The cgroups from below `root` down to `target`, each with the one above it."""
    found = []
    parent = root
    for part in target[len(root) + 1 :].split("/"):
        current = parent + "/" + part
        found.append((current, parent))
        parent = current
    return found


def hand_down_to(root: str, target: str, controllers: list[str]) -> None:
    """Enable controllers in all cgroups between `root` and `target`, which exist."""
    for _, parent in _ancestors(root, target):
        _hand_down(parent, controllers)


def _hand_down(directory: str, controllers: list[str], single: bool = True) -> None:
    """Enable controllers for the cgroups below `directory`, with `single` all that the kernel lets us.

    One that is refused shows when a limit needs it: nothing is lost for a container without limits.
    Where there are processes, single ones make the cgroup a threaded domain, which a service's
    cgroup must not become: systemd could not even stop it.
    """
    path = directory + "/cgroup.subtree_control"
    try:
        files.write(path, " ".join(["+" + name for name in controllers]))
    except OSError:
        for name in controllers if single else ():
            try:
                files.write(path, "+" + name)
            except OSError:
                continue


def _unmake(made: list[str]) -> None:
    for directory in reversed(made):
        try:
            posix.rmdir(directory)
        except OSError:
            return


def check_unified(unified: dict[str, str]) -> None:
    """Refuse names that are no file of a cgroup; Error."""
    for name in unified:
        if "/" in name:
            raise Error('unified resource "%s" must be a file name (no slashes)' % name)
        if "." not in name.strip("."):
            raise Error('unified resource "%s" must be in the form CONTROLLER.PARAMETER' % name)


def setters(
    resources: dict[str, Any],
) -> list[tuple[str, list[str], Callable[[str, dict[str, Any]], None]]]:
    """(controller, properties, function) for each controller with a limit, in the order to set.

    Only the modules that are needed are imported.
    """
    found: list[tuple[str, list[str], Callable[[str, dict[str, Any]], None]]] = []
    if resources.get("pids"):
        from libcontainer.cgroups.v2 import pids

        found.append((pids.CONTROLLER, pids.wanted(resources), pids.set))
    if resources.get("memory"):
        from libcontainer.cgroups.v2 import memory

        found.append((memory.CONTROLLER, memory.wanted(resources), memory.set))
    if resources.get("blockIO"):
        from libcontainer.cgroups.v2 import io

        found.append((io.CONTROLLER, io.wanted(resources), io.set))
    if resources.get("cpu"):
        from libcontainer.cgroups.v2 import cpu, cpuset

        found.append((cpu.CONTROLLER, cpu.wanted(resources), cpu.set))
        found.append((cpuset.CONTROLLER, cpuset.wanted(resources), cpuset.set))
    if resources.get("hugepageLimits"):
        from libcontainer.cgroups.v2 import hugetlb

        found.append((hugetlb.CONTROLLER, hugetlb.wanted(resources), hugetlb.set))
    if resources.get("rdma"):
        from libcontainer.cgroups.v2 import rdma

        found.append((rdma.CONTROLLER, rdma.wanted(resources), rdma.set))
    return [entry for entry in found if entry[1]]
