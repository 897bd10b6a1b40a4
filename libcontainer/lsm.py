"""Security modules: AppArmor's profile, SELinux's labels (`process`, `linux.mountLabel`).

Both take the new identity at the next execve(2): it is written to a file of /proc/self/attr,
through `procfs`, whose writes are verified to end in procfs. With a rootfs that has a file of its
own there, the label would otherwise go nowhere (CVE-2019-16884, CVE-2025-52881).
"""

from __future__ import annotations

import posix
from errno import EACCES, ENOENT, EPERM

from libc_bindings.paths import read_file

from .errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .spec import Process

    class SelfWriter(Protocol):
        """procfs.py, as far as it is needed here."""

        def write_self(self, path: str, data: str) -> object:
            """Write `data` to /proc/self/`path`, verified; raises OSError."""


# Since Linux 5.8; reading it fails with EINVAL where AppArmor is off.
_APPARMOR_CURRENT = "/proc/self/attr/apparmor/current"
_APPARMOR_ENABLED = "/sys/module/apparmor/parameters/enabled"

_SELINUX_OFF = "selinux label is specified in config, but selinux is disabled or not supported"


def check(process: Process, mount_label: str | None = None) -> None:
    """Raise Error where the host has not the security module that the config relies on.

    Belongs on the host's side, before anything is made. `mount_label` is `linux.mountLabel`.
    """
    if process.get("apparmorProfile") and not apparmor_enabled():
        raise Error("process.apparmorProfile: apparmor: config provided but apparmor not supported")
    label = process.get("selinuxLabel") or ""
    if not label and not mount_label:
        return
    if not selinux_enabled():
        place = "process.selinuxLabel" if label else "linux.mountLabel"
        raise Error("%s: %s" % (place, _SELINUX_OFF))
    # The kernel's parser of mount options knows quotes, but no way to write one inside of them.
    if any(character in '"\\' or character < " " for character in mount_label or ""):
        raise Error("linux.mountLabel: must not have quotes, backslashes or control characters")


def set_exec_label(procfs: SelfWriter, process: Process) -> None:
    """Have the next execve(2) take the profile and the label of `process`.  Raises Error."""
    profile = process.get("apparmorProfile")
    if profile:
        _change_profile_on_exec(procfs, profile)
    label = process.get("selinuxLabel")
    if label:
        try:
            procfs.write_self("attr/exec", label)
        except OSError as error:
            raise Error(
                "process.selinuxLabel: can't set process label %s: %s" % (label, _reason(error))
            ) from None


def set_key_label(procfs: SelfWriter, label: str) -> None:
    """Have keyrings that this process makes carry the SELinux `label`; "" ends that.

    A kernel without labels for keys is no failure. Raises Error.
    """
    try:
        procfs.write_self("attr/keycreate", label)
    except OSError as error:
        if error.errno == ENOENT or (not label and error.errno in (EACCES, EPERM)):
            return
        raise Error(
            "process.selinuxLabel: can't set keyring label %s: %s" % (label, _reason(error))
        ) from None


def apparmor_enabled() -> bool:
    """Whether the kernel has AppArmor switched on.

    Its securityfs is not needed for that, and not there in every mount namespace; nor is /sys.
    """
    return _content(_APPARMOR_ENABLED)[:1] == "Y" or bool(_content(_APPARMOR_CURRENT))


def selinux_enabled() -> bool:
    """Whether SELinux is on: its file system is mounted writable and a policy is loaded.

    Before a policy is loaded, every process has the label `kernel`.
    """
    for line in _content("/proc/self/mountinfo").splitlines():
        mount, separator, kind = line.partition(" - ")
        if separator and kind.startswith("selinuxfs "):
            options = mount.split(" ")[5].split(",")
            if "rw" in options:
                return _content("/proc/self/attr/current").rstrip("\0\n") != "kernel"
    return False


def _change_profile_on_exec(procfs: SelfWriter, profile: str) -> None:
    try:
        try:
            procfs.write_self("attr/apparmor/exec", "exec " + profile)
        except OSError as error:
            if error.errno != ENOENT:
                raise
            # Kernels before 5.8 have only the file that all security modules share. (An unknown
            # profile is ENOENT too, and is so again.)
            procfs.write_self("attr/exec", "exec " + profile)
    except OSError as error:
        raise Error(
            "process.apparmorProfile: apparmor failed to apply profile %s: %s"
            % (profile, _reason(error))
        ) from None


def _content(path: str) -> str:
    """What the kernel's file `path` says; "" where there is none."""
    try:
        return read_file(path).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _reason(error: OSError) -> str:
    return posix.strerror(error.errno or 0)
