"""Descriptors and sockets that are handed over: preserved ones, consoles, pidfds, sd_notify(3)."""

from __future__ import annotations

import array
import os
import select
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Iterator

import pytest

from tests.integration import ways

if TYPE_CHECKING:
    from tests.conftest import Bundle


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One message and its descriptors; fails after ten seconds."""
    connection.settimeout(10)
    fds = array.array("i")
    payload, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(8 * fds.itemsize))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return payload, list(fds)


class Receiver:
    """A listening stream socket at `path`, which takes one connection."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        here = os.open(path.parent, os.O_RDONLY)
        self.listener.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
        self.listener.listen()
        self.listener.settimeout(10)

    def take(self) -> tuple[bytes, list[int]]:
        connection, _ = self.listener.accept()
        with connection:
            message = receive(connection)
            assert connection.recv(1) == b"", "one message, and no more"
        return message


@pytest.fixture
def receiver(bundle: Bundle) -> Iterator[Receiver]:
    made = Receiver(bundle.path / "receiver.sock")
    yield made
    made.listener.close()


def read_all(fd: int, seconds: float = 10) -> bytes:
    """What comes from a pty's master until its other side is closed."""
    shown = b""
    while select.select([fd], [], [], seconds)[0]:
        try:
            chunk = os.read(fd, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    os.close(fd)
    return shown


# --preserve-fds and LISTEN_FDS

LIST = ("sh", "-c", "ls /proc/self/fd | xargs; env | grep ^LISTEN; true")


def with_descriptors(bundle: Bundle, program: str, *command: str) -> str:
    """Run `command` behind a shell snippet that opens descriptors."""
    script = f'{program}; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, text=True, check=False,
        env=bundle.environment, cwd=bundle.path, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done
    return done.stdout


def test_preserved(bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["sh", "-c", "cat <&4; ls /proc/self/fd | xargs"]
    bundle.write()
    (bundle.path / "text").write_text("kept\n")
    shown = with_descriptors(
        bundle, "exec 3</etc/passwd 4<text 5</etc/passwd 9</etc/passwd",
        *bundle.command("run", "--preserve-fds", "2", bundle.id),
    )  # fmt: skip
    assert shown.split("\n")[:2] == ["kept", "0 1 2 3 4 5"]


def test_preserved_descriptor_is_missing(bundle: Bundle) -> None:
    done = bundle.run("true", options=("--preserve-fds", "1"))
    assert done.returncode == 1
    assert "unable to stat preserved-fd 0 (of 1): no such file or directory" in done.stderr
    assert bundle.state() == {}


def listen(bundle: Bundle, pid: str, count: str, *options: str) -> list[str]:
    bundle.config["process"]["args"] = list(LIST)
    bundle.write()
    command = bundle.command("run", *options, bundle.id)
    opened = "exec 3</etc/passwd 4</etc/passwd 5</etc/passwd"
    program = f"{opened}; export LISTEN_FDS={count} LISTEN_PID={pid}"
    return with_descriptors(bundle, program, *command).split("\n")[:-1]


def test_socket_activation(bundle: Bundle) -> None:
    assert listen(bundle, "$$", "2") == ["0 1 2 3 4 5", "LISTEN_FDS=2", "LISTEN_PID=1"]


def test_socket_activation_of_somebody_else(bundle: Bundle) -> None:
    assert listen(bundle, "1", "2") == ["0 1 2 3"]


def test_socket_activation_and_preserved(bundle: Bundle) -> None:
    shown = listen(bundle, "$$", "1", "--preserve-fds", "2")
    assert shown == ["0 1 2 3 4 5 6", "LISTEN_FDS=1", "LISTEN_PID=1"]


def test_created_container_holds_nothing_else_open(bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["sleep", "100"]
    bundle.write()
    command = bundle.command("create", bundle.id)
    reader, writer = os.pipe()
    subprocess.run(
        command, env=bundle.environment, cwd=bundle.path, pass_fds=(writer,), check=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writer)
    assert select.select([reader], [], [], 5)[0], "the other end is still open"
    assert os.read(reader, 1) == b""
    os.close(reader)


# --console-socket


def terminal(bundle: Bundle, *program: str) -> None:
    bundle.config["process"].update(terminal=True, args=list(program))
    bundle.write()


def test_console_socket_of_run(bundle: Bundle, receiver: Receiver) -> None:
    terminal(bundle, "sh", "-c", "tty; stat -c %t:%T /dev/console; stty size; read x; echo got $x")
    bundle.config["process"]["consoleSize"] = {"height": 33, "width": 77}
    bundle.write()
    done = bundle.call("run", "-d", "--console-socket", receiver.path, bundle.id)
    assert done.returncode == 0, done
    payload, (master,) = receiver.take()
    assert payload.startswith(b"/dev/pts/")
    os.write(master, b"typed\n")
    shown = read_all(master).replace(b"\r", b"").split(b"\n")
    assert shown[0] == payload
    assert b"33 77" in shown
    assert b"got typed" in shown


def test_console_socket_of_create(bundle: Bundle, receiver: Receiver) -> None:
    terminal(bundle, "sh", "-c", "echo here >/dev/console")
    assert bundle.call("create", "--console-socket", receiver.path, bundle.id).returncode == 0
    _, (master,) = receiver.take()
    assert bundle.call("start", bundle.id).returncode == 0
    assert b"here" in read_all(master)


@pytest.mark.parametrize("way", [ways.EXEC, ways.PROCESS])
def test_console_socket_of_exec(bundle: Bundle, receiver: Receiver, way: str) -> None:
    size = {"consoleSize": {"height": 21, "width": 42}}
    options = ("-t", "-d", "--console-socket", receiver.path)
    done = ways.shell(bundle, way, "tty; stty size", size, options=options)
    assert done.returncode == 0, done
    payload, (master,) = receiver.take()
    shown = read_all(master)
    assert payload in shown
    assert b"21 42" in shown


def test_console_belongs_to_the_user(bundle: Bundle, receiver: Receiver) -> None:
    terminal(bundle, "sh", "-c", "echo fine >/proc/self/fd/1; : <$(tty) && echo opened")
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    bundle.write()
    assert bundle.call("run", "-d", "--console-socket", receiver.path, bundle.id).returncode == 0
    shown = read_all(receiver.take()[1][0])
    assert b"fine" in shown
    assert b"opened" in shown


def test_console_socket_with_a_long_path(bundle: Bundle) -> None:
    directory = bundle.path / ("d" * 120)
    directory.mkdir()
    receiver = Receiver(directory / "console.sock")
    terminal(bundle, "echo", "hello")
    done = bundle.call("run", "-d", "--console-socket", receiver.path, bundle.id)
    assert done.returncode == 0, done
    assert b"hello" in read_all(receiver.take()[1][0])


def test_console_socket_that_is_missing(bundle: Bundle) -> None:
    terminal(bundle, "true")
    done = bundle.call("create", "--console-socket", "/no/such.sock", bundle.id)
    assert done.returncode == 1
    assert "/no/such.sock: connect: no such file or directory" in done.stderr
    assert bundle.state() == {}


def test_console_socket_without_terminal(bundle: Bundle, receiver: Receiver) -> None:
    done = bundle.create("true", options=("--console-socket", receiver.path))
    assert done.returncode == 1
    fault = "cannot use console socket if runc will not detach or allocate tty"
    assert fault in done.stderr


def test_terminal_without_console_socket(bundle: Bundle) -> None:
    terminal(bundle, "true")
    done = bundle.call("create", bundle.id)
    assert done.returncode == 1
    fault = "cannot allocate tty if runc will detach without setting console socket"
    assert fault in done.stderr


def test_terminal_that_the_image_replaced(bundle: Bundle, receiver: Receiver) -> None:
    terminal(bundle, "true")
    mounts = bundle.config["mounts"]
    bundle.config["mounts"] = [m for m in mounts if m["destination"] not in ("/dev", "/dev/pts")]
    bundle.config["root"]["readonly"] = False
    (bundle.rootfs / "dev/ptmx").write_text("")
    bundle.write()
    done = bundle.call("create", "--console-socket", receiver.path, bundle.id)
    assert done.returncode == 1
    assert "process.terminal" in done.stderr or "/dev/ptmx" in done.stderr


def test_bad_console_size(bundle: Bundle, receiver: Receiver) -> None:
    terminal(bundle, "true")
    bundle.config["process"]["consoleSize"] = {"height": 70000, "width": 80}
    bundle.write()
    done = bundle.call("create", "--console-socket", receiver.path, bundle.id)
    assert done.returncode == 1
    assert "process.consoleSize.height" in done.stderr


# --pidfd-socket


def test_pidfd_of_the_container(bundle: Bundle, receiver: Receiver) -> None:
    bundle.start(options=("--pidfd-socket", receiver.path))
    payload, (pidfd,) = receiver.take()
    assert payload == b"standard"
    assert pid_of(pidfd) == bundle.state()["pid"]


def test_pidfd_of_exec(bundle: Bundle, receiver: Receiver) -> None:
    bundle.start()
    options = ("--pidfd-socket", receiver.path, "-d", "--pid-file", "pid")
    assert bundle.exec("sleep", "100", options=options).returncode == 0
    payload, (pidfd,) = receiver.take()
    assert payload == b"setns"
    assert pid_of(pidfd) == int((bundle.path / "pid").read_text())


def pid_of(pidfd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    os.close(pidfd)
    return int(next(line for line in lines if line.startswith("Pid:")).split()[1])


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_pidfd_socket_that_is_missing(bundle: Bundle, verb: str) -> None:
    options = ("--pidfd-socket", "/no/such.sock")
    if verb == "run":
        done = bundle.run("sleep", "100", options=("-d", *options))
        assert bundle.state() == {}
    else:
        bundle.start()
        done = bundle.exec("sleep", "100", options=("-d", *options))
        assert bundle.call("ps", "-f", "json", bundle.id).stdout.count(",") == 0
    assert done.returncode == (1 if verb == "run" else 255)
    assert "/no/such.sock: connect: no such file or directory" in done.stderr


# NOTIFY_SOCKET


class Manager:
    """A service manager's notification socket."""

    def __init__(self, path: Path, abstract: bool = False) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"runc-test-{os.getpid()}"
        self.socket.bind(f"\0{name}" if abstract else str(path))
        self.name = f"@{name}" if abstract else str(path)
        self.messages: list[bytes] = []

    def collect(self, seconds: float = 10) -> None:
        """Take messages up to the barrier, which is then let go."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            payload, fds = receive(self.socket)
            self.messages.append(payload)
            for fd in fds:
                os.close(fd)
            if payload == b"BARRIER=1":
                assert fds
                return
        pytest.fail(f"no barrier after {self.messages}")


# busybox has nothing that sends datagrams to a Unix socket.
NOTIFY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sockaddr_un a = {AF_UNIX};
    strcpy(a.sun_path, getenv("NOTIFY_SOCKET"));
    int s = socket(AF_UNIX, SOCK_DGRAM, 0);
    for (int i = 1; i < argc; i++)
        if (sendto(s, argv[i], strlen(argv[i]), 0, (void *)&a, sizeof a) < 0)
            return perror("sendto"), 1;
    return 0;
}
"""


@pytest.fixture
def notifying(bundle: Bundle) -> Bundle:
    """A bundle with /bin/notify MESSAGE…."""
    ways.static_program(NOTIFY, bundle.rootfs / "bin/notify")
    return bundle


@pytest.fixture
def manager(bundle: Bundle) -> Iterator[Manager]:
    made = Manager(bundle.path / "manager.sock")
    bundle.environment = {**bundle.environment, "NOTIFY_SOCKET": made.name}
    yield made
    made.socket.close()


def collecting(manager: Manager) -> threading.Thread:
    thread = threading.Thread(target=manager.collect)
    thread.start()
    return thread


def test_ready_of_a_detached_container(notifying: Bundle, manager: Manager) -> None:
    thread = collecting(manager)
    notifying.start("sh", "-c", "notify 'STATUS=early' 'X=1\nREADY=1\nY=2'; exec sleep 100")
    thread.join()
    pid = notifying.state()["pid"]
    assert manager.messages == [b"READY=1\n", b"MAINPID=%d\n" % pid, b"BARRIER=1"]


def test_ready_at_start(notifying: Bundle, manager: Manager) -> None:
    assert notifying.create("sh", "-c", "notify READY=1; exec sleep 100").returncode == 0
    thread = collecting(manager)
    assert notifying.call("start", notifying.id).returncode == 0
    thread.join()
    pid = notifying.state()["pid"]
    assert manager.messages == [b"READY=1\n", b"MAINPID=%d\n" % pid, b"BARRIER=1"]


def test_start_that_has_nobody_to_tell(notifying: Bundle, manager: Manager) -> None:
    """A `start` by hand does not wait for a program that may never be ready."""
    assert notifying.create("sleep", "100").returncode == 0
    del notifying.environment["NOTIFY_SOCKET"]
    assert notifying.call("start", notifying.id, timeout=20).returncode == 0
    assert notifying.state()["status"] == "running"


def test_ready_in_the_foreground(notifying: Bundle, manager: Manager) -> None:
    notifying.config["process"]["args"] = [
        "sh",
        "-c",
        "sleep 0.3; notify READY=1; sleep 0.3; exit 9",
    ]
    notifying.write()
    thread = collecting(manager)
    with subprocess.Popen(
        notifying.command("run", notifying.id), env=notifying.environment, cwd=notifying.path
    ) as process:
        thread.join()
        assert manager.messages[1] == b"MAINPID=%d\n" % process.pid
    assert process.returncode == 9


def test_foreground_is_not_deaf_before_ready(notifying: Bundle, manager: Manager) -> None:
    notifying.config["process"]["args"] = [
        "sh",
        "-c",
        "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done",
    ]
    notifying.write()
    with subprocess.Popen(
        notifying.command("run", notifying.id), env=notifying.environment, cwd=notifying.path,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(timeout=10) == 3


def test_start_that_waits_keeps_nobody_out(notifying: Bundle, manager: Manager) -> None:
    assert notifying.create("sleep", "100").returncode == 0
    with subprocess.Popen(
        notifying.command("start", notifying.id), env=notifying.environment
    ) as process:
        notifying.wait_for("running")
        assert process.poll() is None
        assert notifying.call("delete", "-f", notifying.id).returncode == 0
        assert process.wait(timeout=10) == 0


def test_never_ready(notifying: Bundle, manager: Manager) -> None:
    done = notifying.run("notify", "STOPPING=1", options=("-d",))
    assert done.returncode == 0
    manager.socket.settimeout(0.2)
    with pytest.raises(OSError):
        manager.socket.recv(100)


def test_abstract_socket(notifying: Bundle) -> None:
    manager = Manager(notifying.path, abstract=True)
    notifying.environment = {**notifying.environment, "NOTIFY_SOCKET": manager.name}
    thread = collecting(manager)
    assert notifying.run("notify", "READY=1", options=("-d",)).returncode == 0
    thread.join()
    manager.socket.close()


def test_ordinary_user_may_notify(notifying: Bundle, manager: Manager) -> None:
    notifying.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    thread = collecting(manager)
    assert notifying.run("notify", "READY=1", options=("-d",)).returncode == 0
    thread.join()


def test_socket_of_the_host_is_out_of_reach(notifying: Bundle, manager: Manager) -> None:
    thread = collecting(manager)
    notifying.config["process"]["env"].append(f"NOTIFY_SOCKET={manager.name}")
    shown = notifying.output("notify READY=1; echo $NOTIFY_SOCKET; touch /run/notify/x || echo no")
    thread.join()
    assert shown.split() == ["/run/notify/notify.sock", "no"]


def test_manager_that_is_gone(notifying: Bundle, manager: Manager) -> None:
    os.unlink(manager.name)
    done = notifying.run("sh", "-c", "notify READY=1; exec sleep 100", options=("-d",))
    assert done.returncode == 1
    assert "NOTIFY_SOCKET" in done.stderr
