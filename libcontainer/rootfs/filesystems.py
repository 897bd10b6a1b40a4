"""New file systems through fsopen(2): what mount(2) cannot do, and why it failed."""

from __future__ import annotations

import posix

from libc_bindings import mounts as libc

from ..errors import Error
from .attach import LACKING
from .idmap import Mapper
from .options import MountOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The file system's own flags, by the names that fsconfig(2) takes for all of them.
_SUPERBLOCK_FLAGS = (
    (libc.MS_RDONLY, "ro"),
    (libc.MS_SYNCHRONOUS, "sync"),
    (libc.MS_DIRSYNC, "dirsync"),
    (libc.MS_MANDLOCK, "mand"),
    (libc.MS_LAZYTIME, "lazytime"),
)


def mapped_filesystem(mapper: Mapper, mount: Any, options: MountOptions, data: str) -> int:
    """The fd of a detached, id-mapped mount of a new file system of the mount's type.

    It stays writable for now, as the mounts of the config may need mount points in it.
    """
    kind = mount.get("type") or ""
    flags = options.flags & ~libc.MS_RDONLY
    attributes, _ = options.attributes()
    try:
        context = configured(kind, mount.get("source") or kind, flags, data)
    except OSError as error:
        if error.errno in LACKING:
            raise Error(f"an id-mapped {kind} needs fsopen(2), Linux 5.2") from error
        raise
    try:
        fd = libc.fsmount(context, attributes & ~libc.MOUNT_ATTR_RDONLY)
    finally:
        posix.close(context)
    try:
        mapper.map(fd, mount["destination"], mount, options)
    except BaseException:
        posix.close(fd)
        raise
    return fd


def configured(kind: str, source: str, flags: int, data: str) -> int:
    """The context of a file system with `data` as mount(2) takes it, ready for fsmount(2).

    Raises OSError for what the kernel lacks, Error with its message for what it refuses.
    """
    context = libc.fsopen(kind)
    try:
        try:
            libc.fsconfig(context, libc.FSCONFIG_SET_STRING, "source", source)
            for flag, name in _SUPERBLOCK_FLAGS:
                if flags & flag:
                    libc.fsconfig(context, libc.FSCONFIG_SET_FLAG, name)
            for option in split(data):
                key, equals, value = option.partition("=")
                if equals:
                    libc.fsconfig(context, libc.FSCONFIG_SET_STRING, key, value)
                else:
                    libc.fsconfig(context, libc.FSCONFIG_SET_FLAG, key)
            libc.fsconfig(context, libc.FSCONFIG_CMD_CREATE)
        except OSError as error:
            told = _kernel_message(context)
            if not told:
                raise
            words = posix.strerror(error.errno or 0)
            raise Error(f"{words[:1].lower()}{words[1:]} ({told})") from error
    except BaseException:
        posix.close(context)
        raise
    return context


def split(data: str) -> list[str]:
    """The comma-separated options of `data`; a quoted value (context="a,b") stays whole."""
    options = []
    option = ""
    quoted = False
    for character in data:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            options.append(option)
            option = ""
        else:
            option += character
    options.append(option)
    return [option for option in options if option]


def explain(kind: str, source: str, flags: int, data: str) -> str:
    """What the kernel has to say about options that mount(2) refused; "" if nothing."""
    try:
        posix.close(configured(kind, source, flags, data))
    except Error as error:
        return str(error)
    except OSError:
        # No such call, or no words: mount(2)'s error stands for itself.
        return ""
    return ""


def _kernel_message(context: int) -> str:
    """The last error in the context's log, such as `tmpfs: Unknown parameter 'x'`."""
    told = ""
    while True:
        try:
            line = posix.read(context, 4096).decode("utf-8", "replace").strip()
        except OSError:
            # ENODATA: no more messages.
            return told
        if line.startswith("e "):
            told = line[2:]
