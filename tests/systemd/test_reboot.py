"""The units of contrib/systemd across a reboot, which only the machine of tests/beds/vm can do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.systemd.units import show, systemctl, wait_until

ROOT = Path(__file__).resolve().parents[2]
NAME = "reboot"
HOME = Path("/srv") / NAME
UNIT = f"container@{NAME}.service"
SOCKET = f"container-socket@{NAME}.socket"
BOOT = Path("/proc/sys/kernel/random/boot_id")
PROGRAM = "trap 'echo ended >>/log; exit 0' TERM; echo started >>/log; while :; do sleep 0.2; done"


def start(runc: str, name: str) -> None:
    """Start the bundle as a container without a unit."""
    # No pipe for its output: the container would keep it open.
    nowhere = subprocess.DEVNULL
    command = [runc, "run", "-d", "--bundle", str(HOME), name]
    subprocess.run(command, check=True, stdin=nowhere, stdout=nowhere, stderr=nowhere, timeout=60)


@pytest.fixture
def machine() -> Path:
    """Where to leave the command that is run after the reboot."""
    place = os.environ.get("AFTER_REBOOT")
    if not place:
        pytest.skip("reboots the machine, so only that of tests/beds/vm")
    return Path(place)


def test_before(machine: Path, runc: str, rootfs: str) -> None:
    """Enable the units of the README, leave a container without one behind, and reboot."""
    if HOME.exists():
        pytest.skip("the machine has rebooted")
    HOME.mkdir(parents=True)
    shutil.copytree(rootfs, HOME / "rootfs", symlinks=True)
    subprocess.run([runc, "spec", "--bundle", str(HOME)], check=True)
    config = json.loads((HOME / "config.json").read_text())
    config["process"].update(terminal=False, args=["sh", "-c", PROGRAM])
    config["root"]["readonly"] = False
    (HOME / "config.json").write_text(json.dumps(config))
    for file in (ROOT / "contrib" / "systemd").iterdir():
        text = file.read_text().replace("/usr/local/bin/runc", runc)
        (Path("/etc/systemd/system") / file.name).write_text(text)
    systemctl("daemon-reload")
    systemctl("enable", "--now", UNIT, SOCKET)
    assert show(UNIT, "ActiveState") == "active"
    start(runc, "left")
    (HOME / "boot").write_text(BOOT.read_text())
    machine.write_text(
        f"export RUNC={runc} PATIENCE={os.environ.get('PATIENCE', '1')}\n"
        f"python3 -m pytest -q -rs {Path(__file__).relative_to(ROOT)}\n"
    )


def test_after(machine: Path, runc: str) -> None:
    """The services are up again, what was in /run is forgotten, and nothing of it is in the way."""
    if not HOME.exists() or (HOME / "boot").read_text() == BOOT.read_text():
        pytest.skip("the machine reboots after this")
    wait_until(lambda: show(UNIT, "ActiveState") == "active", "the service after the reboot")
    assert show(UNIT, "NRestarts") == "0"

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [runc, *args], capture_output=True, text=True, check=False, timeout=60
        )

    assert call("list", "-q").stdout.split() == [NAME]
    assert json.loads(call("state", NAME).stdout)["pid"] == int(show(UNIT, "MainPID"))
    # Both were stopped in good order when the machine went down, the one without a unit too.
    said = (HOME / "rootfs" / "log").read_text().split()
    assert said == ["started", "started", "ended", "ended", "started"], said
    assert show(SOCKET, "ActiveState") == "active"
    assert call("state", "left").returncode == 1
    assert call("delete", "--force", "left").returncode == 0
    start(runc, "left")
    assert json.loads(call("state", "left").stdout)["status"] == "running"
    assert call("delete", "--force", "left").returncode == 0
