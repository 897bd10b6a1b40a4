"""Profiles turned into BPF: what the finished program says to each system call."""

from __future__ import annotations

import errno
import importlib.util
import operator
import platform
import sys
from typing import Any

import pytest

from libcontainer import log
from libcontainer.errors import Error
from libcontainer.seccomp import build as building
from tests.unit.seccomp_machine import (
    ALLOW,
    ERRNO,
    I386,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    NOTIFY,
    TRACE,
    TRAP,
    X32_BIT,
    check_jumps,
    compare,
    default_allow,
    rule,
    simulate,
)

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("pyseccomp") is None, reason="pyseccomp is not installed"
    ),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers here are x86_64's"),
]

READ, WRITE, MKDIR, CHMOD, PERSONALITY, UNSHARE, KEYCTL = 0, 1, 83, 90, 135, 272, 250
EPERM = ERRNO | errno.EPERM
NOT_THERE = ERRNO | errno.ENOSYS


def build(profile: Any) -> bytes:
    program, library = building.build(profile)
    assert "libseccomp.so" in library
    check_jumps(program)
    return program


@pytest.mark.parametrize(
    ("action", "more", "expected"),
    [
        ("SCMP_ACT_KILL", {}, KILL_THREAD),
        ("SCMP_ACT_KILL_THREAD", {}, KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", {}, KILL_PROCESS),
        ("SCMP_ACT_TRAP", {}, TRAP),
        ("SCMP_ACT_ERRNO", {}, EPERM),
        ("SCMP_ACT_ERRNO", {"errnoRet": 0}, ERRNO),
        ("SCMP_ACT_ERRNO", {"errnoRet": 100}, ERRNO | 100),
        ("SCMP_ACT_ERRNO", {"errnoRet": 4094}, ERRNO | 4094),
        ("SCMP_ACT_TRACE", {}, TRACE | errno.EPERM),
        ("SCMP_ACT_TRACE", {"errnoRet": 0xFFFF}, TRACE | 0xFFFF),
        ("SCMP_ACT_LOG", {}, LOG),
        ("SCMP_ACT_NOTIFY", {}, NOTIFY),
    ],
)
def test_actions(action: str, more: dict[str, int], expected: int) -> None:
    program = build(default_allow(rule("mkdir", action, **more)))
    assert simulate(program, MKDIR) == expected
    assert simulate(program, READ) == ALLOW


@pytest.mark.parametrize(
    ("action", "more", "expected"),
    [
        ("SCMP_ACT_KILL_PROCESS", {}, KILL_PROCESS),
        ("SCMP_ACT_ERRNO", {}, EPERM),
        ("SCMP_ACT_ERRNO", {"defaultErrnoRet": errno.ENXIO}, ERRNO | errno.ENXIO),
        ("SCMP_ACT_TRACE", {"defaultErrnoRet": 7}, TRACE | 7),
        ("SCMP_ACT_LOG", {}, LOG),
    ],
)
def test_default_actions(action: str, more: dict[str, int], expected: int) -> None:
    program = build(
        {"defaultAction": action, "syscalls": [rule("read unshare", "SCMP_ACT_ALLOW")], **more}
    )
    assert simulate(program, READ) == ALLOW
    assert simulate(program, MKDIR) == expected


def test_no_rules_at_all() -> None:
    assert simulate(build({"defaultAction": "SCMP_ACT_ALLOW"}), MKDIR) == ALLOW
    # Nothing tells how old such a profile is: no stub.
    assert simulate(build({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}), 9999) == EPERM


OPERATORS = [
    ("NE", operator.ne),
    ("LT", operator.lt),
    ("LE", operator.le),
    ("EQ", operator.eq),
    ("GE", operator.ge),
    ("GT", operator.gt),
]
# Both halves of the 64 bits count, and the order is the unsigned one.
VALUES = [
    0,
    1,
    0xFFFFFFFF,
    1 << 32,
    (5 << 32) - 1,
    5 << 32,
    (5 << 32) + 1,
    (1 << 63),
    (1 << 64) - 1,
]


@pytest.mark.parametrize(("name", "holds"), OPERATORS)
@pytest.mark.parametrize("index", [0, 5])
def test_operators(name: str, holds: Any, index: int) -> None:
    for datum in VALUES:
        program = build(default_allow(rule("mkdir", args=[compare(index, name, datum)])))
        for value in VALUES:
            args = tuple(value if position == index else 77 for position in range(6))
            expected = EPERM if holds(value, datum) else ALLOW
            assert simulate(program, MKDIR, args=args) == expected, (hex(value), name, hex(datum))


def test_masked_equality() -> None:
    program = build(default_allow(rule("mkdir", args=[compare(1, "MASKED_EQ", 0xF00, 0x300)])))
    assert simulate(program, MKDIR, args=(0, 0x300)) == EPERM
    assert simulate(program, MKDIR, args=(0, 0xFF3FF)) == EPERM
    assert simulate(program, MKDIR, args=(0, 0x700)) == ALLOW
    # Without valueTwo, none of the mask's bits may be set.
    no_value = {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0x7E020000}
    program = build(default_allow(rule("clone", args=[no_value])))
    assert simulate(program, 56, args=(0x11,)) == EPERM
    assert simulate(program, 56, args=(0x10000000,)) == ALLOW


def test_different_arguments_must_all_hold() -> None:
    args = [compare(0, "EQ", 5), compare(1, "GT", 10)]
    program = build(default_allow(rule("mkdir", args=args)))
    assert simulate(program, MKDIR, args=(5, 11)) == EPERM
    assert simulate(program, MKDIR, args=(5, 10)) == ALLOW
    assert simulate(program, MKDIR, args=(4, 11)) == ALLOW


def test_one_argument_twice_means_either() -> None:
    args = [compare(0, "EQ", 5), compare(0, "EQ", 6), compare(1, "EQ", 7)]
    program = build(default_allow(rule("mkdir", args=args)))
    for first, second, expected in [(5, 0, EPERM), (6, 0, EPERM), (0, 7, EPERM), (4, 4, ALLOW)]:
        assert simulate(program, MKDIR, args=(first, second)) == expected


def test_rules_of_one_call_add_up() -> None:
    """The personality(2) rules of Docker's profile."""
    program = build(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                rule("personality", "SCMP_ACT_ALLOW", args=[compare(0, "EQ", value)])
                for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
            ],
        }
    )
    for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert simulate(program, PERSONALITY, args=(value,)) == ALLOW
    assert simulate(program, PERSONALITY, args=(9,)) == EPERM


def test_redundant_rules_are_left_out() -> None:
    program = build(default_allow(rule("mkdir", "SCMP_ACT_ALLOW"), rule("chmod"), rule("chmod")))
    assert simulate(program, MKDIR) == ALLOW
    assert simulate(program, CHMOD) == EPERM
    # The default's errno makes the difference.
    program = build(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": errno.ENXIO,
            "syscalls": [rule("mkdir", errnoRet=errno.ENXIO), rule("chmod", errnoRet=1)],
        }
    )
    assert simulate(program, MKDIR) == ERRNO | errno.ENXIO
    assert simulate(program, CHMOD) == EPERM


def test_a_rule_without_arguments_beats_those_with() -> None:
    with_args = rule("mkdir", args=[compare(0, "EQ", 5)], errnoRet=5)
    for rules in ([with_args, rule("mkdir", errnoRet=6)], [rule("mkdir", errnoRet=6), with_args]):
        program = build(default_allow(*rules))
        assert simulate(program, MKDIR, args=(4,)) == ERRNO | 6


def test_conflicting_rules_end_in_an_action_of_the_profile() -> None:
    program = build(default_allow(rule("mkdir", errnoRet=5), rule("mkdir", "SCMP_ACT_LOG")))
    assert simulate(program, MKDIR) in (ERRNO | 5, LOG)


def test_unknown_system_calls_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(log, "sink", lambda _level, message: told.append(message))
    # The last one: C ends a name at NUL.
    profile = default_allow(
        {"names": ["no_such_call", "chmod", "mkdir\0x"], "action": "SCMP_ACT_ERRNO"}
    )
    program = build(profile)
    assert simulate(program, CHMOD) == EPERM
    assert simulate(program, MKDIR) == ALLOW
    assert any("no_such_call" in line for line in told)


def test_calls_of_other_architectures_do_no_harm() -> None:
    program = build(default_allow(rule("socketcall _llseek mmap2 arm_fadvise64_64 chmod")))
    assert simulate(program, CHMOD) == EPERM


def test_sub_architectures() -> None:
    names = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    program = build(default_allow(rule("mkdir"), architectures=names))
    assert simulate(program, MKDIR) == EPERM
    assert simulate(program, 39, I386) == EPERM
    assert simulate(program, MKDIR, I386) == ALLOW
    assert simulate(program, X32_BIT | MKDIR) == EPERM
    # Those that the profile does not list are killed.
    for listed in ([], ["SCMP_ARCH_X86_64"]):
        program = build(default_allow(rule("mkdir"), architectures=listed))
        assert simulate(program, 39, I386) == KILL_THREAD
        assert simulate(program, X32_BIT | MKDIR) == KILL_THREAD


def test_native_architecture_is_implied() -> None:
    profile = default_allow(rule("mkdir"), architectures=["SCMP_ARCH_X86"])
    assert simulate(build(profile), MKDIR) == EPERM


def test_newer_calls_get_enosys() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [rule("read write unshare", "SCMP_ACT_ALLOW")],
    }
    program = build(profile)
    assert simulate(program, READ) == ALLOW
    assert simulate(program, KEYCTL) == EPERM
    assert simulate(program, UNSHARE + 1) == NOT_THERE
    assert simulate(program, 310, I386) == ALLOW
    assert simulate(program, 311, I386) == NOT_THERE
    assert simulate(program, X32_BIT | UNSHARE) == ALLOW
    assert simulate(program, X32_BIT | 1000) == NOT_THERE


def test_many_rules_take_the_tree() -> None:
    names = " ".join(
        [
            "access",
            "alarm",
            "bind",
            "brk",
            "capget",
            "capset",
            "chdir",
            "chmod",
            "chown",
            "chroot",
            "clone",
            "close",
            "connect",
            "creat",
            "dup",
            "dup2",
            "execve",
            "exit",
            "fchdir",
            "fchmod",
            "fchown",
            "fcntl",
            "flock",
            "fork",
            "fstat",
            "fsync",
            "futex",
            "getcwd",
            "getegid",
            "geteuid",
            "getgid",
            "getpid",
            "getuid",
            "ioctl",
            "kill",
            "link",
            "listen",
            "lseek",
            "lstat",
            "madvise",
            "mkdir",
            "mmap",
        ]
    )
    program = build(default_allow(rule(names)))
    assert simulate(program, MKDIR) == EPERM
    assert simulate(program, READ) == ALLOW
    # Many names, but no rule that says more than the default.
    assert simulate(build(default_allow(rule(names, "SCMP_ACT_ALLOW"))), MKDIR) == ALLOW


def test_too_long_for_the_kernel() -> None:
    many = [rule("mkdir", args=[compare(0, "EQ", number << 33)]) for number in range(3000)]
    with pytest.raises(Error, match=r"a filter of [0-9]+ instructions, the kernel takes 4096"):
        build(default_allow(*many))


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (default_allow(architectures=["SCMP_ARCH_Z80"]), "SCMP_ARCH_Z80 is not a valid arch"),
        (default_allow(architectures=["SCMP_ARCH_S390X"]), "has the other byte order"),
        (default_allow(rule("mkdir", "SCMP_ACT_DANCE")), "SCMP_ACT_DANCE is not a valid action"),
        ({"defaultAction": "ALLOW"}, "ALLOW is not a valid action"),
        (default_allow(rule("mkdir", args=[compare(0, "XX", 1)])), "is not a valid operator"),
        (default_allow(rule("mkdir", args=[compare(6, "EQ", 1)])), "no argument 6"),
        (default_allow(rule("mkdir", errnoRet=70000)), "70000 is not an errno"),
    ],
)
def test_refused(profile: Any, message: str) -> None:
    with pytest.raises(Error, match=message):
        build(profile)


def test_import_leaves_ctypes_as_it_was() -> None:
    building.load_library()
    import ctypes.util

    assert ctypes.util is sys.modules["ctypes.util"]
    assert ctypes.util.find_library.__module__ == "ctypes.util"
