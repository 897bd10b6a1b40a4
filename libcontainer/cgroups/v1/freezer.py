"""cgroup v1's freezer: Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst."""

from __future__ import annotations

import errno
import time

from libcontainer.cgroups.files import read, read_if_there, write
from libcontainer.errors import Error


def freeze(directory: str) -> None:
    """Stop every task of the cgroup.  Error if it does not settle; it is thawed then.

    A cgroup in which tasks keep being born may stay FREEZING: only writing again gets the new
    ones, and letting it run for a moment helps the ones that are in the middle of a fork.
    """
    path = directory + "/freezer.state"
    try:
        for attempt in range(1, 1001):
            if attempt % 50 == 0:
                write(path, "THAWED")
                time.sleep(0.01)
            write(path, "FROZEN")
            if attempt % 25 == 0:
                time.sleep(0.00001)
            if read(path).strip() == "FROZEN":
                return
        raise Error("unable to freeze %s" % directory)
    except (OSError, Error):
        # A cgroup left half frozen could neither run nor be killed.
        thaw(directory)
        raise


def thaw(directory: str) -> None:
    """Let the tasks run again; OSError."""
    write(directory + "/freezer.state", "THAWED")


def frozen(directory: str) -> bool:
    """Whether the cgroup itself was told to freeze and has; False where it is missing.  OSError.

    A cgroup below a frozen one is FROZEN too, but does not thaw by its own file: not counted.
    """
    while True:
        state = read_if_there(directory + "/freezer.state").strip()
        if state != "FREEZING":
            break
        time.sleep(0.001)
    if state != "FROZEN":
        return False
    try:
        return read(directory + "/freezer.self_freezing").strip() == "1"
    except OSError as failure:
        if failure.errno in (errno.ENOENT, errno.ENODEV):
            return True
        raise
