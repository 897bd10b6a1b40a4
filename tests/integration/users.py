"""Ordinary users: one made for the tests, what it may call its own, and bundles that it runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.conftest import Bundle

SUBORDINATE = (700000, 65536)
"""The user's subuid and subgid range: the first and how many."""


class User:
    """A user with a home directory, which holds a copy of the runtime."""

    def __init__(self, name: str, runc: str) -> None:
        self.name = name
        subprocess.run(["useradd", "--no-create-home", name], check=True)
        fields = subprocess.run(["id", "-u", name], check=True, capture_output=True, text=True)
        self.uid = int(fields.stdout)
        self.home = Path(tempfile.mkdtemp(prefix="runc-user-"))
        self.runc = self.home / "runc"
        shutil.copy(runc, self.runc)
        self.runc.chmod(0o755)
        self.home.chmod(0o755)
        os.chown(self.home, self.uid, self.uid)
        self.set_ranges(*SUBORDINATE)

    def set_ranges(self, first: int, count: int) -> None:
        """Replace the lines that useradd(8) wrote into /etc/subuid and /etc/subgid."""
        self.forget_ranges()
        for option in ("--add-subuids", "--add-subgids"):
            subprocess.run(
                ["usermod", option, f"{first}-{first + count - 1}", self.name], check=True
            )

    def forget_ranges(self) -> None:
        for file in (Path("/etc/subuid"), Path("/etc/subgid")):
            lines = file.read_text().splitlines(keepends=True) if file.exists() else []
            for line in lines:
                if line.startswith(f"{self.name}:"):
                    _, first, count = line.split(":")
                    option = f"--del-{file.name}s"
                    ids = f"{first}-{int(first) + int(count) - 1}"
                    subprocess.run(["usermod", option, ids, self.name], check=True)

    def command(self, *program: str) -> list[str]:
        """A command line that runs `program` as this user."""
        ids = [f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        return ["setpriv", *ids, "env", f"HOME={self.home}", *program]

    def remove(self) -> None:
        self.forget_ranges()
        subprocess.run(["userdel", self.name], check=True, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)


class UsersBundle(Bundle):
    """A bundle in a user's home directory, with the config of `runc spec --rootless`."""

    def __init__(self, user: User, rootfs: str) -> None:
        self.user = user
        super().__init__(str(user.runc), user.home / uuid.uuid4().hex[:8] / "bundle", rootfs)
        self.environment["SECRET"] = "of-the-caller"
        subprocess.run(["chown", "-R", f"{user.uid}:{user.uid}", self.path.parent], check=True)

    def _default(self) -> dict[str, Any]:
        subprocess.run([self.runc, "spec", "--rootless", "--bundle", str(self.path)], check=True)
        path = self.path / "config.json"
        config: dict[str, Any] = json.loads(path.read_text())
        for line in config["linux"]["uidMappings"] + config["linux"]["gidMappings"]:
            line["hostID"] = self.user.uid
        config["process"]["terminal"] = False
        path.chmod(0o644)
        return config

    def command(self, *args: str) -> list[str]:
        return self.user.command(*super().command(*args))

    def map_range(self) -> None:
        """Map root to the user and everything else to its subordinate ids."""
        first, count = SUBORDINATE
        lines = [
            {"containerID": 0, "hostID": self.user.uid, "size": 1},
            {"containerID": 1, "hostID": first, "size": count},
        ]
        self.config["linux"]["uidMappings"] = self.config["linux"]["gidMappings"] = lines


@pytest.fixture(scope="session")
def user(runc: str) -> Iterator[User]:
    """A user that is there for the tests only."""
    for program in ("useradd", "userdel", "setpriv"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    made = User(f"runc-test-{os.getpid()}", runc)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def rootless(user: User, rootfs: str) -> Iterator[UsersBundle]:
    """A bundle of the user's."""
    made = UsersBundle(user, rootfs)
    yield made
    made.clean()
    shutil.rmtree(made.path.parent, ignore_errors=True)
