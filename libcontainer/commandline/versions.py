"""What `runc --version` says, and where libseccomp's version comes from."""

from __future__ import annotations

import posix
import sys

from libcontainer import version


def lines() -> str:
    """Return the lines of `runc --version`; tools read the first three."""
    text = "runc version %s+python.%s\ncommit: %s\nspec: %s\npython: %d.%d.%d\n" % (
        version.RUNC_VERSION,
        version.VERSION,
        version.commit(),
        version.SPEC,
        *sys.version_info[:3],
    )
    found = libseccomp()
    return text + "libseccomp: %s\n" % found if found else text


def libseccomp() -> str:
    """Return the version of the installed libseccomp, "" if there is none.

    seccomp_version(3) would have to be asked through _ctypes, which takes a millisecond to import;
    the library's file carries the same three numbers in its name.
    """
    machine = posix.uname().machine
    for directory in (
        "/usr/lib/%s-linux-gnu" % machine,
        "/lib/%s-linux-gnu" % machine,
        "/usr/lib64",
        "/lib64",
        "/usr/lib",
        "/lib",
        "/usr/local/lib",
    ):
        try:
            target = posix.readlink(directory + "/libseccomp.so.2")
        except OSError:
            continue
        _, found, numbers = target.rpartition("libseccomp.so.")
        if found and numbers.count(".") == 2:
            return numbers
    return ""
