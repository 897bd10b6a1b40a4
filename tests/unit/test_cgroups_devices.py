"""Device policies: what rules come to, how a v1 cgroup gets there, and the program for v2."""

from __future__ import annotations

import errno
import itertools
import random
from typing import Any

import pytest

from libc_bindings import bpf
from libcontainer.cgroups import devices
from libcontainer.cgroups.devices import ALL, ANY, Policy, policy, transition
from libcontainer.cgroups.v2.devices import program
from libcontainer.errors import Error

READ, WRITE, MKNOD = 1, 2, 4


def rule(allow: bool, access: str = "rwm", **more: Any) -> dict[str, Any]:
    return {"allow": allow, "access": access, **more}


def test_by_default_only_the_usual_devices_are_allowed() -> None:
    found = policy({}, [])
    assert not found.allow
    assert found.exceptions[("c", 1, 3)] == ALL
    assert found.exceptions[("c", ANY, ANY)] == MKNOD
    assert found.exceptions[("b", ANY, ANY)] == MKNOD
    assert ("c", 1, 11) not in found.exceptions
    assert found.exceptions == policy({"devices": [rule(False)]}, []).exceptions


def test_a_node_of_the_config_in_the_place_of_a_default_one_takes_its_rule_away() -> None:
    found = policy({}, [{"path": "/dev/zero", "type": "c", "major": 1, "minor": 3}])
    assert ("c", 1, 5) not in found.exceptions


def test_rules_add_up() -> None:
    rules = [
        rule(True, "r", type="b", major=8, minor=0),
        rule(True, "w", type="b", major=8, minor=0),
    ]
    assert policy({"devices": rules}, []).exceptions[("b", 8, 0)] == READ | WRITE
    rules.append(rule(False, "r", type="b", major=8, minor=0))
    assert policy({"devices": rules}, []).exceptions[("b", 8, 0)] == WRITE


def test_allowing_all_and_denying_some() -> None:
    found = policy({"devices": [rule(True), rule(False, "w", type="c", major=1, minor=11)]}, [])
    assert found.allow
    assert found.exceptions == {("c", 1, 11): WRITE}


def test_a_hole_in_a_wildcard_is_refused() -> None:
    rules = [rule(True, type="b", major=8), rule(False, "w", type="b", major=8, minor=1)]
    with pytest.raises(Error, match="cannot punch hole"):
        policy({"devices": rules}, [])


@pytest.mark.parametrize(
    "entry", [{"allow": True, "access": "x"}, {"allow": True}, rule(True, type="p")]
)
def test_malformed_rules(entry: dict[str, Any]) -> None:
    with pytest.raises(Error, match=r"linux.resources.devices\[0\]"):
        policy({"devices": [entry]}, [])


def test_transition_of_a_new_cgroup() -> None:
    steps = transition(Policy(allow=True), policy({}, []))
    assert steps[0] == (False, "a")
    assert (True, "c 1:3 rwm") in steps
    assert len(steps) == 12


def test_transition_never_denies_what_stays_allowed() -> None:
    now = policy({"devices": [rule(True, "rw", type="b", major=8, minor=0)]}, [])
    then = policy({"devices": [rule(True, "r", type="b", major=8, minor=0)]}, [])
    assert transition(now, then) == [(False, "b 8:0 w")]
    assert transition(then, now) == [(True, "b 8:0 w")]
    assert transition(now, now) == []


def run(code: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """Interpret a program as the kernel would, refusing what its oldest verifier refuses."""
    instructions = [code[i : i + 8] for i in range(0, len(code), 8)]
    registers: dict[int, int] = {}
    fields = {
        bpf.DEV_ACCESS_TYPE: access << 16 | kind,
        bpf.DEV_MAJOR: major,
        bpf.DEV_MINOR: minor,
    }
    position = 0
    while True:
        one = instructions[position]
        operation, target, source = one[0], one[1] & 15, one[1] >> 4
        offset = int.from_bytes(one[2:4], "little", signed=True)
        value = int.from_bytes(one[4:8], "little", signed=True)
        position += 1
        if operation == bpf.LOAD_WORD:
            assert source == 1
            registers[target] = fields[offset]
        elif operation == bpf.MOVE:
            registers[target] = value
        elif operation == bpf.MOVE_REGISTER:
            registers[target] = registers[source]
        elif operation == bpf.AND:
            registers[target] &= value
        elif operation == bpf.SHIFT_RIGHT:
            registers[target] >>= value
        elif operation == bpf.EXIT:
            return registers[0]
        else:
            assert offset >= 0, "a jump backwards"
            compared = registers.get(target, 0)
            taken = {
                bpf.JUMP: True,
                bpf.JUMP_EQUAL: compared == value,
                bpf.JUMP_NOT_EQUAL: compared != value,
                bpf.JUMP_IF_ANY_BIT: bool(compared & value),
            }
            position += offset if taken[operation] else 0


def assert_all_reachable(code: bytes) -> None:
    """The verifier refuses a program with an instruction that no path leads to."""
    count, seen, to_visit = len(code) // 8, set(), [0]
    while to_visit:
        position = to_visit.pop()
        if position in seen:
            continue
        assert position < count, "it runs off its end"
        seen.add(position)
        operation = code[8 * position]
        offset = int.from_bytes(code[8 * position + 2 : 8 * position + 4], "little", signed=True)
        if operation == bpf.EXIT:
            continue
        jumps = (bpf.JUMP, bpf.JUMP_EQUAL, bpf.JUMP_NOT_EQUAL, bpf.JUMP_IF_ANY_BIT)
        if operation in jumps:
            to_visit.append(position + 1 + offset)
        if operation != bpf.JUMP:
            to_visit.append(position + 1)
    assert len(seen) == count


def kernel_bits(access: int) -> int:
    return (access & READ and 2) | (access & WRITE and 4) | (access & MKNOD and 1)


def allowed(wanted: Policy, kind: str, access: int, major: int, minor: int) -> bool:
    """What a policy means, told without a program."""
    hit = False
    for (what, a_major, a_minor), bits in wanted.exceptions.items():
        if what == kind and a_major in (ANY, major) and a_minor in (ANY, minor):
            hit |= bool(bits & access) if wanted.allow else not access & ~bits
    return hit != wanted.allow


def check(wanted: Policy) -> bytes:
    code = program(wanted)
    assert_all_reachable(code)
    numbers = {0, 1, 3, 5, 7, 8, 9, 11, 136, 200}
    for (kind, number), major, minor, access in itertools.product(
        (("b", 1), ("c", 2)), numbers, numbers, (READ, WRITE, READ | WRITE, MKNOD)
    ):
        got = run(code, number, kernel_bits(access), major, minor)
        expected = allowed(wanted, kind, access, major, minor)
        assert got == expected, (kind, major, minor, access, wanted.exceptions)
    return code


def test_the_default_program_is_short_and_right() -> None:
    assert len(check(policy({}, []))) // 8 == 28


def test_a_program_that_allows_all_is_two_instructions() -> None:
    assert len(check(Policy(allow=True))) // 8 == 2
    assert len(check(Policy())) // 8 == 2


def test_random_policies() -> None:
    random.seed(4)
    for _ in range(150):
        wanted = Policy(allow=random.random() < 0.3)
        for _ in range(random.randrange(8)):
            device = (
                random.choice("bc"),
                random.choice((ANY, 1, 5, 8, 136)),
                random.choice((ANY, 0, 3, 11)),
            )
            wanted.exceptions[device] = random.randrange(1, 8)
        check(wanted)


def test_numbers_that_no_device_has() -> None:
    wanted = Policy()
    wanted.exceptions[("c", 2**40, 1)] = ALL
    assert check(wanted)


def test_more_rules_than_a_jump_is_far() -> None:
    wanted = Policy()
    wanted.exceptions = {("b", 8, minor): ALL for minor in range(40000)}
    with pytest.raises(OSError) as raised:
        program(wanted)
    assert raised.value.errno == errno.E2BIG


def test_letters() -> None:
    assert devices.letters(devices.access_bits("mwr")) == "rwm"
