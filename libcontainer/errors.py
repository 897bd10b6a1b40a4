"""The exceptions that libcontainer raises on purpose.

Everything a user can act on is an `Error`, one sentence long, or an `OSError` from a system
call. Anything else that comes up is a defect of the program.
"""

from __future__ import annotations

from posix import strerror


class Error(Exception):
    """A failure told in one sentence that names the file or property and the reason."""


class ConfigError(Error):
    """All faults of one config, told at once.

    `faults` holds one sentence for each, every one with the place of its property, such as
    `linux.namespaces[2].path: must be absolute`; `str()` joins them with `; `. `source` names
    the file they were found in and stands in front of each.
    """

    def __init__(self, faults: list[str], source: str = "") -> None:
        prefix = source + ": " if source else ""
        self.faults: list[str] = [prefix + fault for fault in faults]
        super().__init__("; ".join(self.faults))


def reason(error: OSError) -> str:
    """What went wrong in the words that runc's users know: "no such file or directory"."""
    return strerror(error.errno or 0).lower()
