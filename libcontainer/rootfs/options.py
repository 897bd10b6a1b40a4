"""The options of a mount: which are flags of mount(2), and what is left for the file system.

The table is runc's (runtime-spec config.md "Linux mount options" and mount(8)); a name that is
not in it belongs to the file system and goes into its data. For flags the later option wins.
"""

from __future__ import annotations

from libc_bindings.mounts import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
    MS_BIND,
    MS_DIRSYNC,
    MS_I_VERSION,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SHARED,
    MS_SILENT,
    MS_SLAVE,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
    MS_UNBINDABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SET = {
    "bind": MS_BIND,
    "defaults": 0,
    "dirsync": MS_DIRSYNC,
    "iversion": MS_I_VERSION,
    "lazytime": MS_LAZYTIME,
    "mand": MS_MANDLOCK,
    "noatime": MS_NOATIME,
    "nodev": MS_NODEV,
    "nodiratime": MS_NODIRATIME,
    "noexec": MS_NOEXEC,
    "nosuid": MS_NOSUID,
    "nosymfollow": MS_NOSYMFOLLOW,
    "rbind": MS_BIND | MS_REC,
    "relatime": MS_RELATIME,
    "remount": MS_REMOUNT,
    "ro": MS_RDONLY,
    "silent": MS_SILENT,
    "strictatime": MS_STRICTATIME,
    "sync": MS_SYNCHRONOUS,
}

CLEAR = {
    "async": MS_SYNCHRONOUS,
    "atime": MS_NOATIME,
    "dev": MS_NODEV,
    "diratime": MS_NODIRATIME,
    "exec": MS_NOEXEC,
    "loud": MS_SILENT,
    "noiversion": MS_I_VERSION,
    "nolazytime": MS_LAZYTIME,
    "nomand": MS_MANDLOCK,
    "norelatime": MS_RELATIME,
    "nostrictatime": MS_STRICTATIME,
    "rw": MS_RDONLY,
    "suid": MS_NOSUID,
    "symfollow": MS_NOSYMFOLLOW,
}

PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

# For the whole tree of mounts, through mount_setattr(2).
RECURSIVE_SET = {
    "rnoatime": MOUNT_ATTR_NOATIME,
    "rnodev": MOUNT_ATTR_NODEV,
    "rnodiratime": MOUNT_ATTR_NODIRATIME,
    "rnoexec": MOUNT_ATTR_NOEXEC,
    "rnosuid": MOUNT_ATTR_NOSUID,
    "rnosymfollow": MOUNT_ATTR_NOSYMFOLLOW,
    "rrelatime": MOUNT_ATTR_RELATIME,
    "rro": MOUNT_ATTR_RDONLY,
    "rstrictatime": MOUNT_ATTR_STRICTATIME,
}

RECURSIVE_CLEAR = {
    "ratime": MOUNT_ATTR_NOATIME,
    "rdev": MOUNT_ATTR_NODEV,
    "rdiratime": MOUNT_ATTR_NODIRATIME,
    "rexec": MOUNT_ATTR_NOEXEC,
    "rnorelatime": MOUNT_ATTR_RELATIME,
    "rnostrictatime": MOUNT_ATTR_STRICTATIME,
    "rrw": MOUNT_ATTR_RDONLY,
    "rsuid": MOUNT_ATTR_NOSUID,
    "rsymfollow": MOUNT_ATTR_NOSYMFOLLOW,
}

# mount(2)'s flags that belong to one mount (not to the file system) as mount_setattr(2)'s.
_ATTRIBUTES = (
    (MS_RDONLY, MOUNT_ATTR_RDONLY),
    (MS_NOSUID, MOUNT_ATTR_NOSUID),
    (MS_NODEV, MOUNT_ATTR_NODEV),
    (MS_NOEXEC, MOUNT_ATTR_NOEXEC),
    (MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW),
)
_ATIME_FLAGS = MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME


def names() -> list[str]:
    """Every option that is not left to the file system, as `runc features` lists them."""
    tables = (SET, CLEAR, PROPAGATION, RECURSIVE_SET, RECURSIVE_CLEAR)
    return sorted([name for table in tables for name in table] + ["tmpcopyup"])


class MountOptions:
    """What a mount's list of options asks for.

    `flags` and `cleared` are MS_* bits, `propagation` MS_* values in their order, `attr_set` and
    `attr_clr` MOUNT_ATTR_* bits for the whole tree; `idmap` is "", "idmap" or "ridmap"; `data` is
    the file system's.
    """

    __slots__ = (
        "attr_clr",
        "attr_set",
        "cleared",
        "copy_up",
        "data",
        "flags",
        "idmap",
        "propagation",
    )

    def __init__(self, options: list[str]) -> None:
        self.flags = self.cleared = self.attr_set = self.attr_clr = 0
        self.propagation: list[int] = []
        self.copy_up = False
        self.idmap = ""
        data = []
        for option in options:
            if option in SET:
                self.flags |= SET[option]
                self.cleared &= ~SET[option]
            elif option in CLEAR:
                self.flags &= ~CLEAR[option]
                self.cleared |= CLEAR[option]
            elif option in PROPAGATION:
                self.propagation.append(PROPAGATION[option])
            elif option in RECURSIVE_SET:
                self._set_recursive(RECURSIVE_SET[option])
            elif option in RECURSIVE_CLEAR:
                self._clear_recursive(RECURSIVE_CLEAR[option])
            elif option == "tmpcopyup":
                self.copy_up = True
            elif option in ("idmap", "ridmap"):
                self.idmap = option
            elif option:
                data.append(option)
        self.data = ",".join(data)

    def _set_recursive(self, attribute: int) -> None:
        if attribute & ~MOUNT_ATTR__ATIME:
            self.attr_clr &= ~attribute
        else:
            # The access times are one field of three values: a new value replaces the old one,
            # and the kernel wants the whole field cleared before.
            self.attr_set &= ~MOUNT_ATTR__ATIME
            self.attr_clr |= MOUNT_ATTR__ATIME
        self.attr_set |= attribute

    def _clear_recursive(self, attribute: int) -> None:
        self.attr_set &= ~attribute
        self.attr_clr |= attribute if attribute & ~MOUNT_ATTR__ATIME else MOUNT_ATTR__ATIME

    def changes_bind(self) -> bool:
        """Whether a bind mount gets other flags than its source has.

        Any flag, set or cleared, makes the mount's flags those of the list and no others; that is
        runc's rule, not mount(8)'s, which overlooks a list that only clears.
        """
        return bool(self.flags & ~(MS_BIND | MS_REC | MS_REMOUNT) or self.cleared)

    def attributes(self, all_flags: bool = True) -> tuple[int, int]:
        """The flags as mount_setattr(2)'s (attr_set, attr_clr).

        With `all_flags`, what is not in the options is cleared, else only what they clear by name.
        The access time stays as it is unless it is asked for, as a remount leaves it.
        """
        attr_set = attr_clr = 0
        for flag, attribute in _ATTRIBUTES:
            if self.flags & flag:
                attr_set |= attribute
            elif all_flags or self.cleared & flag or flag == MS_NOSYMFOLLOW:
                attr_clr |= attribute
        if self.flags & _ATIME_FLAGS:
            attr_clr |= MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME
            if self.flags & MS_STRICTATIME:
                attr_set |= MOUNT_ATTR_STRICTATIME
            elif self.flags & MS_NOATIME:
                attr_set |= MOUNT_ATTR_NOATIME
            if self.flags & MS_NODIRATIME:
                attr_set |= MOUNT_ATTR_NODIRATIME
        return attr_set, attr_clr


def is_mapped(mount: Any, options: MountOptions) -> bool:
    """Whether the mount's files are to show other owners than they have."""
    return bool(options.idmap or mount.get("uidMappings") or mount.get("gidMappings"))


def is_bind(mount: Any, options: MountOptions) -> bool:
    """Whether the mount shows existing files; then its type means nothing."""
    return bool(options.flags & MS_BIND) or mount.get("type") == "bind"
