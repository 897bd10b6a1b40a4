"""The cgroups of a container under test, on whatever hierarchy this machine has."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")

CONTROLLER = {"io": "blkio"}
"""cgroup v1's names where they are others than v2's."""


def paths(bundle: Bundle) -> dict[str, str]:
    """The container's cgroups by controller, from its state.json."""
    state = json.loads((bundle.root / bundle.id / "state.json").read_text())
    found: dict[str, str] = state["cgroup_paths"]
    return found


def directory(bundle: Bundle, controller: str) -> Path:
    """The container's cgroup for a controller."""
    found = paths(bundle)
    return Path(found["" if V2 else controller])


def read(bundle: Bundle, name: str) -> str:
    """A control file of the container, such as `pids.max`, without the line break."""
    controller = name.partition(".")[0]
    return (directory(bundle, controller) / name).read_text().strip()


def require(controller: str) -> None:
    """Skip the test where the host has no such controller."""
    if V2:
        available = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    else:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        available = ",".join(line.split(":")[1] for line in lines).split(",")
    if controller not in available:
        pytest.skip(f"this host has no {controller} controller")


def leftovers(bundle: Bundle) -> list[str]:
    """Every cgroup of the host whose path has the container's id in it."""
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/*{bundle.id}*")]


def limit(bundle: Bundle, **resources: Any) -> None:
    """Add to linux.resources."""
    bundle.config["linux"].setdefault("resources", {}).update(resources)


def namespaces(bundle: Bundle, *kinds: str) -> None:
    """Add to linux.namespaces what is not there yet."""
    listed = bundle.config["linux"]["namespaces"]
    for kind in kinds:
        if kind not in [entry["type"] for entry in listed]:
            listed.append({"type": kind})
