"""What the tests of mounts, devices and masks add to a bundle of conftest.py."""

from __future__ import annotations

import os
import pathlib
import shutil
from typing import Any

import pytest

MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]

# Every call that mount(2) and openat(2) can stand in for, and the one that Linux 5.6 to 5.11 lack.
OLD_KERNELS: dict[str, tuple[str, ...]] = {
    "new": (),
    "5.11": ("mount_setattr",),
    "4.18": ("mount_setattr", "open_tree", "move_mount", "fsopen", "openat2"),
}


class Result:
    """How a container ended: its exit status and everything that it and runc wrote."""

    def __init__(self, status: int, output: str) -> None:
        self.status = status
        self.output = output

    def mount(self, place: str) -> list[str]:
        """The fields of the last line of /proc/mounts in the output that is for `place`."""
        lines = [line.split(" ") for line in self.output.splitlines()]
        return [line for line in lines if len(line) == 6 and line[1] == place][-1]

    def flags(self, place: str) -> set[str]:
        """The mount's options as /proc/mounts shows them."""
        return set(self.mount(place)[3].split(","))


class Bundle:
    """A bundle whose containers are looked at from inside; the system calls in `lacking` fail."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.path: pathlib.Path = inner.path
        self.rootfs: pathlib.Path = inner.rootfs
        self.config: dict[str, Any] = inner.config
        self.lacking: tuple[str, ...] = ()

    @property
    def linux(self) -> Any:
        return self.config["linux"]

    def mount(
        self, place: str, source: object, *options: str, kind: str = "bind", **more: Any
    ) -> None:
        """Add a mount to the config."""
        entry = {"destination": place, "type": kind, "source": str(source), **more}
        self.config["mounts"].append({**entry, "options": list(options)})

    def add_user_namespace(self) -> None:
        self.linux["namespaces"].append({"type": "user"})
        self.linux["uidMappings"] = self.linux["gidMappings"] = MAPPING
        for path in [self.rootfs, *self.rootfs.rglob("*")]:
            os.chown(path, MAPPING[0]["hostID"], MAPPING[0]["hostID"], follow_symlinks=False)

    def without_mounts(self, place: str) -> None:
        """Take the mounts on and below `place` out of the config."""
        below = place + "/"
        self.config["mounts"] = [
            mount
            for mount in self.config["mounts"]
            if not (mount["destination"] + "/").startswith(below)
        ]

    def run(self, script: str = "cat /proc/mounts", *options: str) -> Result:
        """Run `script` with the container's shell; the calls in `lacking` fail with ENOSYS."""
        inner = self._inner
        if self.lacking:
            calls = ",".join(self.lacking)
            tracer = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
            tracer += ["-e", f"inject={calls}:error=ENOSYS", inner.runc]
            inner.command = lambda *args: [*tracer, "--root", str(inner.root), *args]
        done = inner.shell(script, options=options)
        # A log line quotes its message.
        return Result(done.returncode, done.stdout + done.stderr.replace('\\"', '"'))

    def good(self, script: str = "cat /proc/mounts", *options: str) -> Result:
        """run() of what has to work."""
        result = self.run(script, *options)
        assert result.status == 0, result.output
        return result

    def refused(self, *options: str) -> str:
        """What is said of a config that has to fail."""
        result = self.run("echo started", *options)
        assert result.status != 0
        assert "started" not in result.output
        return result.output


@pytest.fixture
def bundle(make_bundle: Any) -> Bundle:
    return Bundle(make_bundle())


@pytest.fixture(params=sorted(OLD_KERNELS))
def any_kernel(request: pytest.FixtureRequest, bundle: Bundle) -> Bundle:
    """The bundle, on this kernel and on two that lack some system calls."""
    bundle.lacking = OLD_KERNELS[request.param]
    if bundle.lacking and shutil.which("strace") is None:
        pytest.skip("needs strace to take system calls away")
    return bundle


@pytest.fixture(params=["host ids", "user namespace"])
def any_user(request: pytest.FixtureRequest, bundle: Bundle) -> Bundle:
    """The bundle, without and with a user namespace."""
    if request.param == "user namespace":
        bundle.add_user_namespace()
    return bundle
