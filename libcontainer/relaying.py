"""Copying between the caller's terminal and the container's pty, with signals in the same loop."""

from __future__ import annotations

import posix
import select

from libc_bindings import signals, terminals
from libcontainer import supervise, terminal
from libcontainer.errors import Error, reason
from libcontainer.supervise import Relay

_CHUNK = 65536
# What cannot be caught, and what the kernel stops us by while we are in the caller's background: caught,
# the system call that it came for would be tried again for ever.
_UNCAUGHT = (signals.SIGKILL, signals.SIGSTOP, signals.SIGTTIN, signals.SIGTTOU)


def begin(connection: int) -> Relay:
    """Receive the pty's master and put the caller's terminal in raw mode."""
    master = terminal.receive(connection)
    if master < 0:
        raise Error("process.terminal: no pty came from the container")
    terminals.leave_newlines_alone(master)
    own = find_terminal()
    terminals.copy_size(own, master)
    return Relay(master, own, terminals.make_raw(own))


def find_terminal() -> int:
    """The first of stdin, stdout and stderr that is a terminal, else /dev/tty.  Error without one."""
    for fd in (0, 1, 2):
        if posix.isatty(fd):
            return fd
    try:
        return posix.open("/dev/tty", posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC)
    except OSError as error:
        raise Error(f"open /dev/tty: {reason(error)}") from None


def wait(pid: int, relay: Relay) -> int:
    """As supervise.wait(), with the terminal copied both ways; what is left in it is shown first."""
    waker, alarm = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
    caught: list[int] = []
    for number in signals.valid_signals():
        if number not in _UNCAUGHT:
            try:
                signals.signal(number, lambda number, frame: caught.append(number))
            except (OSError, ValueError):
                # glibc keeps the first real-time signals for itself.
                continue
    # The number of a signal is written here even if it comes just before poll(2).
    signals.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signals.unblock_all()
    waiting = select.poll()
    waiting.register(waker, select.POLLIN)
    waiting.register(relay.master, select.POLLIN)
    posix.set_blocking(relay.master, False)
    pending = b""
    # It is open: runc.py sees to that.
    reading = True
    waiting.register(0, select.POLLIN)
    status = supervise.reap(pid)
    while status is None:
        for fd, events in waiting.poll():
            if fd == waker:
                _drain(waker)
            elif fd == relay.master:
                if events & select.POLLOUT:
                    pending = _feed(relay.master, pending)
                if events & (select.POLLIN | select.POLLHUP) and not _show(relay.master):
                    waiting.unregister(relay.master)
            elif len(pending) < _CHUNK:
                try:
                    chunk = posix.read(0, _CHUNK)
                except BlockingIOError:
                    continue
                except OSError:
                    # A terminal that hung up, or a descriptor that is not for reading: as its end.
                    chunk = b""
                if chunk:
                    pending = _feed(relay.master, pending + chunk)
                else:
                    # As runc: the end of our input is no end of file for a terminal.
                    waiting.unregister(0)
                    reading = False
        _watch(waiting, relay.master, select.POLLIN | (select.POLLOUT if pending else 0))
        if reading:
            _watch(waiting, 0, select.POLLIN if len(pending) < _CHUNK else 0)
        while caught:
            signal = caught.pop(0)
            if signal == signals.SIGWINCH:
                _resize(relay)
            supervise.forward(pid, signal)
        status = supervise.reap(pid)
    signals.set_wakeup_fd(-1)
    while _show(relay.master):
        continue
    posix.close(relay.master)
    return status


def _resize(relay: Relay) -> None:
    try:
        terminals.copy_size(relay.terminal, relay.master)
    except OSError:
        # The caller's terminal hung up: it has no size any more.
        return


def _watch(waiting: select.poll, fd: int, events: int) -> None:
    try:
        waiting.modify(fd, events)
    except FileNotFoundError:
        # Its end was seen.
        return


def _drain(fd: int) -> None:
    try:
        while posix.read(fd, 512):
            continue
    except BlockingIOError:
        return


def _feed(master: int, pending: bytes) -> bytes:
    """Write what the pty takes; the rest."""
    try:
        return pending[posix.write(master, pending) :]
    except BlockingIOError:
        return pending
    except OSError:
        # EIO: nobody has the slave open.
        return b""


def _show(master: int) -> bool:
    """Copy a piece of output; False when there is no more (EIO: the last slave was closed)."""
    try:
        chunk = posix.read(master, _CHUNK)
    except OSError:
        # EAGAIN, or EIO.
        return False
    while chunk:
        try:
            chunk = chunk[posix.write(1, chunk) :]
        except BlockingIOError:
            writable = select.poll()
            writable.register(1, select.POLLOUT)
            writable.poll()
        except OSError:
            # Nobody reads any more; the container does not wait for that.
            break
    return True
