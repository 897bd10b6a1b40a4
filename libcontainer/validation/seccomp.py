"""`linux.seccomp`: runtime-spec config-linux.md "Seccomp".

System calls are not checked by name: a profile may list some that this host does not know.
"""

from __future__ import annotations

from . import REQUIRED, RULE, UINT64, check, quoted, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Faults, Object

ACTIONS = words("""
    SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS SCMP_ACT_KILL_THREAD SCMP_ACT_TRAP SCMP_ACT_ERRNO
    SCMP_ACT_TRACE SCMP_ACT_ALLOW SCMP_ACT_LOG SCMP_ACT_NOTIFY
    """)

ARCHITECTURES = words("""
    SCMP_ARCH_X86 SCMP_ARCH_X86_64 SCMP_ARCH_X32 SCMP_ARCH_ARM SCMP_ARCH_AARCH64
    SCMP_ARCH_LOONGARCH64 SCMP_ARCH_M68K SCMP_ARCH_MIPS SCMP_ARCH_MIPS64 SCMP_ARCH_MIPS64N32
    SCMP_ARCH_MIPSEL SCMP_ARCH_MIPSEL64 SCMP_ARCH_MIPSEL64N32 SCMP_ARCH_PPC SCMP_ARCH_PPC64
    SCMP_ARCH_PPC64LE SCMP_ARCH_S390 SCMP_ARCH_S390X SCMP_ARCH_SH SCMP_ARCH_SHEB SCMP_ARCH_PARISC
    SCMP_ARCH_PARISC64 SCMP_ARCH_RISCV64
    """)

OPERATORS = words("""
    SCMP_CMP_NE SCMP_CMP_LT SCMP_CMP_LE SCMP_CMP_EQ SCMP_CMP_GE SCMP_CMP_GT SCMP_CMP_MASKED_EQ
    """)

FLAGS = words("""
    SECCOMP_FILTER_FLAG_TSYNC SECCOMP_FILTER_FLAG_LOG SECCOMP_FILTER_FLAG_SPEC_ALLOW
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    """)

_ERRNO_LIMITS = {
    # The kernel lowers larger values to MAX_ERRNO.
    "SCMP_ACT_ERRNO": 4095,
    # SECCOMP_RET_DATA has 16 bits.
    "SCMP_ACT_TRACE": 0xFFFF,
}


def _word(known: frozenset[str], what: str) -> Any:
    def check_word(value: Any, place: str, faults: Faults) -> None:
        before = len(faults)
        check(value, str, place, faults)
        if len(faults) == before and value not in known:
            message = "%s: string %s is not a valid %s for seccomp"
            faults.append(message % (place, quoted(value), what))

    return check_word


def _flag(value: Any, place: str, faults: Faults) -> None:
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) == before and value not in FLAGS:
        faults.append("%s: seccomp flag %s is not known to runc" % (place, quoted(value)))


def _errno(action: str, number: int, place: str, faults: Faults) -> None:
    limit = _ERRNO_LIMITS.get(action)
    if limit is None:
        faults.append("%s: %s does not return an errno" % (place, action))
    elif number > limit:
        faults.append(
            "%s: %d is more than %d, the most %s can return" % (place, number, limit, action)
        )


def _rule(value: Object, place: str, faults: Faults) -> None:
    if not value["names"]:
        faults.append(place + ".names: must have at least one entry")
    if "" in value["names"]:
        faults.append(place + ".names: must not have an empty entry")
    if "errnoRet" in value:
        _errno(value["action"], value["errnoRet"], place + ".errnoRet", faults)
    # The filter is in force when the file descriptor of the agent is handed over with write(2).
    if value["action"] == "SCMP_ACT_NOTIFY" and "write" in value["names"]:
        faults.append(place + ": SCMP_ACT_NOTIFY cannot be used for the write syscall")


def _seccomp(value: Object, place: str, faults: Faults) -> None:
    if value["defaultAction"] == "SCMP_ACT_NOTIFY":
        faults.append(place + ".defaultAction: SCMP_ACT_NOTIFY cannot be used as default action")
    if "defaultErrnoRet" in value:
        number = value["defaultErrnoRet"]
        _errno(value["defaultAction"], number, place + ".defaultErrnoRet", faults)
    if value.get("listenerPath"):
        return
    if value.get("listenerMetadata"):
        faults.append(place + ".listenerMetadata: must not be set without listenerPath")
    if any(rule["action"] == "SCMP_ACT_NOTIFY" for rule in value.get("syscalls", ())):
        faults.append(place + ".listenerPath: seccomp listenerPath is not set")


_ACTION = _word(ACTIONS, "action")

_ARGUMENT = {
    REQUIRED: ("index", "value", "op"),
    # Linux system calls have at most six arguments.
    "index": (0, 5),
    "value": UINT64,
    "valueTwo": UINT64,
    "op": _word(OPERATORS, "operator"),
}

_FILTER = {
    REQUIRED: ("defaultAction",),
    RULE: _seccomp,
    "defaultAction": _ACTION,
    "defaultErrnoRet": (0, (1 << 32) - 1),
    "architectures": [_word(ARCHITECTURES, "arch")],
    "flags": [_flag],
    "listenerPath": str,
    "listenerMetadata": str,
    "syscalls": [
        {
            REQUIRED: ("names", "action"),
            RULE: _rule,
            "names": [str],
            "action": _ACTION,
            "errnoRet": (0, (1 << 32) - 1),
            "args": [_ARGUMENT],
        }
    ],
}


def check_seccomp(value: Any, place: str, faults: Faults) -> None:
    """Check the section, unless it is one that runc takes for none: no default, no rules."""
    if type(value) is dict and value.get("defaultAction") == "" and not value.get("syscalls"):
        return
    check(value, _FILTER, place, faults)
