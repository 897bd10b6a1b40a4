"""A caller on a terminal: what it types, what it sees, and what is done to its terminal."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import termios
import time
from typing import Any


class Caller:
    """A process on a new terminal of its own, of 24 lines and 80 columns.

    `stdio` are the descriptors that it gets in place of the terminal, by number.
    """

    def __init__(
        self, command: list[str], directory: str, stdio: dict[int, int] | None = None
    ) -> None:
        # The slave stays open here: its mode can be looked at after the process has ended.
        self.master, self.slave = os.openpty()
        self.resize(24, 80)
        self.before = self.mode()
        self.shown = b""
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
                for fd in (0, 1, 2):
                    os.dup2((stdio or {}).get(fd, self.slave), fd)
                os.closerange(3, 1000)
                os.chdir(directory)
                os.execve(command[0], command, {"PATH": os.environ["PATH"], "TERM": "dumb"})
            finally:
                os._exit(126)

    def mode(self) -> list[Any]:
        """The terminal's attributes, tcgetattr(3)."""
        return termios.tcgetattr(self.slave)

    def raw(self) -> bool:
        """Whether lines are neither edited nor echoed, nor ^C a signal."""
        return not self.mode()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size; the kernel tells the foreground by SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Type, however long it takes until all is taken."""
        data = text.encode()
        while data:
            readable, writable, _ = select.select([self.master], [self.master], [], 20)
            assert readable or writable, "nothing is read any more"
            if readable:
                self.shown += os.read(self.master, 65536)
            elif writable:
                data = data[os.write(self.master, data[:1024]) :]

    def look(self, seconds: float = 0.0) -> bool:
        """Take what is shown within this time; whether there was anything."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.shown += os.read(self.master, 65536)
        return True

    def see(self, pattern: str, seconds: float = 15) -> re.Match[str]:
        """Wait for text; what is shown up to its end is forgotten."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.shown.decode("utf-8", "replace")
            found = re.search(pattern, text)
            if found:
                self.shown = text[found.end() :].encode()
                return found
            assert time.monotonic() < deadline, (pattern, self.shown)
            self.look(0.1)

    def wait(self, seconds: float = 20) -> int:
        """The exit status (-N after signal N), after everything was shown."""
        deadline = time.monotonic() + seconds
        while self.status is None:
            self.look(0.05)
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.status = os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, self.shown
        while self.look():
            continue
        return self.status

    def restored(self) -> bool:
        """Whether the terminal has the mode that it had in the beginning."""
        return self.mode() == self.before

    def hang_up(self) -> None:
        """Close the terminal."""
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1

    def close(self) -> None:
        """End it all."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.master >= 0:
            self.hang_up()
