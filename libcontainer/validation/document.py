"""The whole of config.json, and what holds between its sections.

`check_document` is the runtime-spec: what it accepts is a valid config, though perhaps for
another platform or without a process. `check_container` adds what a container on Linux needs
beyond that, mostly the namespaces without which a setting would change the host.
"""

from __future__ import annotations

from . import REQUIRED, absolute_path, check, check_object, map_of, quoted
from .linux import LINUX, MOUNTS
from .process import PROCESS, check_startable, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Faults, Object

_DIGITS = "0123456789"
_IDENTIFIER = _DIGITS + "-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def check_document(spec: Object, faults: Faults) -> None:
    """Check the config against the runtime-spec; removes members that are null."""
    check_object(spec, _CONFIG, "", faults)


def check_container(spec: Object, faults: Faults) -> None:
    """Check what a container on Linux needs of a config that `check_document` has seen.

    Sections in which a fault was found before are left alone: nothing is known about them.
    """
    if _sound(faults, "process"):
        check_startable(spec.get("process"), faults)
    if _sound(faults, "linux.namespaces"):
        linux = spec.get("linux") or {}
        _check_namespaces(spec, linux, faults)


def check_rootless(spec: Object, euid: bool, cgroups: bool, faults: Faults) -> None:
    """Check what cannot be done by an ordinary user (`euid`) or without cgroups of their own."""
    from .rootless import check_rootless as check_sound

    if _sound(faults, "mounts") and _sound(faults, "linux"):
        check_sound(spec, euid, cgroups, faults)


def check_no_pivot(spec: Object, faults: Faults) -> None:
    """Check that the rootfs may be moved instead of pivoted to (`--no-pivot`)."""
    if _sound(faults, "linux"):
        propagation = (spec.get("linux") or {}).get("rootfsPropagation")
        if propagation in ("private", "rprivate"):
            faults.append(
                "linux.rootfsPropagation: rootfsPropagation of [r]private is not safe without"
                " pivot_root"
            )


def _sound(faults: Faults, place: str) -> bool:
    """Say whether nothing was found in the section at `place`, nor in those it lies in."""
    outer = place.partition(".")[0] + ":"
    return not any(f.startswith((place, outer, "config:")) for f in faults)


def _check_namespaces(spec: Object, linux: Object, faults: Faults) -> None:
    namespaces = {entry["type"]: entry.get("path") or "" for entry in linux.get("namespaces", ())}
    if "uts" not in namespaces:
        for name in ("hostname", "domainname"):
            if spec.get(name):
                message = "%s: unable to set %s without a private UTS namespace"
                faults.append(message % (name, name))
    if "mount" not in namespaces:
        for name in ("maskedPaths", "readonlyPaths"):
            if linux.get(name):
                faults.append(
                    "linux.%s: unable to restrict sys entries without a private MNT namespace"
                    % name
                )
    if linux.get("netDevices") and "network" not in namespaces:
        faults.append("linux.netDevices: unable to move network devices without a NET namespace")
    if "user" in namespaces or "uidMappings" in linux or "gidMappings" in linux:
        _check_user_namespace(linux, namespaces, faults)
    if "timeOffsets" in linux:
        _check_time_namespace(namespaces, faults)
    if linux.get("sysctl") and _sound(faults, "linux.sysctl"):
        from .sysctl import check_sysctl

        check_sysctl(linux["sysctl"], namespaces, faults)
    if _sound(faults, "mounts"):
        _check_mappable(spec.get("mounts", ()), "user" in namespaces, faults)


def _check_user_namespace(linux: Object, namespaces: dict[str, str], faults: Faults) -> None:
    names = [name for name in ("uidMappings", "gidMappings") if name in linux]
    if "user" not in namespaces:
        for name in names:
            faults.append(
                "linux.%s: user namespace mappings specified, but user namespace isn't enabled in"
                " the config" % name
            )
    elif namespaces["user"]:
        # What the joined namespace maps is known on the host only.
        return
    elif not names:
        faults.append(
            "linux.namespaces: user namespaces enabled, but no namespace path to join nor mappings"
            " to apply specified"
        )
    else:
        _check_root_mapped(linux, faults)


def _check_root_mapped(linux: Object, faults: Faults) -> None:
    # Everything that is set up in the container is done, and owned, by its root.
    for kind in ("uid", "gid"):
        name = kind + "Mappings"
        if not _sound(faults, "linux." + name):
            continue
        lines = linux.get(name)
        if not lines:
            message = "linux.%s: user namespaces enabled, but no %s mappings found"
            faults.append(message % (name, kind))
        elif not any(line["containerID"] == 0 for line in lines):
            message = "linux.%s: user namespaces enabled, but no mapping found for %s 0"
            faults.append(message % (name, kind))


def _check_time_namespace(namespaces: dict[str, str], faults: Faults) -> None:
    if "time" not in namespaces:
        faults.append(
            "linux.timeOffsets: time namespace offsets specified, but time namespace isn't enabled"
            " in the config"
        )
    elif namespaces["time"]:
        faults.append(
            "linux.timeOffsets: time namespace enabled, but both namespace path and time offsets"
            " specified -- you may only provide one"
        )


def _check_mappable(mounts: Any, in_user_namespace: bool, faults: Faults) -> None:
    for index, mount in enumerate(mounts):
        options = mount.get("options", ())
        marked = "idmap" in options or "ridmap" in options
        mapped = "uidMappings" in mount or "gidMappings" in mount
        if marked and not mapped and not in_user_namespace:
            faults.append(
                "mounts[%d]: invalid mount: id-mapped mounts must have both uid and gid mappings"
                " specified where the container has no user namespace" % index
            )


def _version(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) > before:
        return
    if not _is_semver(value):
        message = "%s: %s is not a version in SemVer v2.0.0 format"
        faults.append(message % (place, quoted(value)))
    elif value.partition(".")[0] not in "01":
        # Only within a major version is an older runtime able to know a newer config.
        message = "%s: version %s is not supported; 1.3.0 is"
        faults.append(message % (place, quoted(value)))


def _is_semver(text: str) -> bool:
    text, plus, build = text.partition("+")
    core, dash, release = text.partition("-")
    numbers = core.split(".")
    if len(numbers) != 3 or not all(map(_is_number, numbers)):
        return False
    if plus and not all(map(_is_identifier, build.split("."))):
        return False
    # A number in a pre-release has no leading zeros, in build metadata it may.
    return not dash or all(
        _is_identifier(part) and (part.strip(_DIGITS) != "" or _is_number(part))
        for part in release.split(".")
    )


def _is_number(text: str) -> bool:
    return text == "0" or (text != "" and text[0] != "0" and not text.strip(_DIGITS))


def _is_identifier(text: str) -> bool:
    return text != "" and not text.strip(_IDENTIFIER)


def _root_path(value: Any, place: str, faults: Faults) -> None:
    check(value, str, place, faults)
    if value == "":
        faults.append(place + ": must not be empty")


def _foreign(value: Any, place: str, faults: Faults) -> None:
    """Check a section for another platform, of which nothing is read."""
    check_object(value, {}, place, faults)


def _freebsd(value: Any, place: str, faults: Faults) -> None:
    from .freebsd import FREEBSD

    check(value, FREEBSD, place, faults)


_HOOKS = [
    {
        REQUIRED: ("path",),
        "path": absolute_path,
        "args": [str],
        "env": environment,
        # A second more than this and Go's time.Duration overflows.
        "timeout": (1, 9223372036),
    }
]

_CONFIG = {
    REQUIRED: ("ociVersion", "root"),
    "ociVersion": _version,
    "root": {REQUIRED: ("path",), "path": _root_path, "readonly": bool},
    "process": PROCESS,
    "hostname": str,
    "domainname": str,
    "mounts": MOUNTS,
    "hooks": {
        "prestart": _HOOKS,
        "createRuntime": _HOOKS,
        "createContainer": _HOOKS,
        "startContainer": _HOOKS,
        "poststart": _HOOKS,
        "poststop": _HOOKS,
    },
    "annotations": map_of(str),
    "linux": LINUX,
    "freebsd": _freebsd,
    "solaris": _foreign,
    "vm": _foreign,
    "windows": _foreign,
    "zos": _foreign,
}
