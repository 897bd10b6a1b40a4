"""Podman and Buildah, as root, with both runtimes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from tests.engines.daemons import (
    CONFIGURATIONS,
    IMAGE,
    OURS,
    PATIENCE,
    REFERENCE,
    Daemon,
    Observation,
    call,
    limits_script,
    pause,
    resource_capability,
    systemd_driver,
)

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
        text = (CONFIGURATIONS / "containers.conf").read_text().replace("/usr/local/bin/runc", ours)
        manager = "systemd" if systemd_driver() else "cgroupfs"
        text = text.replace(
            "[engine]\n",
            f'[engine]\ncgroup_manager = "{manager}"\nevents_logger = "file"\n'
            f'tmp_dir = "{directory}/libpod"\n',
        )
        text += f'{REFERENCE} = ["{reference}"]\n[containers]\nnetns = "none"\n'
        if not resource_capability():
            # Podman raises them as far as it goes, and that needs the capability.
            text += 'default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
        config.write_text(text)
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


def managed(user: int) -> bool:
    """Whether the user has a systemd of his own, that delegates cgroups to him."""
    return systemd_driver() and os.path.exists(f"/run/user/{user}/bus")


class RootlessPodman(Podman):
    """The same as an ordinary user: with one id and without cgroups to write to, or with his systemd."""

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
        if not managed(user):
            self.environment["XDG_RUNTIME_DIR"] = str(directory / "runtime")
        for path in (directory, *directory.rglob("*")):
            os.chown(path, user, user)

    def __call__(self, *command: str, **options: Any) -> Observation:
        return super().__call__(*self.become(), *command, **options)

    def become(self) -> list[str]:
        """The beginning of a command line that is run as the user."""
        if not managed(self.user):
            ids = ["--reuid", str(self.user), "--regid", str(self.user), "--clear-groups"]
            return ["setpriv", *ids]
        variables = {**self.environment, "PATH": os.environ["PATH"]}
        return [
            "systemd-run", "--quiet", "--user", f"--machine={pwd.getpwuid(self.user).pw_name}@",
            "--wait", "--pipe", "--collect", "--property=KillMode=process", "--working-directory=/",
            *(f"--setenv={name}={value}" for name, value in variables.items()), "--",
        ]  # fmt: skip


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


def test_rootless_limits(rootless: RootlessPodman) -> None:
    """Limits, and their change, in the cgroups that the user's systemd makes."""
    if not managed(rootless.user):
        pytest.skip("needs cgroup v2 and an ordinary user with a systemd of his own")
    show = limits_script("", "memory.max pids.max cpu.max")

    def observe(podman: WithRuntime) -> Any:
        limits = ("-m", "32m", "--pids-limit", "20", "--cpus", "0.5")
        seen: list[Any] = [podman.run(*limits, IMAGE, *SHELL, show)]
        podman("run", "-d", "--name", "c1", *limits, IMAGE, "sleep", "1000").ok()
        seen += [podman("exec", "c1", *SHELL, f"{show}; cat /proc/self/cgroup")]
        seen += [podman("pause", "c1").status, podman("unpause", "c1").status]
        seen += [podman("stats", "--no-stream", "--format", "{{.MemLimit}}", "c1")]
        return [*seen, podman("rm", "-f", "-t", "0", "c1").status]

    expected = observe(WithRuntime(rootless, REFERENCE))
    seen = observe(WithRuntime(rootless, OURS))
    assert seen == expected
    assert seen[0].out == f"{32 << 20}\n20\n50000 100000\n" and seen[4].out == f"{32 << 20}\n", seen


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
     limits_script("cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us",
                   "memory.max pids.max cpu.max"), 0),
    ("init", ["--init"], "cat /proc/1/comm", 0),
    ("read-only", ["--read-only", "--tmpfs", "/t:size=64k"], "touch /t/x; touch /x", 1),
    ("systemd", ["--systemd", "always"], "mount | grep -c -E 'tmpfs|cgroup'; ls -d /run/lock", 0),
    ("user namespace", ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"],
     "cat /proc/self/uid_map; id; touch /x; ls -ln /x | cut -c1-40; mkdir /mnt; mount -t tmpfs t /mnt || exit 6", 6),
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


def pod(podman: WithRuntime) -> Any:
    """The life of a pod."""
    podman("pod", "create", "--name", "p1", "--infra-image", IMAGE, "--infra-command", "sleep 1000",
           "--share", "ipc,uts,pid").ok()  # fmt: skip
    podman("run", "-d", "--pod", "p1", "--name", "c1", IMAGE, "sleep", "1000").ok()
    seen: list[Any] = [podman("pod", "ps", "--format", "{{.Status}} {{.NumberOfContainers}}")]
    seen += [podman("exec", "c1", *SHELL, "hostname; ps -o args | grep -c '^sleep'")]
    seen += [podman("pod", "pause", "p1").status, podman("pod", "unpause", "p1").status]
    seen += [podman("pod", "stop", "-t", "0", "p1").status]
    return [*seen, podman("pod", "rm", "-f", "p1").status]


def health(podman: WithRuntime) -> list[int]:
    """Health checks that are started by hand."""
    seen = []
    for name, command in (("good", "true"), ("bad", "false")):
        # "disable": no systemd timer.
        podman("run", "-d", "--name", name, "--health-interval", "disable", "--health-cmd", command,
               IMAGE, "sleep", "1000").ok()  # fmt: skip
        seen.append(podman("healthcheck", "run", name).status)
        podman("rm", "-f", "-t", "0", name).ok()
    return seen


def kube(scratch: Path, limits: str) -> Callable[[WithRuntime], Any]:
    """What a container of `kube play` says of its limit."""
    manifest = scratch / "pod.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: k1\nspec:\n  containers:\n  - name: one\n"
        f"    image: {IMAGE}\n    imagePullPolicy: Never\n    command: [/bin/sleep, '1000']\n{limits}"
    )
    show = limits_script("cat /sys/fs/cgroup/memory/memory.limit_in_bytes", "memory.max")

    def observe(podman: WithRuntime) -> Any:
        played = podman("kube", "play", "--network", "none", str(manifest))
        return (played.status, podman("exec", "k1-one", "/bin/sh", "-c", show),
                podman("kube", "down", str(manifest)).status)  # fmt: skip

    return observe


LIMITS = "    resources:\n      limits:\n        memory: 64Mi\n"


def test_pod(both: Both) -> None:
    assert both(pod)[0].out == "Running 2\n"


def test_kube_play(both: Both, scratch: Path) -> None:
    assert both(kube(scratch, LIMITS))[1].out == f"{64 << 20}\n"


def test_health(both: Both) -> None:
    assert both(health) == [0, 1]


def test_rootless_pods(rootless: RootlessPodman, scratch: Path) -> None:
    """Pods, kube play, health checks, --systemd and a build as an ordinary user."""
    limited = managed(rootless.user)
    play = kube(scratch, LIMITS if limited else "")
    (scratch / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN id -u > /uid\nCMD cat /uid\n")

    def observe(podman: WithRuntime) -> Any:
        seen = [pod(podman), health(podman), play(podman)]
        script = "mount | grep -c -E 'tmpfs|cgroup'; ls -d /run/lock"
        seen += [podman.run("--systemd", "always", IMAGE, *SHELL, script)]
        build = ("--network", "none", "--no-cache", "-t", "localhost/built", str(scratch))
        seen += [podman("build", *build).status, podman.run("localhost/built")]
        return seen

    expected = observe(WithRuntime(rootless, REFERENCE))
    seen = observe(WithRuntime(rootless, OURS))
    assert seen == expected
    assert seen[0][0].out == "Running 2\n" and seen[1] == [0, 1] and seen[2][0] == 0, seen
    assert seen[2][1].out == f"{64 << 20}\n" or not limited, seen
    assert seen[5].out == "0\n", seen


INNER_TARGET = """
[Unit]
DefaultDependencies=no
Wants=inner.service
"""
INNER_SERVICE = """
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/busybox sleep 1000
MemoryMax=32M
"""


def test_systemd_inside(both: Both, scratch: Path) -> None:
    """The host's systemd as the container's init: it makes cgroups below the container's, and stops."""
    if not systemd_driver() or not os.path.exists("/usr/lib/systemd/systemd"):
        pytest.skip("needs cgroup v2 and systemd")
    (scratch / "default.target").write_text(INNER_TARGET)
    (scratch / "inner.service").write_text(INNER_SERVICE)
    binds = [f"-v={place}:{place}:ro" for place in ("/usr", "/lib", "/lib64")]

    def observe(podman: WithRuntime) -> Any:
        podman("run", "-d", "--name", "c1", "--systemd", "always", *binds,
               f"-v={scratch}:/etc/systemd/system:ro", IMAGE, "/usr/lib/systemd/systemd").ok()  # fmt: skip
        ask = ("exec", "c1", "/usr/bin/systemctl", "is-active", "inner.service")
        deadline = time.monotonic() + 20 * PATIENCE
        while podman(*ask).out != "active\n":
            assert time.monotonic() < deadline, podman("logs", "c1")
            pause(0.2)
        show = "cd /sys/fs/cgroup/system.slice/inner.service; cat memory.max; wc -l < cgroup.procs"
        seen: list[Any] = [podman("exec", "c1", *SHELL, show)]
        seen += [podman("stop", "-t", str(int(10 * PATIENCE)), "c1").status]
        return [
            *seen,
            podman("inspect", "-f", "{{.State.ExitCode}}", "c1"),
            podman("rm", "c1").status,
        ]

    assert both(observe)[0].out == f"{32 << 20}\n1\n"


def test_health_timer(podman: Podman, both: Both) -> None:
    """Checks that systemd starts: a transient timer, which finds this Podman by the environment."""
    if not os.environ.get("AFTER_REBOOT"):
        pytest.skip("changes the environment of systemd, so only in the machine of tests/beds/vm")

    def observe(podman: WithRuntime) -> Any:
        podman("run", "-d", "--name", "c1", "--health-interval", "2s", "--health-retries", "1",
               "--health-cmd", "echo checked; exit 1", IMAGE, "sleep", "1000").ok()  # fmt: skip
        deadline = time.monotonic() + 20 * PATIENCE
        while podman("inspect", "-f", "{{.State.Health.Status}}", "c1").out != "unhealthy\n":
            assert time.monotonic() < deadline, podman("inspect", "c1").out
            pause(0.2)
        return podman("inspect", "-f", "{{(index .State.Health.Log 0).Output}}", "c1")

    names = ("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF")
    call(["systemctl", "set-environment", *(f"{n}={podman.environment[n]}" for n in names)]).ok()
    try:
        assert both(observe).ok() == "checked"
    finally:
        call(["systemctl", "unset-environment", *names])


def test_build(both: Both, scratch: Path) -> None:
    if not shutil.which("buildah"):
        pytest.skip("buildah is not installed (Debian package buildah)")
    (scratch / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN echo built > /etc/built\nUSER user\nRUN id -u > /tmp/uid\nENV A=1\n"
        "WORKDIR /w\nRUN pwd > /tmp/pwd; echo $A >> /tmp/pwd\nCMD cat /etc/built /tmp/uid /tmp/pwd\n"
    )
    (scratch / "Failing").write_text(f"FROM {IMAGE}\nRUN exit 9\n")

    def observe(podman: WithRuntime) -> Any:
        options = ["--runtime", podman.path, "--network", "none", "--no-cache"]
        if not resource_capability():
            options += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]
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
