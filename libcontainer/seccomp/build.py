"""From a profile to BPF, through libseccomp. Loaded only for profiles that are not in the cache."""

from __future__ import annotations

import errno
import os
import sys
from io import FileIO

from libc_bindings.seccomp import (
    BPF_MAXINSNS,
    INSTRUCTION_SIZE,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_TRACE,
)

from .. import log
from ..errors import Error
from . import ACTIONS, enosys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from ..spec import Seccomp, Syscall, SyscallArg

# SCMP_ARCH_* of seccomp.h: the kernel's AUDIT_ARCH_*, except for x32.
ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": enosys.AUDIT_ARCH_X86_64,
    "SCMP_ARCH_X32": enosys.SCMP_ARCH_X32,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_LOONGARCH64": 0xC0000102,
    "SCMP_ARCH_M68K": 0x00000004,
    "SCMP_ARCH_MIPS": 0x00000008,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PARISC": 0x0000000F,
    "SCMP_ARCH_PARISC64": 0x8000000F,
    "SCMP_ARCH_PPC": 0x00000014,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_SH": 0x4000002A,
    "SCMP_ARCH_SHEB": 0x0000002A,
}

# enum scmp_compare
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}

_NATIVE = 0
_NO_SUCH_CALL = -1
_ATTR_CTL_OPTIMIZE = 8
_BINARY_TREE = 2

_ADD_REASONS = {
    # libseccomp 2.5.0 changed EPERM to EACCES.
    errno.EPERM: "requested action matches default action of filter",
    errno.EACCES: "requested action matches default action of filter",
    errno.EFAULT: "unrecognized syscall",
    errno.EINVAL: "this libseccomp does not accept its action",
}


class LibraryMissing(Error):
    """libseccomp or its Python binding is not there."""


def build(seccomp: Seccomp) -> tuple[bytes, str]:
    """The program (an array of struct sock_filter) and the path of the libseccomp that made it.

    Raises LibraryMissing, or Error for a profile that cannot be turned into a filter.
    """
    library = load_library()
    default_errno = seccomp.get("defaultErrnoRet")
    default_name = seccomp.get("defaultAction") or ""
    default = _action(default_name, default_errno, "linux.seccomp.defaultAction")
    try:
        filter_ = library.SyscallFilter(default)
    except OSError as error:
        raise Error("linux.seccomp: error creating filter: %s" % error.strerror) from None
    architectures = _add_architectures(filter_, seccomp)
    _add_rules(library, filter_, seccomp, default)
    program = _export(filter_)
    if enosys.wanted(default_name, default_errno):
        names = [name for rule in seccomp.get("syscalls") or () for name in rule["names"]]
        architectures.add(library.system_arch())
        program = enosys.stub(_last_numbers(library, architectures, names)) + program
    length = len(program) // INSTRUCTION_SIZE
    if length > BPF_MAXINSNS:
        raise Error(
            "linux.seccomp: the profile makes a filter of %d instructions, the kernel takes %d"
            % (length, BPF_MAXINSNS)
        )
    return program, library_path()


def load_library() -> ModuleType:
    """The module pyseccomp.

    Its import asks ctypes.util.find_library twice, which runs ldconfig, gcc and ld to find what
    dlopen(3) knows anyway. Instead of ctypes.util it gets a module here that answers with the
    names; only where dlopen(3) has another opinion is the real one let in.
    """
    if "pyseccomp" in sys.modules:
        return sys.modules["pyseccomp"]
    try:
        return _import_pyseccomp({"seccomp": "libseccomp.so.2"}.get)
    except OSError:
        from ctypes.util import find_library
    try:
        return _import_pyseccomp(find_library)
    except (OSError, RuntimeError):
        raise LibraryMissing(
            "linux.seccomp: libseccomp.so.2 is not installed, and no filter of this profile "
            "is in the cache"
        ) from None


def _import_pyseccomp(find_library: Any) -> ModuleType:
    import ctypes
    from types import ModuleType

    name = "ctypes.util"
    util = ModuleType(name)
    # None, the answer to "c", makes CDLL open the program itself: the libc that is in use,
    # whatever its file is called.
    util.find_library = find_library  # type: ignore[attr-defined]
    true_module = sys.modules.get(name)
    true_attribute = getattr(ctypes, "util", None)
    sys.modules[name] = util
    ctypes.util = util
    try:
        import pyseccomp
    except ImportError as error:
        raise LibraryMissing("linux.seccomp: the Python module %s" % error) from None
    finally:
        if true_module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = true_module
        if true_attribute is None:
            del ctypes.util
        else:
            ctypes.util = true_attribute
    return pyseccomp  # type: ignore[no-any-return]


def library_path() -> str:
    """The path of the libseccomp that this process has mapped; "" if it cannot be told."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                # address perms offset dev inode path
                fields = line.rstrip("\n").split(None, 5)
                if len(fields) == 6 and "/libseccomp." in fields[5]:
                    return fields[5]
    except OSError as error:
        log.debug("seccomp: %s" % error)
    return ""


def _action(name: str, number: int | None, place: str) -> int:
    """The value of an action as libseccomp and the kernel have it, with the errno in its data."""
    if name not in ACTIONS:
        raise Error("%s: string %s is not a valid action for seccomp" % (place, name))
    value = ACTIONS[name]
    if value in (SECCOMP_RET_ERRNO, SECCOMP_RET_TRACE):
        data = errno.EPERM if number is None else number
        if not 0 <= data <= 0xFFFF:
            raise Error("%s: %d is not an errno" % (place, data))
        value |= data
    return value


def _add_architectures(filter_: Any, seccomp: Seccomp) -> set[int]:
    """Add the profile's architectures to the native one; returns their SCMP_ARCH_* numbers."""
    architectures = set()
    for index, name in enumerate(seccomp.get("architectures") or ()):
        place = "linux.seccomp.architectures[%d]" % index
        if name not in ARCHITECTURES:
            raise Error("%s: string %s is not a valid arch for seccomp" % (place, name))
        try:
            filter_.add_arch(ARCHITECTURES[name])
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise Error("%s: this libseccomp does not know %s" % (place, name)) from None
            if error.errno == errno.EDOM:
                raise Error("%s: %s has the other byte order" % (place, name)) from None
            if error.errno != errno.EEXIST:
                raise Error("%s: %s: %s" % (place, name, error.strerror)) from None
        architectures.add(ARCHITECTURES[name])
    return architectures


def _add_rules(library: Any, filter_: Any, seccomp: Seccomp, default: int) -> None:
    """Add all rules, one for each name, in the order of the profile."""
    added = 0
    for index, rule in enumerate(seccomp.get("syscalls") or ()):
        place = "linux.seccomp.syscalls[%d]" % index
        action = _action(rule["action"], rule.get("errnoRet"), place)
        if action == default:
            # libseccomp takes a rule that says what happens anyway for a mistake.
            continue
        alternatives = _alternatives(library, rule, place)
        for name in rule["names"]:
            number = _number(library, _NATIVE, name)
            if number == _NO_SUCH_CALL:
                # Profiles name calls of all architectures and of kernels to come.
                log.debug('unknown seccomp syscall "%s" ignored' % name)
                continue
            try:
                for conditions in alternatives:
                    filter_.add_rule(action, number, *conditions)
            except OSError as error:
                reason = _ADD_REASONS.get(error.errno or 0) or error.strerror
                raise Error(
                    "%s: error adding seccomp rule for syscall %s: %s" % (place, name, reason)
                ) from None
            added += 1
    # Without a single rule, libseccomp up to 2.5.4 trips over its own tree.
    if added > 32:
        try:
            filter_.set_attr(_ATTR_CTL_OPTIMIZE, _BINARY_TREE)
        except OSError as error:
            log.debug("seccomp binary tree optimization not available: %s" % error.strerror)


def _alternatives(library: Any, rule: Syscall, place: str) -> list[list[Any]]:
    """The rule's conditions: one of the lists has to hold, all of it.

    libseccomp joins conditions with "and" and takes one for each argument. Profiles written before
    it did so mean "or" where they compare one argument twice; then each one stands alone.
    """
    args = rule.get("args") or ()
    conditions = [_condition(library, arg, place) for arg in args]
    if len({arg["index"] for arg in args}) < len(args):
        return [[condition] for condition in conditions]
    return [conditions]


def _condition(library: Any, arg: SyscallArg, place: str) -> Any:
    """libseccomp's form of a comparison; for MASKED_EQ `value` is the mask, `valueTwo` the bits."""
    operator = OPERATORS.get(arg["op"])
    if operator is None:
        raise Error("%s: string %s is not a valid operator for seccomp" % (place, arg["op"]))
    if not 0 <= arg["index"] <= 5:
        raise Error("%s: system calls have no argument %d" % (place, arg["index"]))
    return library.Arg(arg["index"], operator, arg["value"], arg.get("valueTwo") or 0)


def _last_numbers(library: Any, architectures: set[int], names: list[str]) -> dict[int, int]:
    """The highest number that one of the system calls `names` has, for each architecture."""
    last = {}
    for architecture in architectures:
        # Calls that an architecture does not have get negative numbers.
        numbers = [_number(library, architecture, name) for name in names]
        highest = max(numbers, default=0)
        if highest > 0:
            last[architecture] = highest
        else:
            log.warning("seccomp: the profile has no system calls for arch 0x%x" % architecture)
    return last


def _number(library: Any, architecture: int, name: str) -> int:
    """The number of the system call `name`; negative where the architecture or the name is not."""
    if "\0" in name:
        # C would see another name, the part before it.
        return _NO_SUCH_CALL
    return int(library.resolve_syscall(architecture, name))


def _export(filter_: Any) -> bytes:
    """The filter's instructions.

    libseccomp wants a file to write to. A pipe would block it forever once it is full, which an
    unprivileged user's may be at 4096 bytes.
    """
    with _scratch_file() as file:
        try:
            filter_.export_bpf(file)
        except OSError as error:
            raise Error("linux.seccomp: error exporting BPF: %s" % error.strerror) from None
        file.seek(0)
        return bytes(file.read())


def _scratch_file() -> Any:
    try:
        return FileIO(os.memfd_create("seccomp"), "r+")
    except (AttributeError, OSError):
        from tempfile import TemporaryFile

        return TemporaryFile()
