"""The shell completions: as the table of options would make them now, and they complete."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import typing

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DIRECTORY = ROOT + "/contrib/completion"

# It answers `list -q`, the only thing that completions ask, with the names below --root.
STAND_IN = '#!/bin/sh\n[ "$1" = --root ] && exec ls "$2"\necho default1\n'

CASES = [
    ("runc st", "start state"),
    ("runc --ro", "--root --rootless"),
    ("runc --root ROOT state w", "web1 web2"),
    ("runc state ", "default1"),
    ("runc kill x K", "KILL"),
    ("runc list --format ", "json table"),
    ("runc --log-format ", "json text"),
    ("runc exec --cw", "--cwd"),
]


def generator() -> typing.Any:
    """The module generate.py."""
    spec = importlib.util.spec_from_file_location("generate", DIRECTORY + "/generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_up_to_date() -> None:
    for name, make in generator().FILES_MADE.items():
        with open("%s/%s" % (DIRECTORY, name)) as file:
            assert file.read() == make(), "run contrib/completion/generate.py"


@pytest.fixture
def place(tmp_path: typing.Any, monkeypatch: typing.Any) -> str:
    """A directory of state with two containers, and a `runc` on PATH that lists it."""
    for name in ("web1", "web2"):
        (tmp_path / "root" / name).mkdir(parents=True)
    (tmp_path / "runc").write_text(STAND_IN)
    (tmp_path / "runc").chmod(0o755)
    monkeypatch.setenv("PATH", "%s:%s" % (tmp_path, os.environ["PATH"]))
    return str(tmp_path / "root")


def shell(name: str, *argv: str) -> str:
    """What the shell `name` prints; skips the test where the machine lacks it."""
    if not shutil.which(name):
        pytest.skip("no %s here" % name)
    return subprocess.run([name, *argv], stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_bash(line: str, expected: str, place: str) -> None:
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _runc; '
    script += 'printf "%s\\n" "${COMPREPLY[@]}"'
    words = line.replace("ROOT", place).split(" ")
    told = shell("bash", "--norc", "-c", script, "bash", DIRECTORY + "/runc.bash", *words)
    assert sorted(told.split()) == expected.split()


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_fish(line: str, expected: str, place: str) -> None:
    line = line.replace("ROOT", place)
    script = "source %s/runc.fish; complete -C '%s'" % (DIRECTORY, line)
    told = shell("fish", "--no-config", "-c", script)
    assert sorted(row.split("\t")[0] for row in told.splitlines()) == expected.split()


def test_zsh_reads_it() -> None:
    shell("zsh", "-f", "-n", DIRECTORY + "/_runc")


# Types the line and a tab into an interactive zsh, and shows what the completion offered.
ZSH = """
zmodload zsh/zpty
zpty z "PS1= TERM=dumb zsh -f -i"
zpty -w z "fpath=($1 \\$fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=1000"
zpty -w z "zstyle ':completion:*' list-prompt ''; PS1=; stty -echo; echo rea''dy"
zpty -m -r z seen "*ready*"
zpty -n -w z "$2"$'\\t\\t'
sleep 1
while zpty -r -t z more; do print -rn -- $more; done
zpty -d z
"""


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_zsh(line: str, expected: str, place: str) -> None:
    told = shell("zsh", "-f", "-c", ZSH, "zsh", DIRECTORY, line.replace("ROOT", place))
    for word in expected.split():
        assert word in told, told
