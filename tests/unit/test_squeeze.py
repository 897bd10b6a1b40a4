"""contrib/build/squeeze.py: the packed sources are the same program."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "contrib" / "build"))

from squeeze import meaning, squeeze  # noqa: E402

SOURCE = b'''
class Place:
    def __init__(self) -> None:
        self.value: int = 0
        """What it is about,
        at some length."""


def count(words, limit: int = 3):
    found: dict[str, int] = {}
    letter = "a"
    for word in words if limit else ():
        total = found.get(word, 0) + 1
        found[word] = total if total < limit else "\xc3\xa9" "x"
    return [f"{letter} {word}" for word in found] , not found
'''

SMALLER = b"""
class Place:
 def __init__(self)->None:
  self.value=0
  ""



def count(words,limit:int=3):
 found={}
 letter="a"
 for word in words if limit else():
  a=found.get(word,0)+1
  found[word]=a if a<limit else "\xc3\xa9""x"
 return[f"{letter} {word}"for word in found],not found
"""


def test_squeezed() -> None:
    source = SOURCE.replace(b"    ", b" ")
    assert [line.rstrip() for line in squeeze(source).split(b"\n")] == [
        line.rstrip() for line in SMALLER.split(b"\n")
    ]


def test_all_of_it() -> None:
    for name in ("runc.py", "libcontainer/state.py", "libcontainer/seccomp/build.py"):
        source = (ROOT / name).read_bytes()
        smaller = squeeze(source)
        assert len(smaller) < len(source)
        assert list(meaning(smaller)) == list(meaning(source))
