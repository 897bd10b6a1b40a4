"""containerd's CRI plug-in as a kubelet uses it: pods and their containers, with both runtimes."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from tests.engines.cri import Client, decode
from tests.engines.daemons import (
    IMAGE,
    PATIENCE,
    Containerd,
    image_archive,
    limits_script,
    resource_capability,
    systemd_driver,
)

grpc: Any = pytest.importorskip(
    "grpc", reason="grpcio is not installed (tests/run.sh engines installs it)"
)

CONFIG = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  # Without CAP_SYS_RESOURCE nobody may be less likely to be killed than before.
  restrict_oom_score_adj = {restrict}
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.reference]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.reference.options]
    BinaryName = "{reference}"
    SystemdCgroup = {systemd}
"""
# The pod is on the host's network: so that there is no need for CNI plug-ins.
NODE = 2
CREATED, RUNNING, EXITED = 0, 1, 2
STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' /proc/self/status"


@pytest.fixture(scope="module")
def cri(runc: str, reference: str, base: Path) -> Iterator[Client]:
    if not shutil.which("containerd") or not shutil.which("ctr"):
        pytest.skip("containerd is not installed (Debian package containerd)")
    daemon = Containerd(Path(tempfile.mkdtemp(prefix="runc-cri-")), runc)
    with open(daemon.directory / "config.toml", "a") as config:
        text = CONFIG.format(
            image=IMAGE,
            reference=reference,
            restrict=str(not resource_capability()).lower(),
            systemd=str(systemd_driver()).lower(),
        )
        config.write(text)
    try:
        daemon.start()
        archive = daemon.directory / "image.tar"
        image_archive(base, archive, ["sleep", "100000"])
        daemon("-n", "k8s.io", "images", "import", str(archive)).ok()
        client = Client(daemon.socket)
        yield client
        client.close()
    finally:
        daemon.end()
        daemon.remove()


class Pod:
    """A sandbox and its containers."""

    def __init__(self, call: Client, handler: str, **linux: Any) -> None:
        self.call = call
        self.logs = tempfile.mkdtemp(prefix="runc-cri-logs-")
        context = {1: {1: NODE}}
        self.config: dict[int, Any] = {
            1: {1: "pod", 2: uuid.uuid4().hex, 3: "default"},
            3: self.logs,
            6: {1: "label", 2: "value"},
            # With the systemd driver the kubelet names a slice.
            8: {
                1: "enginetest.slice" if systemd_driver() else "",
                2: context,
                **linux.get("fields", {}),
            },
        }
        self.id = call("RunPodSandbox", {1: self.config, 2: handler})[1][0].decode()
        self.made = 0

    def create(self, *command: str, more: dict[int, Any] | None = None, linux: Any = None) -> str:
        """A container that is created; its id."""
        self.made += 1
        config: dict[int, Any] = {
            1: {1: f"c{self.made}"},
            2: {1: IMAGE},
            3: list(command),
            11: f"{self.made}.log",
            15: linux or {},
            **(more or {}),
        }
        answer = self.call("CreateContainer", {1: self.id, 2: config, 3: self.config})
        return str(answer[1][0].decode())

    def start(self, *command: str, **options: Any) -> str:
        """A container that runs; its id."""
        container = self.create(*command, **options)
        self.call("StartContainer", {1: container})
        return container

    def exec(self, container: str, *command: str) -> tuple[int, str, str]:
        """ExecSync: exit status, output, errors."""
        told = self.call("ExecSync", {1: container, 2: list(command), 3: int(20 * PATIENCE)})
        text = [b"".join(told.get(field, [])).decode() for field in (1, 2)]
        return told.get(3, [0])[0], text[0], text[1]

    def status(self, container: str) -> tuple[int, int, str]:
        """State, exit status and reason."""
        told: Any = decode(self.call("ContainerStatus", {1: container})[1][0])
        reason = told.get(10, [b""])[0].decode()
        return told.get(3, [0])[0], told.get(7, [0])[0], reason

    def wait(self, container: str) -> tuple[int, int, str]:
        """The status once it has ended."""
        deadline = time.monotonic() + 30 * PATIENCE
        while self.status(container)[0] != EXITED:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return self.status(container)

    def log(self, number: int) -> list[str]:
        """The log of the container with this number: stream and text of each line."""
        lines = (Path(self.logs) / f"{number}.log").read_text().splitlines()
        return [line.split(" ", 1)[1] for line in lines]

    def remove(self) -> None:
        """Stop and remove the pod with all that is in it."""
        self.call("StopPodSandbox", {1: self.id})
        self.call("RemovePodSandbox", {1: self.id})
        shutil.rmtree(self.logs)


@pytest.fixture
def both(cri: Client) -> Callable[[Callable[[Pod], Any]], Any]:
    def compare(observe: Callable[[Pod], Any]) -> Any:
        seen = []
        for handler in ("reference", "python"):
            pod = Pod(cri, handler)
            try:
                seen.append(observe(pod))
            finally:
                pod.remove()
        assert seen[1] == seen[0]
        return seen[1]

    return compare


def test_life(both: Any) -> None:
    """Create, start, exec, status, stop, remove; the log."""

    def observe(pod: Pod) -> Any:
        script = "trap 'exit 5' TERM; echo out; echo err >&2; while :; do sleep 0.1; done"
        container = pod.create("sh", "-c", script)
        seen: list[Any] = [pod.status(container)]
        pod.call("StartContainer", {1: container})
        seen += [pod.status(container), pod.exec(container, "sh", "-c", "id; pwd; exit 3")]
        seen += [pod.exec(container, "sh", "-c", STATUS)]
        pod.call("StopContainer", {1: container, 2: int(10 * PATIENCE)})
        seen += [pod.status(container), sorted(pod.log(1))]
        pod.call("RemoveContainer", {1: container})
        return seen

    seen = both(observe)
    assert seen[0] == (CREATED, 0, "") and seen[1] == (RUNNING, 0, "")
    assert seen[2][0] == 3 and seen[4] == (EXITED, 5, "Error")
    assert seen[5] == ["stderr F err", "stdout F out"]


def test_confinement(both: Any, scratch: Path) -> None:
    """Limits, user, capabilities, read-only root, mounts, environment, working directory."""
    (scratch / "file").write_text("content\n")
    resources = {1: 100000, 2: 50000, 3: 300, 4: 64 << 20}
    context = {1: {1: ["NET_ADMIN"], 2: ["CHOWN"]}, 5: {1: 1000}, 7: 1, 8: [44, 45], 11: 1}

    def observe(pod: Pod) -> Any:
        container = pod.start(
            "sleep",
            "1000",
            more={
                5: "/tmp",
                6: [{1: "A", 2: "b c"}],
                7: [{1: "/data", 2: str(scratch), 3: 1}],
            },
            linux={1: resources, 2: context},
        )
        script = (
            f"{STATUS}; pwd; echo $A; cat /data/file; touch /x; touch /data/x; hostname | wc -l"
        )
        return pod.exec(container, "sh", "-c", script)

    seen = both(observe)
    assert "Uid:\t1000" in seen[1] and "NoNewPrivs:\t1" in seen[1] and "content\n" in seen[1]
    assert seen[2].count("Read-only file system") == 2


def test_update_and_statistics(both: Any) -> None:
    def observe(pod: Pod) -> Any:
        container = pod.start("sleep", "1000", linux={1: {4: 64 << 20}})
        script = limits_script("cat /sys/fs/cgroup/memory/memory.limit_in_bytes", "memory.max")
        limit = ("sh", "-c", script)
        seen = [pod.exec(container, *limit)]
        pod.call("UpdateContainerResources", {1: container, 2: {4: 32 << 20}})
        seen.append(pod.exec(container, *limit))
        statistics: Any = decode(pod.call("ContainerStats", {1: container})[1][0])
        return [*seen, sorted(statistics)]

    seen = both(observe)
    assert (seen[0][1], seen[1][1]) == (f"{64 << 20}\n", f"{32 << 20}\n")


def test_failures(both: Any) -> None:
    """A missing program, an exec of one, a timeout, a container that the kernel kills."""

    def observe(pod: Pod) -> Any:
        seen: list[Any] = []
        missing = pod.create("nosuch")
        with pytest.raises(grpc.RpcError) as error:
            pod.call("StartContainer", {1: missing})
        seen += [error.value.code(), pod.status(missing)]
        container = pod.start("sleep", "1000")
        with pytest.raises(grpc.RpcError) as error:
            pod.exec(container, "nosuch")
        seen += [error.value.code(), "executable file not found" in error.value.details()]
        with pytest.raises(grpc.RpcError) as error:
            pod.call("ExecSync", {1: container, 2: ["sleep", "50"], 3: 1})
        seen += [error.value.code()]
        hungry = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo $x | wc -c"
        killed = pod.start("sh", "-c", f"sleep 0.5; {hungry}", linux={1: {4: 16 << 20}})
        return [*seen, pod.wait(killed)]

    seen = both(observe)
    assert seen[3] and seen[5] == (EXITED, 137, "OOMKilled"), seen


def test_shared_process_namespace(both: Any) -> None:
    """Containers of a pod that share its pid namespace see each other."""

    def observe(pod: Pod) -> Any:
        # NamespaceMode POD is 0, of the containers as of the pod.
        shared = {2: {3: {1: NODE, 2: 0}}}
        pod.start("sleep", "4321", linux=shared)
        second = pod.start("sleep", "1000", linux=shared)
        return pod.exec(second, "sh", "-c", "ps -o args | grep -c '^sleep'")

    assert both(observe)[0] == 0
