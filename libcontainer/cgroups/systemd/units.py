"""A transient unit: start, change, stop; org.freedesktop.systemd1(5), "The Manager Object"."""

from __future__ import annotations

from libcontainer import log
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Tuple

    from libc_bindings.sdbus import Bus

    # (name of the property, (its D-Bus type, its value))
    Properties = List[Tuple[str, Tuple[str, Any]]]

_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"


def slice_path(name: str) -> str:
    """The cgroup of a slice below the root: `a-b.slice` is in /a.slice/a-b.slice; systemd.slice(5).

    Error for what is no name of a slice.
    """
    stem = name[: -len(".slice")]
    if not name.endswith(".slice") or "/" in name or not stem:
        raise Error("invalid slice name: %s" % name)
    if stem == "-":
        return "/"
    path = prefix = ""
    for part in stem.split("-"):
        if not part:
            raise Error("invalid slice name: %s" % name)
        path += "/%s%s.slice" % (prefix, part)
        prefix += part + "-"
    return path


class Unit:
    """A unit of the system's systemd, or with `user` of the caller's own."""

    def __init__(self, unit: str, slice_name: str, name: str, *, user: bool) -> None:
        self.unit = unit
        self.slice = slice_name
        self.name = name
        """The container's name in it, for the description."""
        self.user = user
        self._bus: Bus | None = None
        self._version = 0

    def to_state(self) -> dict[str, Any]:
        """What it takes to make this object again."""
        return {"unit": self.unit, "slice": self.slice, "name": self.name, "user": self.user}

    @property
    def is_slice(self) -> bool:
        """Whether it is a slice, which has no processes of its own, and not a scope."""
        return self.unit.endswith(".slice")

    @property
    def version(self) -> int:
        """systemd's version, such as 252."""
        if not self._version:
            text = self._property("Version").lstrip("v")
            digits = ""
            for letter in text:
                if not letter.isdigit():
                    break
                digits += letter
            if not digits:
                raise Error("cannot read systemd's version from %r" % text)
            self._version = int(digits)
        return self._version

    def control_group_of_manager(self) -> str:
        """The cgroup that systemd itself runs in, below which its units are."""
        return str(self._property("ControlGroup")).rstrip("/")

    def start(self, pid: int, properties: Properties) -> None:
        """Make the unit with a process in it, and wait until it is there.  Error.

        One of the same name that failed before is cleared away first.
        """
        from libc_bindings.sdbus import BusError

        arguments: Any = (self.unit, "replace", [*properties, ("PIDs", ("au", [pid]))], [])
        self._subscribe()
        for again in (True, False):
            try:
                job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", *arguments, returns="o")
                break
            except BusError as failure:
                if not (again and failure.name.endswith(".UnitExists")):
                    raise Error("unable to start unit %s: %s" % (self.unit, failure)) from None
            self._reset()
        result = self._wait_for(job[0])
        if result != "done":
            self._reset()
            told = "got `%s`" % result if result else "timeout"
            raise Error("error creating systemd unit `%s`: %s" % (self.unit, told))

    def set(self, properties: Properties) -> None:
        """Change properties until the next boot, all or none; Error."""
        from libc_bindings.sdbus import BusError

        if not properties:
            return
        try:
            self._call("SetUnitProperties", "sba(sv)", self.unit, True, properties)
            # The control files are written after the answer, but before the next one.
            self._connect().call(_NAME, _PATH, "org.freedesktop.DBus.Peer", "Ping")
        except BusError as failure:
            raise Error("unable to set properties of unit %s: %s" % (self.unit, failure)) from None

    def attach(self, pid: int, subpath: str) -> None:
        """Move a process into the unit's cgroup or one below it; Error."""
        from libc_bindings.sdbus import BusError

        try:
            self._call("AttachProcessesToUnit", "ssau", self.unit, subpath, [pid])
        except BusError as failure:
            raise Error("unable to join unit %s: %s" % (self.unit, failure)) from None

    def stop(self) -> None:
        """Stop the unit and wait until it is gone; one that is not there is fine.  Error."""
        from libc_bindings.sdbus import BusError

        self._subscribe()
        try:
            job = self._call("StopUnit", "ss", self.unit, "replace", returns="o")
        except BusError as failure:
            if not failure.name.endswith(".NoSuchUnit"):
                raise Error("unable to stop unit %s: %s" % (self.unit, failure)) from None
        else:
            result = self._wait_for(job[0])
            if not result:
                raise Error("timed out while waiting for systemd to remove %s" % self.unit)
            if result != "done":
                log.warning("stopping unit %s: got `%s`" % (self.unit, result))
        # systemd keeps a failed unit until it is reset.
        self._reset()

    def _reset(self) -> None:
        from libc_bindings.sdbus import BusError

        try:
            self._call("ResetFailedUnit", "s", self.unit)
        except BusError as failure:
            # Mostly there is none.
            log.debug("resetting unit %s: %s" % (self.unit, failure))

    def _wait_for(self, job: str) -> str:
        """The result of a job, "" if it takes too long."""
        values = self._connect().wait_for_signal(
            _MANAGER, "JobRemoved", "uoss", lambda told: bool(told[1] == job)
        )
        return str(values[3]) if values else ""

    def _subscribe(self) -> None:
        from libc_bindings.sdbus import BusError

        bus = self._connect()
        rule = "type='signal',interface='%s',member='JobRemoved',path='%s'" % (_MANAGER, _PATH)
        try:
            bus.call(
                "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch",
                "s", rule,
            )  # fmt: skip
        except BusError as failure:
            # systemd's own socket has no bus behind it: there every signal comes.
            log.debug("D-Bus AddMatch: %s" % failure)
        self._call("Subscribe")

    def _connect(self) -> Bus:
        if self._bus is None:
            from libc_bindings.sdbus import Bus

            try:
                self._bus = Bus.user() if self.user else Bus.system()
            except OSError as failure:
                raise Error("cannot reach systemd: %s" % failure.strerror) from None
        return self._bus

    def _call(self, member: str, signature: str = "", *values: Any, returns: str = "") -> list[Any]:
        bus = self._connect()
        return bus.call(_NAME, _PATH, _MANAGER, member, signature, *values, returns=returns)

    def _property(self, name: str) -> Any:
        from libc_bindings.sdbus import BusError

        try:
            return self._connect().property(_NAME, _PATH, _MANAGER, name)
        except BusError as failure:
            raise Error("cannot read systemd's property %s: %s" % (name, failure)) from None
