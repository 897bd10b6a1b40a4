"""Arbitrary configs and processes: they are accepted or refused, but never end in a traceback.

Together the tests validate well over 10,000 documents; FUZZ_RUNS sets how many the first one makes
(5,000 unless told, each checked twice), and the others follow in proportion.
"""

from __future__ import annotations

import copy
import json
import os
import typing

import pytest

from libcontainer import config, jsonio
from libcontainer.errors import ConfigError, Error

if typing.TYPE_CHECKING:
    import hypothesis
    import hypothesis.strategies as st
else:
    hypothesis = pytest.importorskip("hypothesis")
    st = pytest.importorskip("hypothesis.strategies")

DATA = os.path.join(os.path.dirname(__file__), "data")

with open(os.path.join(DATA, "full-config.json"), encoding="utf-8") as _file:
    TEXT = _file.read()

RUNS = int(os.environ.get("FUZZ_RUNS", "5000"))


def runs(share: float) -> hypothesis.settings:
    """Return settings for that share of RUNS."""
    return hypothesis.settings(
        max_examples=max(int(RUNS * share), 1),
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def places(value: typing.Any) -> typing.Iterator[tuple[typing.Any, ...]]:
    """Yield the path of every value in a document."""
    yield ()
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, member in items:
            for path in places(member):
                yield (key, *path)


PLACES = sorted(places(json.loads(TEXT)), key=str)
PROCESS_PLACES = [path for path in PLACES if path[:1] == ("process",)]

# What the checks look at, so that chance alone need not find it.
SPECIAL = [
    "", "\0", "/", "..", "a/b", "-", ",", "1-", "=", "=x", "a=", "\n", "MB:", "\ud800", "²",
    "\u0661", "KB", "SCMP_ACT_NOTIFY", "SCHED_DEADLINE", "MPOL_LOCAL", "user", "time",
    "network", "bind", "size=1", "uid=7", "write", "1.0.0-", "2.0.0", -1, 0, 1, 7, 1 << 31, 1 <<
    32, 1 << 63, 1 << 64, 1.0, 1e300, True, False, None, [], {}, [None], {"": None}, {"a": {}},
    {"a/b": "c"}, [[]], [{}],
]  # fmt: skip

scalars = st.one_of(
    st.sampled_from(SPECIAL),
    st.integers(),
    st.text(max_size=20),
)

values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=8), inner, max_size=3),
    ),
    max_leaves=5,
)


def mutations(of: list[tuple[typing.Any, ...]]) -> st.SearchStrategy[typing.Any]:
    """Return a strategy for lists of arguments of `mutate`."""
    change = st.tuples(st.sampled_from(of), st.integers(0, 3), values)
    return st.lists(change, min_size=1, max_size=6)


def mutate(document: typing.Any, path: tuple[typing.Any, ...], how: int, new: typing.Any) -> None:
    """Replace, remove, repeat or add something at `path`, if the path is still there."""
    target = document
    for key in path[:-1]:
        if isinstance(target, dict):
            target = target.get(key)
        elif isinstance(target, list) and isinstance(key, int) and key < len(target):
            target = target[key]
        else:
            return
    if not path or not isinstance(target, (dict, list)):
        return
    key = path[-1]
    new = copy.deepcopy(new)
    if isinstance(target, list):
        if how == 3:
            target.append(new)
        elif not isinstance(key, int) or key >= len(target):
            return
        elif how == 2:
            target.append(target[key])
        elif how == 1:
            del target[key]
        else:
            target[key] = new
    elif not isinstance(key, str):
        return
    elif how == 1:
        target.pop(key, None)
    elif how == 3:
        target[new if isinstance(new, str) else "extra"] = new
    else:
        target[key] = new


def judge(document: typing.Any) -> bool:
    """Check a config in every way there is; say whether it is accepted."""
    accepted = True
    for options in ({}, {"no_pivot": True, "rootless_euid": True, "rootless_cgroups": True}):
        try:
            config.check(document, **options)
        except ConfigError as error:
            assert error.faults
            assert all(fault.startswith("config.json: ") for fault in error.faults)
            assert len(str(error)) < 100000
            accepted = accepted and bool(options)
    return accepted


@runs(1)
@hypothesis.given(mutations(PLACES))
def test_mutated_config(changes: typing.Any) -> None:
    document = json.loads(TEXT)
    for change in changes:
        mutate(document, *change)
    if not judge(document):
        return
    # What is accepted stays so, can be written and read again, and has no null left where one
    # was understood.
    config.check(document)
    try:
        config.check_host(document, "/nonexistent")
    except ConfigError as error:
        assert error.faults
    text = jsonio.dumps(document)
    try:
        again = jsonio.loads(text)
    except Error as error:
        assert "without its other half" in str(error) or "digits" in str(error)
        return
    config.check(again)


@runs(0.4)
@hypothesis.given(mutations(PROCESS_PLACES))
def test_mutated_process(changes: typing.Any) -> None:
    document = json.loads(TEXT)
    for change in changes:
        mutate(document, *change)
    try:
        config.check_process(document.get("process"))
    except ConfigError as error:
        assert error.faults


@runs(0.3)
@hypothesis.given(values)
def test_any_value(value: typing.Any) -> None:
    assert not judge(value)
    try:
        config.check_process(value)
    except ConfigError as error:
        assert error.faults


@runs(0.3)
@hypothesis.given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.binary(max_size=4)), max_size=4))
def test_mutated_bytes(changes: typing.Any) -> None:
    text = TEXT.encode()
    for position, inserted in changes:
        text = text[:position] + inserted + text[position + len(inserted) :]
    try:
        document = jsonio.loads_object(text, "config.json")
    except Error as error:
        assert str(error).startswith("config.json: ")
        return
    judge(document)


@runs(0.4)
@hypothesis.given(st.one_of(st.binary(max_size=50), st.text(max_size=50)))
def test_any_text(text: bytes | str) -> None:
    try:
        ours = jsonio.loads(text, "x")
    except Error as error:
        assert str(error).startswith("x: ")
        return
    assert ours == json.loads(text)


@runs(0.04)
@hypothesis.given(changes=mutations(PLACES))
def test_files(tmp_path_factory: typing.Any, changes: typing.Any) -> None:
    """The way from the file, and that nothing but the file is there afterwards."""
    directory = tmp_path_factory.getbasetemp() / "bundle"
    directory.mkdir(exist_ok=True)
    document = json.loads(TEXT)
    for change in changes:
        mutate(document, *change)
    (directory / "config.json").write_text(json.dumps(document))
    try:
        judge(config.load(str(directory)))
    except Error as error:
        assert str(error).startswith("config.json: ")
    assert os.listdir(str(directory)) == ["config.json"]
