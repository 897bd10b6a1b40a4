"""CVE-2019-5736: the interpreter behind /proc/PID/exe cannot be written to, now or later.

Every test runs a copy of the interpreter, so that the attack may succeed: `control` is the same
attack on a process that is not sealed, and there the copy is overwritten.
"""

from __future__ import annotations

import os
import pathlib
import posix
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Callable, Iterator

import pytest

from libcontainer import sealing

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux"),
]

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

PROLOGUE = f"""
import sys, posix
sys.path.insert(0, {str(REPOSITORY)!r})
from libc_bindings import mounts, namespaces, sealing as libc
from libcontainer import sealing
def refuse(*arguments, **options):
    raise OSError(1, "Operation not permitted")
"""

WAYS = {
    "control": "",
    "in place": "sealing._execute_again = None; assert sealing.seal()",
    "read-only mount": "libc.replace_program_file = refuse; assert sealing.seal()",
    "memfd": "mounts.open_tree = refuse; assert sealing.seal()",
}
SEALED = [way for way in WAYS if way != "control"]

READY = """
posix.write(1, b"ready\\n")
posix.read(0, 1)
"""


@pytest.fixture(scope="module", autouse=True)
def sealable() -> None:
    """Skip in place where this machine is one that must fall back."""
    probe = PROLOGUE + "print(libc.exchangeable() and sealing._mount_setattr_exists())"
    if run(sys.executable, probe).stdout != b"True\n":
        pytest.skip("this kernel, libc or architecture cannot exchange the program file")


@pytest.fixture
def copy(tmp_path: pathlib.Path) -> str:
    """A copy of this interpreter that may be destroyed."""
    target = tmp_path / "python3"
    shutil.copy(os.path.realpath("/proc/self/exe"), target)
    return str(target)


@pytest.fixture
def open_copy() -> Iterator[str]:
    """A copy of this interpreter where every user can reach it."""
    directory = pathlib.Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    shutil.copy(os.path.realpath("/proc/self/exe"), directory / "python3")
    yield str(directory / "python3")
    shutil.rmtree(directory)


def command(program: str, script: str, *arguments: str) -> list[str]:
    return [program, "-ISB", "-c", script, *arguments]


def run(program: str, script: str, *arguments: str, **options: Any) -> Any:
    return subprocess.run(
        command(program, script, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        **options,
    )


def succeed(program: str, script: str, *arguments: str, **options: Any) -> str:
    done = run(program, script, *arguments, **options)
    assert done.returncode == 0, done.stderr.decode()
    return str(done.stdout.decode())


@pytest.fixture
def victim() -> Iterator[Callable[[str, str], Any]]:
    """Start a program that does what a way says and then waits."""
    started = []

    def start(program: str, script: str) -> Any:
        process = subprocess.Popen(
            command(program, PROLOGUE + script + READY),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        finish(process)


def finish(process: Any) -> None:
    """Let a victim come to its end."""
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


def overwrite(fd: int) -> bool:
    """Try every way of getting `fd`'s file open for writing; True when bytes were written."""
    for flags in (posix.O_WRONLY | posix.O_TRUNC, posix.O_RDWR, posix.O_WRONLY | posix.O_APPEND):
        try:
            writable = posix.open(f"/proc/self/fd/{fd}", flags)
        except OSError:
            continue
        try:
            posix.write(writable, b"#!/bin/sh\necho overwritten\n")
            return True
        except OSError:
            continue
        finally:
            posix.close(writable)
    return False


@pytest.mark.parametrize("way", WAYS)
def test_a_handle_of_the_program_file_is_of_no_use(way: str, copy: str, victim: Any) -> None:
    content = pathlib.Path(copy).read_bytes()
    process = victim(copy, WAYS[way])
    handle = posix.open(f"/proc/{process.pid}/exe", posix.O_PATH)
    try:
        # ETXTBSY, whatever the seal: the attack waits for the program's end.
        assert not overwrite(handle)
        finish(process)
        written = overwrite(handle)
    finally:
        posix.close(handle)
    assert written is (way == "control")
    assert (pathlib.Path(copy).read_bytes() == content) is not written


@pytest.mark.parametrize("way", SEALED)
def test_nobody_can_make_the_mount_writable(way: str, copy: str, victim: Any) -> None:
    process = victim(copy, WAYS[way])
    attack = """
import errno
path = "/proc/%s/exe" % sys.argv[1]
attempts = [
    lambda: mounts.mount_setattr(-100, path, 0, attr_clr=mounts.MOUNT_ATTR_RDONLY),
    lambda: mounts.mount(None, path, None, mounts.MS_REMOUNT | mounts.MS_BIND),
    lambda: mounts.open_tree(-100, path, mounts.OPEN_TREE_CLONE),
    lambda: mounts.mount(path, "/tmp", None, mounts.MS_BIND),
]
namespaces.unshare(0x20000)
for number, attempt in enumerate(attempts):
    try:
        attempt()
    except OSError as error:
        assert error.errno in (errno.EINVAL, errno.ENOTDIR), (number, error)
    else:
        raise SystemExit("attempt %d succeeded" % number)
"""
    succeed(sys.executable, PROLOGUE + attack, str(process.pid))


@pytest.mark.parametrize("way", SEALED)
def test_children_inherit_the_seal(way: str, copy: str) -> None:
    script = """
assert sealing.is_sealed()
if posix.fork() == 0:
    assert sealing.is_sealed()
    namespaces.unshare(0x20000)
    try:
        posix.open("/proc/self/exe", posix.O_RDWR)
    except OSError:
        posix._exit(0)
    posix._exit(1)
assert posix.wait()[1] == 0
"""
    succeed(copy, PROLOGUE + WAYS[way] + script)


ALIVE = """
import gc, json, subprocess, threading, decimal, re, hashlib
gc.collect()
def deep(n):
    return n and deep(n - 1)
try:
    deep(10 ** 6)
except RecursionError:
    pass
try:
    1 / 0
except ZeroDivisionError:
    pass
# Blocks below malloc's mmap threshold move the break up, freeing them moves it down again.
for _ in range(3):
    blocks = [bytearray(100000) for _ in range(500)]
    del blocks
    gc.collect()
threads = [threading.Thread(target=json.dumps, args=(list(range(10000)),)) for _ in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
assert subprocess.run(["echo", "ok"], stdout=subprocess.PIPE).stdout == b"ok\\n"
assert json.loads(json.dumps({"a": [1.5, None]})) == {"a": [1.5, None]}
pid = posix.fork()
if pid == 0:
    import decimal, sqlite3
    posix._exit(7)
assert posix.waitpid(pid, 0)[1] == 7 << 8
print(decimal.Decimal("1.1") + 1)
"""


@pytest.mark.parametrize("way", SEALED)
def test_the_interpreter_works_on(way: str, copy: str) -> None:
    assert succeed(copy, PROLOGUE + WAYS[way] + ALIVE.replace(", sqlite3", "")) == "2.1\n"


@pytest.mark.parametrize("way", SEALED)
def test_no_descriptor_of_the_program_is_left(way: str, copy: str) -> None:
    script = """
import os
for fd in os.listdir("/proc/self/fd"):
    try:
        place = os.readlink("/proc/self/fd/" + fd)
    except OSError:
        continue
    assert int(fd) < 3 or "/fd" in place, (fd, place)
names = [line.split(None, 5)[5] for line in open("/proc/self/maps") if line.count("/")]
assert not [name for name in names if sys.argv[1] in name], names
"""
    succeed(copy, PROLOGUE + WAYS[way] + script, copy)


@pytest.mark.parametrize("way", SEALED)
def test_arguments_and_environment_survive(way: str, copy: str) -> None:
    script = """
import os
assert sys.argv[1:] == ["a b", "", "c\\nd", "\\udcff"], sys.argv
assert b"_RUNC_SEALED" not in posix.environ and "_RUNC_SEALED" not in os.environ
assert posix.environ.get(b"LD_LIBRARY_PATH") == (b"/nowhere" if "X" in os.environ else None)
import subprocess
left = subprocess.run(["env"], stdout=subprocess.PIPE).stdout
assert b"_RUNC_SEALED" not in left and (b"LD_LIBRARY_PATH" in left) is ("X" in os.environ)
"""
    for environment in ({}, {"X": "1", "LD_LIBRARY_PATH": "/nowhere"}):
        arguments = ("a b", "", "c\nd", "\udcff")
        succeed(copy, PROLOGUE + WAYS[way] + script, *arguments, env={**os.environ, **environment})


@pytest.mark.parametrize("blanks", [24, 0], ids=["64 bits", "32 bits"])
def test_where_libpython_is(blanks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc/self/maps of a 32-bit kernel has shorter addresses, and the path further left."""
    directory = b"/usr/lib/arm-linux-gnueabihf"
    maps = (
        b"b6d5b000-b6d5c000 rw-p 00000000 00:00 0\n"
        b"b6d5c000-b6f9b000 r-xp 00000000 b3:02 41   %s%s/libpython3.9.so.1.0\n"
    ) % (b" " * blanks, directory)
    monkeypatch.setattr(sealing, "read_file", lambda path: maps)
    assert sealing._libpython_directory() == directory


def test_the_mark_of_the_second_start_spares_nothing(copy: str) -> None:
    for value in ("", "1", "=x"):
        environment = {**os.environ, "_RUNC_SEALED": value}
        done = run(copy, PROLOGUE + "sealing.seal()", env=environment)
        assert done.returncode == 1
        assert b"is not sealed although" in done.stderr


def test_a_read_only_mount_that_is_mounted_does_not_count(tmp_path: pathlib.Path) -> None:
    script = """
namespaces.unshare(0x20000)
mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
directory = sys.argv[1]
mounts.mount("tmpfs", directory, "tmpfs")
program = directory + "/python3"
with open("/proc/self/exe", "rb") as old, open(program, "wb") as new:
    new.write(old.read())
posix.chmod(program, 0o755)
mounts.mount(None, directory, None, mounts.MS_REMOUNT | mounts.MS_BIND | mounts.MS_RDONLY)
status = []
for script in (sys.argv[2] + "\\nposix._exit(10 + sealing.is_sealed())",
               sys.argv[2] + "\\nsealing.seal()\\nposix._exit(20 + sealing.is_sealed())"):
    pid = posix.fork()
    if not pid:
        posix.execv(program, [program, "-ISB", "-c", script])
    status.append(posix.waitpid(pid, 0)[1] >> 8)
assert status == [10, 21], status
"""
    succeed(sys.executable, PROLOGUE + script, str(tmp_path), PROLOGUE)


@pytest.mark.parametrize("name", ["with space", "new\nline", "back\\012slash", "x (deleted)", "ü"])
def test_names_of_the_interpreter(name: str, tmp_path: pathlib.Path) -> None:
    program = str(tmp_path / name)
    shutil.copy(os.path.realpath("/proc/self/exe"), program)
    succeed(program, PROLOGUE + WAYS["in place"] + "\nassert sealing.is_sealed()")
    own_namespace = "namespaces.unshare(0x20000)\nsealing.seal_in_place()\n"
    succeed(program, PROLOGUE + own_namespace + "assert sealing.is_sealed()")


@pytest.mark.parametrize("replaced", [False, True])
def test_an_interpreter_that_was_deleted(copy: str, replaced: bool) -> None:
    # The second start, after a fallback, finds nothing to delete.
    script = f"""
if b"_RUNC_SEALED" not in posix.environ:
    posix.unlink({copy!r})
    if {replaced!r}:
        posix.close(posix.open({copy!r}, posix.O_CREAT | posix.O_WRONLY, 0o755))
assert sealing.seal() and sealing.is_sealed()
"""
    succeed(copy, PROLOGUE + script)


def test_an_interpreter_on_overlayfs(tmp_path: pathlib.Path) -> None:
    script = """
namespaces.unshare(0x20000)
mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
base = sys.argv[1]
mounts.mount("tmpfs", base, "tmpfs")
for name in ("lower", "upper", "work", "merged"):
    posix.mkdir(base + "/" + name)
with open("/proc/self/exe", "rb") as old, open(base + "/lower/python3", "wb") as new:
    new.write(old.read())
posix.chmod(base + "/lower/python3", 0o755)
options = "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work".format(base)
try:
    mounts.mount("overlay", base + "/merged", "overlay", 0, options)
except OSError:
    posix._exit(77)
program = base + "/merged/python3"
posix.execv(program, [program, "-ISB", "-c", sys.argv[2]])
"""
    inner = PROLOGUE + WAYS["in place"] + "\nassert sealing.is_sealed()"
    done = run(sys.executable, PROLOGUE + script, str(tmp_path), inner)
    if done.returncode == 77:
        pytest.skip("no overlayfs here")
    assert done.returncode == 0, done.stderr.decode()


ELSEWHERE = {
    "aarch64": """
class Machine:
    machine = "aarch64"
posix.uname = lambda: Machine
""",
    # It has no makecontext(3).
    "musl": """
def bind(name, *types, **more):
    raise AttributeError(name)
libc.bind = bind
""",
}


@pytest.mark.parametrize("place", ELSEWHERE)
@pytest.mark.parametrize("way", ["as root", "without CAP_SYS_ADMIN"])
def test_where_it_cannot_be_done_in_place(way: str, place: str, copy: str) -> None:
    """The interpreter is started again, from a read-only mount or from memory."""
    script = (
        ELSEWHERE[place]
        + """
assert not libc.exchangeable() and not libc.replaceable_later()
assert sealing.seal(deferrable=True) and sealing.is_sealed()
print(posix.readlink("/proc/self/exe"))
"""
    )
    drop = None if way == "as root" else drop_admin
    program = succeed(copy, PROLOGUE + script, preexec_fn=drop)
    assert program.startswith("/memfd:") == (drop is not None)


def test_threads_make_it_fall_back(copy: str) -> None:
    script = """
import threading, time
lock = threading.Lock()
lock.acquire()
if b"_RUNC_SEALED" not in posix.environ:
    threading.Thread(target=lock.acquire, daemon=True).start()
    try:
        sealing.seal_in_place()
    except OSError as error:
        assert error.errno == 16, error
    else:
        raise SystemExit("sealed although a thread runs")
    assert not sealing.is_sealed()
assert sealing.seal() and sealing.is_sealed()
print(posix.readlink("/proc/self/exe"))
"""
    assert succeed(copy, PROLOGUE + script).strip()


@pytest.fixture
def replaceable_later() -> None:
    if run(sys.executable, PROLOGUE + "print(libc.replaceable_later())").stdout != b"True\n":
        pytest.skip("this kernel has no CONFIG_CHECKPOINT_RESTORE")


def drop_admin() -> None:
    import ctypes

    assert ctypes.CDLL(None).prctl(24, 21, 0, 0, 0) == 0


def test_without_cap_sys_admin_a_sealed_copy_is_executed(copy: str) -> None:
    script = PROLOGUE + 'assert sealing.seal()\nprint(posix.readlink("/proc/self/exe"))'
    assert succeed(copy, script, preexec_fn=drop_admin).startswith("/memfd:")


def test_what_can_be_done_later_in_a_user_namespace_is_deferred(
    copy: str, replaceable_later: None
) -> None:
    script = """
assert sealing.seal(deferrable=True) is False and not sealing.is_sealed()
namespaces.unshare(0x10000000 | 0x20000)
sealing.seal_in_place()
assert sealing.is_sealed() and sealing.seal()
"""
    done = run(copy, PROLOGUE + script, preexec_fn=drop_admin)
    if b"unshare" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.returncode == 0, done.stderr.decode()


def test_an_ordinary_user_in_a_user_namespace(open_copy: str, replaceable_later: None) -> None:
    script = """
posix.setgroups([])
posix.setresgid(1000, 1000, 1000)
posix.setresuid(1000, 1000, 1000)
import libc_bindings.process as process
process.prctl(4, 1)
try:
    namespaces.unshare(0x10000000 | 0x20000)
except OSError:
    posix._exit(77)
sealing.seal_in_place()
assert sealing.is_sealed()
"""
    done = run(open_copy, PROLOGUE + "import fcntl\n" + script)
    if done.returncode == 77:
        pytest.skip("no user namespaces for ordinary users here")
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize("call", ["mount_setattr", "open_tree"])
def test_a_kernel_without(call: str, copy: str) -> None:
    inject = ["strace", "-f", "-o", "/dev/null", "-e", f"inject={call}:error=ENOSYS"]
    script = (
        PROLOGUE
        + "assert sealing.seal(deferrable=True) and sealing.is_sealed()\n"
        + 'print(posix.readlink("/proc/self/exe"))'
    )
    done = subprocess.run(
        [*inject, *command(copy, script)], capture_output=True, timeout=60, check=False
    )
    if b"ptrace" in done.stderr:
        pytest.skip("strace is not permitted here")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(b"/memfd:")


def test_what_fails_before_the_exchange_changes_nothing(copy: str) -> None:
    script = """
before = open("/proc/self/maps").read().count("python3")
libc._has_private_pages = refuse
try:
    sealing.seal_in_place()
except OSError:
    pass
assert open("/proc/self/maps").read().count("python3") == before and not sealing.is_sealed()
"""
    succeed(copy, PROLOGUE + script + ALIVE.replace(", sqlite3", ""))


def test_a_move_that_fails_in_the_middle_leaves_a_program_that_works(copy: str) -> None:
    script = """
real, calls = libc._mremap, []
def mremap(*arguments):
    calls.append(arguments)
    if len(calls) < 3:
        return real(*arguments)
    libc._prctl(-1, 0, 0, 0, 0)
    return -1
def exchange(mappings, fd):
    libc._mremap = mremap
    try:
        plain(mappings, fd)
    finally:
        libc._mremap = real
plain, libc._exchange = libc._exchange, exchange
if b"_RUNC_SEALED" not in posix.environ:
    try:
        sealing.seal_in_place()
    except OSError:
        pass
    assert len(calls) == 3 and not sealing.is_sealed()
"""
    succeed(copy, PROLOGUE + script + ALIVE.replace(", sqlite3", "") + "assert sealing.seal()")
