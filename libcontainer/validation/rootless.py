"""What a container that an ordinary user runs cannot have; wording as runc's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Faults, Object


def check_rootless(spec: Object, euid: bool, cgroups: bool, faults: Faults) -> None:
    """Check a config in which `check_document` found nothing.

    `euid`: runc itself is not root in its user namespace; `cgroups`: it has no cgroups to manage.
    """
    linux = spec.get("linux") or {}
    if linux.get("netDevices"):
        faults.append("linux.netDevices: network devices are not supported for rootless containers")
    if not euid:
        return
    user = [entry for entry in linux.get("namespaces", ()) if entry["type"] == "user"]
    if not user:
        faults.append("linux.namespaces: rootless container requires user namespaces")
        return
    joined = bool(user[0].get("path"))
    if not joined:
        for kind in ("uid", "gid"):
            if not linux.get(kind + "Mappings"):
                message = "linux.%sMappings: rootless containers requires at least one %s mapping"
                faults.append(message % (kind, kind.upper()))
    for index, mount in enumerate(spec.get("mounts", ())):
        _check_mount(mount, "mounts[%d]" % index, linux, joined, faults)


def _check_mount(mount: Object, place: str, linux: Object, joined: bool, faults: Faults) -> None:
    options = mount.get("options", ())
    if "uidMappings" in mount or "idmap" in options or "ridmap" in options:
        faults.append(
            place + ": invalid mount: id-mapped mounts are not supported for rootless containers"
        )
    if joined:
        return
    for option in options:
        name, _, number = option.partition("=")
        if name not in ("uid", "gid"):
            continue
        # What is no number is for the file system to judge.
        if not (number.isascii() and number.isdigit() and len(number) < 11):
            continue
        if not _is_mapped(int(number), linux.get(name + "Mappings", ())):
            faults.append(
                "%s.options: cannot specify %s mount option for rootless container: user"
                " namespaces enabled, but no mapping found for %s %s"
                % (place, option, name, number)
            )


def _is_mapped(number: int, mappings: Any) -> bool:
    return any(0 <= number - line["containerID"] < line["size"] for line in mappings)
