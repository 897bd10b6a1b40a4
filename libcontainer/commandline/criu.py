"""The command lines of `checkpoint` and `restore`, and what they decide of criu's options."""

from __future__ import annotations

import posix

from libcontainer import log
from libcontainer.commandline import (
    BUNDLE,
    CONSOLE,
    DETACH,
    FLAG,
    NUMBER,
    PID_FILE,
    TEXT,
    TEXTS,
    decimal,
)
from libcontainer.commandline.roots import absolute
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.commandline import Command, Option

_IMAGES: Option = ("image-path", TEXT, "DIR", "where the image is (default: ./checkpoint)")
_WORK: Option = ("work-path", TEXT, "DIR", "where criu writes its log (default: beside the image)")
_CRIU: tuple[Option, ...] = (
    ("tcp-established", FLAG, "", "allow open TCP connections"),
    ("ext-unix-sk", FLAG, "", "allow unix sockets that lead out of the container"),
    ("shell-job", FLAG, "", "allow a session and a terminal that are the caller's"),
    ("file-locks", FLAG, "", "allow file locks"),
    (
        "manage-cgroups-mode",
        TEXT,
        "MODE",
        "what criu does about cgroups: soft (default), full, strict, ignore",
    ),
    ("empty-ns", TEXTS, "NAMESPACE", "leave the properties of this namespace out: 'network'"),
    ("lazy-pages", FLAG, "", "fetch memory when it is touched, with criu lazy-pages"),
    ("auto-dedup", FLAG, "", "drop from earlier images what is in the later one"),
)

CHECKPOINT: tuple[Option, ...] = (
    _IMAGES,
    _WORK,
    (
        "parent-path",
        TEXT,
        "DIR",
        "earlier --pre-dump, relative to the image: dump what changed since",
    ),
    ("leave-running", FLAG, "", "do not stop and delete the container"),
    ("tcp-skip-in-flight", FLAG, "", "leave out TCP connections that are not accepted yet"),
    ("link-remap", FLAG, "", "allow files that were deleted while they are open"),
    ("status-fd", NUMBER, "FD", "write a zero byte to FD when lazy pages can be fetched"),
    ("page-server", TEXT, "ADDRESS:PORT", "where memory is sent to, or with --lazy-pages fetched"),
    ("pre-dump", FLAG, "", "dump the memory only, and leave the container running"),
    *_CRIU,
)

RESTORE: tuple[Option, ...] = (
    CONSOLE,
    _IMAGES,
    _WORK,
    BUNDLE,
    DETACH,
    PID_FILE,
    ("no-subreaper", FLAG, "", "leave orphaned processes to the system's init"),
    ("no-pivot", FLAG, "", ""),
    ("lsm-profile", TEXT, "TYPE:NAME", "run under this profile, such as apparmor:web"),
    ("lsm-mount-context", TEXT, "CONTEXT", "SELinux context of mounts that have one"),
    *_CRIU,
)

_FLAGS = (
    "leave-running tcp-established tcp-skip-in-flight link-remap ext-unix-sk shell-job lazy-pages"
    " file-locks auto-dedup lsm-profile lsm-mount-context"
).split()

# criu_cg_mode of criu's images/rpc.proto.
_CGROUP_MODES = {"": 6, "soft": 3, "full": 4, "strict": 5, "ignore": 0}


def settings(options: dict[str, Any]) -> dict[str, Any]:
    """The options in criu's words (libcontainer/checkpointing/protocol.py).  Raises Error."""
    from libc_bindings.namespaces import CLONE_NEWNET

    found = {name.replace("-", "_"): options[name] for name in _FLAGS if options.get(name)}
    mode = options["manage-cgroups-mode"]
    if mode not in _CGROUP_MODES:
        raise Error("invalid manage-cgroups-mode value")
    found["manage_cgroups_mode"] = _CGROUP_MODES[mode]
    for namespace in options["empty-ns"]:
        if namespace != "network":
            raise Error('namespace "%s" is not supported' % namespace)
    # The network's devices are not ours: hooks make them, also when --empty-ns does not ask for it.
    found["empty_ns"] = CLONE_NEWNET
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


def _checkpoint(command: Command, root: str) -> int:
    """runc checkpoint."""
    options, chosen = command.options, settings(command.options)
    _warn_of_rootless()
    from libcontainer.checkpointing import dump

    dump.checkpoint(
        root,
        command.arguments[0],
        chosen,
        absolute(options["image-path"] or "checkpoint"),
        work=options["work-path"] and absolute(options["work-path"]),
        parent=options["parent-path"],
        pre_dump=options["pre-dump"],
        status_fd=options["status-fd"],
    )
    return 0


def _restore(command: Command, root: str) -> int:
    """runc restore: the exit status is the container's."""
    options, chosen = command.options, settings(command.options)
    _warn_of_rootless()
    from libcontainer.checkpointing import restore as restoration

    return restoration.restore(
        root,
        command.arguments[0],
        options["bundle"],
        chosen,
        absolute(options["image-path"] or "checkpoint"),
        work=options["work-path"] and absolute(options["work-path"]),
        detach=options["detach"],
        no_subreaper=options["no-subreaper"],
        console_socket=options["console-socket"],
        pid_file=options["pid-file"] and absolute(options["pid-file"]),
        rootless=command.settings["rootless"],
        systemd_cgroup=command.settings["systemd-cgroup"],
    )


def _warn_of_rootless() -> None:
    """As runc: criu may do it for ordinary users, but nobody has seen to that."""
    from libcontainer.cgroups.hierarchies import in_user_namespace

    if posix.geteuid() != 0 or in_user_namespace():
        log.warning("runc checkpoint is untested with rootless containers")


HANDLERS = {"checkpoint": _checkpoint, "restore": _restore}
