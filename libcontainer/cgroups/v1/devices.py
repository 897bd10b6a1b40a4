"""cgroup v1's devices controller: Documentation/admin-guide/cgroup-v1/devices.rst."""

from __future__ import annotations

import posix

from libcontainer.cgroups.devices import ANY, Policy, access_bits, transition
from libcontainer.cgroups.files import LimitError, read


def set(directory: str, wanted: Policy) -> None:
    """Bring the cgroup to a policy with as few writes as it takes; LimitError.

    The kernel takes one rule per write(2), and refuses what the parent cgroup does not allow.
    """
    steps = transition(_current(directory), wanted)
    fds: dict[bool, int] = {}
    path = text = ""
    try:
        for allow, text in steps:
            path = directory + ("/devices.allow" if allow else "/devices.deny")
            if allow not in fds:
                fds[allow] = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
            posix.write(fds[allow], text.encode())
    except OSError as failure:
        raise LimitError("devices", text, path, failure.errno or 0) from None
    finally:
        for fd in fds.values():
            posix.close(fd)


def _current(directory: str) -> Policy:
    """The policy in force; what one that allows by default denies cannot be seen."""
    policy = Policy()
    for line in read(directory + "/devices.list").splitlines():
        kind, numbers, access = line.split()
        major, minor = (ANY if n == "*" else int(n) for n in numbers.split(":"))
        policy.apply(True, kind, major, minor, access_bits(access))
    return policy
