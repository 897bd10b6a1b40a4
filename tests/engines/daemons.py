"""Daemons of the container engines, each with its own directories, and what comes out of them.

An observation of a test is made twice, with the reference runtime (Debian's runc) and with the
built file, and the two have to be equal.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tarfile
import termios
import time
from pathlib import Path
from typing import Any

OURS = "python"  # as in contrib/engines
REFERENCE = "reference"
IMAGE = "localhost/base:latest"
CONFIGURATIONS = Path(__file__).parents[2] / "contrib" / "engines"
# How much slower than usual this machine is; tests/beds/vm/run.sh tells it of an emulated one.
PATIENCE = float(os.environ.get("PATIENCE") or 1)
# Run in a container: what it tells about the process.
STATUS = "cat /proc/self/status | grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups|Umask)'"


def reference_runc() -> str:
    """The runtime to compare with: REFERENCE_RUNC, else the distribution's; "" without one."""
    given = os.environ.get("REFERENCE_RUNC")
    if given:
        return given
    return next((p for p in ("/usr/sbin/runc", "/usr/bin/runc") if os.access(p, os.X_OK)), "")


def pack(rootfs: str, target: Path) -> Path:
    """A tar archive of the root file system, for `import`."""
    with tarfile.open(target, "w") as archive:
        archive.add(rootfs, arcname=".")
    return target


def image_archive(layer: Path, target: Path, command: list[str] | None = None) -> Path:
    """An image of one layer in the form of `docker save`, named IMAGE, for `ctr images import`."""
    content = layer.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, ""),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": command or ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    files = {"layer.tar": content}
    files["config.json"] = json.dumps(config).encode()
    files["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(target, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target


def call(
    command: list[str],
    timeout: float = 120 * PATIENCE,
    environment: dict[str, str] | None = None,
    given: str = "",
) -> Observation:
    """Run a command to its end."""
    env = {**os.environ, **(environment or {})}
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=timeout, check=False, env=env
    )
    return Observation(done.returncode, done.stdout, done.stderr)


class Observation:
    """Exit status, output and errors of a command, without what differs from run to run."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = _plain(out)
        self.err = _plain(err)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Observation) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"({self.status}, {self.out!r}, {self.err!r})"

    def ok(self) -> str:
        """The output of a command that succeeded, without the last line end."""
        assert self.status == 0, self
        return self.out.strip()


def _plain(text: str) -> str:
    text = re.sub(r"[0-9a-f]{64}", "ID", text)
    # Since 1.2 runc says where the error was met; and a masked directory is as small as can be.
    text = text.replace("error during container init: ", "").replace(",size=4k,nr_inodes=1", "")
    # With the systemd driver runc 1.1 still warns of devices that the host lacks.
    text = re.sub(r'time="[^"]*" level=warning msg="skipping device [^\n]*\n', "", text)
    # Said by Docker's client or not, as a race of its own ends.
    text = re.sub(r'time="[^"]*" level=error msg="error waiting for container: [^\n]*\n', "", text)
    return text.replace("\r\n", "\n")


def on_terminal(command: list[str], typed: list[bytes], seconds: float = 20) -> tuple[int, str]:
    """Run a command on a terminal of 132 columns, type when it has shown something; status, output."""
    pid, master = pty.fork()
    if pid == 0:
        time.sleep(0.1)
        os.execvp(command[0], command)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 41, 132, 0, 0))
    shown = b""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            break
        if select.select([master], [], [], 0.3 * PATIENCE)[0]:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
        elif typed and (shown or not typed[0]):
            os.write(master, typed.pop(0))
    status = os.waitpid(pid, 0)[1]
    os.close(master)
    return os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace")


def pause(seconds: float) -> None:
    """Give something this long to happen, longer on a slow machine."""
    time.sleep(seconds * PATIENCE)


def unified() -> bool:
    """Whether this machine has cgroup v2 alone."""
    return os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def systemd_driver() -> bool:
    """Whether the engines have systemd make the cgroups, as they do by themselves where it runs with v2."""
    return unified() and os.path.isdir("/run/systemd/system")


def limits_script(legacy: str, files: str) -> str:
    """A script that shows files of the container's cgroup: `legacy` with v1, these files with v2.

    Not cpu.weight: runc computes it from CPU shares otherwise since 1.3.2, and so does this file.
    """
    return f"cd /sys/fs/cgroup; cat {files}" if unified() else legacy


def resource_capability() -> bool:
    """Whether this process has CAP_SYS_RESOURCE."""
    status = Path("/proc/self/status").read_text()
    return bool(int(status.split("CapPrm:")[1].split()[0], 16) >> 24 & 1)


class Daemon:
    """A daemon that this test started; stop() ends it and unmounts what it left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self, command: list[str], log: str = "daemon.log") -> None:
        with open(self.directory / log, "ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def wait_until(self, ready: list[str], seconds: float = 60) -> None:
        """Wait until the command `ready` succeeds."""
        assert self.process is not None
        deadline = time.monotonic() + seconds * PATIENCE
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                log = (self.directory / "daemon.log").read_text()[-2000:]
                raise RuntimeError(f"the daemon does not start: {log}")
            time.sleep(0.1)

    def end(self) -> None:
        """SIGTERM, and SIGKILL for a daemon that does not obey."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def remove(self) -> None:
        """Unmount and delete its directories."""
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            mounted = line.split()[4]
            if mounted.startswith(f"{self.directory}/"):
                subprocess.run(["umount", "-l", mounted], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
        if systemd_driver():
            return
        for group in ("docker", "enginetest", "libpod_parent", "default"):
            for top in Path("/sys/fs/cgroup").glob(f"*/{group}"):
                # The engines leave the parents of their containers; what is in use stays.
                subprocess.run(
                    ["find", str(top), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"],
                    capture_output=True,
                    check=False,
                )


class Docker(Daemon):
    """dockerd with both runtimes, without networks."""

    def __init__(self, directory: Path, ours: str, reference: str, client: str) -> None:
        super().__init__(directory)
        self.client = client
        self.socket = f"unix://{directory}/socket"
        self.config = directory / "daemon.json"
        # The configuration that contrib/ has, and places of its own.
        given = (CONFIGURATIONS / "daemon.json").read_text()
        self.settings: dict[str, Any] = json.loads(given.replace("/usr/local/bin/runc", ours))
        self.settings["runtimes"][REFERENCE] = {"path": reference}
        self.settings.update(
            {
                "data-root": str(directory / "data"),
                "exec-root": str(directory / "exec"),
                "pidfile": str(directory / "pid"),
                "hosts": [self.socket],
                "iptables": False,
                "ip6tables": False,
                "bridge": "none",
                "exec-opts": [
                    f"native.cgroupdriver={'systemd' if systemd_driver() else 'cgroupfs'}"
                ],
            }
        )

    def start(self) -> None:
        self.config.write_text(json.dumps(self.settings))
        self.spawn(["dockerd", "--config-file", str(self.config)])
        self.wait_until([self.client, "-H", self.socket, "info"])

    def restart(self) -> None:
        """Stop and start it, with what `settings` says now."""
        self.end()
        self.start()

    def __call__(self, *args: str, **options: Any) -> Observation:
        return call(
            [self.client, "-H", self.socket, *args],
            environment={"DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(self.directory / "client")},
            **options,
        )

    def default(self, runtime: str) -> None:
        """Make `runtime` the default (for builds), without a restart."""
        self.settings["default-runtime"] = runtime
        self.config.write_text(json.dumps(self.settings))
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20 * PATIENCE
        while self("info", "-f", "{{.DefaultRuntime}}").out.strip() != runtime:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def ask(self, path: str) -> Any:
        """What the engine's API answers to GET."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.socket[len("unix://") :])
        connection.request("GET", path)
        answer = json.load(connection.getresponse())
        connection.close()
        return answer

    def clean(self) -> None:
        """Remove every container."""
        names = [entry["Id"] for entry in self.ask("/containers/json?all=1")]
        if names:
            self("rm", "-f", *names)


class Containerd(Daemon):
    """containerd by itself, with `ctr`; the runtime is named for each container."""

    def __init__(self, directory: Path, ours: str) -> None:
        super().__init__(directory)
        self.socket = f"{directory}/socket"
        template = CONFIGURATIONS / "containerd-config.toml"
        own = f'root = "{directory}/root"\nstate = "{directory}/state"\n'
        own += f'[grpc]\n  address = "{self.socket}"\n'
        text = template.read_text()
        if systemd_driver():
            text += "    SystemdCgroup = true\n"
        text = text.replace("/usr/local/bin/runc", ours)
        # Keys of the top come first in TOML.
        text = text.replace("version = 2\n", f"version = 2\n{own}", 1)
        (directory / "config.toml").write_text(text)

    def start(self) -> None:
        self.spawn(["containerd", "--config", str(self.directory / "config.toml")])
        self.wait_until(["ctr", "-a", self.socket, "version"])

    def __call__(self, *args: str, **options: Any) -> Observation:
        return call(["ctr", "-a", self.socket, *args], **options)

    def clean(self) -> None:
        """Remove every container."""
        for name in self("containers", "ls", "-q").out.split():
            self("task", "rm", "-f", name)
            self("containers", "rm", name)


class WithRuntime:
    """Docker as a test sees it: `run` uses one of the runtimes."""

    def __init__(self, docker: Docker, runtime: str) -> None:
        self.docker = docker
        self.runtime = runtime

    def __call__(self, *args: str, **options: Any) -> Observation:
        return self.docker(*args, **options)

    def command(self, *args: str) -> list[str]:
        """The command line of `docker run`."""
        options = ["--runtime", self.runtime, "--network", "none"]
        if "--network" in args:
            options = options[:2]
        return [self.docker.client, "-H", self.docker.socket, "run", *options, *args]

    def run(self, *args: str, **options: Any) -> Observation:
        """`docker run --rm`."""
        return self("run", *self.command("--rm", *args)[4:], **options)

    def start(self, name: str, *args: str, image: str = IMAGE) -> None:
        """`docker run -d` of the program in args, after options that end with `--`."""
        options, program = list(args), ["sleep", "1000"]
        if "--" in options:
            program = options[options.index("--") + 1 :]
            options = options[: options.index("--")]
        self("run", *self.command("-d", "--name", name, *options, image, *program)[4:]).ok()

    def inspect(self, name: str, form: str) -> str:
        """A field of a container."""
        return self("inspect", "-f", form, name).ok()

    def wait_for(self, name: str, form: str, value: str, seconds: float = 20) -> None:
        """Wait until a field of a container has a value."""
        deadline = time.monotonic() + seconds * PATIENCE
        while self.inspect(name, form) != value:
            assert time.monotonic() < deadline, (form, value, self.inspect(name, form))
            time.sleep(0.05)
