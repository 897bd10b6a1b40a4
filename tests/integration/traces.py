"""What a container may leave on the host, and what a command says when it fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any


def message(done: subprocess.CompletedProcess[str]) -> str:
    """The message of the last error line of a failed command, unquoted."""
    assert done.returncode, done
    found = re.findall(r'^time="[^"]+" level=error msg=(.*)$', done.stderr, re.MULTILINE)
    assert found, done
    text = found[-1]
    return str(json.loads(text)) if text.startswith('"') else str(text)


def cgroups(name: str) -> list[str]:
    """The directories below /sys/fs/cgroup whose name contains `name`."""
    return sorted(
        os.path.join(parent, entry)
        for parent, entries, _ in os.walk("/sys/fs/cgroup")
        for entry in entries
        if name in entry
    )


def processes(*marks: str) -> list[str]:
    """Processes that belong to a container: by cgroup, root directory, or command line."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            line = Path(f"/proc/{entry}/cmdline").read_bytes().decode("utf-8", "replace")
            told = line + Path(f"/proc/{entry}/cgroup").read_text()
            told += os.readlink(f"/proc/{entry}/root")
            state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX" and any(mark in told for mark in marks):
            found.append(f"{entry} {line}")
    return found


def mounts(part: str) -> list[str]:
    """The lines of this mount namespace's mountinfo that contain `part`."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if part in line]


def of(bundle: Any) -> dict[str, list[str]]:
    """Everything on this host that speaks of the bundle or its container."""
    directory = str(bundle.path.parent)
    state = os.listdir(bundle.root) if bundle.root.is_dir() else []
    return {
        "state": sorted(entry for entry in state if not entry.startswith("~")),
        "cgroups": cgroups(bundle.id),
        "mounts": mounts(directory),
        "processes": processes(bundle.id, directory),
    }


NONE: dict[str, list[str]] = {"state": [], "cgroups": [], "mounts": [], "processes": []}
