"""The cache of finished filters: fast, never trusted further than it can be checked."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pathlib
import posix
import subprocess
import sys
import time
from typing import Any

import pytest

from libcontainer import seccomp
from libcontainer.errors import Error
from libcontainer.seccomp import build, cache
from tests.unit.seccomp_machine import compare, default_allow, rule

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyseccomp") is None, reason="pyseccomp is not installed"
)

REPOSITORY = str(pathlib.Path(__file__).resolve().parents[2])
PROFILE: Any = default_allow(rule("mkdir"))
ROOT = os.geteuid() == 0


def program(directory: pathlib.Path, profile: Any = PROFILE) -> bytes:
    made = seccomp.filter_program(profile, str(directory))
    assert made is not None
    return made.program


def entries(directory: pathlib.Path) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    """A cache with one entry."""
    path = tmp_path / "cache"
    program(path)
    return path


def is_hit(directory: pathlib.Path, profile: Any = PROFILE) -> bool:
    entry = cache.read(str(directory), cache.key_of(profile))
    return entry is not None and entry.current


def test_what_is_written(directory: pathlib.Path) -> None:
    (name,) = entries(directory)
    assert name == cache.key_of(PROFILE).hex()
    assert directory.stat().st_mode & 0o7777 == 0o700
    assert (directory / name).stat().st_mode & 0o7777 == 0o600
    assert is_hit(directory)
    assert program(directory) == build.build(PROFILE)[0]


def test_any_umask(tmp_path: pathlib.Path) -> None:
    for mask in (0o000, 0o077, 0o277):
        before = os.umask(mask)
        try:
            program(tmp_path / oct(mask))
        finally:
            os.umask(before)
        assert is_hit(tmp_path / oct(mask))


@pytest.mark.parametrize(
    "other",
    [
        default_allow(rule("chmod")),
        default_allow(rule("mkdir", errnoRet=5)),
        default_allow(rule("mkdir", args=[compare(0, "EQ", 1)])),
        default_allow(rule("mkdir"), architectures=["SCMP_ARCH_X86_64"]),
        {**PROFILE, "defaultAction": "SCMP_ACT_LOG"},
        {**PROFILE, "defaultErrnoRet": 5},
    ],
)
def test_another_profile_has_another_key(other: Any) -> None:
    assert cache.key_of(other) != cache.key_of(PROFILE)


def test_what_belongs_to_the_loading_is_not_in_the_key() -> None:
    other: Any = {**PROFILE, "flags": [], "listenerPath": "/agent", "listenerMetadata": "id"}
    assert cache.key_of(other) == cache.key_of(PROFILE)


def test_a_hit_loads_no_library_and_no_slow_module(directory: pathlib.Path) -> None:
    script = (
        "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, %r)\n"
        "from libcontainer import seccomp\n"
        "f = seccomp.filter_program(%r, %r)\n"
        "bad = 'pyseccomp ctypes hashlib json re typing os struct'.split()\n"
        "bad = set(sys.modules).intersection(bad)\n"
        "maps = open('/proc/self/maps').read()\n"
        "print(sorted(bad), 'libseccomp' in maps, 'libcrypto' in maps, len(f.program))\n"
    ) % (REPOSITORY, PROFILE, str(directory))
    command = [sys.executable, "-I", "-S", "-c", script]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.split()[:3] == ["[]", "False", "False"], out


def test_look_up_is_fast(tmp_path: pathlib.Path) -> None:
    """Under a millisecond for a profile as large as Docker's."""
    words = "read write open close stat fstat lstat poll lseek mmap mprotect munmap brk ioctl"
    profile = default_allow(*[rule(words, errnoRet=1)] * 30)
    program(tmp_path / "c", profile)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        program(tmp_path / "c", profile)
        times.append(time.perf_counter() - start)
    assert sorted(times)[15] < 0.001


# ---- nothing is believed

MARK = b"\xff" * 8


def forged(directory: pathlib.Path) -> bytes:
    """An entry as an attacker would write it: well formed, but it allows everything."""
    library = cache.identity(build.library_path()).encode()
    body = cache.key_of(PROFILE) + len(library).to_bytes(2, "big") + library + MARK
    return cache._digest(body) + body


def entry_of(directory: pathlib.Path) -> pathlib.Path:
    return directory / cache.key_of(PROFILE).hex()


def test_the_forgery_would_work(directory: pathlib.Path) -> None:
    """Otherwise the tests below would show nothing."""
    entry_of(directory).write_bytes(forged(directory))
    assert program(directory) == MARK


def _foreign_file(directory: pathlib.Path) -> None:
    entry_of(directory).write_bytes(forged(directory))
    os.chown(entry_of(directory), 65534, 65534)


def _group_readable(directory: pathlib.Path) -> None:
    entry_of(directory).write_bytes(forged(directory))
    entry_of(directory).chmod(0o640)


def _world_writable(directory: pathlib.Path) -> None:
    entry_of(directory).write_bytes(forged(directory))
    entry_of(directory).chmod(0o666)


def _hard_link(directory: pathlib.Path) -> None:
    entry_of(directory).write_bytes(forged(directory))
    os.link(entry_of(directory), directory.parent / "elsewhere")


def _symbolic_link(directory: pathlib.Path) -> None:
    target = directory.parent / "target"
    target.write_bytes(forged(directory))
    target.chmod(0o600)
    entry_of(directory).unlink()
    entry_of(directory).symlink_to(target)


def _fifo(directory: pathlib.Path) -> None:
    entry_of(directory).unlink()
    os.mkfifo(entry_of(directory), 0o600)


def _a_directory(directory: pathlib.Path) -> None:
    entry_of(directory).unlink()
    entry_of(directory).mkdir(0o600)


def _open_directory(directory: pathlib.Path) -> None:
    entry_of(directory).write_bytes(forged(directory))
    directory.chmod(0o770)


def _foreign_directory(directory: pathlib.Path) -> None:
    entry_of(directory).write_bytes(forged(directory))
    os.chown(directory, 65534, 65534)


def _linked_directory(directory: pathlib.Path) -> None:
    entry_of(directory).write_bytes(forged(directory))
    directory.rename(directory.parent / "moved")
    directory.symlink_to("moved")


def _other_name(directory: pathlib.Path) -> None:
    other = default_allow(rule("chmod"))
    program(directory, other)
    os.replace(directory / cache.key_of(other).hex(), entry_of(directory))


def _flipped_bit(directory: pathlib.Path) -> None:
    content = bytearray(entry_of(directory).read_bytes())
    content[-3] ^= 0x10
    entry_of(directory).write_bytes(content)


def _cut(directory: pathlib.Path) -> None:
    content = entry_of(directory).read_bytes()
    entry_of(directory).write_bytes(content[:-8])


def _empty(directory: pathlib.Path) -> None:
    entry_of(directory).write_bytes(b"")


def _huge(directory: pathlib.Path) -> None:
    with entry_of(directory).open("r+b") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_foreign_file, marks=pytest.mark.skipif(not ROOT, reason="needs root")),
        pytest.param(_foreign_directory, marks=pytest.mark.skipif(not ROOT, reason="needs root")),
        _group_readable,
        _world_writable,
        _hard_link,
        _symbolic_link,
        _fifo,
        _a_directory,
        _open_directory,
        _linked_directory,
        _other_name,
        _flipped_bit,
        _cut,
        _empty,
        _huge,
    ],
)
def test_an_entry_that_cannot_be_trusted_is_not_used(spoil: Any, directory: pathlib.Path) -> None:
    good = program(directory)
    spoil(directory)
    assert not is_hit(directory)
    assert program(directory) == good
    # Nothing is left over from writing.
    assert not [name for name in entries(directory) if name.startswith(".")]


def test_a_damaged_entry_is_replaced(directory: pathlib.Path) -> None:
    _flipped_bit(directory)
    program(directory)
    assert is_hit(directory)


# ---- the disk


def test_a_directory_that_cannot_be_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "no" / "where", pathlib.Path("/proc/self/cache")):
        assert program(place)


@pytest.mark.skipif(not ROOT, reason="mounts")
def test_a_read_only_disk(directory: pathlib.Path) -> None:
    """An entry is used, a new one is not kept, both in silence."""

    def check() -> None:
        mount("none", str(directory), "tmpfs", 0)
        directory.chmod(0o700)
        program(directory)
        mount("none", str(directory), None, MS_REMOUNT | MS_RDONLY)
        assert is_hit(directory)
        assert program(directory)
        assert program(directory, default_allow(rule("chmod")))
        assert len(entries(directory)) == 1

    in_mount_namespace(check)


@pytest.mark.skipif(not ROOT, reason="mounts")
def test_a_full_disk(directory: pathlib.Path) -> None:
    def check() -> None:
        mount("none", str(directory), "tmpfs", 0, "size=4k,nr_inodes=10")
        directory.chmod(0o700)
        (directory / "ballast").write_bytes(b"x" * 4096)
        assert program(directory)
        assert entries(directory) == ["ballast"]

    in_mount_namespace(check)


def test_writers_at_the_same_time(tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "cache"
    good = build.build(PROFILE)[0]
    children = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(20):
                    assert program(directory) == good
                    try:
                        entry_of(directory).unlink()
                    except FileNotFoundError:
                        pass
                posix._exit(0)
            finally:
                posix._exit(1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
    assert not [name for name in entries(directory) if name.startswith(".")]


def test_it_does_not_grow_forever(directory: pathlib.Path) -> None:
    for number in range(300):
        path = directory / ("%064x" % number)
        path.write_bytes(b"x")
        os.utime(path, (number, number))
    program(directory, default_allow(rule("chmod")))
    left = entries(directory)
    assert len(left) < 200
    assert cache.key_of(PROFILE).hex() in left
    assert "%064x" % 299 in left
    assert "%064x" % 0 not in left


# ---- the library

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CLONE_NEWNS = 0x20000
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [part.encode() if part is not None else None for part in (source, target, kind)]
    result = _libc.mount(
        *encoded, ctypes.c_ulong(flags), data.encode() if data is not None else None
    )
    assert result == 0, (target, os.strerror(ctypes.get_errno()))


def in_mount_namespace(check: Any) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            assert _libc.unshare(CLONE_NEWNS) == 0
            mount("none", "/", None, MS_REC | MS_PRIVATE)
            check()
            sys.stdout.flush()
            posix._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            posix._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def hide_library() -> None:
    """What dlopen(3) finds from here on is an empty file."""
    mount("/dev/null", os.path.realpath(build.library_path()), None, MS_BIND)


START = """
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, %r)
from libcontainer import seccomp
from libcontainer.errors import Error
try:
    print(len(seccomp.filter_program(%r, %r).program), "pyseccomp" in sys.modules)
except Error as error:
    print(error)
"""


def start(directory: pathlib.Path, profile: Any = PROFILE) -> str:
    script = START % (REPOSITORY, profile, str(directory))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(not ROOT, reason="mounts")
def test_no_library(directory: pathlib.Path) -> None:
    length = len(program(directory))

    def check() -> None:
        hide_library()
        assert not is_hit(directory)
        # The entry is still a right filter for its profile.
        assert start(directory) == "%d False" % length
        assert (
            "libseccomp.so.2 is not installed, and no filter of this profile is in the cache"
            in (start(directory, default_allow(rule("chmod"))))
        )

    build.load_library()
    in_mount_namespace(check)


@pytest.mark.skipif(not ROOT, reason="mounts")
def test_another_library(directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """An upgraded libseccomp makes the filter again, once."""
    build.load_library()
    copy = tmp_path / "libseccomp.so.2"
    with open(os.path.realpath(build.library_path()), "rb") as file:
        copy.write_bytes(file.read())

    def check() -> None:
        mount(str(copy), os.path.realpath(build.library_path()), None, MS_BIND)
        assert not is_hit(directory)
        assert start(directory).endswith("True")
        assert start(directory).endswith("False")

    in_mount_namespace(check)


def test_no_pyseccomp(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    monkeypatch.setattr(build, "load_library", lambda: build._import_pyseccomp({}.get))
    with pytest.raises(Error, match=r"linux\.seccomp: the Python module"):
        program(tmp_path / "c")
