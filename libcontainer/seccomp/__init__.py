"""`linux.seccomp`: from the config's section to a filter in the kernel.

This module and `cache` are what a container start needs when its profile has been seen before.
The first time, `build` turns the profile into BPF through libseccomp, which takes longer than all
the rest of the start.

When the filter is loaded is the caller's: without no_new_privs loading needs CAP_SYS_ADMIN, so it
has to happen before capabilities are dropped; with noNewPrivileges it is the last step before
execve(2), so that the profile has to allow as few as possible of our own system calls.
"""

from __future__ import annotations

from errno import EACCES, EBUSY, EINVAL, ENOMEM, ENOSYS
from posix import strerror

from libc_bindings import seccomp as kernel

from .. import log
from ..errors import Error
from . import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec import Seccomp

# SCMP_ACT_KILL is the older name of KILL_THREAD.
ACTIONS = {
    "SCMP_ACT_KILL": kernel.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": kernel.SECCOMP_RET_KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": kernel.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_TRAP": kernel.SECCOMP_RET_TRAP,
    "SCMP_ACT_ERRNO": kernel.SECCOMP_RET_ERRNO,
    "SCMP_ACT_TRACE": kernel.SECCOMP_RET_TRACE,
    "SCMP_ACT_ALLOW": kernel.SECCOMP_RET_ALLOW,
    "SCMP_ACT_LOG": kernel.SECCOMP_RET_LOG,
    "SCMP_ACT_NOTIFY": kernel.SECCOMP_RET_USER_NOTIF,
}

# TSYNC would put the filter on the other threads of init, which has none; and together with a
# listener the kernel refuses it.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": kernel.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": kernel.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": kernel.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}

_LISTENER = kernel.SECCOMP_FILTER_FLAG_NEW_LISTENER
_WAIT_KILLABLE = kernel.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV

_REASONS = {
    EACCES: "it needs process.noNewPrivileges or CAP_SYS_ADMIN in the container's user namespace",
    EBUSY: "a filter with a listener is already in force here, and there can be only one",
    EINVAL: "the kernel does not accept the program or its flags",
    ENOMEM: "together with the filters already in force it is too long",
}


class Filter:
    """A filter ready to be loaded.

    `program` is an array of struct sock_filter, `flags` are seccomp(2)'s, `listener` tells whether
    load() returns a descriptor for the agent at `linux.seccomp.listenerPath`. That goes through
    `outbox` and `inbox`, two connected sockets (notify.py).
    """

    __slots__ = ("flags", "inbox", "listener", "outbox", "program")

    def __init__(self, program: bytes, flags: int) -> None:
        self.program = program
        self.flags = flags
        self.listener = bool(flags & _LISTENER)
        self.inbox = self.outbox = -1

    def load(self) -> int:
        """Put the filter in force for the calling process; the listener's descriptor or -1.

        From here on the caller's own system calls go through the filter. Raises Error.
        """
        log.debug("seccomp filter flags: %d" % self.flags)
        try:
            fd = kernel.load_filter(self.program, self.flags)
        except OSError as error:
            number = error.errno or 0
            reason = _REASONS.get(number) or strerror(number)
            raise Error("error loading seccomp filter into kernel: " + reason) from None
        return fd if self.listener else -1


def filter_program(seccomp: Seccomp, cache_dir: str) -> Filter | None:
    """The filter for the (checked) section `linux.seccomp`; None where it asks for no filter.

    Belongs on the host's side, before anything is made: the kernel's and the library's limits show
    here. Finished programs are kept in the directory `cache_dir`, which is made if need be; a
    cache that cannot be used costs time and nothing else. Raises Error.
    """
    rules = seccomp.get("syscalls") or ()
    default = seccomp.get("defaultAction")
    if not default and not rules:
        return None
    actions = {rule["action"] for rule in rules}
    _check_actions(actions | {default or ""})
    listener = "SCMP_ACT_NOTIFY" in actions
    if listener and not seccomp.get("listenerPath"):
        raise Error("linux.seccomp: seccomp listenerPath is not set")
    flags = _flags(seccomp, listener)
    key = cache.key_of(seccomp)
    entry = cache.read(cache_dir, key)
    if entry is None or not entry.current:
        return Filter(_build(seccomp, cache_dir, key, entry), flags)
    return Filter(entry.program, flags)


def _build(seccomp: Seccomp, cache_dir: str, key: bytes, old: cache.Entry | None) -> bytes:
    """A new program for the cache; without libseccomp, the one that an earlier libseccomp made."""
    from .build import LibraryMissing, build

    try:
        program, library = build(seccomp)
    except LibraryMissing as error:
        if old is None:
            raise
        log.debug("seccomp: filter taken from the cache: %s" % error)
        return old.program
    cache.write(cache_dir, key, program, library)
    return program


def _check_actions(names: set[str]) -> None:
    """Raise Error for an action that is unknown to us or to the kernel."""
    for name in names:
        if name not in ACTIONS:
            raise Error("linux.seccomp: string %s is not a valid action for seccomp" % name)
        try:
            available = kernel.action_available(ACTIONS[name])
        except OSError as error:
            raise _unsupported(error) from None
        if not available:
            raise Error("linux.seccomp: %s is not supported by this kernel" % name)


def _flags(seccomp: Seccomp, listener: bool) -> int:
    """The flags for seccomp(2); Error for one that the kernel lacks or that cannot stand alone."""
    asked = seccomp.get("flags")
    flags = _LISTENER if listener else 0
    if asked is None:
        # As in runc: no flags at all means the fast way, without a mitigation (of speculative
        # store bypass) that the container's processes can turn on for themselves with prctl(2).
        spec_allow = kernel.SECCOMP_FILTER_FLAG_SPEC_ALLOW
        if _available(flags | spec_allow):
            flags |= spec_allow
        return flags
    for name in asked:
        if name not in FLAGS:
            raise Error("linux.seccomp.flags: seccomp flag %s is not known to runc" % name)
        flags |= FLAGS[name]
    if flags & _WAIT_KILLABLE and not listener:
        raise Error(
            "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule "
            "with SCMP_ACT_NOTIFY"
        )
    if not _available(flags):
        missing = [name for name in asked if not flag_supported(name)]
        names = ", ".join(missing) or " with ".join(asked)
        raise Error("linux.seccomp.flags: %s is not supported by this kernel" % names)
    return flags


def flag_supported(name: str) -> bool:
    """Whether `linux.seccomp.flags` may have the flag `name` on this kernel."""
    if name not in FLAGS:
        return False
    flag = FLAGS[name]
    try:
        return kernel.flags_available(flag | _LISTENER if flag & _WAIT_KILLABLE else flag)
    except OSError:
        # A kernel without filters has no flags for them either.
        return False


def _available(flags: int) -> bool:
    try:
        return kernel.flags_available(flags)
    except OSError as error:
        raise _unsupported(error) from None


def _unsupported(error: OSError) -> Error:
    reason = "it lacks seccomp(2)" if error.errno == ENOSYS else strerror(error.errno or 0)
    return Error("seccomp: config provided but seccomp not supported by this kernel: " + reason)
