"""config.json of a bundle: reading it, and saying everything that is wrong with it.

The config stays the dict that JSON gave; `spec.Spec` describes it for type checkers. Checking
removes members that are `null`, which mean the same as absent ones, so that readers can write
`spec.get("hooks") or {}`.

The checks come in three parts: `check` needs nothing but the config, `check_host` compares it
with this host, `check_process` is for a process that comes alone (`exec --process`).
"""

from __future__ import annotations

import posix

from . import jsonio
from .errors import ConfigError, Error, reason
from .validation import check as check_shape
from .validation import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .spec import Process, Spec

FILE_NAME = "config.json"

_MOST_FAULTS = 100


def load(bundle: str) -> Spec:
    """Return the config of the bundle in the directory `bundle`, unchecked.

    Raises Error where the file is missing, cannot be read, or is not a JSON object in UTF-8.
    """
    path = bundle + "/" + FILE_NAME if bundle else FILE_NAME
    try:
        spec: Any = jsonio.read(path, name=FILE_NAME)
    except FileNotFoundError:
        raise Error("JSON specification file %s not found" % FILE_NAME) from None
    except OSError as fault:
        raise Error("open %s: %s" % (path, reason(fault))) from None
    return spec  # type: ignore[no-any-return]


def check(
    spec: Spec,
    no_pivot: bool = False,
    rootless_euid: bool = False,
    rootless_cgroups: bool = False,
) -> None:
    """Check a config for `create` and `run`; raises ConfigError with all that is wrong.

    `no_pivot`: the rootfs will be moved, not pivoted to. `rootless_euid`: runc runs as an
    ordinary user; `rootless_cgroups`: it has no cgroups of its own to manage.
    """
    from .validation import document

    config: Any = spec
    faults: list[str] = []
    document.check_document(config, faults)
    if type(config) is dict:
        document.check_container(config, faults)
        if no_pivot:
            document.check_no_pivot(config, faults)
        if rootless_euid or rootless_cgroups:
            document.check_rootless(config, rootless_euid, rootless_cgroups, faults)
    _raise(faults, FILE_NAME)


def check_document(spec: Spec) -> None:
    """Check a config against the runtime-spec alone, as a document for any platform.

    It may lack what `create` needs, such as a process. Raises ConfigError with all faults.
    """
    from .validation import document

    config: Any = spec
    faults: list[str] = []
    document.check_document(config, faults)
    _raise(faults, FILE_NAME)


def load_process(path: str) -> Process:
    """Return the checked process in the file at `path` (`exec --process`).

    Raises Error where it cannot be read, ConfigError where something in it is wrong.
    """
    try:
        process: Any = jsonio.read(path)
    except OSError as fault:
        raise Error("open %s: %s" % (path, reason(fault))) from None
    check_process(process, path)
    return process  # type: ignore[no-any-return]


def check_process(process: Process, source: str = FILE_NAME) -> None:
    """Check a process that is to be started; raises ConfigError whose faults name `source`."""
    from .validation.process import PROCESS, check_startable

    faults: list[str] = []
    check_shape(process, PROCESS, "process", faults)
    check_startable(process, faults)
    _raise(faults, source)


def rootfs(spec: Spec, bundle: str) -> str:
    """Return the path of the container's root as it is on the host; `bundle` must be absolute."""
    path = spec["root"]["path"]
    return path if path[0] == "/" else bundle + "/" + path


def check_host(spec: Spec, bundle: str) -> None:
    """Check what a sound config names on this host: its rootfs, namespaces, and resctrl.

    `bundle` is the absolute path of the bundle. Raises ConfigError with all faults.
    """
    faults: list[str] = []
    _check_rootfs(rootfs(spec, bundle), faults)
    linux: Any = spec.get("linux") or {}
    for index, namespace in enumerate(linux.get("namespaces", ())):
        _check_namespace(namespace, "linux.namespaces[%d]" % index, linux, faults)
    if "intelRdt" in linux:
        _check_resctrl(linux["intelRdt"], faults)
    _raise(faults, FILE_NAME)


def _check_rootfs(path: str, faults: list[str]) -> None:
    # The trailing slash makes the kernel refuse everything but a directory.
    try:
        posix.stat(path + "/")
    except OSError as fault:
        faults.append(
            "root.path: invalid rootfs: stat %s: %s" % (path, (fault.strerror or "").lower())
        )


def _check_namespace(namespace: Any, place: str, linux: Any, faults: list[str]) -> None:
    path = namespace.get("path")
    if not path:
        kind = namespace["type"]
        if kind in ("user", "cgroup", "time") and not _exists("/proc/self/ns/" + kind):
            faults.append("%s: %s namespaces aren't enabled in the kernel" % (place, kind))
        return
    try:
        theirs = posix.stat(path)
    except OSError as fault:
        faults.append("%s.path: %s: %s" % (place, path, fault.strerror))
        return
    if namespace["type"] == "network":
        ours = posix.stat("/proc/self/ns/net")
        if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino):
            for key in linux.get("sysctl") or ():
                if key.startswith("net") and key[3:4] in (".", "/"):
                    faults.append(
                        "linux.sysctl[%s]: sysctl %s not allowed in host network namespace"
                        % (quoted(key), quoted(key))
                    )


def _check_resctrl(section: Any, faults: list[str]) -> None:
    from . import intelrdt

    root = intelrdt.mount_point()
    if not root:
        faults.append(
            "linux.intelRdt: intelRdt is specified in config, but Intel RDT is not enabled"
        )
        return
    for name, directory, feature in (
        ("l3CacheSchema", "L3", "Intel RDT/CAT"),
        ("memBwSchema", "MB", "Intel RDT/MBA"),
    ):
        if section.get(name) and not _exists("%s/info/%s" % (root, directory)):
            faults.append(
                "linux.intelRdt.%s: intelRdt.%s is specified in config, but %s is not enabled"
                % (name, name, feature)
            )


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def _raise(faults: list[str], source: str) -> None:
    if len(faults) > _MOST_FAULTS:
        faults[_MOST_FAULTS:] = ["%d more faults" % (len(faults) - _MOST_FAULTS)]
    if faults:
        raise ConfigError(faults, source)
