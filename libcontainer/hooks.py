"""Hooks: runtime-spec, config.md, "POSIX-platform Hooks"."""

from __future__ import annotations

import posix
import select
import time

from libc_bindings import paths as descriptors
from libc_bindings import signals
from libcontainer import jsonio, log
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOST_OUTPUT = 1 << 16


def any_of(hooks: Any, *kinds: str) -> bool:
    """Whether the config has a hook of one of these kinds."""
    return bool(hooks) and any(hooks.get(kind) for kind in kinds)


def state(state: dict[str, Any], status: str, pid: int) -> dict[str, Any]:
    """What hooks get on their standard input: `state` with this status and pid (0: none)."""
    full = {"ociVersion": state["ociVersion"], "id": state["id"], "status": status}
    if pid:
        full["pid"] = pid
    full["bundle"] = state["bundle"]
    if state.get("annotations"):
        full["annotations"] = state["annotations"]
    return full


def run(hooks: Any, kind: str, state: dict[str, Any], directory: str, environment: Any) -> None:
    """Run all hooks of a kind (`prestart`…), in order, with `state` on their standard input.

    `directory` is their working directory; `environment` (bytes to bytes) is for those that bring
    none of their own. Raises Error at the first that fails, times out, or cannot be run; but for
    `poststop`, where the runtime-spec wants a warning, and the others to run all the same.
    """
    entries = (hooks or {}).get(kind)
    if not entries:
        return
    text = jsonio.dumps(state).encode("utf-8", "surrogateescape")
    for index, hook in enumerate(entries):
        log.debug(f"running {kind} hook #{index}: {hook['path']}")
        fault = _run_one(hook, text, directory, environment)
        if not fault:
            continue
        message = f"error running {kind} hook #{index}: {fault}"
        if kind != "poststop":
            raise Error(message)
        log.warning(message)


def _run_one(hook: Any, state: bytes, directory: str, environment: Any) -> str:
    """Run one hook; what went wrong, "" if nothing did."""
    timeout = hook.get("timeout")
    deadline = None if timeout is None else time.monotonic() + timeout
    pipes = [posix.pipe2(posix.O_CLOEXEC) for _ in range(4)]
    (stdin, feed), (out, stdout), (err, stderr), (fault, told) = pipes
    pid = posix.fork()
    if pid == 0:
        _become(hook, (stdin, stdout, stderr), told, directory, environment)
    for fd in (stdin, stdout, stderr, told):
        posix.close(fd)
    try:
        output, late = _converse(feed, state, (out, err, fault), deadline)
        if not late:
            late = not _exits(pid, deadline)
        if late:
            posix.kill(pid, signals.SIGKILL)
    finally:
        for fd in (out, err, fault):
            posix.close(fd)
    status = posix.waitpid(pid, 0)[1]
    if late:
        return f"hook ran past specified timeout of {float(timeout)}s"
    if output[2]:
        return f"fork/exec {hook['path']}: {output[2].decode('utf-8', 'replace')}"
    if status == 0:
        return ""
    if posix.WIFSIGNALED(status):
        end = "signal: " + signals.strsignal(posix.WTERMSIG(status)).lower()  # type: ignore[union-attr]
    else:
        end = f"exit status {posix.WEXITSTATUS(status)}"
    said = [part.decode("utf-8", "replace") for part in output[:2]]
    return f"{end}, stdout: {said[0]}, stderr: {said[1]}"


def _become(hook: Any, stdio: Any, told: int, directory: str, environment: Any) -> None:
    """In the child: exec the hook, or say through `told` why not."""
    try:
        for target, fd in enumerate(stdio):
            posix.dup2(fd, target)
        if hook.get("env"):
            pairs = (entry.encode("utf-8", "surrogateescape") for entry in hook["env"])
            environment = {name: value for name, _, value in (p.partition(b"=") for p in pairs)}
        posix.chdir(directory)
        reset_signals()
        close_on_exec(3)
        arguments = hook.get("args") or [hook["path"]]
        posix.execve(hook["path"], arguments, environment)
    except OSError as error:
        posix.write(told, (error.strerror or str(error)).lower().encode("utf-8", "replace"))
    finally:
        posix._exit(127)


def _converse(
    feed: int, state: bytes, readers: tuple[int, ...], deadline: float | None
) -> tuple[list[bytes], bool]:
    """Write the state and read what comes until all ends are closed; and whether it got too late."""
    output = [b"" for _ in readers]
    waiting = select.poll()
    for fd in readers:
        waiting.register(fd, select.POLLIN)
    posix.set_blocking(feed, False)
    waiting.register(feed, select.POLLOUT)
    open_ends = len(readers)
    feeding = True
    while open_ends:
        left = None if deadline is None else max(0, deadline - time.monotonic()) * 1000
        events = waiting.poll(left)
        if not events and left is not None:
            break
        for fd, _ in events:
            if fd == feed:
                state = _feed(feed, state)
                if not state:
                    waiting.unregister(feed)
                    posix.close(feed)
                    feeding = False
                continue
            chunk = posix.read(fd, 65536)
            if chunk:
                index = readers.index(fd)
                output[index] = (output[index] + chunk)[:_MOST_OUTPUT]
            else:
                waiting.unregister(fd)
                open_ends -= 1
    if feeding:
        posix.close(feed)
    return output, open_ends > 0


def _feed(fd: int, state: bytes) -> bytes:
    """Write a piece of the state; what is left, nothing if the hook does not read it."""
    try:
        return state[posix.write(fd, state) :]
    except BrokenPipeError:
        return b""


def _exits(pid: int, deadline: float | None) -> bool:
    """Whether `pid` ends in time, its output being closed already; it is not reaped."""
    if deadline is None:
        posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOWAIT)
        return True
    while posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOWAIT | posix.WNOHANG) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True


def reset_signals() -> None:
    """Give a program to be executed the default dispositions, and no mask.

    execve(2) keeps what is ignored: by Python, and by the caller, as under nohup(1).
    """
    for number in range(1, signals.NSIG):
        if signals.getsignal(number) == signals.SIG_IGN:
            signals.signal(number, signals.SIG_DFL)
    signals.unblock_all()


def close_inherited(first: int) -> None:
    """Close what the caller left open from `first` up, but for the log.

    To be called before anything of our own is opened: a created container's init would keep it.
    """
    kept = log.descriptor
    ranges = [(first, descriptors.LAST_DESCRIPTOR)]
    if kept >= first:
        ranges = [(first, kept - 1)] if kept > first else []
        ranges.append((kept + 1, descriptors.LAST_DESCRIPTOR))
    try:
        for low, high in ranges:
            descriptors.close_range(low, high)
    except OSError:
        # Before Linux 5.9.
        for fd in descriptors.open_descriptors(first):
            if fd != kept:
                posix.close(fd)


def close_on_exec(first: int) -> None:
    """Mark every descriptor from `first` up close-on-exec (close_range(2), or one by one)."""
    try:
        descriptors.close_range(first, flags=descriptors.CLOSE_RANGE_CLOEXEC)
    except OSError:
        # Before Linux 5.11. What was inherited is closed since close_inherited(), and Python opens
        # nothing inheritable: a container whose /proc is missing or forged has nothing to gain.
        try:
            for fd in descriptors.open_descriptors(first):
                posix.set_inheritable(fd, False)
        except (OSError, ValueError):
            pass
