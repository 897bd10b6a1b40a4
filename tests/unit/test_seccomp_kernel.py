"""Filters in force: processes that load them and try."""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import importlib.util
import json
import os
import pathlib
import platform
import posix
import signal
import socket
import struct
import threading
from typing import Any, Callable

import pytest

from libc_bindings import seccomp as kernel
from libcontainer import channel as words
from libcontainer import seccomp, terminal
from libcontainer.errors import Error
from libcontainer.seccomp import Filter, notify
from tests.unit.seccomp_machine import (
    attempt,
    attempt_status,
    compare,
    default_allow,
    rule,
    syscall,
    syscall_i386,
)

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("pyseccomp") is None, reason="pyseccomp is not installed"
    ),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers here are x86_64's"),
]

MKDIR, GETPPID, DUP3, SOCKET, FTRUNCATE, READV, WRITEV, UNSHARE, MMAP = (
    83, 110, 292, 41, 77, 310, 311, 272, 9,
)  # fmt: skip
NOBODY = 65534

# What the Python process between load() and _exit() needs, and nothing that is tested here.
PYTHON = (
    "brk mmap munmap mremap madvise mprotect futex exit exit_group rt_sigprocmask rt_sigaction "
    "rt_sigreturn getpid gettid close read write"
)


def ready(profile: Any, tmp_path: pathlib.Path) -> seccomp.Filter:
    made = seccomp.filter_program(profile, str(tmp_path / "cache"))
    assert made is not None
    return made


def call(number: int, *args: int) -> Callable[[], int]:
    return lambda: syscall(number, *args)


def test_errno(tmp_path: pathlib.Path) -> None:
    rules = rule("mkdir"), rule("getppid", errnoRet=errno.ENETDOWN), rule("dup3", errnoRet=0)
    made = ready(default_allow(*rules), tmp_path)
    calls = call(MKDIR, 0, 0), call(GETPPID), call(DUP3, 0, 0, 0)
    assert attempt(made, *calls) == [-errno.EPERM, -errno.ENETDOWN, 0]


def test_in_force_without_no_new_privs(tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs CAP_SYS_ADMIN")
    made = ready(default_allow(rule("mkdir")), tmp_path)
    assert attempt(made, call(MKDIR, 0, 0), new_privs=True) == [-errno.EPERM]


def test_refused_without_privileges(tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("starts as root")
    made = ready(default_allow(rule("mkdir")), tmp_path)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            made.load()
        except Error as error:
            os.write(write_end, str(error).encode())
        finally:
            posix._exit(0)
    os.waitpid(pid, 0)
    os.close(write_end)
    text = os.read(read_end, 1000).decode()
    os.close(read_end)
    assert text.startswith("error loading seccomp filter into kernel: it needs process.noNewPriv")


def test_runcs_own_profile(tmp_path: pathlib.Path) -> None:
    """The cases of runc's seccomp_syscall_test1: masks, "or", "and", and calls it does not know."""
    allow = "SCMP_ACT_ALLOW"
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            rule(PYTHON + " statx", allow),
            rule("dup3", allow, args=[compare(0, "EQ", 1)]),
            rule("dup3", allow, args=[compare(0, "GT", 2)]),
            rule("ftruncate", allow, args=[compare(0, "EQ", 123456789), compare(1, "EQ", 1337)]),
            rule("process_vm_readv", allow, args=[compare(0, "EQ", 100), compare(0, "EQ", 9001)]),
            rule(
                "process_vm_writev",
                errnoRet=errno.ENOANO,
                args=[compare(0, "EQ", 1337), compare(0, "EQ", 2020)],
            ),
            rule("socket", allow, args=[compare(2, "MASKED_EQ", 0xF00, 0)]),
        ],
    }
    flags = 0xFFFFFFFF
    cases = [
        ((SOCKET, socket.AF_UNIX, socket.SOCK_STREAM, 0x0FF), -errno.EPROTONOSUPPORT),
        ((SOCKET, socket.AF_UNIX, socket.SOCK_STREAM, 0x100), -errno.EPERM),
        ((SOCKET, socket.AF_UNIX, socket.SOCK_STREAM, 0xC00), -errno.EPERM),
        ((READV, 100, 0, 0, 0, 0, flags), -errno.EINVAL),
        ((READV, 9001, 0, 0, 0, 0, flags), -errno.EINVAL),
        ((READV, 0, 0, 0, 0, 0, flags), -errno.EPERM),
        ((WRITEV, 1337, 0, 0, 0, 0, flags), -errno.ENOANO),
        ((WRITEV, 2020, 0, 0, 0, 0, flags), -errno.ENOANO),
        ((WRITEV, 0, 0, 0, 0, 0, flags), -errno.EPERM),
        ((FTRUNCATE, 123456789, 1337), -errno.EBADF),
        ((FTRUNCATE, 123456789, 0), -errno.EPERM),
        ((FTRUNCATE, 500, 1337), -errno.EPERM),
        ((DUP3, 0, 500, 0xFFFF), -errno.EPERM),
        ((DUP3, 1, 500, 0xFFFF), -errno.EINVAL),
        ((DUP3, 2, 500, 0xFFFF), -errno.EPERM),
        ((DUP3, 3, 500, 0xFFFF), -errno.EINVAL),
        ((UNSHARE, 0), -errno.EPERM),
        ((1000, 0xDEADBEEF, 0xCAFEFEED, 0x1337), -errno.ENOSYS),
    ]
    made = ready(profile, tmp_path)
    results = attempt(made, *(call(*numbers) for numbers, _ in cases))
    assert results == [expected for _, expected in cases]


@pytest.mark.parametrize(
    ("action", "killed"),
    [
        ("SCMP_ACT_KILL", signal.SIGSYS),
        ("SCMP_ACT_KILL_THREAD", signal.SIGSYS),
        ("SCMP_ACT_KILL_PROCESS", signal.SIGSYS),
        ("SCMP_ACT_TRAP", signal.SIGSYS),
    ],
)
def test_kill(action: str, killed: int, tmp_path: pathlib.Path) -> None:
    made = ready(default_allow(rule("mkdir", action)), tmp_path)
    results, status = attempt_status(made, call(GETPPID), call(MKDIR, 0, 0), call(GETPPID))
    assert results == [os.getpid()]
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == killed


def test_kill_process_takes_the_other_threads(tmp_path: pathlib.Path) -> None:
    made = ready(default_allow(rule("mkdir", "SCMP_ACT_KILL_PROCESS")), tmp_path)

    def from_a_thread() -> int:
        thread = threading.Thread(target=lambda: syscall(MKDIR, 0, 0))
        thread.start()
        thread.join()
        return 0

    results, status = attempt_status(made, from_a_thread)
    assert results == []
    assert os.WTERMSIG(status) == signal.SIGSYS


def test_log_and_trace(tmp_path: pathlib.Path) -> None:
    rules = rule("mkdir", "SCMP_ACT_LOG"), rule("getppid", "SCMP_ACT_TRACE")
    made = ready(default_allow(*rules), tmp_path)
    # Nobody traces: the kernel answers for the tracer.
    assert attempt(made, call(MKDIR, 0, 0), call(GETPPID)) == [-errno.EFAULT, -errno.ENOSYS]


def test_trap_can_be_handled(tmp_path: pathlib.Path) -> None:
    made = ready(default_allow(rule("mkdir", "SCMP_ACT_TRAP")), tmp_path)
    seen: list[int] = []

    def trapped() -> int:
        signal.signal(signal.SIGSYS, lambda *_: seen.append(1))
        syscall(MKDIR, 0, 0)
        return len(seen)

    assert attempt(made, trapped) == [1]


def test_i386_door(tmp_path: pathlib.Path) -> None:
    """A 64-bit process can make 32-bit system calls (int 0x80): no way around the filter."""
    if _try_i386() != 0:
        pytest.skip("this kernel has no 32-bit system calls")
    names = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    made = ready(default_allow(rule("mkdir"), architectures=names), tmp_path)
    results = attempt(made, lambda: syscall_i386(39), lambda: syscall_i386(64), call(MKDIR, 0, 0))
    assert results == [-errno.EPERM, os.getpid(), -errno.EPERM]
    # And what the profile does not list is closed altogether.
    made = ready(default_allow(rule("mkdir"), architectures=names[:1]), tmp_path)
    results, status = attempt_status(made, lambda: syscall_i386(64))
    assert results == []
    assert os.WTERMSIG(status) == signal.SIGSYS


def _try_i386() -> int:
    pid = os.fork()
    if pid == 0:
        posix._exit(0 if syscall_i386(20) == os.getpid() else 1)
    return os.waitpid(pid, 0)[1]


def test_x32(tmp_path: pathlib.Path) -> None:
    bit = 1 << 30
    names = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]
    made = ready(default_allow(rule("mkdir"), architectures=names), tmp_path)
    assert attempt(made, call(MKDIR | bit, 0, 0)) == [-errno.EPERM]


def test_filter_is_inherited_over_exec(tmp_path: pathlib.Path) -> None:
    made = ready(default_allow(rule("getcwd", errnoRet=errno.EXDEV)), tmp_path)
    pid = os.fork()
    if pid == 0:
        try:
            kernel_nnp()
            made.load()
            os.execv(
                "/bin/sh", ["sh", "-c", "test $(grep ^Seccomp: /proc/self/status | cut -f2) = 2"]
            )
        finally:
            posix._exit(99)
    assert os.waitpid(pid, 0)[1] == 0


def kernel_nnp() -> None:
    assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0


# ---- flags


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (None, kernel.SECCOMP_FILTER_FLAG_SPEC_ALLOW),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 4),
        (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"], 2),
        (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 6),
    ],
)
def test_flags(flags: list[str] | None, expected: int, tmp_path: pathlib.Path) -> None:
    profile = default_allow(rule("mkdir"))
    if flags is not None:
        profile["flags"] = flags
    made = ready(profile, tmp_path)
    assert made.flags == expected
    assert attempt(made, call(MKDIR, 0, 0)) == [-errno.EPERM]


def test_wait_killable_needs_a_listener(tmp_path: pathlib.Path) -> None:
    name = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    with pytest.raises(Error, match="needs a rule with SCMP_ACT_NOTIFY"):
        ready(default_allow(rule("mkdir"), flags=[name]), tmp_path)
    if not seccomp.flag_supported(name):
        pytest.skip("needs Linux 5.19")
    profile = default_allow(rule("mkdir", "SCMP_ACT_NOTIFY"), flags=[name], listenerPath="/agent")
    assert ready(profile, tmp_path).flags == 40


def test_unknown_flag(tmp_path: pathlib.Path) -> None:
    with pytest.raises(Error, match="seccomp flag SECCOMP_FILTER_FLAG_FAST is not known to runc"):
        ready(default_allow(flags=["SECCOMP_FILTER_FLAG_FAST"]), tmp_path)
    assert not seccomp.flag_supported("SECCOMP_FILTER_FLAG_FAST")


def test_the_kernel_is_asked() -> None:
    assert kernel.flags_available(0)
    assert not kernel.flags_available(1 << 20)
    assert kernel.action_available(kernel.SECCOMP_RET_KILL_PROCESS)
    assert not kernel.action_available(0x12340000)


def test_no_section(tmp_path: pathlib.Path) -> None:
    assert seccomp.filter_program({"defaultAction": ""}, str(tmp_path)) is None
    assert seccomp.filter_program({}, str(tmp_path)) is None


# ---- SCMP_ACT_NOTIFY

SECCOMP_IOCTL_NOTIF_RECV = 0xC0502100
SECCOMP_IOCTL_NOTIF_SEND = 0xC0182101


def answer_one(listener: int, value: int, error: int) -> tuple[int, int]:
    """Answer one notification; returns the process and the number of its system call."""
    request = bytearray(80)
    fcntl.ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, request)
    number, pid, _, call_number = struct.unpack_from("=QIIi", request)
    fcntl.ioctl(
        listener, SECCOMP_IOCTL_NOTIF_SEND, bytearray(struct.pack("=QqiI", number, value, error, 0))
    )
    return pid, call_number


@pytest.mark.parametrize("abstract", [False, True])
def test_listener_reaches_the_agent(abstract: bool, tmp_path: pathlib.Path) -> None:
    """All the way: init loads, its helper sends, the host hands over, the agent answers."""
    path = "@seccomp-test-%d" % os.getpid() if abstract else str(tmp_path / "agent.sock")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind("\0" + path[1:] if abstract else path)
    server.listen(1)
    profile = default_allow(
        rule("mkdir", "SCMP_ACT_NOTIFY"), listenerPath=path, listenerMetadata="bar"
    )
    made = ready(profile, tmp_path)
    assert made.listener
    made.inbox, made.outbox = terminal.pair()
    ours, theirs = words.pair()
    agent = notify.connect(path)
    pid = os.fork()
    if pid == 0:
        try:
            # The agent takes the end of the connection for the end of the message.
            os.close(agent)
            signal.setitimer(signal.ITIMER_REAL, 20)
            kernel_nnp()
            ours.close()
            notify.load(made, theirs)
            posix._exit(0 if (syscall(MKDIR, 0, 0), syscall(MKDIR, 0, 0)) == (77, -123) else 1)
        finally:
            posix._exit(99)
    assert ours.receive() == (words.LISTENER, None)
    state = {"ociVersion": "1.3.0", "id": "c1", "status": "creating", "pid": pid, "bundle": "/b"}
    state["annotations"] = {"long": "x" * 300000}
    sender = threading.Thread(target=notify.hand_over, args=(agent, made, pid, state, "bar"))
    sender.start()
    connection, _ = server.accept()
    fds = array.array("i")
    data, ancillary, _, _ = connection.recvmsg(1 << 20, socket.CMSG_LEN(16))
    for _, _, content in ancillary:
        fds.frombytes(content)
    while True:
        chunk = connection.recv(1 << 20)
        if not chunk:
            break
        data += chunk
    sender.join()
    ours.send(words.GO)
    message = json.loads(data)
    assert list(message) == ["ociVersion", "fds", "pid", "metadata", "state"]
    assert message["fds"] == ["seccompFd"]
    assert (message["pid"], message["metadata"], message["state"]) == (pid, "bar", state)
    assert len(fds) == 1
    assert answer_one(fds[0], 77, 0) == (pid, MKDIR)
    assert answer_one(fds[0], 0, -123) == (pid, MKDIR)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(fds[0])
    ours.close()
    theirs.close()
    connection.close()
    server.close()


def test_agent_is_gone(tmp_path: pathlib.Path) -> None:
    """Without an agent the kernel answers ENOSYS; nothing hangs."""
    profile = default_allow(rule("mkdir", "SCMP_ACT_NOTIFY"), listenerPath="/agent")
    made = ready(profile, tmp_path)
    pid = os.fork()
    if pid == 0:
        try:
            kernel_nnp()
            listener = made.load()
            # exec must not keep the agent's descriptor open.
            assert not os.get_inheritable(listener)
            os.close(listener)
            posix._exit(0 if syscall(MKDIR, 0, 0) == -errno.ENOSYS else 1)
        finally:
            posix._exit(99)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("path", ["/nowhere/agent.sock", "@nobody-listens-here", "/" + "x" * 200])
def test_no_agent(path: str) -> None:
    with pytest.raises(
        Error, match="failed to connect with seccomp agent specified in the seccomp"
    ):
        notify.connect(path)


def test_no_listener_path(tmp_path: pathlib.Path) -> None:
    with pytest.raises(Error, match="seccomp listenerPath is not set"):
        ready(default_allow(rule("mkdir", "SCMP_ACT_NOTIFY")), tmp_path)


def test_process_that_is_gone() -> None:
    """Before its listener was sent: no wait for ever."""
    filter = Filter(b"", 0)
    filter.inbox, filter.outbox = terminal.pair()
    with pytest.raises(Error, match="cannot get the seccomp fd from the container: its process"):
        notify.hand_over(-1, filter, 1, {})
