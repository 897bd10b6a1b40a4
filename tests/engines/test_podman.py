"""Podman and Buildah, as root, with both runtimes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from tests.engines.daemons import IMAGE, OURS, REFERENCE, Daemon, Observation, call

SHELL = ("sh", "-c")
STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' /proc/self/status"

Both = Callable[[Callable[["WithRuntime"], Any]], Any]


class Podman(Daemon):
    """Podman's and Buildah's files; there is no daemon to start."""

    def __init__(self, directory: Path, ours: str, reference: str) -> None:
        super().__init__(directory)
        self.paths = {OURS: ours, REFERENCE: reference}
        storage = directory / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/graph"\nrunroot = "{directory}/run"\n'
        )
        config = directory / "containers.conf"
        given = Path(__file__).parents[2] / "contrib" / "engines" / "containers.conf"
        text = given.read_text().replace("/usr/local/bin/runc", ours)
        # Without CAP_SYS_RESOURCE limits cannot be raised, without a bus there is no systemd.
        config.write_text(
            text.replace("[engine]\n", '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
                         f'tmp_dir = "{directory}/libpod"\n')
            + f'{REFERENCE} = ["{reference}"]\n{OURS} = ["{ours}"]\n'
            + '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\nnetns = "none"\n'
        )  # fmt: skip
        self.environment = {
            "CONTAINERS_STORAGE_CONF": str(storage),
            "CONTAINERS_CONF": str(config),
            "BUILDAH_ISOLATION": "oci",
        }

    def __call__(self, *command: str, **options: Any) -> Observation:
        return call(list(command), environment=self.environment, **options)


class WithRuntime:
    """Podman with one of the runtimes."""

    def __init__(self, podman: Podman, runtime: str) -> None:
        self.podman = podman
        self.runtime = runtime
        self.path = podman.paths[runtime]

    def __call__(self, *args: str, **options: Any) -> Observation:
        return self.podman("podman", "--runtime", self.runtime, *args, **options)

    def run(self, *args: str, **options: Any) -> Observation:
        """`podman run --rm`."""
        return self("run", "--rm", *args, **options)


@pytest.fixture(scope="session")
def podman(runc: str, reference: str, base: Path) -> Iterator[Podman]:
    if not shutil.which("podman"):
        pytest.skip("podman is not installed (Debian package podman)")
    made = Podman(Path(tempfile.mkdtemp(prefix="runc-podman-")), runc, reference)
    try:
        made("podman", "import", str(base), IMAGE).ok()
        yield made
        made("podman", "rm", "-fa", "-t", "0")
    finally:
        made.remove()


def ordinary_user() -> pwd.struct_passwd:
    """One of this machine's ordinary users; skips the test where it has none."""
    users = [entry for entry in pwd.getpwall() if 1000 <= entry.pw_uid < 60000]
    if not users:
        pytest.skip("this machine has no ordinary user")
    return users[0]


class RootlessPodman(Podman):
    """The same as an ordinary user, with one id and without cgroups to write to."""

    def __init__(self, directory: Path, ours: str, reference: str, user: int) -> None:
        # The user may be unable to look into the directory that the file was built in.
        copy = directory / "runc"
        shutil.copy(ours, copy)
        super().__init__(directory, str(copy), reference)
        self.user = user
        with open(directory / "storage.conf", "a") as storage:
            storage.write('[storage.options]\nignore_chown_errors = "true"\n')
        for name in ("home", "runtime"):
            (directory / name).mkdir(mode=0o700)
        self.environment["HOME"] = str(directory / "home")
        self.environment["XDG_RUNTIME_DIR"] = str(directory / "runtime")
        for path in (directory, *directory.rglob("*")):
            os.chown(path, user, user)

    def __call__(self, *command: str, **options: Any) -> Observation:
        ids = ("--reuid", str(self.user), "--regid", str(self.user), "--clear-groups")
        return super().__call__("setpriv", *ids, *command, **options)


@pytest.fixture(scope="session")
def rootless(runc: str, reference: str, base: Path) -> Iterator[RootlessPodman]:
    if not shutil.which("podman"):
        pytest.skip("podman is not installed (Debian package podman)")
    user = ordinary_user()
    directory = Path(tempfile.mkdtemp(prefix="runc-rootless-"))
    made = RootlessPodman(directory, runc, reference, user.pw_uid)
    try:
        shutil.copy(base, directory / "base.tar")
        (directory / "base.tar").chmod(0o644)
        made("podman", "import", str(directory / "base.tar"), IMAGE).ok()
        yield made
        made("podman", "rm", "-fa", "-t", "0")
        # Podman keeps a process that holds its user namespace.
        os.kill(int((directory / "libpod" / "pause.pid").read_text()), signal.SIGKILL)
    finally:
        made.remove()


def test_rootless(rootless: RootlessPodman) -> None:
    """run, exec, stop, logs as an ordinary user."""

    def observe(podman: WithRuntime) -> Any:
        seen: list[Any] = [
            podman.run(IMAGE, *SHELL, f"id; {STATUS}; cat /proc/self/uid_map; exit 3")
        ]
        seen += [podman.run("--read-only", "-v", "/etc:/t:ro", IMAGE, "touch", "/t/x")]
        seen += [podman.run(IMAGE, "nosuch").status, podman.run(IMAGE, "/etc/passwd").status]
        script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done"
        podman("run", "-d", "--name", "c1", IMAGE, *SHELL, script).ok()
        seen += [podman("exec", "c1", *SHELL, f"{STATUS}; cat /proc/self/setgroups; exit 4")]
        seen += [podman("exec", "c1", "nosuch").status]
        seen += [podman("stop", "c1").status, podman("logs", "c1")]
        seen += [podman("inspect", "-f", "{{.State.ExitCode}}", "c1"), podman("rm", "c1").status]
        return seen

    expected = observe(WithRuntime(rootless, REFERENCE))
    seen = observe(WithRuntime(rootless, OURS))
    assert seen == expected
    assert seen[0].status == 3 and seen[4].status == 4 and seen[8].out == "5\n", seen


@pytest.fixture
def both(podman: Podman) -> Iterator[Both]:
    def clean() -> None:
        podman("podman", "pod", "rm", "-fa")
        podman("podman", "rm", "-fa", "-t", "0")

    def compare(observe: Callable[[WithRuntime], Any]) -> Any:
        expected = observe(WithRuntime(podman, REFERENCE))
        clean()
        seen = observe(WithRuntime(podman, OURS))
        assert seen == expected
        return seen

    yield compare
    clean()


RUNS: list[tuple[str, list[str], str, int]] = [
    ("plain", [], "id; exit 5", 5),
    ("process", [], STATUS, 0),
    ("no runtime named", ["--env", "A=1"], "echo $A; pwd", 0),
    ("limits", ["-m", "32m", "--pids-limit", "20", "--cpus", "0.5"],
     "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us", 0),
    ("init", ["--init"], "cat /proc/1/comm", 0),
    ("read-only", ["--read-only", "--tmpfs", "/t:size=64k"], "touch /t/x; touch /x", 1),
    ("systemd", ["--systemd", "always"], "mount | grep -c -E 'tmpfs|cgroup'; ls -d /run/lock", 0),
    ("user namespace", ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"],
     "cat /proc/self/uid_map; id; touch /x; ls -ln /x | cut -c1-40; mkdir /mnt; mount -t tmpfs t /mnt", 1),
    ("mapped user", ["--uidmap", "0:100000:65536", "-u", "1000"], f"{STATUS}; cat /proc/self/gid_map", 0),
    ("sysctl", ["--sysctl", "kernel.msgmax=999"], "cat /proc/sys/kernel/msgmax", 0),
    ("seccomp unconfined", ["--security-opt", "seccomp=unconfined"], STATUS, 0),
    ("unmask", ["--security-opt", "unmask=ALL"], "wc -c < /proc/timer_list >/dev/null; ls /proc/acpi", 0),
    ("devices", ["--device", "/dev/zero:/dev/nought"], "head -c 2 /dev/nought | wc -c", 0),
    ("host pid", ["--pid", "host"], "readlink /proc/self/ns/pid", 0),
    ("timezone", ["--tz", "UTC"], "date +%Z", 0),
    ("user", ["-u", "user", "--group-add", "44"], "id", 0),
    ("capabilities of a user", ["-u", "user", "--cap-add", "NET_RAW"], STATUS, 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "script", "status"), RUNS, ids=[r[0] for r in RUNS])
def test_run(both: Both, name: str, args: list[str], script: str, status: int) -> None:
    seen = both(lambda podman: podman.run(*args, IMAGE, *SHELL, script))
    assert seen.status == status, seen


@pytest.mark.parametrize(
    ("args", "status"),
    [
        ((IMAGE, "nosuch"), 127),
        ((IMAGE, "/nosuch"), 127),
        ((IMAGE, "/etc/passwd"), 126),
        ((IMAGE, "/etc"), 126),
        (("-v", "/nosuch:/x", IMAGE, "true"), 125),
        (("-w", "/nosuch", IMAGE, "true"), 126),
        (("--device", "/dev/nosuch", IMAGE, "true"), 125),
    ],
)
def test_error(both: Both, args: tuple[str, ...], status: int) -> None:
    assert both(lambda podman: podman.run(*args).status) == status


def test_life(both: Both) -> None:
    """exec, top, stats, pause, stop, inspect, logs."""

    def observe(podman: WithRuntime) -> Any:
        script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done"
        podman("run", "-d", "--name", "c1", IMAGE, *SHELL, script).ok()
        state = ("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "c1")
        seen: list[Any] = [podman("exec", "c1", *SHELL, f"{STATUS}; exit 3")]
        seen += [
            podman(
                "exec", "-u", "1000", "-e", "A=1", "-w", "/tmp", "c1", *SHELL, "id; echo $A; pwd"
            )
        ]
        seen += [podman("exec", "c1", "nosuch").status, podman("exec", "c1", "/etc/passwd").status]
        seen += [podman("top", "c1", "pid", "user").ok().splitlines()[:2]]
        seen += [podman("stats", "--no-stream", "--format", "{{.MemLimit}}", "c1").status]
        seen += [podman("pause", "c1").status, podman(*state), podman("exec", "c1", "true").status]
        seen += [podman("unpause", "c1").status, podman(*state)]
        seen += [podman("stop", "c1").status, podman(*state), podman("logs", "c1")]
        seen += [podman("start", "c1").status, podman("kill", "c1").status, podman("wait", "c1")]
        seen += [
            podman("restart", "c1").status,
            podman(*state),
            podman("rm", "-f", "-t", "0", "c1").status,
        ]
        return seen

    seen = both(observe)
    assert seen[0].status == 3 and seen[12].out == "exited 5\n", seen


def test_pod(both: Both) -> None:
    def observe(podman: WithRuntime) -> Any:
        podman("pod", "create", "--name", "p1", "--infra-image", IMAGE, "--infra-command", "sleep 1000",
               "--share", "ipc,uts,pid").ok()  # fmt: skip
        podman("run", "-d", "--pod", "p1", "--name", "c1", IMAGE, "sleep", "1000").ok()
        seen: list[Any] = [podman("pod", "ps", "--format", "{{.Status}} {{.NumberOfContainers}}")]
        seen += [podman("exec", "c1", *SHELL, "hostname; ps -o args | grep -c '^sleep'")]
        seen += [podman("pod", "pause", "p1").status, podman("pod", "unpause", "p1").status]
        seen += [
            podman("pod", "stop", "-t", "0", "p1").status,
            podman("pod", "rm", "-f", "p1").status,
        ]
        return seen

    assert both(observe)[0].out == "Running 2\n"


def test_kube_play(both: Both, scratch: Path) -> None:
    manifest = scratch / "pod.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: k1\nspec:\n  containers:\n  - name: one\n"
        f"    image: {IMAGE}\n    imagePullPolicy: Never\n    command: [/bin/sleep, '1000']\n"
        "    resources:\n      limits:\n        memory: 64Mi\n"
    )

    def observe(podman: WithRuntime) -> Any:
        played = podman("kube", "play", "--network", "none", str(manifest))
        return (played.status, podman("exec", "k1-one", "/bin/cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
                podman("kube", "down", str(manifest)).status)  # fmt: skip

    seen = both(observe)
    assert seen[1].out == f"{64 << 20}\n"


def test_health(both: Both) -> None:
    def observe(podman: WithRuntime) -> Any:
        # "disable": no systemd timer; the check is run by hand.
        seen = []
        for name, command in (("good", "true"), ("bad", "false")):
            podman("run", "-d", "--name", name, "--health-interval", "disable", "--health-cmd", command,
                   IMAGE, "sleep", "1000").ok()  # fmt: skip
            seen.append(podman("healthcheck", "run", name).status)
        return seen

    assert both(observe) == [0, 1]


def test_build(both: Both, scratch: Path) -> None:
    if not shutil.which("buildah"):
        pytest.skip("buildah is not installed (Debian package buildah)")
    (scratch / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN echo built > /etc/built\nUSER user\nRUN id -u > /tmp/uid\nENV A=1\n"
        "WORKDIR /w\nRUN pwd > /tmp/pwd; echo $A >> /tmp/pwd\nCMD cat /etc/built /tmp/uid /tmp/pwd\n"
    )
    (scratch / "Failing").write_text(f"FROM {IMAGE}\nRUN exit 9\n")

    def observe(podman: WithRuntime) -> Any:
        options = ["--runtime", podman.path, "--network", "none", "--ulimit", "nofile=1024:1024"]
        options += ["--ulimit", "nproc=1000:1000", "--no-cache"]
        build = ("buildah", "bud", *options)
        done = podman.podman(*build, "-t", "localhost/built", str(scratch))
        failed = podman.podman(*build, "-f", str(scratch / "Failing"), str(scratch))
        return done.status, podman.run("localhost/built"), failed.status

    seen = both(observe)
    assert seen[0] == 0 and seen[1].out == "built\n1000\n/w\n1\n" and seen[2] != 0, seen


def test_buildah_run(both: Both) -> None:
    if not shutil.which("buildah"):
        pytest.skip("buildah is not installed (Debian package buildah)")

    def observe(podman: WithRuntime) -> Any:
        name = podman.podman("buildah", "from", IMAGE).ok()
        run = podman.podman("buildah", "run", "--runtime", podman.path, "--network", "none", name,
                            "--", "sh", "-c", "id -u; exit 4")  # fmt: skip
        podman.podman("buildah", "rm", name)
        return run.status, run.out

    assert both(observe)[0] in (4, 1, 125)


def test_podman_build(both: Both, scratch: Path) -> None:
    (scratch / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN id -u > /uid\nCMD cat /uid\n")

    def observe(podman: WithRuntime) -> Any:
        done = podman(
            "build", "--network", "none", "--no-cache", "-t", "localhost/built", str(scratch)
        )
        return done.status, podman.run("localhost/built")

    assert both(observe)[1].out == "0\n"
