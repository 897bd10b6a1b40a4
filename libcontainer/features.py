"""What this runtime can do, as `runc features` tells it (features.md of the runtime-spec).

It is about the program, not the host: a namespace that this kernel lacks is listed all the same;
only seccomp's `supportedFlags` are this kernel's. What a table elsewhere decides is taken from
that table, so that it cannot become untrue here.
"""

from __future__ import annotations

from libcontainer import version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HOOKS = "prestart createRuntime createContainer startContainer poststart poststop"
_NAMESPACES = "cgroup ipc mount network pid time user uts"

# Annotations of a config that change what happens on the host. Whoever lets others write
# annotations has to filter these; a name that ends in a dot stands for all that begin with it.
_UNSAFE_ANNOTATIONS = ["bundle", "org.systemd.property.", "org.criu.config"]


def features() -> dict[str, Any]:
    """Return the features structure, its keys in the order of the specification."""
    from libcontainer.rootfs.options import names

    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": version.SPEC,
        "hooks": _HOOKS.split(),
        "mountOptions": names(),
        "linux": _linux(),
        "annotations": _annotations(),
        "potentiallyUnsafeConfigAnnotations": _UNSAFE_ANNOTATIONS,
    }


def _linux() -> dict[str, Any]:
    from libc_bindings.capabilities import NAMES

    return {
        "namespaces": _NAMESPACES.split(),
        "capabilities": list(NAMES),
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": _seccomp(),
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "memoryPolicy": _memory_policy(),
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }


def _seccomp() -> dict[str, Any]:
    from libcontainer.seccomp import ACTIONS, FLAGS, flag_supported
    from libcontainer.seccomp.build import ARCHITECTURES, OPERATORS

    return {
        "enabled": True,
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(ARCHITECTURES),
        "knownFlags": sorted(FLAGS),
        "supportedFlags": sorted(filter(flag_supported, FLAGS)),
    }


def _memory_policy() -> dict[str, Any]:
    from libcontainer.validation.scheduling import MEMORY_POLICY

    modes: Any = MEMORY_POLICY["mode"]
    flags: Any = MEMORY_POLICY["flags"]
    return {"modes": sorted(modes), "flags": sorted(flags[0])}


def _annotations() -> dict[str, str]:
    found = version.libseccomp()
    return {
        **({"io.github.seccomp.libseccomp.version": found} if found else {}),
        "org.opencontainers.runc.checkpoint.enabled": "true",
        "org.opencontainers.runc.commit": version.commit(),
        "org.opencontainers.runc.version": version.RUNC_VERSION,
    }
