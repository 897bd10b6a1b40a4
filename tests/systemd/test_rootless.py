"""An ordinary user's containers, with the driver of the user's own systemd."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from tests.systemd.units import systemctl, wait_until

USER = "rootless"


class Session:
    """A bundle of a user with a lingering manager, and commands under that manager."""

    def __init__(self, runc: str, rootfs: str) -> None:
        self.user = pwd.getpwnam(USER)
        self.home = Path(tempfile.mkdtemp(prefix="runc-test-"))
        self.runtime = f"/run/user/{self.user.pw_uid}"
        self.runc = runc
        self.id = f"user-{self.home.name[-8:].replace('_', '-')}"
        subprocess.run(["cp", "-a", rootfs, str(self.home / "rootfs")], check=True)
        subprocess.run(["chown", "-R", f"{USER}:", str(self.home)], check=True)
        self.command(runc, "spec", "--rootless")
        self.config = json.loads((self.home / "config.json").read_text())
        self.config["process"].update(terminal=False, args=["sleep", "1000"])
        self.config["linux"].pop("cgroupsPath", None)

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the user, as a service of the user's manager."""
        # Files, not pipes: a container that stays behind keeps its end open.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            done = subprocess.run(
                ["systemd-run", "--quiet", "--user", f"--machine={USER}@", "--wait", "--pipe",
                 "--collect", "--property=KillMode=process", f"--working-directory={self.home}",
                 *args],
                stdout=out, stderr=err, check=False, stdin=subprocess.DEVNULL, timeout=90,
            )  # fmt: skip
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(args, done.returncode, out.read(), err.read())

    def call(self, *args: str) -> subprocess.CompletedProcess[str]:
        (self.home / "config.json").write_text(json.dumps(self.config))
        return self.command(self.runc, "--systemd-cgroup", *args)

    def show(self, prop: str) -> str:
        """A property of the container's unit in the user's manager."""
        unit = f"runc-{self.id}.scope"
        return systemctl(
            "--user", f"--machine={USER}@", "show", "--value", "--property", prop, unit
        )

    def cgroup(self) -> Path:
        """The cgroup of the container's first process."""
        pid = json.loads(self.call("state", self.id).stdout)["pid"]
        line = Path(f"/proc/{pid}/cgroup").read_text().strip()
        return Path("/sys/fs/cgroup" + line.partition("::")[2])


@pytest.fixture
def session(runc: str, rootfs: str) -> Iterator[Session]:
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        pytest.skip(f"no user {USER}")
    if not os.path.exists(f"/run/user/{user.pw_uid}/bus"):
        pytest.skip(f"{USER} has no systemd of its own")
    made = Session(runc, rootfs)
    yield made
    made.call("delete", "--force", made.id)
    shutil.rmtree(made.home)


def test_a_scope_of_the_users_manager(session: Session) -> None:
    session.config["linux"]["resources"] = {
        "memory": {"limit": 64 << 20},
        "pids": {"limit": 33},
        "cpu": {"shares": 512, "quota": 20000},
    }
    done = session.call("run", "-d", session.id)
    assert done.returncode == 0, done
    assert session.show("ActiveState") == "active"
    assert session.show("Slice") == "user.slice"
    where = session.cgroup()
    assert f"/user@{session.user.pw_uid}.service/user.slice/" in str(where)
    assert (where / "memory.max").read_text() == f"{64 << 20}\n"
    assert (where / "pids.max").read_text() == "33\n"
    assert (where / "cpu.weight").read_text() == "59\n"
    assert (where / "cpu.max").read_text() == "20000 100000\n"
    done = session.call("update", "--pids-limit", "21", "--memory", "48M", session.id)
    assert done.returncode == 0, done
    assert (where / "pids.max").read_text() == "21\n"
    assert session.show("TasksMax") == "21"
    assert session.show("MemoryMax") == str(48 << 20)


def test_exec_pause_and_delete(session: Session) -> None:
    assert session.call("run", "-d", session.id).returncode == 0
    done = session.call("exec", session.id, "cat", "/proc/self/cgroup")
    assert done.returncode == 0, done
    assert session.call("pause", session.id).returncode == 0
    assert json.loads(session.call("state", session.id).stdout)["status"] == "paused"
    assert session.call("resume", session.id).returncode == 0
    where = session.cgroup()
    assert session.call("kill", session.id, "KILL").returncode == 0
    wait_until(
        lambda: json.loads(session.call("state", session.id).stdout)["status"] == "stopped", "end"
    )
    assert session.call("delete", session.id).returncode == 0
    assert session.show("LoadState") == "not-found"
    assert not where.exists()


def test_the_cgroupfs_driver_without_limits(session: Session) -> None:
    (session.home / "config.json").write_text(json.dumps(session.config))
    session.config["process"]["args"] = ["echo", "ran"]
    (session.home / "config.json").write_text(json.dumps(session.config))
    done = session.command(session.runc, "run", session.id)
    assert (done.returncode, done.stdout) == (0, "ran\n"), done
