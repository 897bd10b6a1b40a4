"""What systemd knows of units."""

from __future__ import annotations

import subprocess
import time
from typing import Callable


def systemctl(*arguments: str, check: bool = True) -> str:
    """The output of systemctl(1)."""
    done = subprocess.run(
        ["systemctl", *arguments], capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0 or not check, (arguments, done)
    return done.stdout.strip()


def show(unit: str, prop: str) -> str:
    """A property of a unit, as systemctl prints it."""
    return systemctl("show", "--value", "--property", prop, unit)


def wait_until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait for a condition; fails the test if it does not come."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def journal(*options: str) -> str:
    """The messages that journalctl(1) finds with `options`."""
    subprocess.run(["journalctl", "--sync"], check=False)
    done = subprocess.run(
        ["journalctl", *options, "--output", "cat", "--no-pager"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout
