"""`linux` and `mounts` of config.json: what most configs have, and the way to the rest.

runtime-spec config-linux.md and config.md "Mounts". Sections that few configs have live in
modules that are loaded when such a section turns up.
"""

from __future__ import annotations

from . import (
    ID,
    INT64,
    REQUIRED,
    RULE,
    UINT32,
    absolute_path,
    absolute_paths,
    check,
    check_object,
    map_of,
    quoted,
    words,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Faults, Object

NAMESPACES = frozenset(("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"))

MOUNT_OPTIONS = words("""
    async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev
    nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow
    private ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec
    rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave
    rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow
    sync tmpcopyup unbindable idmap ridmap
    """)
"""Mount options that are not a file system's own; all others are passed to it as data."""

_MAX_MAPPINGS = 340
"""UID_GID_MAP_MAX_EXTENTS of the kernel, user_namespaces(7)."""


def id_mappings(value: Any, place: str, faults: Faults) -> None:
    """Check uidMappings or gidMappings by the rules of user_namespaces(7)."""
    before = len(faults)
    check(value, [_ID_MAPPING], place, faults)
    if len(faults) > before:
        return
    if len(value) > _MAX_MAPPINGS:
        message = "%s: %d mappings are more than the kernel's %d"
        faults.append(message % (place, len(value), _MAX_MAPPINGS))
        return
    for name in ("containerID", "hostID"):
        end, previous = 0, -1
        for first, index in sorted((line[name], index) for index, line in enumerate(value)):
            if previous >= 0 and first < end:
                message = "%s[%d].%s: overlaps with %s[%d]"
                faults.append(message % (place, index, name, place, previous))
            if first + value[index]["size"] > end:
                end, previous = first + value[index]["size"], index


def _id_mapping(value: Object, place: str, faults: Faults) -> None:
    for name in ("containerID", "hostID"):
        if value[name] + value["size"] > UINT32[1]:
            faults.append("%s.size: the ids from %s on exceed 32 bits" % (place, name))


def _namespace_type(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) == before and value not in NAMESPACES:
        faults.append("%s: namespace %s does not exist" % (place, quoted(value)))


def _path_or_empty(value: Any, place: str, faults: Faults) -> None:
    if value != "":
        absolute_path(value, place, faults)


def _namespaces(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, [_NAMESPACE], place, faults)
    if len(faults) > before:
        return
    seen = set()
    for index, namespace in enumerate(value):
        if namespace["type"] in seen:
            message = "%s[%d].type: malformed spec file: duplicated ns %s"
            faults.append(message % (place, index, quoted(namespace["type"])))
        seen.add(namespace["type"])


def _device(value: Object, place: str, faults: Faults) -> None:
    if value["type"] == "p":
        return
    for name in ("major", "minor"):
        if name not in value:
            faults.append("%s.%s: is required for a device of this type" % (place, name))


def _devices(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, [_DEVICE], place, faults)
    if len(faults) > before:
        return
    seen: dict[str, tuple[int, tuple[str, int, int]]] = {}
    for index, device in enumerate(value):
        letter = "c" if device["type"] == "u" else device["type"]
        node = (letter, device.get("major", 0), device.get("minor", 0))
        first, known = seen.setdefault(device["path"], (index, node))
        if known != node:
            message = "%s[%d].path: %s is another device in %s[%d]"
            faults.append(message % (place, index, quoted(device["path"]), place, first))


def _device_rule(value: Object, place: str, faults: Faults) -> None:
    access = value.get("access", "")
    if not access:
        faults.append(place + ".access: device access field cannot be empty")
    elif not set(access) & {*"rwm"}:
        message = "%s.access: %s has none of r, w and m"
        faults.append(message % (place, quoted(access)))


def _resources(value: Any, place: str, faults: Faults) -> None:
    check_object(value, _DEVICE_RULES, place, faults)
    if type(value) is dict and value.keys() - {"devices"}:
        from .resources import RESOURCES

        check_object(value, RESOURCES, place, faults)


def _seccomp(value: Any, place: str, faults: Faults) -> None:
    from .seccomp import check_seccomp

    check_seccomp(value, place, faults)


def _memory_policy(value: Any, place: str, faults: Faults) -> None:
    from .scheduling import MEMORY_POLICY

    before = len(faults)
    check(value, MEMORY_POLICY, place, faults)
    for index in range(before, len(faults)):
        # "invalid memory policy mode" and so on is what runc says here.
        where, _, why = faults[index].partition(": ")
        if why.startswith("must be "):
            continue
        name = where.rpartition(".")[2].partition("[")[0]
        faults[index] = "%s: invalid memory policy %s: %s" % (where, name, why)


def _settings(name: str) -> Any:
    def check_setting(value: Any, place: str, faults: Faults) -> None:
        from . import settings

        check(value, settings.SHAPES[name], place, faults)

    return check_setting


def _propagation(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) == before and value and value not in _PROPAGATION:
        faults.append("%s: rootfsPropagation=%s is not supported" % (place, quoted(value)))


def _destination(value: Any, place: str, faults: Faults) -> None:
    # A relative destination is deprecated but allowed: it is relative to the container's root.
    check(value, str, place, faults)
    if value == "":
        faults.append(place + ": must not be empty")


def _mount(value: Object, place: str, faults: Faults) -> None:
    options = value.get("options")
    if options and ("bind" in options or "rbind" in options):
        # The kernel ignores the data of a bind mount.
        data = [option for option in options if option and option not in MOUNT_OPTIONS]
        if data:
            faults.append(
                "%s.options: invalid mount: bind mounts cannot have any filesystem-specific"
                " options applied: %s" % (place, ", ".join(map(quoted, data)))
            )
    mappings = [name for name in ("uidMappings", "gidMappings") if name in value]
    if mappings and not (value.get("uidMappings") and value.get("gidMappings")):
        faults.append(
            place + ": invalid mount: id-mapped mounts must have both uid and gid mappings"
            " specified"
        )


_ID_MAPPING = {
    REQUIRED: ("containerID", "hostID", "size"),
    RULE: _id_mapping,
    "containerID": UINT32,
    "hostID": UINT32,
    "size": (1, UINT32[1]),
}

_NAMESPACE = {REQUIRED: ("type",), "type": _namespace_type, "path": _path_or_empty}

# mknod(2) silently keeps only 12 bits of a major and 20 bits of a minor number.
_DEVICE = {
    REQUIRED: ("type", "path"),
    RULE: _device,
    "type": frozenset("cbup"),
    "path": absolute_path,
    "major": (0, (1 << 12) - 1),
    "minor": (0, (1 << 20) - 1),
    # Engines pass st_mode here, with the bits of the file type.
    "fileMode": UINT32,
    "uid": ID,
    "gid": ID,
}

_DEVICE_RULES = {
    "devices": [
        {
            REQUIRED: ("allow",),
            RULE: _device_rule,
            "allow": bool,
            "type": frozenset(("", "a", "b", "c")),
            "major": (-1, INT64[1]),
            "minor": (-1, INT64[1]),
            "access": str,
        }
    ]
}

_PROPAGATION = words("private shared slave unbindable rprivate rshared rslave runbindable")

LINUX = {
    "namespaces": _namespaces,
    "uidMappings": id_mappings,
    "gidMappings": id_mappings,
    "timeOffsets": _settings("timeOffsets"),
    "devices": _devices,
    "netDevices": _settings("netDevices"),
    "cgroupsPath": str,
    "resources": _resources,
    "intelRdt": _settings("intelRdt"),
    "memoryPolicy": _memory_policy,
    "sysctl": map_of(str),
    "seccomp": _seccomp,
    "rootfsPropagation": _propagation,
    "maskedPaths": absolute_paths,
    "readonlyPaths": absolute_paths,
    "mountLabel": str,
    "personality": _settings("personality"),
}

MOUNTS = [
    {
        REQUIRED: ("destination",),
        RULE: _mount,
        "destination": _destination,
        "source": str,
        "type": str,
        "options": [str],
        "uidMappings": id_mappings,
        "gidMappings": id_mappings,
    }
]
