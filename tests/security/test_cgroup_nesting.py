"""A container with a cgroup mount of its own nests cgroups until the host cannot remove them.

Deeper than Python's stack goes, or below a path that is longer than PATH_MAX: a runtime that goes down
by recursion over joined paths (`naive`) fails there, and `delete` leaves cgroups behind for ever.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration import cgroup_files

NESTS = {"deep": ("d", 1200), "long": ("n" * 250, 40)}

SCRIPT = """
for place in {places}; do
    cd $place && mkdir beside || exit 1
    for i in $(seq {depth}); do mkdir {name} && cd -P {name} || break; done
done
cd /
touch /tmp/done
exec sleep 1000
"""


def naive(path: str) -> None:
    """How it fails: rmdir(2) from the inside out, by recursion and on paths."""
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            naive(entry.path)
    os.rmdir(path)


@pytest.fixture(params=NESTS)
def nested(request: Any, bundle: Any) -> Any:
    name, depth = NESTS[request.param]
    hierarchies = [] if cgroup_files.V2 else ["devices", "pids", "freezer"]
    places = [f"/sys/fs/cgroup/{name}" for name in hierarchies] or ["/sys/fs/cgroup"]
    mounts = bundle.config["mounts"]
    mounts[:] = [mount for mount in mounts if mount["destination"] != "/sys/fs/cgroup"]
    options = ["rw", "nosuid", "noexec", "nodev"]
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
    mounts.append({**mount, "options": options})
    bundle.config["linux"]["namespaces"].append({"type": "cgroup"})
    bundle.config["linux"]["resources"] = {}
    bundle.config["root"]["readonly"] = False
    bundle.start("sh", "-c", SCRIPT.format(places=" ".join(places), name=name, depth=depth))
    deadline = time.monotonic() + 60
    while not (bundle.rootfs / "tmp/done").exists():
        assert time.monotonic() < deadline, bundle.state()
        time.sleep(0.1)
    return bundle


def test_everything_is_removed_all_the_same(nested: Any) -> None:
    directory = str(cgroup_files.directory(nested, "pids"))
    with pytest.raises((RecursionError, OSError)):
        naive(directory)
    for verb in ("ps", "pause", "resume"):
        done = nested.call(verb, nested.id)
        assert done.returncode == 0, done.stderr
    done = nested.call("delete", "--force", nested.id)
    assert (done.returncode, done.stderr) == (0, "")
    assert cgroup_files.leftovers(nested) == []
    assert not Path(directory).exists()
    listed = subprocess.run(["ls", "/sys/fs/cgroup"], stdout=subprocess.PIPE, check=True)
    assert nested.id not in listed.stdout.decode()
