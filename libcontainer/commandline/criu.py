"""What the command lines of `checkpoint` and `restore` decide of criu's options."""

from __future__ import annotations

from libcontainer.commandline import decimal
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FLAGS = (
    "leave-running tcp-established tcp-skip-in-flight link-remap ext-unix-sk shell-job lazy-pages"
    " file-locks auto-dedup lsm-profile lsm-mount-context"
).split()

# criu_cg_mode of criu's images/rpc.proto.
_CGROUP_MODES = {"": 6, "soft": 3, "full": 4, "strict": 5, "ignore": 0}
_CLONE_NEWNET = 0x40000000


def settings(options: dict[str, Any]) -> dict[str, Any]:
    """The options in criu's words (libcontainer/checkpointing/protocol.py).  Raises Error."""
    found = {name.replace("-", "_"): options[name] for name in _FLAGS if options.get(name)}
    mode = options["manage-cgroups-mode"]
    if mode not in _CGROUP_MODES:
        raise Error("invalid manage-cgroups-mode value")
    found["manage_cgroups_mode"] = _CGROUP_MODES[mode]
    for namespace in options["empty-ns"]:
        if namespace != "network":
            raise Error('namespace "%s" is not supported' % namespace)
    # The network's devices are not ours: hooks make them, also when --empty-ns does not ask for it.
    found["empty_ns"] = _CLONE_NEWNET
    if options.get("page-server"):
        found["ps"] = _page_server(options["page-server"])
    if options.get("parent-path", "")[:1] == "/":
        raise Error("--parent-path must be relative")
    if options.get("status-fd", -1) != -1 and not options["lazy-pages"]:
        raise Error("--status-fd tells when lazy pages can be fetched: it needs --lazy-pages")
    if options.get("no-pivot"):
        raise Error("--no-pivot: criu enters the root file system with pivot_root(2) only")
    return found


def _page_server(text: str) -> dict[str, Any]:
    """ADDRESS:PORT; an IPv6 address is in brackets."""
    address, colon, port = text.rpartition(":")
    if address[:1] == "[" and address[-1:] == "]":
        address = address[1:-1]
    elif ":" in address:
        colon = ""
    if not (address and colon and port):
        raise Error("Use --page-server ADDRESS:PORT to specify page server")
    try:
        number = decimal(port)
    except ValueError:
        number = -1
    if not 0 < number < 1 << 16:
        raise Error("Invalid port number")
    return {"address": address, "port": number}
