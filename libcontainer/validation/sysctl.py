"""`linux.sysctl`: only what a namespace of the container keeps from the host may be set.

sysctl(8), sysctl.d(5); the list is runc's, wording included.
"""

from __future__ import annotations

from . import entry, quoted, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Faults

_IPC = words("""
    kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni
    kernel.shm_rmid_forced
    """)

_SWAP = str.maketrans("./", "/.")


def dotted(key: str) -> str:
    """Return the name of a kernel parameter with dots between its parts.

    Whichever of `.` and `/` comes first separates the parts, and the other is a dot within one:
    `net/ipv4/conf/eth0.1/forwarding` is `net.ipv4.conf.eth0/1.forwarding`.
    """
    dot, slash = key.find("."), key.find("/")
    return key.translate(_SWAP) if slash >= 0 and (dot < 0 or slash < dot) else key


def parts(key: str) -> list[str]:
    """Return the directories and the file beneath /proc/sys that `key` stands for."""
    return [part.replace("/", ".") for part in dotted(key).split(".")]


def check_sysctl(sysctl: dict[str, str], namespaces: dict[str, str], faults: Faults) -> None:
    """Check the keys against the namespaces (types as in the config) that the container has."""
    for key in sysctl:
        place = entry("linux.sysctl", key)
        if any(part in ("", ".", "..") for part in parts(key)):
            faults.append(place + ": is not the name of a kernel parameter")
            continue
        reason = _reason_against(dotted(key), namespaces)
        if reason:
            faults.append("%s: %s" % (place, reason))


def _reason_against(name: str, namespaces: dict[str, str]) -> str:
    if name in _IPC or name.startswith("fs.mqueue."):
        if "ipc" not in namespaces:
            return "sysctl %s is not allowed in the hosts ipc namespace" % quoted(name)
        return ""
    if name.startswith("net."):
        if "network" not in namespaces:
            return "sysctl %s not allowed in host network namespace" % quoted(name)
        return ""
    if "uts" in namespaces:
        if name == "kernel.domainname":
            return ""
        if name == "kernel.hostname":
            return 'sysctl %s is not allowed as it conflicts with the OCI "hostname" field' % (
                quoted(name)
            )
    if name.startswith("user."):
        # Outside a user namespace these would set the host's limits.
        if "user" not in namespaces:
            return "setting ucounts without a user namespace not allowed: %s" % name[:80]
        return ""
    return "sysctl %s is not in a separate kernel namespace" % quoted(name)
