"""What `runc --version` says."""

from __future__ import annotations

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
    found = version.libseccomp()
    return text + "libseccomp: %s\n" % found if found else text
