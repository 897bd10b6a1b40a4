"""What this program says it is: its version, the commit it was built from, the spec, its libseccomp."""

from __future__ import annotations

import posix

# The one place that holds the project's version: pyproject.toml and the archive take it from here.
VERSION = "0.1.0"

# The release of runc whose command line, files and exit codes this program follows.
RUNC_VERSION = "1.5.0"

# The runtime-spec, as in config.json's and state's ociVersion.
SPEC = "1.3.0"


def commit() -> str:
    """The commit that the archive was built from (`git describe`), "unknown" in a source tree."""
    try:
        from libcontainer._build import COMMIT  # written by build_zipapp.sh, only into the archive
    except ImportError:
        return "unknown"
    return str(COMMIT)


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
