"""What this program says it is: its own version, the commit it was built from, the spec it follows."""

from __future__ import annotations

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
