"""A seccomp agent for tests: it takes listeners over a socket and answers for the kernel."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
import threading
from typing import Any

_RECV = 0xC0502100
_SEND = 0xC0182101
_CONTINUE = 1

CLOSE, EXECVE, MKDIR, CHMOD, FCHMOD, FCHMODAT = 3, 59, 83, 90, 91, 268
ENOMEDIUM = 123


class Agent:
    """Lets everything pass, but: mkdir(x) makes x-METADATA instead, chmod fails with ENOMEDIUM."""

    def __init__(self, path: str) -> None:
        self.messages: list[dict[str, Any]] = []
        self.path = path
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind("\0" + path[1:] if path.startswith("@") else path)
        self._server.listen(8)
        self._listeners: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening and let go of all containers."""
        # shutdown(2) wakes the accept(2) in the thread, close(2) would not.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            listener, message = _take(connection)
            if not message:
                # The runtime connects before it makes anything, and then may have to give up.
                continue
            self.messages.append(message)
            thread = threading.Thread(target=_serve, args=(listener, message), daemon=True)
            thread.start()


def _take(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    fds = array.array("i")
    data, ancillary, _, _ = connection.recvmsg(1 << 16, socket.CMSG_LEN(4))
    for _, _, content in ancillary:
        fds.frombytes(content)
    while True:
        chunk = connection.recv(1 << 16)
        if not chunk:
            break
        data += chunk
    connection.close()
    if not data:
        return -1, {}
    assert len(fds) == 1
    return fds[0], json.loads(data)


def _serve(listener: int, message: dict[str, Any]) -> None:
    request = bytearray(80)
    while True:
        request[:] = bytes(80)
        try:
            fcntl.ioctl(listener, _RECV, request)
            number, pid, _, call = struct.unpack_from("=QIIi", request)
            args = struct.unpack_from("=6Q", request, 32)
            answer = _answer(number, pid, call, args, message.get("metadata", ""))
            fcntl.ioctl(listener, _SEND, bytearray(answer))
        except FileNotFoundError:
            # The process died, or nobody is left under the filter.
            if not _anyone_left(listener):
                os.close(listener)
                return


def _anyone_left(listener: int) -> bool:
    import select

    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return not any(events & select.POLLHUP for _, events in poll.poll(0))


def _answer(number: int, pid: int, call: int, args: tuple[int, ...], metadata: str) -> bytes:
    if call == MKDIR:
        name = _string_of(pid, args[0]) + "-" + metadata
        os.mkdir("/proc/%d/root%s" % (pid, name), 0o755)
        return struct.pack("=QqiI", number, 0, 0, 0)
    if call in (CHMOD, FCHMOD, FCHMODAT):
        return struct.pack("=QqiI", number, 0, -ENOMEDIUM, 0)
    return struct.pack("=QqiI", number, 0, 0, _CONTINUE)


def _string_of(pid: int, address: int) -> str:
    with open("/proc/%d/mem" % pid, "rb") as memory:
        memory.seek(address)
        return memory.read(256).split(b"\0", 1)[0].decode()
