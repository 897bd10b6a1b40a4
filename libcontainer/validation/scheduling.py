"""Scheduler, I/O priority, CPU affinity and memory policy: rarely set, so loaded when needed.

runtime-spec config.md "Linux Process" and config-linux.md "Memory policy"; sched_setattr(2),
ioprio_set(2), sched_setaffinity(2), set_mempolicy(2).
"""

from __future__ import annotations

from . import INT32, REQUIRED, RULE, UINT64, check, quoted, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Faults, Object

_HIGHEST = 8191
"""The highest CPU (NR_CPUS of the largest distribution kernels) or node that a list may name."""


def numbers(text: str) -> list[int]:
    """Return the sorted numbers that a list such as `0-3,7` names; none for an empty text.

    Spaces around the parts and empty parts are allowed, as runc allows them. Raises ValueError
    with the reason where the text is not such a list.
    """
    found: set[int] = set()
    if not text:
        return []
    for spaced in text.split(","):
        part = spaced.strip(" \t\n\r")
        if part:
            first, dash, last = part.partition("-")
            low = _number(first)
            high = _number(last) if dash else low
            if low > high:
                raise ValueError("invalid range: %s" % part)
            found.update(range(low, high + 1))
    if not found:
        raise ValueError("no members found in set %s" % quoted(text))
    return sorted(found)


def number_list(value: Any, place: str, faults: Faults) -> None:
    """Check that `value` is a string that `numbers` can read."""
    before = len(faults)
    check(value, str, place, faults)
    if len(faults) > before:
        return
    try:
        numbers(value)
    except ValueError as fault:
        faults.append("%s: %s" % (place, fault))


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError("%s is not a number" % quoted(digits))
    if len(digits) > 8 or int(digits) > _HIGHEST:
        raise ValueError("values larger than %d are not supported" % _HIGHEST)
    return int(digits)


def _scheduler(value: Object, place: str, faults: Faults) -> None:
    policy = value["policy"]
    nice = value.get("nice", 0)
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= nice <= 19:
        message = "%s.nice: invalid scheduler.nice: %d when scheduler.policy is %s"
        faults.append(message % (place, nice, policy))
    _real_time(value, place, faults)
    _deadline(value, place, faults)


def _real_time(value: Object, place: str, faults: Faults) -> None:
    priority = value.get("priority", 0)
    if value["policy"] not in ("SCHED_FIFO", "SCHED_RR"):
        if priority:
            faults.append(
                place + ".priority: scheduler.priority can only be specified for SchedFIFO or"
                " SchedRR policy"
            )
    elif not 1 <= priority <= 99 and not _keeps_parameters(value):
        message = "%s.priority: %d is not in the range 1 to 99 of %s"
        faults.append(message % (place, priority, value["policy"]))


def _deadline(value: Object, place: str, faults: Faults) -> None:
    runtime, deadline, period = (value.get(name, 0) for name in ("runtime", "deadline", "period"))
    if value["policy"] != "SCHED_DEADLINE":
        if runtime or deadline or period:
            faults.append(
                place + ": scheduler runtime/deadline/period can only be specified for"
                " SchedDeadline policy"
            )
    elif not _keeps_parameters(value) and not 1024 <= runtime <= deadline <= (period or deadline):
        faults.append(
            "%s: SCHED_DEADLINE needs 1024 <= runtime <= deadline <= period, not %d, %d, %d"
            % (place, runtime, deadline, period)
        )


def _keeps_parameters(value: Object) -> bool:
    return "SCHED_FLAG_KEEP_PARAMS" in value.get("flags", ())


def _memory_policy(value: Object, place: str, faults: Faults) -> None:
    mode = value["mode"]
    nodes = len(numbers(value.get("nodes", "")))
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") and nodes:
        message = "%s.nodes: memory policy mode requires 0 nodes but got %d"
        faults.append(message % (place, nodes))
    # MPOL_PREFERRED without nodes means the local one.
    if mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED") and not nodes:
        faults.append(place + ".nodes: memory policy mode requires at least one node but got 0")
    if {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"} <= set(value.get("flags", ())):
        faults.append(
            place + ".flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other"
        )


SCHEDULER = {
    REQUIRED: ("policy",),
    RULE: _scheduler,
    "policy": words(
        "SCHED_OTHER SCHED_FIFO SCHED_RR SCHED_BATCH SCHED_ISO SCHED_IDLE SCHED_DEADLINE"
    ),
    "nice": INT32,
    "priority": INT32,
    "flags": [
        words("""
            SCHED_FLAG_RESET_ON_FORK SCHED_FLAG_RECLAIM SCHED_FLAG_DL_OVERRUN
            SCHED_FLAG_KEEP_POLICY SCHED_FLAG_KEEP_PARAMS SCHED_FLAG_UTIL_CLAMP_MIN
            SCHED_FLAG_UTIL_CLAMP_MAX
            """)
    ],
    "runtime": UINT64,
    "deadline": UINT64,
    "period": UINT64,
}

# The runtime-spec's text requires `priority`, its schema and runc do not: absent means 0.
IO_PRIORITY = {
    REQUIRED: ("class",),
    "class": frozenset(("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")),
    "priority": (0, 7),
}

CPU_AFFINITY = {"initial": number_list, "final": number_list}

MEMORY_POLICY = {
    REQUIRED: ("mode",),
    RULE: _memory_policy,
    "mode": words("""
        MPOL_DEFAULT MPOL_BIND MPOL_INTERLEAVE MPOL_WEIGHTED_INTERLEAVE MPOL_PREFERRED
        MPOL_PREFERRED_MANY MPOL_LOCAL
        """),
    "nodes": number_list,
    "flags": [words("MPOL_F_NUMA_BALANCING MPOL_F_RELATIVE_NODES MPOL_F_STATIC_NODES")],
}
