"""What is left when runc is killed, fails, runs many times at once, or finds its state spoilt."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.integration import traces
from tests.integration.traces import message

ALWAYS = {"mkdir", "write", "renameat", "mknodat", "clone3", "clone", "pipe2", "fsopen", "fsmount"}
ALWAYS |= {"prctl", "unlinkat", "flock", "rmdir", "unlink", "kill", "pidfd_send_signal", "rename"}
OFTEN = {"openat", "read", "close", "newfstatat", "waitid", "wait4", "poll", "ppoll"}


def bring_up(bundle: Any) -> None:
    """A running container."""
    done = bundle.call("run", "-d", bundle.id)
    assert done.returncode == 0, done


def moments(bundle: Any, begin: str, every: int, *args: str) -> list[tuple[str, int]]:
    """System calls of a verb from the first that contains `begin` on: names, and which of its name.

    Those that change something all, of those that only look every so-manieth.
    """
    bundle.root.mkdir(exist_ok=True)
    log = bundle.path / "strace"
    command = ["strace", "-o", str(log), *bundle.command(*args)]
    done = subprocess.run(
        command, cwd=bundle.path, env=bundle.environment, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0
    count: dict[str, int] = {}
    found = []
    begun = False
    for line in log.read_text().splitlines():
        name = line.partition("(")[0]
        count[name] = count.get(name, 0) + 1
        begun = begun or begin in line
        if begun and (name in ALWAYS or (name in OFTEN and count[name] % every == 0)):
            found.append((name, count[name]))
    assert begun
    assert len(found) > 10
    return found


def killed_at(bundle: Any, moment: tuple[str, int], *args: str) -> None:
    """Run a verb that is killed on entry of a system call."""
    name, number = moment
    inject = f"inject={name}:signal=KILL:when={number}"
    log = str(bundle.path / "strace")
    done = subprocess.run(
        ["strace", "-o", log, "-e", f"trace={name}", "-e", inject, *bundle.command(*args)],
        cwd=bundle.path,
        env=bundle.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    # By another way of things the call may not come so often; then nothing was killed.
    assert done.returncode in (-signal.SIGKILL, 0), (moment, done)


def cleans_up(bundle: Any, moment: Any) -> None:
    """`delete --force` removes everything; an init on its way notices a moment later."""
    done = bundle.call("delete", "--force", bundle.id)
    assert (done.returncode, done.stdout) == (0, ""), (moment, done)
    deadline = time.monotonic() + 3
    left = traces.of(bundle)
    while left["processes"] and time.monotonic() < deadline:
        left = traces.of(bundle)
    assert left == traces.NONE, moment


@pytest.mark.needs("program:strace")
@pytest.mark.parametrize("verb", ["create", "run -d"])
def test_killed_while_it_starts(verb: str, bundle: Any) -> None:
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    args = [*verb.split(), bundle.id]
    every = 4 if verb == "create" else 9
    chosen = moments(bundle, f"{bundle.id}", every, *args)
    cleans_up(bundle, "none")
    # The last steps are those of `start`; those before are the same.
    if verb == "run -d":
        chosen = chosen[::3] + chosen[-12:]
    for moment in chosen:
        killed_at(bundle, moment, *args)
        cleans_up(bundle, moment)
    bring_up(bundle)
    assert bundle.exec("true").returncode == 0


@pytest.mark.needs("program:strace")
@pytest.mark.parametrize("kind", ["pid", "user"])
def test_killed_while_it_starts_without_or_with_a_namespace(kind: str, bundle: Any) -> None:
    """Without a pid namespace nothing ends by itself; with a user namespace there is more to do."""
    namespaces = bundle.config["linux"]["namespaces"]
    if kind == "pid":
        bundle.config["linux"]["namespaces"] = [n for n in namespaces if n["type"] != "pid"]
    else:
        namespaces.append({"type": "user"})
        mapping = {"containerID": 0, "hostID": 100000, "size": 65536}
        bundle.config["linux"].update(uidMappings=[mapping], gidMappings=[mapping])
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    chosen = moments(bundle, "clone", 9, "create", bundle.id)
    cleans_up(bundle, "none")
    for moment in chosen[::3]:
        killed_at(bundle, moment, "create", bundle.id)
        cleans_up(bundle, moment)


@pytest.mark.needs("program:strace")
@pytest.mark.parametrize("verb", ["delete -f", "start", "exec -d", "kill", "update --pids-limit=9"])
def test_other_verbs_killed(verb: str, bundle: Any) -> None:
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    up = "create" if verb == "start" else "run -d"
    args = [*verb.split(), bundle.id]
    if verb.startswith("exec"):
        args += ["sleep", "1001"]
    if verb == "kill":
        args += ["KILL"]
    assert bundle.call(*up.split(), bundle.id).returncode == 0
    chosen = moments(bundle, bundle.id, 9, *args)
    cleans_up(bundle, "none")
    for moment in chosen[:: max(1, len(chosen) // 12)]:
        assert bundle.call(*up.split(), bundle.id).returncode == 0
        killed_at(bundle, moment, *args)
        if verb[:6] in ("exec -", "update"):
            assert bundle.state()["status"] == "running", moment
            assert bundle.exec("true").returncode == 0, moment
        cleans_up(bundle, moment)


def test_killed_in_the_foreground(bundle: Any) -> None:
    """The container goes on without its runc."""
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    process = subprocess.Popen(bundle.command("run", bundle.id), cwd=bundle.path)
    bundle.wait_for("running")
    process.kill()
    process.wait()
    assert bundle.state()["status"] == "running"
    cleans_up(bundle, "foreground")


def test_killed_at_any_time(bundle: Any) -> None:
    """The same by the clock: it finds what lies between system calls."""
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    for delay in range(0, 60, 3):
        command = bundle.command("run", "-d", bundle.id)
        process = subprocess.Popen(command, cwd=bundle.path)
        time.sleep(delay / 1000)
        process.kill()
        process.wait()
        cleans_up(bundle, delay)


@pytest.mark.needs("program:strace")
@pytest.mark.parametrize(
    "call", ["mount:when=1", "mount:when=6", "pivot_root", "sethostname", "capset", "umount2"]
)
def test_init_killed(call: str, bundle: Any) -> None:
    """What only init does: then `create` says so, and leaves nothing."""
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    name, _, when = call.partition(":")
    inject = f"inject={name}:signal=KILL" + (f":{when}" if when else "")
    command = bundle.command("create", bundle.id)
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", f"trace={name}", "-e", inject, *command],
        cwd=bundle.path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = "container init was killed by signal 9"
    assert message(done).endswith(f"unable to start container process: {expected}")
    assert traces.of(bundle) == traces.NONE


def faulty(bundle: Any, fault: str) -> str:
    """Make a config with a fault; a part of what is said of it."""
    config = bundle.config
    if fault == "no config":
        bundle.write()
        (bundle.path / "config.json").unlink()
        return "config.json not found"
    if fault == "half a config":
        (bundle.path / "config.json").write_text(json.dumps(config)[:500])
        return ""
    bad = {
        "rootfs": (config["root"], "path", "nosuch", "nosuch"),
        "cwd": (config["process"], "cwd", "relative", "ust be an absolute path"),
        "program": (config["process"], "args", ["nosuch"], "executable file not found in $PATH"),
        "namespace": (config["linux"]["namespaces"][0], "path", "/nosuch", "/nosuch"),
        "sysctl": (config["linux"], "sysctl", {"net.nosuch": "1"}, "nosuch"),
        "capability": (config["process"], "rlimits", [{"type": "RLIMIT_X"}], "RLIMIT_X"),
    }
    mounts = {
        "mount type": {"destination": "/x", "type": "nosuch", "source": "nosuch"},
        "mount source": {"destination": "/x", "source": "/nosuch", "options": ["bind"]},
        "mount option": {"destination": "/x", "type": "tmpfs", "options": ["size=x"]},
        "mount over a file": {"destination": "/bin/busybox/x", "type": "tmpfs"},
    }
    if fault in mounts:
        config["mounts"].append(mounts[fault])
        expected = "nosuch" if fault in ("mount type", "mount source") else ""
    elif fault.endswith("hook"):
        hook = {"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}
        config["hooks"] = {fault.split(maxsplit=1)[0]: [{"path": "/bin/true"}, hook]}
        expected = "hook #1: exit status 3"
    else:
        where, key, value, expected = bad[fault]
        where[key] = value
    bundle.write()
    return str(expected)


FAULTS = ["no config", "half a config", "rootfs", "cwd", "program", "namespace", "sysctl"]
FAULTS += ["capability", "mount type", "mount source", "mount option", "mount over a file"]
FAULTS += ["prestart hook", "createRuntime hook", "createContainer hook", "poststart hook"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_failure_leaves_nothing(verb: str, fault: str, bundle: Any, scratch: Path) -> None:
    bundle.config["process"]["args"] = ["sleep", "1000"]
    expected = faulty(bundle, fault)
    file = scratch / "x.pid"
    if (verb, fault) == ("create", "poststart hook"):
        # It is `start` that runs it.
        assert bundle.call("create", bundle.id).returncode == 0
        done = bundle.call("start", bundle.id)
    else:
        done = bundle.call(verb, "--pid-file", str(file), bundle.id)
        assert not file.exists()
    assert done.returncode == 1
    assert expected in message(done)
    assert "internal error" not in done.stderr
    assert traces.of(bundle) == traces.NONE


def test_a_failing_start_of_the_program(bundle: Any) -> None:
    """After `start` there is nobody to be told: the container's stderr and status tell."""
    (bundle.rootfs / "bin" / "odd").write_text("#!/nosuch\n")
    (bundle.rootfs / "bin" / "odd").chmod(0o755)
    done = bundle.run("odd")
    assert done.returncode != 0
    assert "no such file or directory" in done.stderr.lower()
    assert traces.of(bundle) == traces.NONE


KNOWN = re.compile(
    r"container does not exist|container not running|container process is already dead"
    r"|cannot (start|exec|delete) .*|container with given ID already exists"
    r"|unable to start container process: the process was killed"
    r"|.*container init (was killed by signal 9|exited with status \d+)"
)


def hammer(bundle: Any, seconds: float, commands: list[list[str]]) -> list[str]:
    """Call commands over and over, all at once; what they say that is not to be expected."""
    odd: list[str] = []
    deadline = time.monotonic() + seconds

    def repeat(command: list[str]) -> None:
        while time.monotonic() < deadline:
            try:
                done = bundle.call(*command, timeout=40)
            except subprocess.TimeoutExpired:
                odd.append(f"{command} hangs")
                return
            if done.returncode not in (0, 1, 137, 255):
                odd.append(repr(done))
            for text in re.findall(r"level=(?:error|warning) msg=(.*)", done.stderr):
                said = json.loads(text) if text.startswith('"') else text
                said = re.sub(r"^(runc (create|run)|exec) failed: ", "", said)
                if not KNOWN.fullmatch(said):
                    odd.append(f"{command}: {said}")

    threads = [threading.Thread(target=repeat, args=(command,)) for command in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(set(odd))


def test_many_commands_on_one_container(bundle: Any) -> None:
    bundle.start()
    name = bundle.id
    commands = [["state", name], ["kill", name, "0"], ["exec", name, "true"], ["ps", name]]
    commands += [["delete", name], ["start", name], ["list"], ["run", "-d", name]]
    odd = hammer(bundle, 5, commands * 2 + [["state", name]] * 4)
    assert not odd, "\n".join(odd)
    assert bundle.state()["status"] == "running"
    assert bundle.exec("true").returncode == 0


def test_a_container_comes_and_goes(bundle: Any) -> None:
    """Everybody makes, starts, looks at, kills and removes the same container."""
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    bundle.root.mkdir()
    name = bundle.id
    commands = [["create", name], ["run", "-d", name], ["start", name], ["kill", name, "KILL"]]
    commands += [["delete", "--force", name], ["exec", name, "true"], ["state", name], ["list"]]
    odd = hammer(bundle, 10, [*commands, *commands[:2], commands[4]])
    assert not odd, "\n".join(odd)
    cleans_up(bundle, "all at once")
    bring_up(bundle)


@pytest.mark.parametrize("verb", ["create", "delete -f"])
def test_one_of_many_wins(verb: str, bundle: Any) -> None:
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    if verb != "create":
        bring_up(bundle)
    done = in_parallel([bundle.command(*verb.split(), bundle.id)] * 20, bundle)
    if verb == "create":
        assert sorted(status for status, _ in done) == [0] + [1] * 19
        told = {said.partition("msg=")[2] for status, said in done if status}
        assert told == {'"runc create failed: container with given ID already exists"\n'}
        assert bundle.state()["status"] == "created"
        assert bundle.call("start", bundle.id).returncode == 0
    else:
        assert done == [(0, "")] * 20
        assert traces.of(bundle) == traces.NONE


def in_parallel(commands: list[list[str]], bundle: Any) -> list[tuple[int, str]]:
    """Start all, then wait: exit statuses and stderr."""
    running = [
        subprocess.Popen(
            command,
            cwd=bundle.path,
            env=bundle.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=open(bundle.path / f"stderr-{number}", "w"),
        )
        for number, command in enumerate(commands)
    ]
    statuses = [process.wait(60) for process in running]
    said = [(bundle.path / f"stderr-{number}").read_text() for number in range(len(commands))]
    return list(zip(statuses, said))


def test_thirty_containers_at_once(bundle: Any) -> None:
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    names = [f"{bundle.id}-{number}" for number in range(30)]
    done = in_parallel([bundle.command("run", "-d", name) for name in names], bundle)
    assert done == [(0, "")] * 30
    told = json.loads(bundle.call("list", "-f", "json").stdout)
    assert [entry["id"] for entry in told] == sorted(names)
    assert {entry["status"] for entry in told} == {"running"}
    assert len({entry["pid"] for entry in told}) == 30
    done = in_parallel([bundle.command("exec", name, "true") for name in names], bundle)
    assert done == [(0, "")] * 30
    done = in_parallel([bundle.command("delete", "-f", name) for name in names], bundle)
    assert done == [(0, "")] * 30
    assert traces.of(bundle) == traces.NONE


def test_a_reader_never_sees_half_a_file(bundle: Any) -> None:
    bundle.start()
    stop = threading.Event()
    seen: dict[str, int] = {"state.json": 0, "config.json": 0}
    bad: list[str] = []

    def read(name: str) -> None:
        while not stop.is_set():
            try:
                text = (bundle.root / bundle.id / name).read_text()
            except FileNotFoundError:
                continue
            try:
                json.loads(text)
                seen[name] += 1
            except ValueError:
                bad.append(text)

    readers = [threading.Thread(target=read, args=(name,)) for name in seen]
    for reader in readers:
        reader.start()
    for limit in range(50, 70):
        assert bundle.call("update", "--pids-limit", str(limit), bundle.id).returncode == 0
    assert sorted(os.listdir(bundle.root / bundle.id)) == ["config.json", "state.json"]
    for _ in range(10):
        assert bundle.call("delete", "--force", bundle.id).returncode == 0
        assert bundle.call("create", bundle.id).returncode == 0
    stop.set()
    for reader in readers:
        reader.join()
    assert bad == []
    assert min(seen.values()) > 20


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def put(text: str) -> Callable[[Path], object]:
    return lambda file: file.write_text(text)


def without(*keys: str) -> Callable[[Path], object]:
    """Take a property out."""

    def spoil(file: Path) -> None:
        state = json.loads(file.read_text())
        inner = state
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        file.write_text(json.dumps(state))

    return spoil


def link(file: Path) -> None:
    file.rename(file.parent / "elsewhere")
    file.symlink_to("elsewhere")


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


SPOILT: dict[str, Callable[[Path], object]] = {
    "half": half,
    "empty": put(""),
    "null": put("null"),
    "list": put("[]"),
    "no properties": put("{}"),
    "wrong types": put('{"config": [], "init_process_pid": "1"}'),
    "not text": lambda file: file.write_bytes(b"\xff\xfe\0{}"),
    "deep": put("[" * 100000),
    "no version": without("config", "version"),
    "no rootfs": without("config", "rootfs"),
    "no created": without("created"),
    "no cgroup": without("cgroup"),
    "no start time": without("init_process_start"),
    "owned by another": lambda file: os.chown(file, 1000, 1000),
    "link": link,
    "pipe": pipe,
    "directory": directory,
}


@pytest.mark.parametrize("how", list(SPOILT))
def test_spoilt_state(how: str, bundle: Any) -> None:
    """A sentence, never a stack; never a guess at what to kill."""
    bundle.start()
    pid = bundle.state()["pid"]
    file = bundle.root / bundle.id / "state.json"
    kept = file.read_bytes()
    SPOILT[how](file)
    name = bundle.id
    try:
        for verb in (
            ["state", name],
            ["start", name],
            ["kill", name, "KILL"],
            ["delete", name],
            ["delete", "--force", name],
            ["exec", name, "true"],
            ["ps", name],
            ["pause", name],
        ):
            done = bundle.call(*verb)
            assert "internal error" not in done.stderr, (verb, done)
            assert "state.json" in message(done), (verb, done)
            assert os.path.exists(f"/proc/{pid}")
        done = bundle.call("list")
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done
        assert "level=warning" in done.stderr
        assert "internal error" not in done.stderr
    finally:
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
        file.unlink(missing_ok=True)
        file.write_bytes(kept)
    assert bundle.state()["status"] == "running"


def test_a_link_in_place_of_the_directory(bundle: Any, scratch: Path) -> None:
    bundle.start()
    (bundle.root / "linked").symlink_to(bundle.root / bundle.id)
    for verb in ("state", "delete", "kill"):
        done = bundle.call(verb, "linked")
        assert done.returncode == 1
        assert "internal error" not in done.stderr
    (bundle.root / "linked").unlink()
    assert bundle.state()["status"] == "running"


def test_a_file_in_place_of_the_directory(bundle: Any) -> None:
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    bundle.root.mkdir()
    (bundle.root / bundle.id).write_text("")
    assert message(bundle.call("state", bundle.id)).startswith("container does not exist")
    done = bundle.call("create", bundle.id)
    assert message(done) == "runc create failed: container with given ID already exists"
    (bundle.root / bundle.id).unlink()
    (bundle.path.parent / "file").write_text("")
    bundle.root = bundle.path.parent / "file"
    done = bundle.call("create", bundle.id)
    assert done.returncode == 1
    assert "internal error" not in done.stderr
    bundle.root = bundle.path.parent / "state"


def test_a_read_only_root_directory(bundle: Any) -> None:
    bundle.start()
    mount = ["mount", "--bind", str(bundle.root), str(bundle.root)]
    subprocess.run(mount, check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(bundle.root)], check=True)
    try:
        assert bundle.state()["status"] == "running"
        assert bundle.id in bundle.call("list").stdout
        assert bundle.exec("true").returncode == 0
        done = bundle.call("create", bundle.id + "-2")
        assert message(done).lower().endswith("read-only file system"), done
        assert bundle.call("kill", bundle.id, "KILL").returncode == 0
        bundle.wait_for("stopped")
        done = bundle.call("delete", bundle.id)
        assert "ead-only file system" in message(done)
    finally:
        subprocess.run(["umount", str(bundle.root)], check=True)
    assert bundle.call("delete", bundle.id).returncode == 0
    assert traces.of(bundle) == traces.NONE


@pytest.mark.parametrize(
    "options", ["size=4k", "size=8k", *(f"nr_inodes={n}" for n in range(2, 8))]
)
def test_a_full_root_directory(options: str, bundle: Any) -> None:
    """Whatever does not fit any more: it is told, and nothing is left."""
    bundle.config["process"]["args"] = ["sleep", "1000"]
    # The state needs more than a page, and so does the config.
    bundle.config["annotations"] = {f"key{number}": "x" * 100 for number in range(20)}
    bundle.write()
    bundle.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(bundle.root)], check=True)
    try:
        done = bundle.call("run", "-d", bundle.id)
        if done.returncode == 0:
            assert options in ("nr_inodes=6", "nr_inodes=7", "nr_inodes=5"), options
            cleans_up_but_for_the_root(bundle)
        else:
            assert message(done).lower().endswith("no space left on device"), done
            left = traces.of(bundle)
            assert (left["state"], left["cgroups"], left["processes"]) == ([], [], [])
    finally:
        subprocess.run(["umount", str(bundle.root)], check=True)


def cleans_up_but_for_the_root(bundle: Any) -> None:
    assert bundle.call("delete", "--force", bundle.id).returncode == 0
    left = traces.of(bundle)
    assert (left["state"], left["cgroups"], left["processes"]) == ([], [], [])


def test_the_disk_gets_full(bundle: Any) -> None:
    """An update that cannot be written down leaves the state as it was."""
    bundle.root.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(bundle.root)], check=True
    )
    try:
        bundle.start()
        with open(bundle.root / "~full", "wb") as file:
            try:
                while True:
                    os.write(file.fileno(), bytes(4096))
            except OSError:
                pass
        before = (bundle.root / bundle.id / "state.json").read_text()
        done = bundle.call("update", "--pids-limit", "77", bundle.id)
        assert "o space left on device" in message(done), done
        assert (bundle.root / bundle.id / "state.json").read_text() == before
        assert sorted(os.listdir(bundle.root / bundle.id)) == ["config.json", "state.json"]
        assert bundle.exec("true").returncode == 0
        cleans_up_but_for_the_root(bundle)
    finally:
        subprocess.run(["umount", str(bundle.root)], check=True)
