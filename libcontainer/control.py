"""What is done to the cgroup of a container that is there: pause, resume, update."""

from __future__ import annotations

from libcontainer import cgroups, state
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def pause(root: str, container_id: str) -> None:
    """Freeze all processes of a running or created container; back when they stand still."""
    container = state.load_locked(root, container_id)
    if container.status() not in (state.RUNNING, state.CREATED):
        raise Error("container not running")
    cgroups.restore(container.data["cgroup"]).freeze()


def resume(root: str, container_id: str) -> None:
    """Let a paused container run again."""
    container = state.load_locked(root, container_id)
    if container.status() != state.PAUSED:
        raise Error("container not paused")
    cgroups.restore(container.data["cgroup"]).thaw()


def update(root: str, container_id: str, changes: dict[str, Any]) -> None:
    """Merge `changes` (as linux.resources) over the container's limits, and enforce them.

    On any error the limits are as before. Device rules are not touched.
    """
    container = state.load_locked(root, container_id)
    if container.status() == state.STOPPED:
        raise Error("container not running")
    config = container.config()
    linux = config.setdefault("linux", {})
    before = linux.get("resources") or {}
    after = merged(before, changes)
    manager = cgroups.restore(container.data["cgroup"])
    try:
        manager.set(after, devices=False)
    except (Error, OSError):
        manager.set(before, devices=False)
        raise
    linux["resources"] = after
    container.save_config(config)


def merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`before` with every value of `changes` in place of its own; objects are merged, lists replaced."""
    result = dict(before)
    for name, value in changes.items():
        old = result.get(name)
        both = isinstance(value, dict) and isinstance(old, dict)
        result[name] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result
