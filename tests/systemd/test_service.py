"""The units of contrib/systemd: a container as a service of the host's systemd."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator

import pytest

from tests.integration import ways
from tests.systemd.units import journal, show, systemctl, wait_until

if TYPE_CHECKING:
    from tests.conftest import Bundle

ROOT = Path(__file__).resolve().parents[2]
UNITS = Path("/run/systemd/system")
STEADY = ("sh", "-c", "trap 'echo ending; exit 0' TERM; echo started; while :; do sleep 0.2; done")


class Service:
    """A bundle in /srv and the units of contrib/systemd, with this run's runtime in them."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.name = f"s{uuid.uuid4().hex[:8]}"
        self.home = Path("/srv") / self.name
        self.home.parent.mkdir(exist_ok=True)
        self.home.symlink_to(bundle.path)
        self.unit = f"container@{self.name}.service"
        self.installed = []
        for file in (ROOT / "contrib" / "systemd").iterdir():
            text = file.read_text().replace("/usr/local/bin/runc", bundle.runc)
            (UNITS / file.name).write_text(text)
            self.installed.append(UNITS / file.name)
        systemctl("daemon-reload")

    def kind(self, kind: str) -> None:
        """Go on with another unit: `container-notify`, `container-socket`."""
        self.unit = f"{kind}@{self.name}.service"

    def drop_in(self, text: str) -> None:
        """Add settings to the unit."""
        folder = UNITS / f"{self.unit}.d"
        folder.mkdir()
        (folder / "test.conf").write_text(text)
        self.installed.append(folder)
        systemctl("daemon-reload")

    def program(self, *args: str) -> None:
        self.bundle.config["process"]["args"] = list(args)
        self.bundle.write()

    def start(self, *args: str) -> None:
        self.program(*(args or STEADY))
        systemctl("start", self.unit)

    def runc(self, *args: str) -> subprocess.CompletedProcess[str]:
        """A verb on the state root that the units use."""
        return subprocess.run(
            [self.bundle.runc, *args], capture_output=True, text=True, check=False, timeout=60
        )

    def pid(self) -> int:
        """The container's first process; 0 without one."""
        done = self.runc("state", self.name)
        return int(json.loads(done.stdout)["pid"]) if done.returncode == 0 else 0

    def clean(self) -> None:
        systemctl("stop", self.unit, check=False)
        systemctl("stop", f"container-socket@{self.name}.socket", check=False)
        systemctl("reset-failed", self.unit, check=False)
        self.runc("delete", "--force", self.name)
        for path in self.installed:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.home.unlink()
        systemctl("daemon-reload")


@pytest.fixture
def service(bundle: Bundle) -> Iterator[Service]:
    made = Service(bundle)
    yield made
    made.clean()


def gone(service: Service) -> bool:
    return service.runc("state", service.name).returncode != 0


def test_start_and_stop(service: Service) -> None:
    service.start()
    assert show(service.unit, "ActiveState") == "active"
    assert int(show(service.unit, "MainPID")) == service.pid() > 0
    systemctl("stop", service.unit)
    assert show(service.unit, "ActiveState") == "inactive"
    assert show(service.unit, "Result") == "success"
    assert gone(service), "ExecStopPost= deletes it"
    said = journal("--identifier", service.name).splitlines()
    assert "started" in said
    assert "ending" in said


def test_restart(service: Service) -> None:
    service.start()
    before = service.pid()
    systemctl("restart", service.unit)
    assert show(service.unit, "ActiveState") == "active"
    assert service.pid() not in (0, before)
    assert not os.path.exists(f"/proc/{before}")


def test_the_end_of_the_program_is_the_end_of_the_service(service: Service) -> None:
    service.start("sh", "-c", "sleep 2")
    wait_until(lambda: show(service.unit, "ActiveState") == "inactive", "the end")
    assert show(service.unit, "Result") == "success"
    assert gone(service)


def test_systemctl_kill(service: Service) -> None:
    service.drop_in("[Service]\nRestart=no\n")
    service.start()
    systemctl("kill", "--signal=KILL", service.unit)
    wait_until(lambda: show(service.unit, "ActiveState") == "failed", "a failed service")
    assert show(service.unit, "Result") == "signal"
    assert show(service.unit, "ExecMainStatus") == str(int(signal.SIGKILL))
    assert gone(service)


def test_a_crash_restarts_it(service: Service) -> None:
    service.start()
    before = service.pid()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: int(show(service.unit, "NRestarts")) == 1, "a restart")
    wait_until(lambda: show(service.unit, "ActiveState") == "active", "the restarted one")
    assert service.pid() not in (0, before)
    assert int(show(service.unit, "MainPID")) == service.pid()


def test_a_failing_program_restarts_it(service: Service) -> None:
    service.bundle.config["root"]["readonly"] = False
    service.start("sh", "-c", "[ -e /again ] && exec sleep 1000; touch /again; sleep 1; exit 7")
    wait_until(lambda: (service.bundle.rootfs / "again").exists(), "the first try")
    wait_until(lambda: int(show(service.unit, "NRestarts")) == 1, "a restart")
    wait_until(lambda: show(service.unit, "ActiveState") == "active", "the second try")


def test_leftovers_of_a_killed_runtime_are_cleared(service: Service) -> None:
    service.program(*STEADY)
    # No pipe for its output: the container would keep it open.
    command = [service.bundle.runc, "run", "-d", "--bundle", str(service.home), service.name]
    nowhere = subprocess.DEVNULL
    subprocess.run(command, check=True, stdin=nowhere, stdout=nowhere, stderr=nowhere, timeout=60)
    os.kill(service.pid(), signal.SIGKILL)
    systemctl("start", service.unit)
    assert show(service.unit, "ActiveState") == "active"


def test_a_container_that_cannot_start_fails_the_service(service: Service) -> None:
    service.drop_in("[Service]\nRestart=no\n")
    service.program("/no/such/program")
    systemctl("start", service.unit, check=False)
    assert show(service.unit, "ActiveState") == "failed"
    assert show(service.unit, "Result") == "exit-code"
    assert "/no/such/program" in journal("--unit", service.unit)
    assert gone(service)


def test_limits_of_the_unit_hold_in_the_container(service: Service) -> None:
    service.drop_in("[Service]\nMemoryMax=64M\nTasksMax=20\n")
    path = f"{service.unit}/container"
    service.bundle.config["linux"]["cgroupsPath"] = path
    service.start()
    with open(f"/proc/{service.pid()}/cgroup") as file:
        own = file.read().strip().partition("::")[2]
    assert own.endswith(f"/{path}"), own
    unit = Path("/sys/fs/cgroup" + own).parent
    assert (unit / "pids.max").read_text() == "20\n"
    assert (unit / "memory.max").read_text() == f"{64 << 20}\n"
    done = service.runc(
        "exec", service.name, "sh", "-c", "i=0; while [ $i -lt 30 ]; do sleep 9 & i=$((i+1)); done"
    )
    assert "can't fork" in done.stderr
    assert "started" in journal("--unit", service.unit).splitlines()
    systemctl("stop", service.unit)
    assert gone(service), journal("--unit", service.unit)
    assert not unit.exists()


def test_the_systemd_driver_in_a_service(service: Service) -> None:
    service.drop_in(
        "[Service]\nExecStart=\nExecStart=%s --systemd-cgroup run --detach --bundle /srv/%%i"
        " --pid-file /run/container-%%i.pid %%i\n" % service.bundle.runc
    )
    service.start()
    assert show(f"runc-{service.name}.scope", "ActiveState") == "active"
    assert int(show(service.unit, "MainPID")) == service.pid()
    systemctl("stop", service.unit)
    assert show(f"runc-{service.name}.scope", "LoadState") == "not-found"
    assert gone(service)


NOTIFY = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_un a = {AF_UNIX};
    const char *said = "READY=1\nSTATUS=serving";
    sleep(1);
    strcpy(a.sun_path, getenv("NOTIFY_SOCKET"));
    int s = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (sendto(s, said, strlen(said), 0, (void *)&a, sizeof a) < 0)
        return 1;
    for (;;)
        pause();
}
"""


def test_notify(service: Service) -> None:
    service.kind("container-notify")
    ways.static_program(NOTIFY, service.bundle.rootfs / "bin/notify")
    service.program("/bin/notify")
    with subprocess.Popen(["systemctl", "start", service.unit]) as starting:
        wait_until(lambda: show(service.unit, "ActiveState") == "activating", "the start")
        assert starting.wait(timeout=60) == 0
    assert show(service.unit, "ActiveState") == "active"
    assert int(show(service.unit, "MainPID")) == service.pid() > 0
    before = service.pid()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: int(show(service.unit, "NRestarts")) == 1, "a restart")
    wait_until(lambda: show(service.unit, "ActiveState") == "active", "the restarted one")
    assert service.pid() not in (0, before)


def test_notify_that_never_comes(service: Service) -> None:
    service.kind("container-notify")
    service.drop_in("[Service]\nRestart=no\nTimeoutStartSec=4\nTimeoutStopSec=4\n")
    service.program(*STEADY)
    systemctl("start", service.unit, check=False)
    assert show(service.unit, "Result") == "timeout"
    assert gone(service)


SERVE = r"""
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    if (!getenv("LISTEN_FDS") || atoi(getenv("LISTEN_FDS")) != 1 || atoi(getenv("LISTEN_PID")) != getpid())
        return 1;
    for (;;) {
        int c = accept(3, 0, 0);
        if (c < 0 || write(c, "served\n", 7) != 7)
            return 1;
        close(c);
    }
}
"""


def ask(path: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        return client.recv(100)


def test_socket_activation(service: Service) -> None:
    service.kind("container-socket")
    ways.static_program(SERVE, service.bundle.rootfs / "bin/serve")
    service.program("/bin/serve")
    systemctl("start", f"container-socket@{service.name}.socket")
    assert show(service.unit, "ActiveState") == "inactive"
    path = f"/run/container-{service.name}.sock"
    assert ask(path) == b"served\n"
    assert show(service.unit, "ActiveState") == "active"
    assert ask(path) == b"served\n"
    # The socket outlives a crash.
    pid = service.pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "its end")
    assert ask(path) == b"served\n"


def test_a_transient_service(bundle: Any) -> None:
    bundle.config["process"]["args"] = ["sh", "-c", "echo from the container; exit 3"]
    bundle.write()
    name = f"run-{bundle.id}"
    done = subprocess.run(
        ["systemd-run", "--quiet", "--wait", "--pipe", "--unit", name,
         *bundle.command("run", "--bundle", str(bundle.path), bundle.id)],
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "from the container\n"), done
    systemctl("reset-failed", name, check=False)
