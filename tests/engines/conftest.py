"""Fixtures for the engines' tests: the daemons, once per session."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from tests.engines.daemons import IMAGE, OURS, REFERENCE, Docker, WithRuntime, pack, reference_runc


@pytest.fixture(scope="session")
def reference() -> str:
    """The runtime that the built file is compared with."""
    path = reference_runc()
    if not path:
        pytest.skip("there is no runc to compare with (Debian package runc)")
    return path


@pytest.fixture(scope="session")
def base(rootfs: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system as an archive."""
    return pack(rootfs, tmp_path_factory.mktemp("base") / "base.tar")


@pytest.fixture(scope="session")
def docker_daemon(runc: str, reference: str, base: Path) -> Iterator[Docker]:
    if not shutil.which("dockerd"):
        pytest.skip("dockerd is not installed (Debian package docker.io)")
    client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
    directory = Path(tempfile.mkdtemp(prefix="runc-docker-"))
    daemon = Docker(directory, runc, reference, client)
    try:
        daemon.start()
        daemon("import", str(base), IMAGE).ok()
        yield daemon
        daemon.clean()
    finally:
        daemon.end()
        daemon.remove()


class Pair:
    """Makes an observation with both runtimes and compares."""

    def __init__(self, docker: Docker) -> None:
        self.docker = docker

    def __call__(self, observe: object) -> object:
        """What `observe(WithRuntime)` returned for both; fails if that differs."""
        assert callable(observe)
        expected = observe(WithRuntime(self.docker, REFERENCE))
        self.docker.clean()
        seen = observe(WithRuntime(self.docker, OURS))
        self.docker.clean()
        assert seen == expected
        return seen


@pytest.fixture
def same(docker_daemon: Docker) -> Iterator[Pair]:
    yield Pair(docker_daemon)
    docker_daemon.clean()
