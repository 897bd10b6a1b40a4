"""The stub that answers ENOSYS, run over the numbers of every architecture."""

from __future__ import annotations

import errno
import itertools
import struct

import pytest

from libcontainer.seccomp import enosys
from libcontainer.seccomp.build import ARCHITECTURES
from tests.unit.seccomp_machine import ALLOW, ERRNO, I386, X32_BIT, X86_64, check_jumps, simulate

NOT_THERE = ERRNO | errno.ENOSYS
THE_FILTER = struct.pack("=HBBI", 0x06, 0, 0, ALLOW)

X32 = enosys.SCMP_ARCH_X32
S390X = ARCHITECTURES["SCMP_ARCH_S390X"]


def answer(last: dict[int, int], arch: int, number: int) -> int:
    program = enosys.stub(last) + THE_FILTER
    check_jumps(program)
    return simulate(program, number, arch)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_one_architecture(name: str) -> None:
    arch = ARCHITECTURES[name]
    audit_arch = X86_64 if arch == X32 else arch
    bit = X32_BIT if arch == X32 else 0
    last = {arch: bit | 400}
    assert answer(last, audit_arch, bit | 1) == ALLOW
    assert answer(last, audit_arch, bit | 400) == ALLOW
    assert answer(last, audit_arch, bit | 401) == NOT_THERE
    assert answer(last, audit_arch, bit | 0x3FFFFFF) == NOT_THERE
    # Another architecture is the filter's to judge.
    assert answer(last, 0x12345678, 9999) == ALLOW


def test_x86_64_alone_leaves_x32_to_the_filter() -> None:
    assert answer({X86_64: 400}, X86_64, X32_BIT | 9999) == ALLOW
    assert answer({X32: X32_BIT | 400}, X86_64, 9999) == ALLOW


def test_all_of_x86() -> None:
    last = {X86_64: 300, X32: X32_BIT | 500, I386: 400}
    expected = [
        (X86_64, 300, ALLOW),
        (X86_64, 301, NOT_THERE),
        (X86_64, X32_BIT | 500, ALLOW),
        (X86_64, X32_BIT | 501, NOT_THERE),
        (I386, 400, ALLOW),
        (I386, 401, NOT_THERE),
        # A tracer's way of leaving a call out.
        (I386, 0xFFFFFFFF, NOT_THERE),
    ]
    for arch, number, result in expected:
        assert answer(last, arch, number) == result, (hex(arch), number)


def test_architectures_together() -> None:
    """Whatever stands before or behind it, each one keeps its own limit."""
    arches = [arch for arch in ARCHITECTURES.values() if arch != X32]
    for some in itertools.chain(itertools.combinations(arches[:8], 3), [arches]):
        last = {arch: 100 + index for index, arch in enumerate(some)}
        for arch, number in last.items():
            assert answer(last, arch, number) == ALLOW
            assert answer(last, arch, number + 1) == NOT_THERE


def test_s390_multiplexes_new_calls_as_setup() -> None:
    assert answer({S390X: 400}, S390X, 0) == NOT_THERE
    assert answer({S390X: 400}, S390X, 1) == ALLOW
    assert answer({X86_64: 400}, X86_64, 0) == ALLOW


def test_no_architecture_has_a_call() -> None:
    assert enosys.stub({}) == b""


@pytest.mark.parametrize(
    ("action", "number", "wanted"),
    [
        ("SCMP_ACT_ERRNO", None, True),
        ("SCMP_ACT_ERRNO", errno.ENXIO, True),
        ("SCMP_ACT_ERRNO", errno.ENOSYS, False),
        ("SCMP_ACT_KILL", None, True),
        ("SCMP_ACT_KILL_PROCESS", None, True),
        ("SCMP_ACT_TRAP", None, True),
        ("SCMP_ACT_ALLOW", None, False),
        ("SCMP_ACT_LOG", None, False),
        ("SCMP_ACT_TRACE", None, False),
    ],
)
def test_only_where_the_default_refuses(action: str, number: int | None, wanted: bool) -> None:
    assert enosys.wanted(action, number) is wanted
