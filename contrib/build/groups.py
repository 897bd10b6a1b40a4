"""Which modules' byte code lies together in the archive, and which must be there at all.

A group is inflated and loaded whole when the first of its modules is imported, so a group holds what
is used together; those of the hot paths are also executed whole, in the order of their imports
(quickstart.py). A module belongs to the first group that names it (a pattern of fnmatch). What costs
time in the first groups costs it in every start. What no pattern names goes to the last group, packed
small rather than fast; when the file gets too big, the last groups are the first to be left to the
sources. tests/integration/test_archive.py holds which verb may need which group.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

# quickstart.py and the index, by itself: the only part that is deflated for every version.
FIRST = ""

# Every verb, even `runc --version`.
BASE = """
runc
libc_bindings
libcontainer
libcontainer._build
libcontainer.commandline
libcontainer.commandline.loglines
libcontainer.commandline.roots
libcontainer.commandline.versions
libcontainer.errors
libcontainer.log
libcontainer.version
"""

# What asks for a container or tells of one.
STATE = """
libc_bindings.signals
libcontainer.commandline.signals
libcontainer.commandline.tables
libcontainer.container
libcontainer.default_spec
libcontainer.jsonio
libcontainer.state
"""

# Where the container is, and whether it is paused: what even `state` asks of its cgroups.
CGROUPS = """
libcontainer.cgroups
libcontainer.cgroups.base
libcontainer.cgroups.files
libcontainer.cgroups.hierarchies
libcontainer.cgroups.v1
libcontainer.cgroups.v1.freezer
libcontainer.cgroups.v2
libcontainer.cgroups.v2.freezer
"""

# create, run and exec of a plain config: what a process in a container needs.
# (libc_bindings.ffi asks libc_bindings.numbers while others are imported, so that comes before them.)
PROCESS = """
libc_bindings.numbers
libc_bindings.capabilities
libc_bindings.ffi
libc_bindings.keyrings
libc_bindings.mounts
libc_bindings.namespaces
libc_bindings.paths
libc_bindings.process
libc_bindings.sealing
libcontainer.cgroups.entrance
libcontainer.channel
libcontainer.config
libcontainer.hooks
libcontainer.inheritance
libcontainer.inside
libcontainer.keyring
libcontainer.namespaces
libcontainer.paths
libcontainer.pid_files
libcontainer.process
libcontainer.procfs
libcontainer.programs
libcontainer.sealing
libcontainer.supervise
libcontainer.validation
libcontainer.validation.process
"""

# create and run alone: the container, on cgroup v1 or v2.
START = """
libc_bindings.bpf
libcontainer.cgroups.devices
libcontainer.cgroups.v1.cpuset
libcontainer.cgroups.v1.devices
libcontainer.cgroups.v2.devices
libcontainer.creation
libcontainer.init
libcontainer.preparation
libcontainer.rootfs
libcontainer.rootfs.attach
libcontainer.rootfs.cgroup_mounts
libcontainer.rootfs.devices
libcontainer.rootfs.masks
libcontainer.rootfs.mounts
libcontainer.rootfs.options
libcontainer.rootfs.pivot
libcontainer.rootfs.sources
libcontainer.validation.document
libcontainer.validation.linux
"""

# exec alone.
EXEC = """
libcontainer.execution
"""

# What engines often ask for: limits, seccomp, terminals, user namespaces.
MORE = """
libc_bindings.seccomp
libc_bindings.terminals
libcontainer.cgroups.v1.[!s]*
libcontainer.cgroups.v2.[!s]*
libcontainer.lsm
libcontainer.notify
libcontainer.relaying
libcontainer.rootfs.copyup
libcontainer.rootfs.filesystems
libcontainer.rootfs.idmap
libcontainer.seccomp
libcontainer.seccomp.cache
libcontainer.terminal
libcontainer.validation.resources
libcontainer.validation.rootless
libcontainer.validation.seccomp
libcontainer.validation.settings
libcontainer.validation.sysctl
"""

# The systemd driver, statistics, special file systems.
SOME = """
libc_bindings.*
libcontainer.cgroups.*
libcontainer.rootfs.*
"""

GROUPS = [
    ("first", FIRST.split()),
    ("base", BASE.split()),
    ("state", STATE.split()),
    ("cgroups", CGROUPS.split()),
    ("process", PROCESS.split()),
    ("start", START.split()),
    ("exec", EXEC.split()),
    ("more", MORE.split()),
    ("some", SOME.split()),
    ("rest", ["*"]),
]
# From here on groups are packed small for every version.
SMALL = 8
# These groups are executed whole; after them modules are imported one by one.
WHOLE = range(1, 7)

# Read by type checkers only: no interpreter ever imports them.
NEVER = ["libcontainer.spec"]


def place_of(module: str) -> tuple[int, int]:
    """The numbers of the module's group and of the pattern that named it there."""
    for group, (_, patterns) in enumerate(GROUPS):
        for number, pattern in enumerate(patterns):
            if fnmatchcase(module, pattern):
                return group, number
    raise ValueError(module)  # the last group takes all


def in_order(modules: list[str], imports: dict[str, list[str]]) -> list[str]:
    """The modules, each after those that it imports at its beginning. Raises ValueError on a circle."""
    ordered: dict[str, None] = {}
    waiting: list[str] = []

    def add(module: str) -> None:
        if module in waiting:
            raise ValueError("circular import: " + " ".join([*waiting, module]))
        if module in modules and module not in ordered:
            waiting.append(module)
            for imported in imports[module]:
                add(imported)
            ordered[waiting.pop()] = None

    for module in modules:
        add(module)
    return list(ordered)
