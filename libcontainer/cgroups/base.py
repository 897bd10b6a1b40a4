"""What the managers of cgroup v1 and v2 share."""

from __future__ import annotations

import errno
import posix

from libcontainer.cgroups import files
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.cgroups import CgroupView
    from libcontainer.cgroups.entrance import Entrance

_DENIED = (errno.EPERM, errno.EACCES, errno.EROFS)


class Manager:
    """A container's cgroups.  Methods raise Error or OSError.

    `paths`: directory by controller (v2: one, under ""). The fields below it come from the config
    and are not needed by those that only look, stop, or remove.
    """

    version = 0

    def __init__(self, paths: dict[str, str]) -> None:
        self.paths = paths
        self.resources: dict[str, Any] = {}
        self.devices: list[dict[str, Any]] = []
        self.rootless = False
        self.explicit = True
        self.owner: int | None = None

    def check(self) -> None:
        """Refuse, before anything is made, what cannot work.

        That is a limit whose controller or control file this host lacks, and a cgroup that exists
        with processes in it or frozen.
        """
        main = self.main
        try:
            present = files.all_pids(main)
        except OSError as failure:
            # The cgroup may be missing, or just be removed by someone.
            if failure.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            present = []
        if present:
            raise Error(
                "container's cgroup is not empty: %d process(es) found in %s" % (len(present), main)
            )
        if self.frozen():
            raise Error("container's cgroup unexpectedly frozen: %s" % main)
        self.check_limits()

    @property
    def main(self) -> str:
        """The cgroup whose list of processes is taken for the container's; "" if there is none."""
        raise AssertionError("defined by each version")

    def check_limits(self) -> None:
        """Error, naming the property, for a limit that this host cannot enforce."""
        raise AssertionError("defined by each version")

    def check_limits_of(self, resources: dict[str, Any]) -> None:
        """check_limits() for other resources than the config's."""
        own, self.resources = self.resources, resources
        try:
            self.check_limits()
        finally:
            self.resources = own

    def create(self) -> None:
        """Make the cgroups. Rootless without a cgroupsPath, those that are denied are dropped."""
        raise AssertionError("defined by each version")

    def apply(self, pid: int) -> None:
        """Move a process into the cgroups that `create` made."""
        raise AssertionError("defined by each version")

    def entrance(self, cgroup: list[str] | None = None, init: int = 0) -> Entrance:
        """Ways in for a child that is about to be cloned, much faster than apply(): see entrance.py.

        `cgroup` and `init` as for join().
        """
        raise AssertionError("defined by each version")

    def set(self, resources: dict[str, Any], *, devices: bool = True) -> None:
        """Write limits; properties that are absent stay as they are.

        `devices` False leaves the device rules alone, as an update does.
        """
        raise AssertionError("defined by each version")

    def join(self, pid: int, cgroup: list[str] | None = None, init: int = 0) -> None:
        """Move a process into the container's cgroups, or into some below them.

        `cgroup` is what `exec --cgroup` was given: one path for all hierarchies, or paths with
        controllers in front such as `cpu,cpuacct:sub`. `init` is the container's first process:
        where a v2 cgroup takes no processes since init moved to one below it, that one is joined.
        """
        raise AssertionError("defined by each version")

    def targets(self, cgroup: list[str] | None) -> dict[str, str]:
        """The directories that join() means, by controller; Error for a path that leads out."""
        found = dict(self.paths)
        subpaths = {}
        for argument in cgroup or ():
            controllers, colon, path = argument.partition(":")
            if not colon:
                if len(cgroup or ()) != 1:
                    raise Error(
                        "invalid --cgroup argument: %s (missing <controller>: prefix)" % argument
                    )
                return {name: below(directory, argument) for name, directory in found.items()}
            for name in controllers.split(","):
                if not name:
                    raise Error(
                        "invalid --cgroup argument: %s (empty <controller> prefix)" % argument
                    )
                if name in subpaths:
                    raise Error(
                        "invalid --cgroup argument(s): controller %s specified multiple times"
                        % name
                    )
                subpaths[name] = path
        for name, path in subpaths.items():
            if name not in found:
                raise Error("unknown controller %s in --cgroup" % name)
            found[name] = below(found[name], path)
        return found

    def directories(self) -> list[str]:
        """The cgroups' directories, each once: co-mounted controllers share one."""
        return list(dict.fromkeys(self.paths.values()))

    def may_do_without(self, failure: OSError) -> bool:
        """Whether a refusal is one that a rootless container without a cgroupsPath lives with."""
        return self.rootless and not self.explicit and failure.errno in _DENIED

    def freeze(self) -> None:
        """Stop every process of the container."""
        raise AssertionError("defined by each version")

    def thaw(self) -> None:
        """Let them run again."""
        raise AssertionError("defined by each version")

    def frozen(self) -> bool:
        """Whether the cgroup is frozen; False if it is missing."""
        raise AssertionError("defined by each version")

    def pids(self, all: bool = True) -> list[int]:
        """The processes in the container's cgroup and, with `all`, in those below it."""
        main = self.main
        if not main:
            return []
        return files.all_pids(main) if all else files.pids(main)

    def kill(self, signal: int) -> None:
        """Send a signal to every process of the container, none of which can escape by forking.

        The cgroup is frozen meanwhile where that is possible. A missing cgroup is an empty one.
        """
        froze = False
        try:
            self.freeze()
            froze = True
        except (OSError, Error):
            # Without a freezer the list may miss what is born meanwhile: the caller sees it stay.
            pass
        try:
            for pid in self.pids():
                try:
                    posix.kill(pid, signal)
                except ProcessLookupError:
                    pass
        except OSError as failure:
            if failure.errno not in (errno.ENOENT, errno.ENODEV):
                raise
        finally:
            if froze:
                self.thaw()

    def oom_killed(self) -> bool:
        """Whether the kernel killed a process of the container for want of memory."""
        raise AssertionError("defined by each version")

    def destroy(self) -> None:
        """Remove the cgroups, waiting up to a second for dying processes; missing ones are fine."""
        failures = []
        for directory in self.directories():
            try:
                files.remove(directory)
            except OSError as failure:
                failures.append("%s: %s" % (directory, failure.strerror))
        if failures:
            raise Error("failed to remove cgroups: " + "; ".join(failures))

    def stats(self) -> dict[str, Any]:
        """What the container uses, in the shape of runc's `events --stats`: see statistics.py.

        Without `intel_rdt` and `network_interfaces`, which are not cgroups'. OSError.
        """
        raise AssertionError("defined by each version")

    def view(self, namespaced: bool) -> CgroupView:
        """What mounts of type `cgroup` need to know."""
        raise AssertionError("defined by each version")

    def to_state(self) -> dict[str, Any]:
        """What `restore` needs, for the state file."""
        return {
            "version": self.version,
            "paths": self.paths,
            "rootless": self.rootless,
            "explicit": self.explicit,
        }


def below(directory: str, subpath: str) -> str:
    """A cgroup below `directory`; Error for a path that leads out of it."""
    from libcontainer.cgroups.hierarchies import clean

    if not subpath or subpath == "/":
        return directory
    if ".." in subpath.split("/"):
        raise Error("bad sub cgroup path: %s" % subpath)
    return directory + "/" + clean(subpath).lstrip("/")
