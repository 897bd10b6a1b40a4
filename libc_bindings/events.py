"""Descriptors that tell of events: eventfd(2) and inotify(7)."""

from __future__ import annotations

import posix

from libc_bindings.ffi import INT, PATH, UINT, bind, check

# Both are O_CLOEXEC, whose value depends on the architecture.
EFD_CLOEXEC = IN_CLOEXEC = posix.O_CLOEXEC
IN_MODIFY = 0x2


def eventfd() -> int:
    """A close-on-exec eventfd(2) with the count 0; OSError."""
    return check(bind("eventfd", UINT, INT)(0, EFD_CLOEXEC), "eventfd")


def inotify_init() -> int:
    """A close-on-exec inotify(7) descriptor; OSError."""
    return check(bind("inotify_init1", INT)(IN_CLOEXEC), "inotify_init1")


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Watch `path` for the events of `mask` and return the watch's number; OSError."""
    return check(
        bind("inotify_add_watch", INT, PATH, UINT)(fd, path, mask), "inotify_add_watch", path
    )
