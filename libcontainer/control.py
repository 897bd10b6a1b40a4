"""The cgroup of a container that is there: pause, resume, update, events."""

from __future__ import annotations

import select
import time

from libcontainer import cgroups, log, state
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

    from libcontainer.state import Container


def pause(root: str, container_id: str) -> None:
    """Freeze all processes of a running or created container; back when they stand still."""
    container = state.load_locked(root, container_id)
    if container.status() not in (state.RUNNING, state.CREATED):
        raise Error("container not running")
    cgroups.restore(container.data["cgroup"]).freeze()
    log.debug("host: its processes stand still")


def resume(root: str, container_id: str) -> None:
    """Let a paused container run again."""
    container = state.load_locked(root, container_id)
    if container.status() != state.PAUSED:
        raise Error("container not paused")
    cgroups.restore(container.data["cgroup"]).thaw()
    log.debug("host: its processes run again")


def update(
    root: str,
    container_id: str,
    changes: dict[str, Any],
    *,
    l3_schema: str = "",
    bandwidth_schema: str = "",
) -> None:
    """Merge `changes` (as linux.resources) over the container's limits, and enforce them.

    The schemas are linux.intelRdt's. On any error all is as before. Device rules are not touched.
    """
    from libcontainer.cgroups import update as limits

    container = state.load_locked(root, container_id)
    if container.status() == state.STOPPED:
        raise Error("container not running")
    config = container.config()
    linux = config.setdefault("linux", {})
    before = linux.get("resources") or {}
    manager = cgroups.restore(container.data["cgroup"])
    if not (l3_schema or bandwidth_schema):
        linux["resources"] = limits.update(manager, before, changes)
        return container.save_config(config)
    from libcontainer import intelrdt

    former = intelrdt.schemata(container.data)
    try:
        intelrdt.update(linux.get("intelRdt"), container.data, l3_schema, bandwidth_schema)
        linux["resources"] = limits.update(manager, before, changes)
    except (Error, OSError):
        intelrdt.put_back(container.data, former)
        raise
    return container.save_config(config)


def stats(root: str, container_id: str) -> dict[str, Any]:
    """What the container uses, in the shape of runc's `events --stats` (its `data`)."""
    return _stats(_alive(root, container_id))


def _alive(root: str, container_id: str) -> Container:
    container = state.load(root, container_id)
    if container.status() == state.STOPPED:
        raise Error(f"container with id {container_id} is not running")
    return container


def _stats(container: Container) -> dict[str, Any]:
    from libcontainer.cgroups import statistics

    told: dict[str, Any] = cgroups.restore(container.data["cgroup"]).stats()
    told["intel_rdt"] = {}
    if container.data.get("intel_rdt_path") or container.data.get("intel_rdt_mon_path"):
        from libcontainer import intelrdt

        config = (container.config().get("linux") or {}).get("intelRdt")
        told["intel_rdt"] = intelrdt.stats(config, container.data)
    # Not the host's, which a container without a network namespace sees.
    namespaces = container.data["config"].get("namespaces") or ()
    own = any(entry["type"] == "NEWNET" for entry in namespaces)
    told["network_interfaces"] = statistics.network_interfaces(container.pid) if own else None
    return told


def events(root: str, container_id: str, interval: float) -> Iterator[dict[str, Any]]:
    """Yield one object after each `interval` (seconds) with the statistics, and one for each
    out-of-memory kill when it happens; ends with the container."""
    from libcontainer.cgroups import oom

    container = _alive(root, container_id)
    watch = oom.watch(cgroups.restore(container.data["cgroup"]))
    waiting = select.poll()
    waiting.register(watch.fd, watch.events)
    due = time.monotonic() + interval
    try:
        while True:
            if waiting.poll(max(0.0, due - time.monotonic()) * 1000):
                for happened in watch.read():
                    if happened == "gone":
                        return
                    yield {"type": "oom", "id": container_id}
                continue
            due += interval
            if not container.init_lives():
                return
            try:
                data = _stats(container)
            except FileNotFoundError:
                # The cgroup went between the question and the answer.
                return
            yield {"type": "stats", "id": container_id, "data": data}
    finally:
        watch.close()
