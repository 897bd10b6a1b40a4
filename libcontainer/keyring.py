"""The container's session keyring: the caller's keys stay out of reach (session-keyring(7))."""

from __future__ import annotations

import errno

from libc_bindings import keyrings
from libcontainer import log, procfs
from libcontainer.errors import Error, reason


def join(name: str, label: str | None) -> None:
    """A new session keyring `name`, searchable by its possessor's programs; raises Error.

    `label` is the SELinux label that it gets. A host whose keys are used up (EDQUOT) is a fault, for
    which there is --no-new-keyring; a kernel without keyrings is worth a warning, as in runc.
    """
    if label:
        from libcontainer import lsm

        lsm.set_key_label(procfs, label)
    try:
        serial = keyrings.join_session_keyring(name)
        keyrings.set_permissions(serial, keyrings.POS_ALL | keyrings.USR_ALL)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            log.warning("unable to join session keyring: this kernel has no keyrings")
            return
        told = f"unable to join session keyring: {reason(error)} (see --no-new-keyring)"
        raise Error(told) from None
    if label:
        lsm.set_key_label(procfs, "")
