"""linux.netDevices: devices of the host, moved into the container's network namespace.

See the runtime-spec, config-linux.md, "Network Devices". Nothing moves them back: when the
namespace goes, the kernel returns physical devices to the initial one and destroys virtual ones;
a namespace that was only joined keeps them.
"""

from __future__ import annotations

import errno
import posix

from libc_bindings import namespaces as kernel
from libc_bindings import netlink
from libcontainer import log
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_IFNAMSIZ = 16

# What the configuration of an address consists of; the rest of its flags are the kernel's findings.
# (NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN)
_KEPT_FLAGS = 0x002 | 0x010 | 0x100 | 0x200 | 0x400
_KEPT_ATTRIBUTES = (
    netlink.IFA_ADDRESS,
    netlink.IFA_LOCAL,
    netlink.IFA_BROADCAST,
    netlink.IFA_RT_PRIORITY,
)


def move(devices: dict[str, Any], namespace: str) -> None:
    """Move `devices` (linux.netDevices) to the network namespace at the path `namespace`.

    Each keeps its permanent addresses of global scope and is up afterwards. Raises Error naming
    the property; devices moved before stay where they are.
    """
    try:
        target = posix.open(namespace, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            host, there = netlink.Route(), _route_in(target)
            for name, device in devices.items():
                _move_one(host, there, target, name, (device or {}).get("name") or name)
            host.close()
            there.close()
        finally:
            posix.close(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Error(f"config.json: linux.netDevices: {reason}") from None


def _route_in(namespace: int) -> netlink.Route:
    """A socket in another network namespace: it stays there when its maker goes home."""
    home = posix.open("/proc/self/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        kernel.setns(namespace, kernel.CLONE_NEWNET)
        try:
            return netlink.Route()
        finally:
            kernel.setns(home, kernel.CLONE_NEWNET)
    finally:
        posix.close(home)


def _move_one(
    host: netlink.Route, there: netlink.Route, target: int, name: str, wanted: str
) -> None:
    place = f"config.json: linux.netDevices[{name}]"
    try:
        index = host.index(name)
        # Before the move, which drops them.
        addresses = [address for address in host.addresses(index) if _stays(address)]
        new_name = _name(wanted, there.names())
        host.move(index, new_name, target)
        log.debug(f"network device {name} moved to the container as {new_name}")
        index = there.index(new_name)
        for address in addresses:
            there.add_address(index, _kept(address, name, new_name))
        there.set_up(index)
    except OSError as error:
        raise Error(f"{place}: {error.strerror}") from None


def _name(wanted: str, taken: set[str]) -> str:
    """The device's name in the container: `wanted`, or the first free one of a template.

    The kernel would fill in "%d" itself, but it does not tell what it has chosen. And it moves the
    device before it refuses to rename it: a virtual one would then be lost with the namespace.
    """
    name, number = wanted, 0
    if wanted.count("%") == 1 and "%d" in wanted:
        name = wanted.replace("%d", "0")
        while name in taken:
            number += 1
            name = wanted.replace("%d", str(number))
    if name in taken:
        raise OSError(errno.EEXIST, f"the container has a device {name} already")
    if "%" in name or len(name.encode("utf-8", "surrogateescape")) >= _IFNAMSIZ:
        raise OSError(errno.EINVAL, f"{wanted} gives no valid name")
    return name


def _stays(address: netlink.Address) -> bool:
    """Whether an address was configured to stay, and means the same in another namespace."""
    permanent = address.flags & netlink.IFA_F_PERMANENT
    return bool(permanent) and address.scope == netlink.RT_SCOPE_UNIVERSE


def _kept(address: netlink.Address, name: str, new_name: str) -> netlink.Address:
    """`address` as it is to be added to the device that was `name` and is now `new_name`."""
    attributes = {k: v for k, v in address.attributes.items() if k in _KEPT_ATTRIBUTES}
    label = address.attributes.get(netlink.IFA_LABEL, b"").rstrip(b"\0")
    old, new = name.encode("utf-8", "surrogateescape"), new_name.encode("utf-8", "surrogateescape")
    if label.startswith(old + b":"):
        # ifconfig's aliases ("eth0:1") begin with the device's name.
        label = new + label[len(old) :]
        if len(label) < _IFNAMSIZ:
            attributes[netlink.IFA_LABEL] = label + b"\0"
    return netlink.Address(
        address.family,
        address.prefix_length,
        address.flags & _KEPT_FLAGS,
        address.scope,
        attributes,
    )
