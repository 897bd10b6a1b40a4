"""What every process of a container inherits: looked up, opened, loaded on the host, before the clone.

`create` and `run` prepare more (preparation.py).
"""

from __future__ import annotations

import posix

from libc_bindings import namespaces as kernel
from libcontainer import log, namespaces, procfs
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def preserved(first: int, count: int, what: str = "preserved-fd") -> int:
    """first + count, if all descriptors in between are there to be preserved; they lose O_CLOEXEC.

    Before anything of our own is opened, which would be taken for the caller's. Raises Error.
    """
    for fd in range(first, first + count):
        try:
            posix.set_inheritable(fd, True)
        except OSError:
            text = f"unable to stat {what} {fd - first} (of {count})"
            raise Error(f"{text}: no such file or directory") from None
    return first + count


def check_terminal(wanted: bool, detach: bool, console_socket: str) -> None:
    """A terminal needs somebody who gets it: the socket, or us.  Raises Error."""
    if detach and wanted and not console_socket:
        raise Error("cannot allocate tty if runc will detach without setting console socket")
    if console_socket and not (detach and wanted):
        raise Error("cannot use console socket if runc will not detach or allocate tty")
    if wanted and not detach:
        from libcontainer import relaying

        # Without one nothing is made.
        relaying.find_terminal()


def maps_groups(proc: Any, linux: Any, plan: namespaces.Plan) -> bool | None:
    """Whether setgroups(2) works in there; None where that shows in there only.

    It is denied in a user namespace whose gid map an unprivileged writer made alone, and in all
    below. The additional groups of `proc` are left out where the namespace around us denies it.
    """
    if posix.geteuid() == 0:
        if not _setgroups_is_denied():
            return None if _joins_unknown_user_namespace(linux, plan) else True
        user = proc.get("user") or {}
        if user.get("additionalGids"):
            # Rootless engines pass on what the image's /etc/group says, mapped or not.
            log.debug(f"setgroups(2) is denied here: without groups {user['additionalGids']}")
            user["additionalGids"] = []
        return False
    if not plan.has(kernel.CLONE_NEWUSER):
        return True
    if _joins_unknown_user_namespace(linux, plan):
        return None
    return not namespaces.is_only(linux.get("gidMappings") or [], posix.getegid())


def _setgroups_is_denied() -> bool:
    """Whether the user namespace around us denies it; a kernel without these has no such file."""
    try:
        return procfs.read("self/setgroups").startswith(b"deny")
    except FileNotFoundError:
        return False


def _joins_unknown_user_namespace(linux: Any, plan: namespaces.Plan) -> bool:
    """Whether its maps are somebody else's (a config that joins one need not tell them)."""
    joins = plan.has(kernel.CLONE_NEWUSER) and not plan.new & kernel.CLONE_NEWUSER
    return joins and not linux.get("gidMappings")


def seccomp_filter(profile: Any, root: str) -> Any:
    """The filter of linux.seccomp, from the cache below the root directory if it can be."""
    if not profile:
        return None
    from libcontainer import seccomp

    return seccomp.filter_program(profile, f"{root}/~seccomp")


def connect_agent(filter: Any, linux: Any) -> int:
    """Connected to the agent that a filter with SCMP_ACT_NOTIFY needs; -1 without one.

    The filter then has the sockets that its listener comes through.
    """
    if filter is None or not filter.listener:
        return -1
    from libcontainer import terminal
    from libcontainer.seccomp import notify

    agent = notify.connect(linux["seccomp"]["listenerPath"])
    filter.inbox, filter.outbox = terminal.pair()
    return agent


def preload(process: Any) -> None:
    """Import here what the process imports on its way: in there it must not (inside.close_imports)."""
    if process.get("terminal"):
        import termios  # noqa: F401

        from libcontainer import terminal  # noqa: F401
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        from libcontainer import lsm  # noqa: F401
