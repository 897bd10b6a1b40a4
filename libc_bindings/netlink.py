"""Network devices and their addresses: rtnetlink(7) over a netlink(7) socket.

Only the few messages that moving a device to another network namespace takes. The kernel's own
explanation of a refusal (NETLINK_EXT_ACK, Linux 4.12) becomes part of the OSError.
"""

from __future__ import annotations

import _socket
import errno
import posix
from sys import byteorder

from libc_bindings.ffi import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

IFF_UP = 0x1

IFA_F_PERMANENT = 0x80
RT_SCOPE_UNIVERSE = 0

_AF_NETLINK = 16
_NETLINK_ROUTE = 0
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP_INTR = 0x10
_NLM_F_DUMP = 0x300
_NLM_F_EXCL = 0x200
_NLM_F_CREATE = 0x400
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1

_RTM_NEWLINK = 16
_RTM_GETLINK = 18
_RTM_NEWADDR = 20
_RTM_GETADDR = 22

_IFLA_IFNAME = 3
_IFLA_NET_NS_FD = 28

IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_LABEL = 3
IFA_BROADCAST = 4
_IFA_FLAGS = 8
IFA_RT_PRIORITY = 9

_HEADER = 16
_IFINFOMSG = 16
_IFADDRMSG = 8
# The kernel fills dumps into pieces of at most 32 KiB.
_RECEIVE = 1 << 16
_MOST_DUMPS = 10


class Address:
    """An address of a device: struct ifaddrmsg and the attributes behind it."""

    def __init__(
        self, family: int, prefix_length: int, flags: int, scope: int, attributes: dict[int, bytes]
    ) -> None:
        self.family = family
        self.prefix_length = prefix_length
        self.flags = flags
        """IFA_F_*; all 32 bits."""
        self.scope = scope
        self.attributes = attributes
        """IFA_* to their raw values."""


class Route:
    """A NETLINK_ROUTE socket; it belongs to the network namespace that its maker is in."""

    def __init__(self) -> None:
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        self._socket = _socket.socket(_AF_NETLINK, kind, _NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0
        self._interrupted = False
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def index(self, name: str) -> int:
        """The number of the device `name`.  Raises OSError (ENODEV) if there is none."""
        request = _ifinfomsg(0) + _attribute(_IFLA_IFNAME, _text(name))
        for kind, body in self._ask(_RTM_GETLINK, _NLM_F_ACK, request, f"device {name}"):
            if kind == _RTM_NEWLINK:
                return _int(body[4:8])
        raise OSError(errno.ENODEV, f"device {name}: {posix.strerror(errno.ENODEV)}")

    def names(self) -> set[str]:
        """The names of all devices."""
        found = set()
        for body in self._dump(_RTM_GETLINK, _ifinfomsg(0), "list devices"):
            name = _attributes(body[_IFINFOMSG:]).get(_IFLA_IFNAME, b"")
            found.add(name.rstrip(b"\0").decode("utf-8", "surrogateescape"))
        return found

    def addresses(self, index: int) -> list[Address]:
        """All addresses of a device, of all families, in the kernel's order."""
        found = []
        for body in self._dump(_RTM_GETADDR, bytes(_IFADDRMSG), "list addresses"):
            family, prefix_length, flags, scope = body[:4]
            if _int(body[4:8]) != index:
                continue
            attributes = _attributes(body[_IFADDRMSG:])
            # The header's byte has no room for the newer flags.
            flags = _int(attributes.pop(_IFA_FLAGS, bytes([flags])))
            found.append(Address(family, prefix_length, flags, scope, attributes))
        return found

    def move(self, index: int, name: str, namespace: int) -> None:
        """Move a device to the network namespace behind the descriptor `namespace`, as `name`.

        Moving and renaming is one step. The kernel sets the device down and drops its addresses.
        """
        request = (
            _ifinfomsg(index)
            + _attribute(_IFLA_IFNAME, _text(name))
            + _attribute(_IFLA_NET_NS_FD, pack((namespace, 4)))
        )
        self._do(_RTM_NEWLINK, 0, request, "move")

    def add_address(self, index: int, address: Address) -> None:
        """Give a device an address."""
        flags = address.flags
        request = pack(
            (address.family, 1), (address.prefix_length, 1), (flags & 0xFF, 1), (address.scope, 1),
            (index, 4),
        )  # fmt: skip
        for kind, value in address.attributes.items():
            request += _attribute(kind, value)
        request += _attribute(_IFA_FLAGS, pack((flags, 4)))
        self._do(_RTM_NEWADDR, _NLM_F_CREATE | _NLM_F_EXCL, request, "add address")

    def set_up(self, index: int) -> None:
        """Set a device up."""
        self._do(_RTM_NEWLINK, 0, _ifinfomsg(index, IFF_UP, IFF_UP), "set up")

    def _do(self, kind: int, flags: int, body: bytes, what: str) -> None:
        for _ in self._ask(kind, flags | _NLM_F_ACK, body, what):
            # An answer besides the acknowledgement says nothing that was asked for.
            continue

    def _dump(self, kind: int, body: bytes, what: str) -> list[bytes]:
        """The bodies of all messages of a dump, repeated while somebody changes the list."""
        bodies: list[bytes] = []
        for _ in range(_MOST_DUMPS):
            self._interrupted = False
            bodies = [answer for _, answer in self._ask(kind, _NLM_F_DUMP, body, what)]
            if not self._interrupted:
                break
        return bodies

    def _ask(self, kind: int, flags: int, body: bytes, what: str) -> Iterator[tuple[int, bytes]]:
        """Send a request; the (type, body) of the answers up to its end.  Raises OSError."""
        self._sequence += 1
        header = pack(
            (_HEADER + len(body), 4), (kind, 2), (flags | _NLM_F_REQUEST, 2), (self._sequence, 4),
            (0, 4),
        )  # fmt: skip
        self._socket.send(header + body)
        while True:
            for answer, answer_flags, content in self._messages():
                if answer_flags & _NLM_F_DUMP_INTR:
                    self._interrupted = True
                if answer == _NLMSG_ERROR:
                    _check(answer_flags, content, what)
                    return
                if answer == _NLMSG_DONE:
                    return
                yield answer, content

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        """(type, flags, body) of the messages of one datagram that answer the last request."""
        data, sender = self._socket.recvfrom(_RECEIVE)
        if sender[0] != 0:
            # Any process may send to a netlink socket; only the kernel has the number 0.
            return
        while len(data) >= _HEADER:
            length, sequence = _int(data[:4]), _int(data[8:12])
            if length < _HEADER:
                return
            if sequence == self._sequence:
                yield _int(data[4:6]), _int(data[6:8]), data[_HEADER:length]
            data = data[_aligned(length) :]


def _check(flags: int, body: bytes, what: str) -> None:
    """Raise the OSError of a NLMSG_ERROR message, which with the number 0 is a confirmation."""
    number = -int.from_bytes(body[:4], byteorder, signed=True)
    if not number:
        return
    reason = posix.strerror(number)
    if flags & _NLM_F_ACK_TLVS:
        # Behind the number and the header of the refused message.
        said = _attributes(body[4 + _HEADER :]).get(_NLMSGERR_ATTR_MSG, b"")
        if said:
            reason += f" ({said.rstrip(bytes(1)).decode('utf-8', 'replace').rstrip('.')})"
    raise OSError(number, f"{what}: {reason}")


def _ifinfomsg(index: int, flags: int = 0, change: int = 0) -> bytes:
    return pack((0, 4), (index, 4), (flags, 4), (change, 4))


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return pack((length, 2), (kind, 2)) + value + bytes(_aligned(length) - length)


def _attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of a message; the highest two bits of a type are flags (NLA_TYPE_MASK)."""
    found = {}
    while len(data) >= 4:
        length = _int(data[:2])
        if length < 4:
            break
        found[_int(data[2:4]) & 0x3FFF] = data[4:length]
        data = data[_aligned(length) :]
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _text(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape") + b"\0"


def _int(data: bytes) -> int:
    return int.from_bytes(data, byteorder)
