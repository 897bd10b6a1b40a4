"""Lookups beneath a root: openat2 and the walk in user space must agree with each other."""

from __future__ import annotations

import errno
import os
import pathlib
import posix
import stat
import sys
from typing import Any, Callable, Iterator

import pytest

from libc_bindings import paths as libc
from libcontainer import paths
from libcontainer.errors import Error

BIG = "x" * 300


@pytest.fixture
def root(tmp_path: pathlib.Path) -> Iterator[int]:
    """A root directory full of traps; what lies beside it must never be reached."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    top = tmp_path / "root"
    for directory in ("a/b/c", "etc", "sticky", "proc"):
        (top / directory).mkdir(parents=True)
    (top / "sticky").chmod(0o1777)
    (top / "etc" / "passwd").write_text("root")
    (top / "file").write_text("file")
    os.mkfifo(top / "fifo")
    links = {
        "absolute": "/etc",
        "relative": "a/b",
        "a/up": "../etc/passwd",
        "a/b/out": "../../../../../outside",
        "escape": "/../../outside/secret",
        "dangling": "/made/here",
        "a/hanging": "b/../new/../deep",
        "loop": "loop",
        "ping": "pong",
        "pong": "/ping",
        "to_file": "file",
        "slash": "etc/",
        "slash_file": "file/",
        "dot": ".",
        "dots": "a/b/..",
        "sticky/link": "/etc",
        "self": "/",
        "a/b/c/long": "/a/b/../b/./c/../../../etc/passwd",
    }
    for name, target in links.items():
        os.symlink(target, top / name)
    os.symlink("etc", top / "chain0")
    for number in range(1, 45):
        os.symlink(f"chain{number - 1}", top / f"chain{number}")
    fd = posix.open(str(top), posix.O_PATH)
    yield fd
    posix.close(fd)


PLAIN = """
/ // . .. /.. /../.. a /a a/ /a/b/c/ a//b a/./b/. a/b/.. a/b/../.. a/../../..
a/b/../../etc/passwd file file/ file/. file/x file/.. nothing nothing/ nothing/x nothing/..
a/nothing absolute absolute/ absolute/passwd absolute/../file relative relative/c relative/..
relative/../up a/up a/up/ a/b/out a/b/out/secret escape dangling dangling/x dangling/ a/hanging
loop loop/x ping pong/ to_file to_file/ slash slash/passwd slash_file dot dot/etc dots dots/up
dots/.. sticky/link sticky/link/passwd self self/self/self/etc a/b/c/long chain38/passwd
chain39/passwd chain40/passwd chain39 chain40 fifo fifo/
"""

LOOKUPS = [
    *PLAIN.split(),
    "",
    BIG,
    f"a/{BIG}/x",
    "a/" * 2046,
    "a/../" * 819,
    "a/../" * 818,
    "./" * 2047,
    "./" * 2048,
    "a/b/c/../../../" * 200,
]

CREATED = """
new a/new new/ dangling nothing/new absolute/new a/up file a loop a/b/out/new a/hanging
relative/../new2 slash_file
"""

FLAGS = [
    posix.O_PATH,
    posix.O_PATH | posix.O_NOFOLLOW,
    posix.O_PATH | posix.O_DIRECTORY,
    posix.O_PATH | posix.O_DIRECTORY | posix.O_NOFOLLOW,
    posix.O_RDONLY | posix.O_NONBLOCK,
    posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOFOLLOW,
    posix.O_RDONLY | posix.O_NONBLOCK | posix.O_DIRECTORY,
    posix.O_WRONLY | posix.O_NONBLOCK,
]


def outcome(call: Callable[[], int]) -> Any:
    """What a lookup found, or its errno."""
    try:
        fd = call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    try:
        assert not os.get_inheritable(fd)
        found = os.fstat(fd)
        return found.st_dev, found.st_ino, stat.S_IFMT(found.st_mode)
    finally:
        posix.close(fd)


def kernel(root: int, path: str, flags: int, mode: int = 0) -> int:
    resolve = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS
    return undisturbed(lambda: libc.openat2(root, path, flags, resolve, mode))


def undisturbed(call: Callable[[], int]) -> int:
    """Any rename on the machine disturbs a lookup over ".."; and its links are counted twice then."""
    looped = 0
    while True:
        try:
            return call()
        except OSError as error:
            looped += error.errno == errno.ELOOP
            if looped > 20 or error.errno not in (errno.EAGAIN, errno.ELOOP):
                raise


def opened(root: int, path: str, flags: int) -> int:
    return undisturbed(lambda: paths.open_beneath(root, path, flags))


def walk(root: int, path: str, flags: int, mode: int = 0) -> int:
    return paths._open_by_walk(root, path, os.fsencode(path), flags, mode)


@pytest.fixture
def openat2() -> None:
    try:
        posix.close(libc.openat2(libc.AT_FDCWD, "/", posix.O_PATH, 0))
    except OSError:
        pytest.skip("this kernel has no openat2")


@pytest.mark.parametrize("flags", FLAGS)
def test_the_walk_finds_what_openat2_finds(root: int, flags: int, openat2: None) -> None:
    before = os.listdir("/proc/self/fd")
    for path in LOOKUPS:
        expected = outcome(lambda: kernel(root, path, flags))  # noqa: B023
        assert outcome(lambda: walk(root, path, flags)) == expected, path[:60]  # noqa: B023
        assert outcome(lambda: opened(root, path, flags)) == expected, path[:60]  # noqa: B023
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("extra", [0, posix.O_EXCL, posix.O_NOFOLLOW, posix.O_TRUNC])
def test_the_walk_creates_what_openat2_creates(root: int, extra: int, openat2: None) -> None:
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_NONBLOCK | extra
    for path in CREATED.split():
        results = []
        for opener in (kernel, walk):
            result = outcome(lambda: opener(root, path, flags, 0o640))  # noqa: B023
            made = outcome(lambda: kernel(root, path, posix.O_PATH | posix.O_NOFOLLOW))  # noqa: B023
            if isinstance(result, tuple):
                result = result[2]
            results.append((result, isinstance(made, tuple)))
            for name in ("new", "a/new", "etc/new", "a/new2", "a/deep"):
                try:
                    os.unlink(name, dir_fd=root)
                except FileNotFoundError:
                    pass
        assert results[0] == results[1], path


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_magic_links_are_refused_and_the_ordinary_links_of_proc_are_not(openat2: None) -> None:
    fd = posix.open("/", posix.O_PATH)
    pid = os.getpid()
    try:
        for path in (
            "/proc/self/root",
            "/proc/self/exe",
            "/proc/self/cwd/x",
            f"/proc/{pid}/fd/{fd}",
            "/proc/self/ns/mnt",
            "/proc/thread-self/root/etc",
        ):
            for opener in (kernel, walk):
                assert outcome(lambda: opener(fd, path, posix.O_PATH)) == "ELOOP", path  # noqa: B023
        for path in ("/proc/self/stat", "/proc/mounts", "/proc/net/dev", "/proc/self/exe"):
            flags = posix.O_PATH | (posix.O_NOFOLLOW if path.endswith("exe") else 0)
            found = outcome(lambda: walk(fd, path, flags))  # noqa: B023
            assert isinstance(found, tuple), path
            assert found == outcome(lambda: kernel(fd, path, flags)), path  # noqa: B023
    finally:
        posix.close(fd)


@pytest.fixture(params=["openat2", "walk"])
def lookup(request: Any, monkeypatch: Any) -> str:
    if request.param == "walk":
        monkeypatch.setattr(paths, "_has_openat2", False)
    return str(request.param)


def place(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").partition("/root")[2]
    finally:
        posix.close(fd)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ""),
        ("a/b", "/a/b"),
        ("x/y/z/", "/x/y/z"),
        ("/x/../y", "/y"),
        ("relative/new/deep", "/a/b/new/deep"),
        ("dangling", "/made/here"),
        ("dangling/more", "/made/here/more"),
        ("a/hanging", "/a/deep"),
        ("a/b/out/x", "/outside/x"),
        ("../../../up", "/up"),
        ("self/../n", "/n"),
    ],
)
def test_directories_are_made_beneath_the_root(
    root: int, lookup: str, path: str, expected: str, tmp_path: pathlib.Path
) -> None:
    outside = sorted(os.listdir(tmp_path / "outside"))
    for _ in range(2):
        assert place(paths.make_directory(root, path)) == expected
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]
    assert sorted(os.listdir(tmp_path / "outside")) == outside


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("file", "ENOTDIR"),
        ("file/x", "ENOTDIR"),
        ("", "ENOENT"),
        ("loop", "ELOOP"),
        ("ping/x", "ELOOP"),
        (BIG, "ENAMETOOLONG"),
        ("slash_file/x", "ENOTDIR"),
        ("fifo", "ENOTDIR"),
    ],
)
def test_directories_that_cannot_be_made(root: int, lookup: str, path: str, error: str) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError) as caught:
        paths.make_directory(root, path)
    assert errno.errorcode[caught.value.errno or 0] == error
    assert caught.value.filename == path
    assert os.listdir("/proc/self/fd") == before


def test_the_mode_of_made_directories(root: int, lookup: str) -> None:
    mask = os.umask(0)
    try:
        posix.close(paths.make_directory(root, "m/n", 0o711))
    finally:
        os.umask(mask)
    assert [stat.S_IMODE(os.stat(p, dir_fd=root).st_mode) for p in ("m", "m/n")] == [0o711, 0o711]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_owner_of_made_directories(root: int, lookup: str) -> None:
    posix.close(paths.make_directory(root, "a/o/p", owner=(12, 34)))
    owners = [os.stat(p, dir_fd=root) for p in ("a", "a/o", "a/o/p")]
    assert [(o.st_uid, o.st_gid) for o in owners] == [(0, 0), (12, 34), (12, 34)]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("new", "/new"),
        ("p/q/new", "/p/q/new"),
        ("dangling", "/made/here"),
        ("a/up", "/etc/passwd"),
        ("to_file", "/file"),
        ("fifo", "/fifo"),
        ("a/b/out", "/outside"),
        ("a", "/a"),
    ],
)
def test_files_are_made_beneath_the_root(
    root: int, lookup: str, path: str, expected: str, tmp_path: pathlib.Path
) -> None:
    for _ in range(2):
        assert place(paths.make_file(root, path)) == expected
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]
    assert (tmp_path / "root" / "file").read_text() == "file"


@pytest.mark.parametrize(
    ("path", "parent", "name"),
    [
        ("/dev", "", "dev"),
        ("a/b/c", "/a/b", "c"),
        ("relative/x/", "/a/b", "x"),
        ("loop", "", "loop"),
        ("absolute/../z", "", "z"),
    ],
)
def test_the_parent(root: int, lookup: str, path: str, parent: str, name: str) -> None:
    fd, last = paths.open_parent(root, path)
    assert (place(fd), last) == (parent, name)


@pytest.mark.parametrize("path", ["", "/", "a/..", ".", "a/."])
def test_a_path_without_a_last_component_has_no_parent(root: int, path: str) -> None:
    with pytest.raises(OSError) as caught:
        paths.open_parent(root, path)
    assert caught.value.errno == errno.EINVAL


def test_a_missing_parent_is_made_on_demand(root: int, lookup: str) -> None:
    with pytest.raises(FileNotFoundError):
        paths.open_parent(root, "u/v/w")
    fd, name = paths.open_parent(root, "u/v/w", make=True)
    assert (place(fd), name) == ("/u/v", "w")


def test_verify_beneath(root: int, tmp_path: pathlib.Path) -> None:
    inside = paths.open_beneath(root, "a/b")
    outside = posix.open(str(tmp_path / "outside"), posix.O_PATH)
    sibling = tmp_path / "root2"
    sibling.mkdir()
    beside = posix.open(str(sibling), posix.O_PATH)
    try:
        paths.verify_beneath(root, inside, "a/b")
        paths.verify_beneath(root, root, "/")
        for fd in (outside, beside):
            with pytest.raises(Error, match=r"x: leads to .* outside"):
                paths.verify_beneath(root, fd, "x")
    finally:
        for fd in (inside, outside, beside):
            posix.close(fd)


def test_odd_names(root: int, lookup: str) -> None:
    for name in ("with space", "new\nline", "b\udcffd", "ü", "-", "..."):
        assert os.fsencode(place(paths.make_directory(root, name))) == os.fsencode("/" + name)


def test_open_descriptors_and_close_range() -> None:
    read, write = posix.pipe()
    try:
        assert {read, write} <= set(libc.open_descriptors())
        assert libc.open_descriptors(write) == [fd for fd in libc.open_descriptors() if fd >= write]
        high = posix.dup2(read, 900)
        assert libc.open_descriptors(800) == [high]
        try:
            libc.close_range(800, 1000)
        except OSError as error:
            assert error.errno == errno.ENOSYS
            posix.close(high)
        assert libc.open_descriptors(800) == []
    finally:
        posix.close(read)
        posix.close(write)


def test_statx_and_fstatfs() -> None:
    fd = posix.open("/proc", posix.O_PATH)
    try:
        info = libc.statx(fd)
        assert (info.ino, info.mode) == (os.fstat(fd).st_ino, os.fstat(fd).st_mode)
        assert libc.fstatfs_type(fd) == libc.PROC_SUPER_MAGIC
        number = libc.mount_id(fd)
        with open("/proc/self/mountinfo") as lines:
            assert any(line.startswith(f"{number} ") and " /proc " in line for line in lines)
    finally:
        posix.close(fd)


def test_renameat2_exchanges(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    fd = posix.open(str(tmp_path), posix.O_PATH)
    try:
        libc.renameat2(fd, "one", fd, "two", libc.RENAME_EXCHANGE)
        assert (tmp_path / "one").read_text() == "2"
        with pytest.raises(FileExistsError):
            libc.renameat2(fd, "one", fd, "two", libc.RENAME_NOREPLACE)
    finally:
        posix.close(fd)


def test_the_working_directory_must_have_a_path(tmp_path: pathlib.Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    pid = posix.fork()
    if pid == 0:
        try:
            os.chdir(gone)
            paths.verify_working_directory("/gone")
            gone.rmdir()
            try:
                paths.verify_working_directory("/gone")
            except Error:
                posix._exit(0)
        finally:
            posix._exit(1)
    assert posix.waitpid(pid, 0)[1] == 0


def test_openat2_missing(root: int, monkeypatch: Any) -> None:
    calls = []

    def missing(*arguments: Any) -> int:
        calls.append(arguments)
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(paths, "_has_openat2", True)
    monkeypatch.setattr(libc, "openat2", missing)
    for _ in range(3):
        assert place(paths.open_beneath(root, "relative/c")) == "/a/b/c"
    assert len(calls) == 1
    monkeypatch.setattr(paths, "_has_openat2", True)


def test_openat2_that_is_disturbed_all_the_time(root: int, monkeypatch: Any) -> None:
    def disturbed(*arguments: Any) -> int:
        raise OSError(errno.EAGAIN, "again")

    monkeypatch.setattr(paths, "_has_openat2", True)
    monkeypatch.setattr(libc, "openat2", disturbed)
    assert place(paths.open_beneath(root, "relative/c")) == "/a/b/c"


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
