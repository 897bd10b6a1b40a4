"""Fixtures: the built file, bundles that clean up after themselves, and what this machine has.

RUNC names another runtime to test (by default dist/runc, which tests/run.sh builds).
"""

from __future__ import annotations

import functools
import glob
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Iterator

import pytest

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@functools.lru_cache(None)
def criu_works() -> bool:
    """Whether there is a criu that understands this kernel."""
    if not shutil.which("criu"):
        return False
    return subprocess.run(["criu", "check"], capture_output=True, check=False).returncode == 0


def lacking(thing: str) -> str:
    """Why this machine has not `thing` (see the marker `needs` in pyproject.toml); "" if it has."""
    checks = {
        "cgroup1": lambda: os.path.isdir("/sys/fs/cgroup/memory"),
        "cgroup2": lambda: os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        "apparmor": lambda: os.path.isdir("/sys/kernel/security/apparmor"),
        "selinux": lambda: os.path.isdir("/sys/fs/selinux"),
        "systemd": lambda: os.path.isdir("/run/systemd/system"),
        # Not "**", which follows links: LLVM has two to ".." in one directory.
        "seccomp": lambda: any(glob.glob(f"/usr/lib*/{d}libseccomp.so.2") for d in ("", "*/")),
        "userns": lambda: os.path.exists("/proc/self/ns/user"),
        "criu": lambda: criu_works(),
        "timens": lambda: os.path.exists("/proc/self/ns/time"),
    }
    if thing.startswith("program:"):
        name = thing.partition(":")[2]
        return "" if shutil.which(name) else f"{name} is not installed"
    return "" if checks[thing]() else f"this machine has no {thing}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = Path(str(item.fspath)).parent.name
        needs_root = folder in ("integration", "security", "engines", "systemd")
        if (needs_root or item.get_closest_marker("root")) and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        for marker in item.iter_markers("needs"):
            for thing in marker.args:
                reason = lacking(thing)
                if reason:
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def runc() -> str:
    """The path of the runtime under test."""
    path = os.environ.get("RUNC") or str(ROOT / "dist" / "runc")
    if not os.path.exists(path):
        pytest.fail(f"{path} is missing: run ./build_zipapp.sh first")
    return path


@pytest.fixture(scope="session")
def interpreters() -> list[str]:
    """One Python of each minor version from 3.8 to 3.14 that this machine has."""
    found: dict[int, str] = {}
    for minor in range(8, 15):
        candidates = [f"/usr/bin/python3.{minor}", f"/usr/local/bin/python3.{minor}"]
        candidates += sorted(
            glob.glob(os.path.expanduser(f"~/.pyenv/versions/3.{minor}.*/bin/python3"))
        )
        for path in candidates:
            if os.access(path, os.X_OK):
                found.setdefault(minor, path)
    return list(found.values())


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root file system of busybox."""
    busybox = shutil.which("busybox")
    if not busybox:
        pytest.skip("busybox is not installed")
    base = tmp_path_factory.mktemp("rootfs")
    for name in ("bin", "etc", "tmp", "root", "proc", "sys", "dev"):
        (base / name).mkdir()
    (base / "tmp").chmod(0o1777)
    shutil.copy(os.path.realpath(busybox), base / "bin" / "busybox")
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout
    for applet in listed.split():
        if applet != "busybox":
            (base / "bin" / applet).symlink_to("busybox")
    (base / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
    )
    (base / "etc" / "group").write_text("root:x:0:\nuser:x:1000:\n")
    # Tests run as other users too, and user namespaces map root to one.
    for part in [base, *base.parents[:2]]:
        part.chmod(part.stat().st_mode | 0o055)
    return str(base)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that any user can enter, removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="runc-test-"))
    path.chmod(0o755)
    yield path
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        mounted = line.split()[4]
        if mounted.startswith(f"{path}/"):
            subprocess.run(["umount", "-l", mounted], check=False)
    shutil.rmtree(path, ignore_errors=True)


class Bundle:
    """A bundle with the default config (terminal false), its own state root, and the verbs."""

    def __init__(self, runc: str, path: Path, rootfs: str) -> None:
        self.runc = runc
        self.path = path
        self.rootfs = path / "rootfs"
        self.root = path.parent / "state"
        self.id = f"test-{uuid.uuid4().hex[:12]}"
        self.options: tuple[str, ...] = ()
        """Global options for every verb, such as --systemd-cgroup."""
        self.environment = {"PATH": os.environ["PATH"], "HOME": "/root"}
        path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", rootfs, str(self.rootfs)], check=True)
        self.config: dict[str, Any] = self._default()

    def _default(self) -> dict[str, Any]:
        subprocess.run([self.runc, "spec", "--bundle", str(self.path)], check=True)
        config: dict[str, Any] = json.loads((self.path / "config.json").read_text())
        config["process"]["terminal"] = False
        return config

    def write(self) -> None:
        """Write `config` to config.json."""
        (self.path / "config.json").write_text(json.dumps(self.config))

    def command(self, *args: str) -> list[str]:
        """The command line of a verb, with the state root in front."""
        return [self.runc, "--root", str(self.root), *self.options, *args]

    def call(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Call a verb: `call("state", id)`; text output, 60 seconds at most."""
        options.setdefault("env", self.environment)
        options.setdefault("timeout", 60)
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        # Files, not pipes: a container that stays behind keeps its end open.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            options.setdefault("cwd", str(self.path))
            done = subprocess.run(
                self.command(*args), stdout=out, stderr=err, text=True, check=False, **options
            )
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())

    def run(
        self, *program: str, options: tuple[str, ...] = (), **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """`runc run` of the config, with `program` for its args if given."""
        if program:
            self.config["process"]["args"] = list(program)
        self.write()
        return self.call("run", *options, self.id, **more)

    def shell(self, script: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """`runc run` of a shell script."""
        return self.run("/bin/sh", "-c", script, **more)

    def output(self, script: str) -> str:
        """What a shell script prints in the container; fails the test if it does not exit 0."""
        done = self.shell(script)
        assert done.returncode == 0, done
        return done.stdout

    def start(self, *program: str, options: tuple[str, ...] = ()) -> None:
        """`runc run -d` of `program` (by default a long sleep)."""
        done = self.run(*(program or ("sleep", "1000")), options=("-d", *options))
        assert done.returncode == 0, done

    def create(
        self, *program: str, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """`runc create` of `program` (by default a long sleep)."""
        self.config["process"]["args"] = list(program or ("sleep", "1000"))
        self.write()
        return self.call("create", *options, self.id)

    def exec(
        self, *program: str, options: tuple[str, ...] = (), **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """`runc exec`."""
        return self.call("exec", *options, self.id, *program, **more)

    def state(self) -> dict[str, Any]:
        """`runc state`, parsed; {} if there is no such container."""
        done = self.call("state", self.id)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def wait_for(self, status: str, seconds: float = 10) -> None:
        """Wait until `runc state` says `status`; fails the test if it does not come."""
        deadline = time.monotonic() + seconds
        while self.state().get("status") != status:
            assert time.monotonic() < deadline, (status, self.state())
            time.sleep(0.02)

    def on_terminal(self, *args: str, typed: bytes = b"", seconds: float = 20) -> tuple[int, str]:
        """Call a verb on a new terminal; its exit status and what it showed."""
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(self.path)
            os.execve(self.runc, self.command(*args), self.environment)
        shown = b""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            readable, _, _ = select.select([master], [], [], 0.1)
            if typed and (shown or time.monotonic() > deadline - seconds + 1):
                os.write(master, typed)
                typed = b""
            if readable:
                try:
                    chunk = os.read(master, 65536)
                except OSError:
                    break
                if not chunk:
                    break
                shown += chunk
        else:
            os.kill(pid, 9)
        status = os.waitpid(pid, 0)[1]
        os.close(master)
        return os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace")

    def clean(self) -> None:
        """Delete every container below the state root."""
        if self.root.is_dir():
            for name in os.listdir(self.root):
                self.call("delete", "--force", name)


@pytest.fixture
def make_bundle(runc: str, rootfs: str, scratch: Path) -> Iterator[Any]:
    """A factory of bundles: `make_bundle()`, `make_bundle("second")`."""
    made: list[Bundle] = []

    def make(name: str = "bundle") -> Bundle:
        bundle = Bundle(runc, scratch / name / "bundle", rootfs)
        made.append(bundle)
        return bundle

    yield make
    for bundle in made:
        bundle.clean()


@pytest.fixture
def bundle(make_bundle: Any) -> Bundle:
    """One bundle."""
    made: Bundle = make_bundle()
    return made
