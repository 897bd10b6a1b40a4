"""Which modules' byte code lies together in the archive, and which must be there at all.

A group is inflated and loaded whole when the first of its modules is imported, so a group holds what is
used together. A module belongs to the first group with a pattern (fnmatch) that names it. What costs
time in the first groups costs it in every start; what no pattern names goes to the last group, packed
small rather than fast. tests/integration/test_archive.py holds that no common verb needs that one.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

GROUPS: list[tuple[str, list[str]]] = [
    # Every verb, even `runc --version`.
    (
        "base",
        [
            "runc",
            "libcontainer",
            "libcontainer._build",
            "libcontainer.commandline",
            "libcontainer.commandline.loglines",
            "libcontainer.commandline.roots",
            "libcontainer.commandline.versions",
            "libcontainer.errors",
            "libcontainer.log",
            "libcontainer.version",
        ],
    ),
    # What asks for a container or tells of one.
    (
        "state",
        [
            "libc_bindings",
            "libc_bindings.signals",
            "libcontainer.commandline.signals",
            "libcontainer.commandline.tables",
            "libcontainer.container",
            "libcontainer.default_spec",
            "libcontainer.jsonio",
            "libcontainer.state",
        ],
    ),
    # create, run, start, exec with what engines usually ask for.
    (
        "start",
        [
            "libc_bindings.*",
            "libcontainer.cgroups",
            "libcontainer.cgroups.*",
            "libcontainer.channel",
            "libcontainer.config",
            "libcontainer.creation",
            "libcontainer.execution",
            "libcontainer.hooks",
            "libcontainer.init",
            "libcontainer.lsm",
            "libcontainer.keyring",
            "libcontainer.namespaces",
            "libcontainer.paths",
            "libcontainer.process",
            "libcontainer.procfs",
            "libcontainer.programs",
            "libcontainer.relaying",
            "libcontainer.rootfs",
            "libcontainer.rootfs.attach",
            "libcontainer.rootfs.cgroup_mounts",
            "libcontainer.rootfs.devices",
            "libcontainer.rootfs.masks",
            "libcontainer.rootfs.mounts",
            "libcontainer.rootfs.options",
            "libcontainer.rootfs.pivot",
            "libcontainer.rootfs.sources",
            "libcontainer.sealing",
            "libcontainer.seccomp",
            "libcontainer.seccomp.cache",
            "libcontainer.supervise",
            "libcontainer.terminal",
            "libcontainer.validation",
            "libcontainer.validation.document",
            "libcontainer.validation.linux",
            "libcontainer.validation.process",
            "libcontainer.validation.resources",
            "libcontainer.validation.seccomp",
        ],
    ),
    ("rest", ["*"]),
]
REST = len(GROUPS) - 1

# Read by type checkers only: no interpreter ever imports them.
NEVER = ["libcontainer.spec"]


def group_of(module: str) -> int:
    """The number of the module's group."""
    for number, (_, patterns) in enumerate(GROUPS):
        if any(fnmatchcase(module, pattern) for pattern in patterns):
            return number
    return REST
