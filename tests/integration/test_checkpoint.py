"""checkpoint and restore: with the host's criu where it works, else what there is to say without."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle

real = pytest.mark.needs("criu")

# Knows a number that is nowhere but in its memory, and counts on.
COUNT = """
secret=$(cat /secret); rm /secret; i=0
trap 'exit 7' TERM
while :; do i=$((i+1)); echo $secret $i >/count.new; mv /count.new /count; sleep 0.05; done
"""


@pytest.fixture
def image(bundle: Bundle) -> Path:
    """Where images go; the bundle's config is one that can be dumped."""
    bundle.config["root"]["readonly"] = False
    return bundle.path / "image"


def counted(bundle: Bundle) -> int:
    """How far COUNT is; it has to have its memory still."""
    secret, number = (bundle.rootfs / "count").read_text().split()
    assert secret == "4711"
    return int(number)


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def goes_on(bundle: Bundle) -> bool:
    """Whether COUNT counts."""
    before = counted(bundle)
    time.sleep(0.5)
    return counted(bundle) > before


def start_counting(bundle: Bundle) -> None:
    (bundle.rootfs / "secret").write_text("4711")
    bundle.config["process"]["args"] = ["sh", "-c", COUNT]
    bundle.write()
    # criu dumps no files from outside of the container.
    null = subprocess.DEVNULL
    command = bundle.command("run", "-d", bundle.id)
    subprocess.run(command, cwd=bundle.path, check=True, stdin=null, stdout=null, stderr=null)
    wait_until((bundle.rootfs / "count").exists)


def done(bundle: Bundle, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A verb that has to work; what criu logged is the message where it does not."""
    result = bundle.call(*args, timeout=240, **options)
    assert result.returncode == 0, result.stderr
    return result


def checkpoint(bundle: Bundle, image: Path, *options: str) -> None:
    done(bundle, "checkpoint", "--image-path", str(image), *options, bundle.id)


def restore(bundle: Bundle, image: Path, *options: str, **more: Any) -> None:
    done(bundle, "restore", "-d", "--image-path", str(image), *options, bundle.id, **more)


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_without_criu(bundle: Bundle, image: Path, verb: str) -> None:
    bundle.environment["PATH"] = str(bundle.path)
    missing = 'CRIU version check failed: exec: \\"criu\\": executable file not found in $PATH'
    if verb == "checkpoint":
        bundle.start()
    else:
        image.mkdir()
        (image / "descriptors.json").write_text("[]")
    result = bundle.call(verb, "--image-path", str(image), bundle.id)
    assert (result.returncode, missing in result.stderr) == (1, True), result
    assert result.stderr.count("\n") == 1
    if verb == "checkpoint":
        assert bundle.state()["status"] == "running"
        assert not image.exists()
    else:
        assert not bundle.state()


def test_a_criu_that_ends(bundle: Bundle, image: Path) -> None:
    fake = bundle.path / "bin" / "criu"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    bundle.start()
    bundle.environment["PATH"] = f"{fake.parent}:{os.environ['PATH']}"
    result = bundle.call("checkpoint", "--image-path", str(image), bundle.id)
    assert result.returncode == 1
    assert "CRIU version check failed: criu: " in result.stderr
    assert "Traceback" not in result.stderr
    assert bundle.state()["status"] == "running"


def test_only_what_runs_is_dumped(bundle: Bundle, image: Path) -> None:
    bundle.create()
    result = bundle.call("checkpoint", "--image-path", str(image), bundle.id)
    assert (result.returncode, image.exists()) == (1, False)
    assert "Container cannot be checkpointed in created state" in result.stderr
    bundle.call("kill", bundle.id, "KILL")
    bundle.wait_for("stopped")
    result = bundle.call("checkpoint", "--image-path", str(image), bundle.id)
    assert (result.returncode, image.exists()) == (1, False)
    assert "Container cannot be checkpointed in stopped state" in result.stderr
    result = bundle.call("checkpoint", "--image-path", str(image), "nobody")
    assert (result.returncode, "container does not exist" in result.stderr) == (1, True)


def test_no_image(bundle: Bundle, image: Path) -> None:
    bundle.write()
    result = bundle.call("restore", "--image-path", str(image), bundle.id)
    assert result.returncode == 1
    assert f"open {image}: no such file or directory" in result.stderr
    assert not image.exists()
    image.mkdir()
    result = bundle.call("restore", "--image-path", str(image), bundle.id)
    assert f"open {image}/descriptors.json: no such file or directory" in result.stderr
    for text in ("{}", "[1]", "[", ""):
        (image / "descriptors.json").write_text(text)
        result = bundle.call("restore", "--image-path", str(image), bundle.id)
        assert f"{image}/descriptors.json: " in result.stderr
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert not bundle.state()


def test_options_that_cannot_be(bundle: Bundle) -> None:
    for arguments, message in (
        (("checkpoint", "--status-fd", "7"), "--lazy-pages"),
        (("checkpoint", "--empty-ns", "pid"), 'namespace \\"pid\\" is not supported'),
        (("restore", "--no-pivot"), "--no-pivot"),
    ):
        result = bundle.call(*arguments, bundle.id)
        assert (result.returncode, message in result.stderr) == (1, True), result


@real
def test_there_and_back(bundle: Bundle, image: Path, scratch: Path) -> None:
    for kind in ("createRuntime", "poststop"):
        script = f"cat >>{scratch}/{kind}"
        bundle.config.setdefault("hooks", {})[kind] = [
            {"path": "/bin/sh", "args": ["sh", "-c", script]}
        ]
    for name in ("shared", "other"):
        (scratch / name).mkdir()
    (scratch / "other" / "file").touch()
    bundle.config["mounts"] += [
        {
            "destination": "/a/b",
            "type": "bind",
            "source": str(scratch / "shared"),
            "options": ["bind"],
        },
        {
            "destination": "/a/b/c",
            "type": "bind",
            "source": str(scratch / "other"),
            "options": ["bind", "ro"],
        },
        {"destination": "/dev/shm/x", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]},
    ]
    bundle.config["linux"]["resources"]["pids"] = {"limit": 77}
    start_counting(bundle)
    before = counted(bundle)
    checkpoint(bundle, image)
    assert not bundle.state()
    assert '"status":"stopped"' in (scratch / "poststop").read_text()
    (scratch / "createRuntime").unlink()
    # What a bind is mounted on may be gone by then.
    (scratch / "shared" / "c").rmdir()
    (bundle.rootfs / "a" / "b").rmdir()
    restore(bundle, image, "--pid-file", str(scratch / "pid"))
    state = bundle.state()
    assert (state["status"], str(state["pid"])) == ("running", (scratch / "pid").read_text())
    assert goes_on(bundle)
    assert counted(bundle) > before
    hook = json.loads((scratch / "createRuntime").read_text())
    assert (hook["status"], hook["pid"], hook["id"]) == ("creating", state["pid"], bundle.id)
    script = "ls /a/b/c/file /dev/shm/x/passwd; cat /proc/timer_list; ip link show lo"
    inside = bundle.exec("sh", "-c", script).stdout
    assert inside.startswith("/a/b/c/file\n/dev/shm/x/passwd\n1: lo: <LOOPBACK,UP")
    limits = [
        Path("/sys/fs/cgroup") / base / line.split(":")[2][1:].rstrip("\n") / "pids.max"
        for line in open(f"/proc/{state['pid']}/cgroup")
        for base in (("pids",) if "pids" in line else ("",) if line[:3] == "0::" else ())
    ]
    assert [limit.read_text() for limit in limits if limit.exists()] == ["77\n"]
    # Nothing is left on the host's side, neither mounts nor files.
    assert bundle.id not in Path("/proc/self/mountinfo").read_text()
    assert not (bundle.root / bundle.id / "criu-root").exists()
    # And once more, from what was restored.
    checkpoint(bundle, image, "--work-path", str(scratch / "work"))
    assert (scratch / "work" / "dump.log").exists()
    restore(bundle, image)
    assert goes_on(bundle)


@real
def test_leave_running_and_paused(bundle: Bundle, image: Path) -> None:
    start_counting(bundle)
    checkpoint(bundle, image, "--leave-running")
    assert bundle.state()["status"] == "running"
    assert goes_on(bundle)
    bundle.call("pause", bundle.id)
    checkpoint(bundle, image)
    assert not bundle.state()


@real
def test_only_what_changed_since(bundle: Bundle, image: Path) -> None:
    check = ["criu", "check", "--feature", "mem_dirty_track"]
    if subprocess.run(check, capture_output=True, check=False).returncode:
        pytest.skip("this kernel does not track changes of memory")
    start_counting(bundle)
    checkpoint(bundle, image.parent / "before", "--pre-dump")
    assert bundle.state()["status"] == "running"
    result = bundle.call(
        "checkpoint", "--image-path", str(image), "--parent-path", "../nothing", bundle.id
    )
    assert "invalid --parent-path: stat " in result.stderr
    checkpoint(bundle, image, "--parent-path", "../before")
    assert (image / "parent").exists()
    restore(bundle, image)
    assert goes_on(bundle)


@real
def test_in_the_foreground(bundle: Bundle, image: Path) -> None:
    start_counting(bundle)
    checkpoint(bundle, image)
    process = subprocess.Popen(
        bundle.command("restore", "--image-path", str(image), bundle.id),
        cwd=bundle.path,
        env=bundle.environment,
        stdin=subprocess.DEVNULL,
    )
    try:
        bundle.wait_for("running", 60)
        assert goes_on(bundle)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 7
    finally:
        process.kill()
        process.wait()
    assert not bundle.state()


@real
def test_pipes(bundle: Bundle, image: Path) -> None:
    bundle.config["process"]["args"] = ["cat"]
    bundle.write()

    def call(*args: str) -> tuple[int, int]:
        (stdin, feed), (output, stdout) = os.pipe(), os.pipe()
        result = subprocess.run(
            bundle.command(*args, bundle.id), cwd=bundle.path, env=bundle.environment,
            stdin=stdin, stdout=stdout, stderr=stdout, check=False, timeout=240,
        )  # fmt: skip
        os.close(stdin)
        os.close(stdout)
        assert result.returncode == 0, os.read(output, 65536)
        return feed, output

    feed, output = call("run", "-d")
    os.write(feed, b"one\n")
    assert os.read(output, 100) == b"one\n"
    checkpoint(bundle, image)
    os.close(feed)
    os.close(output)
    feed, output = call("restore", "-d", "--image-path", str(image))
    os.write(feed, b"two\n")
    assert os.read(output, 100) == b"two\n"
    os.close(feed)
    os.close(output)


@real
def test_terminal(bundle: Bundle, image: Path) -> None:
    bundle.config["process"].update({"args": ["sh"], "terminal": True})
    bundle.write()
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(bundle.path)
        os.execve(bundle.runc, bundle.command("run", bundle.id), bundle.environment)
    try:
        bundle.wait_for("running", 60)
        os.write(master, b"answer=4$((2))\n")
        time.sleep(1)
        checkpoint(bundle, image)
        # The `run` sees its container killed, and leaves what is not its own any more.
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + 9
    finally:
        os.close(master)
    status, shown = bundle.on_terminal(
        "restore", "--image-path", str(image), bundle.id,
        typed=b"echo =$answer=; exit 5\n", seconds=120,
    )  # fmt: skip
    assert (status, "=42=" in shown) == (5, True), shown
    assert not bundle.state()


@real
def test_nothing_is_left_of_a_failure(bundle: Bundle, image: Path) -> None:
    start_counting(bundle)
    checkpoint(bundle, image)
    files = sorted(os.listdir(bundle.rootfs))
    next(image.glob("core-*.img")).unlink()
    result = bundle.call("restore", "-d", "--image-path", str(image), bundle.id, timeout=240)
    assert result.returncode == 1
    assert "criu failed: " in result.stderr
    assert f'--- Quoting \\"{image}/restore.log\\"' in result.stderr
    assert not (bundle.root / bundle.id).exists()
    assert sorted(os.listdir(bundle.rootfs)) == files
    assert bundle.id not in Path("/proc/self/mountinfo").read_text()
    cgroups = subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", bundle.id], capture_output=True, check=False
    )
    assert cgroups.stdout == b""


@real
def test_a_network_of_others(bundle: Bundle, image: Path) -> None:
    holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    try:
        time.sleep(1)
        path = f"/proc/{holder.pid}/ns/net"
        for entry in bundle.config["linux"]["namespaces"]:
            if entry["type"] == "network":
                entry["path"] = path
        start_counting(bundle)
        checkpoint(bundle, image)
        restore(bundle, image)
        assert os.stat(f"/proc/{bundle.state()['pid']}/ns/net").st_ino == os.stat(path).st_ino
        assert goes_on(bundle)
    finally:
        holder.kill()
        holder.wait()


@real
@pytest.mark.needs("systemd")
def test_with_the_systemd_driver(bundle: Bundle, image: Path) -> None:
    bundle.options = ("--systemd-cgroup",)
    bundle.config["linux"].pop("cgroupsPath", None)
    start_counting(bundle)
    checkpoint(bundle, image, "--manage-cgroups-mode", "ignore")
    restore(bundle, image, "--manage-cgroups-mode", "ignore")
    assert goes_on(bundle)
    cgroup = Path(f"/proc/{bundle.state()['pid']}/cgroup").read_text()
    assert f"runc-{bundle.id}.scope" in cgroup
