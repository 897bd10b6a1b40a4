"""process.terminal: on the caller's terminal, and through --console-socket."""

from __future__ import annotations

import array
import fcntl
import hashlib
import os
import select
import signal
import socket
import struct
import termios
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.integration import traces
from tests.integration.callers import Caller
from tests.integration.traces import message


@pytest.fixture
def terminal(bundle: Any) -> Any:
    """A bundle that asks for a terminal, with a root file system to write to."""
    bundle.config["process"]["terminal"] = True
    bundle.config["root"]["readonly"] = False
    return bundle


@pytest.fixture
def on_terminal(terminal: Any) -> Iterator[Any]:
    """Start a verb on a terminal: `on_terminal("run", id)`; a Caller."""
    callers = []

    def start(*args: str, **options: Any) -> Caller:
        terminal.write()
        callers.append(Caller(terminal.command(*args), str(terminal.path), **options))
        return callers[-1]

    yield start
    for caller in callers:
        caller.close()


def script(bundle: Any, text: str) -> None:
    """Make a shell script the container's program."""
    bundle.config["process"]["args"] = ["sh", "-c", text]


def test_an_interactive_shell(terminal: Any, on_terminal: Any) -> None:
    terminal.config["process"]["args"] = ["sh"]
    caller = on_terminal("run", terminal.id)
    caller.see("/ ")
    assert caller.raw()
    caller.type("tty; stty size; id -u\n")
    # Each line once, echoed by the container's terminal; and one carriage return a line.
    caller.see(r"# [^t]*tty; stty size; id -u\r\n/dev/pts/0\r\n24 80\r\n0\r\n/ # ")
    caller.type("exit 3\n")
    assert caller.wait() == 3
    assert caller.restored()
    assert traces.of(terminal) == traces.NONE


def test_window_size(terminal: Any, on_terminal: Any) -> None:
    script(terminal, "trap 'stty size' WINCH; echo ready; while :; do read -t 0.05 x; done")
    caller = on_terminal("run", terminal.id)
    caller.see("ready")
    caller.resize(50, 132)
    caller.see("50 132")
    caller.resize(10, 20)
    caller.see("10 20")


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_interrupt_goes_to_the_container(verb: str, terminal: Any, on_terminal: Any) -> None:
    text = "trap 'echo INT; exit 4' INT; echo ready; while :; do sleep 0.02; done"
    if verb == "run":
        script(terminal, text)
        caller = on_terminal("run", terminal.id)
    else:
        detached(terminal)
        caller = on_terminal("exec", "-t", terminal.id, "sh", "-c", text)
    caller.see("ready")
    caller.type("\x03")
    caller.see("INT")
    assert caller.wait() == 4
    assert caller.restored()


def test_job_control_in_the_container(terminal: Any, on_terminal: Any) -> None:
    """The pty is its session's controlling terminal: ^C and ^Z reach the foreground alone."""
    terminal.config["process"]["args"] = ["sh"]
    caller = on_terminal("run", terminal.id)
    caller.see("/ # ")
    caller.type("sleep 1000\n")
    caller.see("sleep 1000\r\n")
    time.sleep(0.1)
    caller.type("\x03")
    caller.see("/ # ")
    caller.type("sleep 1000\n")
    caller.see("sleep 1000\r\n")
    time.sleep(0.1)
    caller.type("\x1a")
    caller.see(r"Stopped.*sleep 1000\r\n/ # ")
    caller.type("exec true\n")
    assert caller.wait() == 0


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1", "INT", "QUIT"])
def test_signals_for_runc(name: str, terminal: Any, on_terminal: Any) -> None:
    """They are for the container; whatever it does then, the caller gets its terminal back."""
    script(terminal, f"trap 'echo {name}; exit 5' {name}; echo ready; while :; do sleep 0.02; done")
    caller = on_terminal("run", terminal.id)
    caller.see("ready")
    os.kill(caller.pid, getattr(signal, f"SIG{name}"))
    caller.see(name)
    assert caller.wait() == 5
    assert caller.restored()


def test_killed_container(terminal: Any, on_terminal: Any) -> None:
    script(terminal, "echo ready; sleep 1000")
    caller = on_terminal("run", terminal.id)
    caller.see("ready")
    assert caller.raw()
    assert terminal.call("kill", terminal.id, "KILL").returncode == 0
    assert caller.wait() == 137
    assert caller.restored()
    assert traces.of(terminal) == traces.NONE


def test_container_deleted_by_another(terminal: Any, on_terminal: Any) -> None:
    script(terminal, "echo ready; sleep 1000")
    caller = on_terminal("run", terminal.id)
    caller.see("ready")
    assert terminal.call("delete", "--force", terminal.id).returncode == 0
    assert caller.wait() == 137
    assert caller.restored()


@pytest.mark.parametrize("fault", ["program", "hook", "mount", "startContainer"])
def test_failing_start(fault: str, terminal: Any, on_terminal: Any) -> None:
    status = 1
    if fault == "program":
        terminal.config["process"]["args"] = ["/nosuch"]
    elif fault == "hook":
        terminal.config["hooks"] = {"poststart": [{"path": "/bin/false"}]}
    elif fault == "mount":
        terminal.config["mounts"].append({"destination": "/x", "type": "nosuch", "source": "x"})
    else:
        terminal.config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
        status = 255
    caller = on_terminal("run", terminal.id)
    assert caller.wait() == status
    assert caller.restored()
    assert traces.of(terminal) == traces.NONE


def test_a_terminal_that_hangs_up(terminal: Any, on_terminal: Any) -> None:
    """runc stays with the container, which learns of it, and cleans up after it."""
    script(
        terminal,
        "trap 'sleep 0.3; stty -a >/dev/null; echo still; touch /tmp/heard; exit 0' HUP;"
        "echo ready; while :; do sleep 0.02; done",
    )
    caller = on_terminal("run", terminal.id)
    caller.see("ready")
    caller.hang_up()
    deadline = time.monotonic() + 15
    while os.waitpid(caller.pid, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    caller.status = 0
    assert (terminal.rootfs / "tmp" / "heard").exists()
    assert traces.of(terminal) == traces.NONE


def test_big_output_is_complete(terminal: Any, on_terminal: Any) -> None:
    """Also what was written just before the end, to a slow reader."""
    script(terminal, "seq 1 100000")
    caller = on_terminal("run", terminal.id)
    time.sleep(0.5)
    assert caller.wait() == 0
    assert caller.shown.decode().split("\r\n") == [*map(str, range(1, 100001)), ""]


def test_last_words(terminal: Any, on_terminal: Any) -> None:
    script(terminal, "echo last; kill -9 $$; exit 6")
    for _ in range(5):
        caller = on_terminal("run", terminal.id)
        assert (caller.wait(), caller.shown) == (6, b"last\r\n")


def test_big_input_is_complete(terminal: Any, on_terminal: Any) -> None:
    script(terminal, "stty raw -echo; echo ready; head -c 300000 | md5sum")
    caller = on_terminal("run", terminal.id)
    caller.see("ready")
    typed = "".join(f"{number:6d}" for number in range(50000))
    caller.type(typed)
    caller.see(hashlib.md5(typed.encode()).hexdigest())
    assert caller.wait() == 0


def test_output_that_nobody_reads(terminal: Any, on_terminal: Any) -> None:
    """The container goes on, and is cleaned up at its end."""
    reader, writer = os.pipe()
    os.close(reader)
    script(terminal, "seq 1 10000; echo x >/tmp/done; exit 7")
    caller = on_terminal("run", terminal.id, stdio={1: writer})
    os.close(writer)
    assert caller.wait() == 7
    assert (terminal.rootfs / "tmp" / "done").exists()
    assert caller.restored()
    assert traces.of(terminal) == traces.NONE


def test_input_from_a_pipe(terminal: Any, on_terminal: Any) -> None:
    """Its end is no end of file for the container's terminal: ^D is."""
    reader, writer = os.pipe()
    terminal.config["process"]["args"] = ["sh"]
    caller = on_terminal("run", terminal.id, stdio={0: reader})
    os.write(writer, b"echo from a pipe; tty\n")
    os.close(writer)
    os.close(reader)
    caller.see(r"from a pipe\r\n/dev/pts/0\r\n/ # ")
    assert terminal.state()["status"] == "running"


def test_input_that_cannot_be_read(terminal: Any, on_terminal: Any, scratch: Path) -> None:
    """Is no input, and no reason to leave the container alone."""
    write_only = os.open(scratch / "in", os.O_WRONLY | os.O_CREAT)
    script(terminal, "sleep 0.3; exit 7")
    caller = on_terminal("run", terminal.id, stdio={0: write_only})
    os.close(write_only)
    assert caller.wait() == 7
    assert traces.of(terminal) == traces.NONE


def test_redirected_everywhere_but_to_a_controlling_terminal(
    terminal: Any, on_terminal: Any
) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    script(terminal, "stty size >/tmp/size; exit 3")
    caller = on_terminal("run", terminal.id, stdio={0: null, 1: null, 2: null})
    os.close(null)
    assert caller.wait() == 3
    assert caller.restored()
    assert (terminal.rootfs / "tmp" / "size").read_text() == "24 80\n"


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_the_callers_terminal_stays_its_own(verb: str, terminal: Any, on_terminal: Any) -> None:
    """A process without a terminal that has another user writes to it, but does not come to own it."""
    process = terminal.config["process"]
    process.update(terminal=False, user={"uid": 1000, "gid": 1000})
    if verb == "exec":
        terminal.start()
        caller = on_terminal("exec", terminal.id, "echo", "hello")
    else:
        process["args"] = ["echo", "hello"]
        caller = on_terminal("run", terminal.id)
    caller.see("hello")
    assert caller.wait() == 0
    assert os.fstat(caller.slave).st_uid == os.geteuid()


def test_no_terminal_at_all(terminal: Any) -> None:
    terminal.config["process"]["args"] = ["true"]
    terminal.write()
    done = terminal.call("run", terminal.id, start_new_session=True)
    expected = "open /dev/tty: no such device or address"
    assert message(done) == f"runc run failed: {expected}"
    assert traces.of(terminal) == traces.NONE
    detached(terminal)
    done = terminal.call("exec", "-t", terminal.id, "true", start_new_session=True)
    assert message(done) == f"exec failed: {expected}"


def detached(bundle: Any) -> None:
    """A running container without a terminal."""
    bundle.config["process"]["terminal"] = False
    bundle.start()


def test_exec(terminal: Any, on_terminal: Any) -> None:
    detached(terminal)
    caller = on_terminal("exec", "-t", terminal.id, "sh")
    caller.see("/ # ")
    assert caller.raw()
    caller.type("tty; stty size\n")
    caller.see(r"/dev/pts/0\r\n24 80\r\n")
    caller.resize(30, 100)
    caller.type("stty size\n")
    caller.see("30 100")
    caller.type("exit 3\n")
    assert caller.wait() == 3
    assert caller.restored()
    caller = on_terminal("exec", "-t", terminal.id, "/nosuch")
    assert caller.wait() == 255
    assert caller.restored()


def test_exec_as_a_user_owns_its_terminal(terminal: Any, on_terminal: Any) -> None:
    detached(terminal)
    text = "stat -c '%u %a' $(tty); echo x >$(tty)"
    caller = on_terminal("exec", "-t", "-u", "1000:1000", terminal.id, "sh", "-c", text)
    assert caller.wait() == 0
    assert caller.shown == b"1000 620\r\nx\r\n"


class Receiver:
    """The other end of --console-socket."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen()
        self.socket.settimeout(20)
        self.master = -1

    def receive(self) -> bytes:
        """Take one message: its payload; the descriptor is `master`."""
        connection = self.socket.accept()[0]
        connection.settimeout(20)
        room = socket.CMSG_LEN(4 * array.array("i").itemsize)
        payload, ancillary, _, _ = connection.recvmsg(4096, room)
        fds = array.array("i")
        for level, kind, data in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(data)
        assert len(fds) == 1
        self.master = fds[0]
        assert connection.recvmsg(4096)[0] == b""
        connection.close()
        return payload

    def see(self, text: bytes) -> bytes:
        """Wait for text on the terminal; everything up to there."""
        shown = b""
        while text not in shown:
            assert select.select([self.master], [], [], 15)[0], shown
            shown += os.read(self.master, 4096)
        return shown

    def close(self) -> None:
        """Close all."""
        self.socket.close()
        if self.master >= 0:
            os.close(self.master)


@pytest.fixture
def receiver(scratch: Path) -> Iterator[Receiver]:
    made = Receiver(scratch / "console.sock")
    yield made
    made.close()


@pytest.mark.parametrize("verb", ["create", "run"])
def test_console_socket(verb: str, terminal: Any, receiver: Receiver) -> None:
    terminal.config["process"]["consoleSize"] = {"height": 33, "width": 99}
    script(terminal, "tty; stty size; read line; echo got $line; exit 9")
    terminal.write()
    options = ["--console-socket", receiver.path, *(["-d"] if verb == "run" else [])]
    done = terminal.call(verb, *options, terminal.id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert receiver.receive() == b"/dev/pts/0"
    if verb == "create":
        assert terminal.call("start", terminal.id).returncode == 0
    receiver.see(b"/dev/pts/0\r\n33 99\r\n")
    os.write(receiver.master, b"text\n")
    receiver.see(b"got text\r\n")
    terminal.wait_for("stopped")


def test_console_socket_for_exec(terminal: Any, receiver: Receiver) -> None:
    detached(terminal)
    options = ("-t", "-d", "--console-socket", receiver.path)
    done = terminal.exec("sh", "-c", "tty; sleep 1000", options=options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert receiver.receive() == b"/dev/pts/0"
    receiver.see(b"/dev/pts/0\r\n")
    fcntl.ioctl(receiver.master, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 6, 0, 0))


def test_console_socket_that_is_not_there(terminal: Any, scratch: Path) -> None:
    terminal.write()
    done = terminal.call("create", "--console-socket", f"{scratch}/none", terminal.id)
    assert message(done).endswith("connect: no such file or directory")
    assert traces.of(terminal) == traces.NONE


def test_console_socket_and_terminal_go_together(terminal: Any, receiver: Receiver) -> None:
    terminal.write()
    lacking = "cannot allocate tty if runc will detach without setting console socket"
    surplus = "cannot use console socket if runc will not detach or allocate tty"
    for verb in ("create", "run -d"):
        done = terminal.call(*verb.split(), terminal.id)
        assert message(done) == f"runc {verb.split()[0]} failed: {lacking}"
    done = terminal.call("run", "--console-socket", receiver.path, terminal.id)
    assert message(done) == f"runc run failed: {surplus}"
    detached(terminal)
    done = terminal.call("create", "--console-socket", receiver.path, terminal.id + "-2")
    assert message(done) == f"runc create failed: {surplus}"
    done = terminal.exec("true", options=("-t", "-d"))
    assert message(done) == f"exec failed: {lacking}"
    done = terminal.exec("true", options=("--console-socket", receiver.path))
    assert message(done) == f"exec failed: {surplus}"


def test_in_the_background(terminal: Any, on_terminal: Any) -> None:
    """What reads from a terminal in the background is stopped, and goes on in the foreground."""
    terminal.config["process"]["args"] = ["sh"]
    terminal.write()
    caller = Caller(["/bin/sh", "-i"], str(terminal.path))
    try:
        caller.see(r"[#$] ")
        caller.type(" ".join(terminal.command("run", terminal.id)) + " &\n")
        caller.see("/ # ")
        runner = int(caller_of(terminal.state()["pid"]))
        caller.type("\n")
        deadline = time.monotonic() + 30
        while not is_stopped(runner):
            assert time.monotonic() < deadline
            caller.type("\n")
            time.sleep(0.02)
        caller.type("fg\n")
        # Not before: the shell reads ahead what is typed before it has handed the terminal over.
        while is_stopped(runner):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        caller.type("echo $((6 * 7))\n")
        caller.see("42")
        caller.type("exit 3\n")
        terminal.wait_for(None)
        caller.see(r"[#$] ")
        caller.type("echo status $?; exit\n")
        caller.see("status 3")
    finally:
        caller.close()


def is_stopped(pid: int) -> bool:
    """Whether job control has stopped it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def caller_of(pid: int) -> str:
    """The parent of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
