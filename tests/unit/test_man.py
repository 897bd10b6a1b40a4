"""The manual pages: one for each verb, and troff has nothing to complain about."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing

import pytest

from libcontainer.commandline import VERBS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: typing.Any) -> typing.Any:
    """The directory that generate.py filled."""
    directory = tmp_path_factory.mktemp("man") / "man8"
    subprocess.run([sys.executable, ROOT + "/contrib/man/generate.py", directory], check=True)
    return directory


def shown(page: typing.Any) -> str:
    """The page as `man` shows it; fails if there is a warning."""
    if not shutil.which("man") or not shutil.which("troff"):
        pytest.skip("man is not installed (Debian package man-db)")
    done = subprocess.run(
        ["man", "--local-file", "--warnings", "--encoding=ascii", str(page)],
        capture_output=True,
        text=True,
        env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANROFFOPT": "-c"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), page
    # Without the overstriking of bold letters.
    text = done.stdout
    while "\b" in text:
        at = text.index("\b")
        text = text[: at - 1] + text[at + 1 :]
    return text


def test_one_for_each_verb(pages: typing.Any) -> None:
    expected = {"runc.8", *("runc-%s.8" % name for name in VERBS)}
    assert {path.name for path in pages.iterdir()} == expected


def test_overview(pages: typing.Any) -> None:
    text = shown(pages / "runc.8")
    for name, verb in VERBS.items():
        assert "runc-%s(8)" % name in text
        assert verb.summary.replace("`", "") in text
    assert "--systemd-cgroup" in text and "NOTIFY_SOCKET" in text


@pytest.mark.parametrize("name", VERBS)
def test_page(pages: typing.Any, name: str) -> None:
    text = shown(pages / ("runc-%s.8" % name))
    words = " ".join(text.split())
    for option in VERBS[name].options:
        if option[3]:
            assert "--%s" % option[0].split()[0] in words
    assert "EXAMPLES" in text and "# runc" in text


def test_every_verb_has_an_example_in_its_help(pages: typing.Any) -> None:
    from libcontainer.commandline.usage import verb_help

    for name in VERBS:
        assert "EXAMPLE:\n   # " in verb_help(name)
