"""criu's messages: protocol buffers, as https://protobuf.dev/programming-guides/encoding has them.

A message is a dict here, its fields by name; the names and numbers are those of criu's
images/rpc.proto, as far as they are used. What is not in the tables is skipped when it is read.
"""

from __future__ import annotations

from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Types of fields that are no message: integer, boolean or enumeration; text.
_NUMBER = "number"
_TEXT = "text"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "request": {
        "type": (1, _NUMBER),
        "opts": (2, "options"),
        "notify_success": (3, _NUMBER),
        "features": (5, "features"),
    },
    "response": {
        "type": (1, _NUMBER),
        "success": (2, _NUMBER),
        "restore": (4, "restored"),
        "notify": (5, "notification"),
        "cr_errno": (7, _NUMBER),
        "features": (8, "features"),
        "version": (10, "version"),
    },
    "options": {
        "images_dir_fd": (1, _NUMBER),
        "pid": (2, _NUMBER),
        "leave_running": (3, _NUMBER),
        "ext_unix_sk": (4, _NUMBER),
        "tcp_established": (5, _NUMBER),
        "evasive_devices": (6, _NUMBER),
        "shell_job": (7, _NUMBER),
        "file_locks": (8, _NUMBER),
        "log_level": (9, _NUMBER),
        "log_file": (10, _TEXT),
        "ps": (11, "page server"),
        "notify_scripts": (12, _NUMBER),
        "root": (13, _TEXT),
        "parent_img": (14, _TEXT),
        "track_mem": (15, _NUMBER),
        "auto_dedup": (16, _NUMBER),
        "work_dir_fd": (17, _NUMBER),
        "link_remap": (18, _NUMBER),
        "ext_mnt": (23, "mount"),
        "manage_cgroups": (24, _NUMBER),
        "cg_root": (25, "cgroup"),
        "rst_sibling": (26, _NUMBER),
        "inherit_fd": (27, "descriptor"),
        "manage_cgroups_mode": (34, _NUMBER),
        "external": (37, _TEXT),
        "empty_ns": (38, _NUMBER),
        "join_ns": (39, "namespace"),
        "freeze_cgroup": (44, _TEXT),
        "tcp_skip_in_flight": (46, _NUMBER),
        "lazy_pages": (48, _NUMBER),
        "status_fd": (49, _NUMBER),
        "orphan_pts_master": (50, _NUMBER),
        "config_file": (51, _TEXT),
        "lsm_profile": (53, _TEXT),
        "lsm_mount_context": (63, _TEXT),
    },
    "page server": {"address": (1, _TEXT), "port": (2, _NUMBER)},
    "mount": {"key": (1, _TEXT), "val": (2, _TEXT)},
    "cgroup": {"ctrl": (1, _TEXT), "path": (2, _TEXT)},
    "descriptor": {"key": (1, _TEXT), "fd": (2, _NUMBER)},
    "namespace": {"ns": (1, _TEXT), "ns_file": (2, _TEXT)},
    "features": {"mem_track": (1, _NUMBER), "lazy_pages": (2, _NUMBER)},
    "restored": {"pid": (1, _NUMBER)},
    "notification": {"script": (1, _TEXT), "pid": (2, _NUMBER)},
    "version": {
        "major_number": (1, _NUMBER),
        "minor_number": (2, _NUMBER),
        "gitid": (3, _TEXT),
        "sublevel": (4, _NUMBER),
    },
}


def encode(kind: str, message: dict[str, Any]) -> bytes:
    """The bytes of a message of this kind; a list is a repeated field, in its order."""
    found = bytearray()
    for name, value in message.items():
        number, content = _FIELDS[kind][name]
        for one in value if isinstance(value, list) else (value,):
            if content == _NUMBER:
                found += _varint(number << 3 | _VARINT) + _varint(int(one))
                continue
            text = content == _TEXT
            data = one.encode("utf-8", "surrogateescape") if text else encode(content, one)
            found += _varint(number << 3 | _BYTES) + _varint(len(data)) + data
    return bytes(found)


def decode(kind: str, data: bytes) -> dict[str, Any]:
    """The message of this kind in `data`; of a field that comes twice the last one counts.

    Raises Error where it is no such message.
    """
    fields = {number: (name, content) for name, (number, content) in _FIELDS[kind].items()}
    found: dict[str, Any] = {}
    place = 0
    while place < len(data):
        tag, place = _read_varint(data, place)
        wire = tag & 7
        value: Any = None
        if wire == _VARINT:
            value, place = _read_varint(data, place)
        elif wire == _BYTES:
            length, place = _read_varint(data, place)
            value, place = data[place : place + length], place + length
        elif wire in (_FIXED64, _FIXED32):
            place += 8 if wire == _FIXED64 else 4
        if wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32) or place > len(data):
            raise Error("criu sent a message that is no protocol buffer")
        name, content = fields.get(tag >> 3, ("", ""))
        if not name or (content == _NUMBER) != (wire == _VARINT):
            continue
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace") if content == _TEXT else decode(content, value)
        found[name] = value
    return found


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number has 64 bits."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, and where the next thing begins."""
    value = shift = 0
    for byte in data[place : place + 10]:
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            value &= (1 << 64) - 1
            return (value - (1 << 64) if value >> 63 else value), place
    raise Error("criu sent a message that is no protocol buffer")
