"""CVE-2019-5736 against the built file: hostile images reach for the host's interpreter.

The runtime runs on a copy of the interpreter, bind-mounted over /usr/bin/python3 in a mount
namespace of its own. `control` is the same runtime with its seal taken out; there the copy is
overwritten.
"""

from __future__ import annotations

import os
import pathlib
import platform
import shutil
import struct
import subprocess
import tempfile
import time
from typing import Any

import pytest

from libc_bindings import seccomp

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
PYTHON = os.path.realpath("/usr/bin/python3")

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the attack is written for x86_64"),
    pytest.mark.skipif(not os.path.exists(PYTHON), reason="there is no /usr/bin/python3"),
    pytest.mark.needs("program:gcc", "program:unshare"),
]

UNSEALED = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from libcontainer import sealing
sealing.seal = lambda deferrable=False: True
import runc
runc.entry()
"""

ALLOW = (0x06, 0, 0, 0x7FFF0000)
EPERM, ENOSYS = (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x50026)
# What a filter has to refuse so that the runtime goes another way: prctl(2) with PR_SET_MM, and
# mount_setattr(2). (Load the number, compare; load the first argument, compare.)
WITHOUT = {
    "read-only mount": [
        (0x20, 0, 0, 0),
        (0x15, 0, 3, 157),
        (0x20, 0, 0, 16),
        (0x15, 0, 1, 35),
        EPERM,
    ],
    "memfd": [(0x20, 0, 0, 0), (0x15, 0, 1, 442), ENOSYS],
}

WAYS = ["control", "in place", *WITHOUT]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The attacks, compiled."""
    made = tmp_path_factory.mktemp("programs")
    freestanding = ["-nostdlib", "-static-pie", "-fno-stack-protector", "-fcf-protection=none"]
    for name, flags in (("loader", freestanding), ("attack", ["-static"])):
        command = [
            "gcc",
            "-O1",
            "-fPIE",
            *flags,
            str(PROGRAMS / f"{name}.c"),
            "-o",
            str(made / name),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "cannot find -lc" in done.stderr:
            pytest.skip("the static C library is not installed")
        assert done.returncode == 0, done.stderr
    return made


class Victim:
    """A bundle with the attacks in its image, whose runtime runs on a copy of the interpreter."""

    def __init__(self, bundle: Any, programs: pathlib.Path, way: str) -> None:
        self.bundle = bundle
        self.way = way
        self.copy = bundle.path.parent / "python3"
        shutil.copy(PYTHON, self.copy)
        self.content = self.copy.read_bytes()
        bundle.config["root"]["readonly"] = False
        rootfs = bundle.rootfs
        shutil.copy(programs / "attack", rootfs / "attack")
        interpreter = rootfs / "lib64" / "ld-linux-x86-64.so.2"
        interpreter.parent.mkdir()
        shutil.copy(programs / "loader", interpreter)
        script = rootfs / "script"
        script.write_text("#!/proc/self/exe\n")
        script.chmod(0o755)
        self.result_file = rootfs / "result"

    def refuse(self) -> None:
        """For a child: let it and what it executes lack what `way` is to do without."""
        if self.way in WITHOUT:
            program = [*WITHOUT[self.way], ALLOW]
            seccomp.load_filter(b"".join(struct.pack("=HBBI", *each) for each in program))

    def call(self, *arguments: str) -> int:
        """Call a verb of the runtime as `way` says."""
        command = self.bundle.command(*arguments)
        if self.way == "control":
            command = [PYTHON, "-ISB", "-c", UNSEALED, *command[1:]]
        self.bundle.write()
        mount = f"mount --bind '{self.copy}' '{PYTHON}' && exec \"$@\""
        # A file, not a pipe: a container that stays behind keeps its end open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                ["unshare", "-m", "sh", "-c", mount, "sh", *command],
                cwd=self.bundle.path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
                preexec_fn=self.refuse,
            )
            output.seek(0)
            print(output.read())
        return done.returncode

    def result(self) -> str:
        """What the attack has said."""
        deadline = time.monotonic() + 15
        while not self.result_file.exists():
            assert time.monotonic() < deadline, "the attack has not come to an end"
            time.sleep(0.05)
        return str(self.result_file.read_text()).strip()

    def verdict(self) -> None:
        """The copy is overwritten in the control, and else refused for a reason that lasts."""
        result = self.result()
        changed = self.copy.read_bytes() != self.content
        if self.way == "control":
            assert (result, changed) == ("overwritten", True)
        else:
            assert not changed
            assert result in ("refused: Read-only file system", "refused: Operation not permitted")


@pytest.fixture(params=WAYS)
def victim(request: Any, bundle: Any, programs: pathlib.Path) -> Victim:
    return Victim(bundle, programs, request.param)


@pytest.mark.parametrize("program", ["/proc/self/exe", "/script"])
def test_run(program: str, victim: Victim) -> None:
    """As args[0], and as the interpreter in a `#!` line."""
    victim.bundle.config["process"]["args"] = [program]
    victim.call("run", "-d", victim.bundle.id)
    victim.verdict()


@pytest.mark.parametrize("program", ["/proc/self/exe", "/script"])
def test_create_and_start(program: str, victim: Victim) -> None:
    victim.bundle.config["process"]["args"] = [program]
    assert victim.call("create", victim.bundle.id) == 0
    pid = victim.bundle.state()["pid"]
    # That it went the way that is meant: a copy in memory, a second start.
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:") is (victim.way == "memfd")
    again = b"_RUNC_SEALED" in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    assert again is (victim.way in WITHOUT)
    victim.call("start", victim.bundle.id)
    victim.verdict()


@pytest.mark.parametrize("program", ["/proc/self/exe", "/script"])
def test_exec(program: str, victim: Victim) -> None:
    victim.bundle.start("sleep", "1000")
    victim.call("exec", "-d", victim.bundle.id, program)
    victim.verdict()


@pytest.mark.parametrize("program", ["/proc/self/exe", "/script"])
def test_the_hook_of_an_image(program: str, victim: Victim) -> None:
    """startContainer hooks are executed by init, in the container."""
    victim.bundle.config["process"]["args"] = ["sleep", "3"]
    victim.bundle.config["hooks"] = {"startContainer": [{"path": program}]}
    victim.call("run", "-d", victim.bundle.id)
    victim.verdict()


def test_an_observer_with_cap_sys_ptrace(victim: Victim) -> None:
    """Somebody in the container looks at /proc/PID/exe of processes that are joining it."""
    capabilities = victim.bundle.config["process"]["capabilities"]
    for kind in ("bounding", "effective", "permitted"):
        capabilities[kind] = [*capabilities.get(kind, []), "CAP_SYS_PTRACE"]
    victim.bundle.start("/attack", "watch")
    join_until_seen(victim)
    victim.verdict()


def test_an_observer_sees_nothing(bundle: Any, programs: pathlib.Path) -> None:
    """Without that capability the joining process is not even visible: it is not dumpable."""
    victim = Victim(bundle, programs, "in place")
    bundle.start("/attack", "watch")
    join_until_seen(victim)
    assert victim.result() == "nothing seen"


def join_until_seen(victim: Victim) -> None:
    watching = victim.bundle.rootfs / "watching"
    deadline = time.monotonic() + 10
    while not watching.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for _ in range(100):
        if (victim.bundle.rootfs / "seen").exists():
            return
        victim.call("exec", victim.bundle.id, "true")


def test_a_container_has_no_file_of_ours(bundle: Any) -> None:
    """No descriptor, no mapping, no path of the runtime or of the interpreter is left."""
    script = (
        "ls -l /proc/self/fd /proc/1/fd; cat /proc/1/maps /proc/1/cmdline; readlink /proc/1/cwd"
    )
    output = bundle.output(script)
    for name in (
        os.path.basename(PYTHON),
        os.path.basename(bundle.runc),
        "memfd",
        "libc.so",
        ".pyc",
    ):
        assert name not in output, name
