"""The device rules of a container, and what they come to: shared by cgroup v1 and v2.

`linux.resources.devices` is a list of allow and deny rules, each applied to what those before it
left. A `Policy` is the outcome: everything denied, or everything allowed, but for exceptions.
This is how the v1 controller works (kernel: Documentation/admin-guide/cgroup-v1/devices.rst).
"""

from __future__ import annotations

from libcontainer import log
from libcontainer.cgroups.files import RESOURCES
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Tuple

    Device = Tuple[str, int, int]

ANY = -1
"""A wildcard for a major or minor number."""

READ, WRITE, MKNOD = 1, 2, 4
ALL = READ | WRITE | MKNOD
_LETTERS = {"r": READ, "w": WRITE, "m": MKNOD}

# What every container may do, whatever its config says; a node that `linux.devices` gives another
# device is left out.
_DEFAULTS: tuple[tuple[str, str, int, int, int], ...] = (
    # A node of any device may be made; that is not yet access to the device.
    ("", "c", ANY, ANY, MKNOD),
    ("", "b", ANY, ANY, MKNOD),
    ("/dev/null", "c", 1, 3, ALL),
    ("/dev/random", "c", 1, 8, ALL),
    ("/dev/full", "c", 1, 7, ALL),
    ("/dev/tty", "c", 5, 0, ALL),
    ("/dev/zero", "c", 1, 5, ALL),
    ("/dev/urandom", "c", 1, 9, ALL),
    # Pseudo terminals and their multiplexer.
    ("", "c", 136, ANY, ALL),
    ("", "c", 5, 2, ALL),
    # /dev/net/tun: VPN containers rely on it.
    ("", "c", 10, 200, ALL),
)


class Policy:
    """All devices denied (or allowed), but for `exceptions`: device -> access bits.

    A device is (type "b" or "c", major, minor), where ANY stands for every number.
    """

    def __init__(self, allow: bool = False) -> None:
        self.allow = allow
        self.exceptions: dict[Device, int] = {}

    def apply(self, allow: bool, kind: str, major: int, minor: int, access: int) -> None:
        """One rule more.  Error for a rule that no list of exceptions can express.

        That is one which takes from a part of an exception with wildcards.
        """
        if kind == "a":
            self.allow = allow
            self.exceptions = {}
            return
        device = (kind, major, minor)
        if allow != self.allow:
            self.exceptions[device] = self.exceptions.get(device, 0) | access
            return
        for wider in ((kind, ANY, minor), (kind, major, ANY), (kind, ANY, ANY)):
            if wider != device and self.exceptions.get(wider, 0) & access:
                raise Error(
                    "%sdevices: rule %s not supported: cannot punch hole in existing wildcard"
                    " rule %s" % (RESOURCES, rule(device, access), rule(wider, access))
                )
        left = self.exceptions.get(device, 0) & ~access
        if left:
            self.exceptions[device] = left
        else:
            self.exceptions.pop(device, None)


def rule(device: Device, access: int) -> str:
    """A rule in the form of devices.allow: `c 1:3 rwm`."""
    kind, major, minor = device
    numbers = "%s:%s" % ("*" if major == ANY else major, "*" if minor == ANY else minor)
    return "%s %s %s" % (kind, numbers, letters(access))


def letters(access: int) -> str:
    """Access bits as the letters r, w, m."""
    return "".join(letter for letter, bit in _LETTERS.items() if access & bit)


def access_bits(text: str) -> int:
    """The bits of the letters r, w, m in `text`; others mean nothing, as in runc."""
    bits = 0
    for letter in text:
        bits |= _LETTERS.get(letter, 0)
    return bits


def policy(resources: dict[str, Any], nodes: list[dict[str, Any]]) -> Policy:
    """What `linux.resources.devices` and the defaults allow; `nodes` is `linux.devices`.

    Error for rules that cannot be expressed.
    """
    result = Policy()
    for index, entry in enumerate(resources.get("devices") or ()):
        kind = entry.get("type") or "a"
        access = entry.get("access") or ""
        bits = access_bits(access)
        if bits and {*access} - {*"rwm"}:
            message = "%sdevices[%d].access: of %r only r, w and m mean anything"
            log.warning(message % (RESOURCES, index, access))
        if kind not in ("a", "b", "c"):
            raise Error("%sdevices[%d].type: %r is not a, b or c" % (RESOURCES, index, kind))
        if not bits:
            raise Error("%sdevices[%d].access: cannot be empty" % (RESOURCES, index))
        major, minor = entry.get("major"), entry.get("minor")
        result.apply(
            bool(entry.get("allow")),
            kind,
            ANY if major is None else major,
            ANY if minor is None else minor,
            bits,
        )
    replaced = {node.get("path") for node in nodes} if nodes else ()
    for path, kind, major, minor, bits in _DEFAULTS:
        if not path or path not in replaced:
            result.apply(True, kind, major, minor, bits)
    return result


def denies(resources: dict[str, Any]) -> bool:
    """Whether a rule of the config denies something; the defaults are nobody's wish."""
    return any(
        not entry.get("allow") or access_bits(entry.get("access") or "") != ALL
        for entry in resources.get("devices") or ()
    )


def transition(now: Policy, wanted: Policy) -> list[tuple[bool, str]]:
    """The fewest (allow, rule) writes that make a v1 cgroup with policy `now` obey `wanted`.

    A cgroup that allows by default does not list its exceptions, so it is always started afresh;
    between two lists of what is allowed nothing that stays allowed is denied for a moment.
    """
    steps = []
    before = now.exceptions
    if now.allow or now.allow != wanted.allow:
        steps.append((wanted.allow, "a"))
        before = {}
    for device, access in sorted(before.items()):
        dropped = access & ~wanted.exceptions.get(device, 0)
        if dropped:
            steps.append((wanted.allow, rule(device, dropped)))
    for device, access in sorted(wanted.exceptions.items()):
        gained = access & ~before.get(device, 0)
        if gained:
            steps.append((not wanted.allow, rule(device, gained)))
    return steps
