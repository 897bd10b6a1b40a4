"""contrib/build/squeeze.py: the packed sources are the same program."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "contrib" / "build"))

from squeeze import named, squeeze  # noqa: E402

SOURCE = b'''
class Place:
    def __init__(self):
        self.value: int = 0
        """What it is about,
        at some length."""


def count(words, limit=3):
    "limit"
    found: dict[str, int] = {}
    letter = "a"
    for word in words if limit else ():
        total = found.get(word, 0) + 1
        found[word] = total if total < limit else "\xc3\xa9" "x"
    return [f"{letter} {word}" for word in found] , not found
'''

SMALLER = b"""
class Place:
 def __init__(self):
  self.value=0
  ""



def count(a,limit=3):
 ""
 found={}
 letter="a"
 for word in a if limit else():
  b=found.get(word,0)+1
  found[word]=b if b<limit else "\xc3\xa9""x"
 return[f"{letter} {word}"for word in found],not found
"""


def test_squeezed() -> None:
    source = SOURCE.replace(b"    ", b" ")
    assert [line.rstrip() for line in squeeze(source, named([source])).split(b"\n")] == [
        line.rstrip() for line in SMALLER.split(b"\n")
    ]
