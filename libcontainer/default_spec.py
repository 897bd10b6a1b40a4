"""The config.json that `runc spec` writes: a shell, confined as far as a shell can be."""

from __future__ import annotations

import posix

from libcontainer.version import SPEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Enough for a service on a port below 1024, which can stop its children and write to the audit log.
_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Destination, type, source, options; in this order, as they lie over each other.
_MOUNTS = (
    ("/proc", "proc", "proc", ""),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5",
    ),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
)

# What of the host's hardware and of other processes' secrets procfs and sysfs would show.
_MASKED = (
    "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list "
    "/proc/timer_stats /proc/sched_debug /sys/firmware /proc/scsi"
)
_READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"

_CGROUP2_ROOT = "/sys/fs/cgroup/cgroup.controllers"


def default() -> dict[str, Any]:
    """Return the config for root, its keys in the order of the specification's structures."""
    namespaces = ["pid", "network", "ipc", "uts", "mount"]
    if _unified():
        # On cgroup v1 the container sees the host's hierarchies, read-only, as it always did.
        namespaces.append("cgroup")
    return {
        "ociVersion": SPEC,
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": [_mount(*mount) for mount in _MOUNTS],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": name} for name in namespaces],
            "maskedPaths": _MASKED.split(),
            "readonlyPaths": _READ_ONLY.split(),
        },
    }


def rootless() -> dict[str, Any]:
    """Return the config for the present user: root in a user namespace, and nobody else there.

    It shares the host's network, as an ordinary user cannot connect a new one to it; sysfs, which
    belongs to the network namespace, is bound from the host; only one id is mapped, so no mount may
    name another group; no cgroup limits, as the user owns no cgroup.
    """
    config = default()
    linux = config["linux"]
    namespaces = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    config["linux"] = {
        "uidMappings": [{"containerID": 0, "hostID": posix.geteuid(), "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": posix.getegid(), "size": 1}],
        "namespaces": [*namespaces, {"type": "user"}],
        "maskedPaths": linux["maskedPaths"],
        "readonlyPaths": linux["readonlyPaths"],
    }
    config["mounts"] = [_unprivileged(mount) for mount in config["mounts"]]
    return config


def _process() -> dict[str, Any]:
    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=" + _PATH, "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _mount(destination: str, type_: str, source: str, options: str) -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": type_, "source": source}
    if options:
        mount["options"] = options.split()
    return mount


def _unprivileged(mount: dict[str, Any]) -> dict[str, Any]:
    if mount["destination"] == "/sys":
        return _mount("/sys", "none", "/sys", "rbind nosuid noexec nodev ro")
    if "options" in mount:
        mount["options"] = [o for o in mount["options"] if o[:4] not in ("uid=", "gid=")]
    return mount


def _unified() -> bool:
    """Tell whether this host has cgroup v2 alone: only its root directory has this file."""
    try:
        posix.stat(_CGROUP2_ROOT)
    except OSError:
        return False
    return True
