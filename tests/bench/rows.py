"""The kinds of work that are compared, a row of the table each.

A row's function gets a program and the bundles, prepares what the work needs, and yields: then every
next() of it is one sample. What comes after the last sample is the clean-up.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

from tests.bench.bundles import MASKS, MOUNTS, PROFILE, VARIABLES, Bundles, multiply_state
from tests.bench.measure import Failed, Program

Samples = Iterator[float]
TRUE = "/bin/true"
ID = "ID"
"""Stands for the container's id."""
SEQUENCE = 200
PARALLEL = 50
MIB = 1024 * 1024


class Row(NamedTuple):
    """One kind of work."""

    key: str
    """For --rows."""
    title: str
    bar: float
    """The largest ratio to runc that the project allows itself; 0: none, the figure is absolute."""
    aim: float
    unit: str
    share: float
    """How many of the runs this row takes: less than 1 where one sample is long."""
    samples: Callable[[Program, Bundles], Samples]


def run_samples(seccomp: bool = False) -> Callable[[Program, Bundles], Samples]:
    """`run` of /bin/true."""

    def samples(program: Program, bundles: Bundles) -> Samples:
        bundle = bundles.of(TRUE, seccomp=_profile(seccomp))
        # The first start of a filter fills the cache; and the files come into memory.
        program.expect("run", program.id, directory=bundle)
        while True:
            yield program.expect("run", program.id, directory=bundle).wall

    return samples


def _profile(wanted: bool) -> bool:
    if wanted and not PROFILE.exists():
        raise Failed(f"no {PROFILE} (Debian: golang-github-containers-common)")
    return wanted


def _create_start_delete(program: Program, bundles: Bundles) -> Samples:
    bundle = bundles.of(TRUE)
    while True:
        took = program.expect("create", program.id, directory=bundle).wall
        took += program.expect("start", program.id).wall
        took += _delete(program, program.id)
        yield took


def _delete(program: Program, name: str) -> float:
    """`delete` as soon as the process has ended; what is refused before that does not count."""
    for _ in range(1000):
        cost = program.run("delete", name)
        if cost.status == 0:
            return cost.wall
        time.sleep(0.002)
    raise Failed(f"{program.name} delete: still refused")


def _with_container(
    *arguments: str, seccomp: bool = False
) -> Callable[[Program, Bundles], Samples]:
    """A verb on a container that runs."""

    def samples(program: Program, bundles: Bundles) -> Samples:
        bundle = bundles.of("/bin/sleep", "100000", seccomp=_profile(seccomp))
        program.expect("run", "-d", program.id, directory=bundle)
        with ExitStack() as stack:
            stack.callback(program.run, "delete", "-f", program.id)
            words = [program.id if word == ID else word for word in arguments]
            program.expect(*words)
            while True:
                yield program.expect(*words).wall

    return samples


def _spec(program: Program, bundles: Bundles) -> Samples:
    empty = bundles.where / "empty"
    empty.mkdir(exist_ok=True)
    while True:
        (empty / "config.json").unlink(missing_ok=True)
        yield program.expect("spec", directory=empty).wall


def _version(program: Program, bundles: Bundles) -> Samples:
    while True:
        yield program.expect("--version").wall


def _list(count: int) -> Callable[[Program, Bundles], Samples]:
    def samples(program: Program, bundles: Bundles) -> Samples:
        ordinary = program.root
        program.root = ordinary.parent / f"{program.root.name}-{count}"
        try:
            bundle = bundles.of(TRUE)
            program.expect("run", "-d", program.id, directory=bundle)
            # Its cgroups go with delete, its state stays, stopped, as a copy.
            _wait_stopped(program)
            kept = _copied(program.root / program.id)
            program.expect("delete", program.id)
            _put(program.root / program.id, kept)
            multiply_state(program.root, program.id, count)
        finally:
            root, program.root = program.root, ordinary
        while True:
            program.root = root
            try:
                took = program.expect("list", "-q").wall
            finally:
                program.root = ordinary
            yield took

    return samples


def _wait_stopped(program: Program) -> None:
    time.sleep(0.2)


def _copied(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


def _put(directory: Path, files: dict[str, bytes]) -> None:
    directory.mkdir(mode=0o711)
    for name, data in files.items():
        (directory / name).write_bytes(data)


def _parallel(program: Program, bundles: Bundles) -> Samples:
    bundle = bundles.of(TRUE)
    while True:
        yield program.run_all([["run", f"{program.id}-{n}"] for n in range(PARALLEL)], bundle)


def _sequence(program: Program, bundles: Bundles) -> Samples:
    bundle = bundles.of(TRUE)
    while True:
        yield sum(program.expect("run", program.id, directory=bundle).wall for _ in range(SEQUENCE))


def _peak(program: Program, bundles: Bundles) -> Samples:
    bundle = bundles.of(TRUE)
    while True:
        yield program.peak_memory("run", program.id, directory=bundle)


def _waiting(program: Program, bundles: Bundles) -> Samples:
    """Private memory, in MiB, of the init of a created container."""
    bundle = bundles.of(TRUE)
    pid_file = bundle / f"{program.root.name}.pid"
    while True:
        program.expect("create", "--pid-file", str(pid_file), program.id, directory=bundle)
        try:
            rollup = Path(f"/proc/{pid_file.read_text()}/smaps_rollup").read_text()
        finally:
            program.expect("delete", "-f", program.id)
        fields = [line.split() for line in rollup.splitlines()]
        kib = [int(field[1]) for field in fields if field[0].startswith("Private_")]
        yield sum(kib) / 1024


def _smallest_limit(program: Program, bundles: Bundles) -> Samples:
    """The smallest memory limit, in MiB, under which /bin/true runs three times of three."""
    while True:
        for quarters in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
            bundle = bundles.with_memory(quarters * MIB // 4)
            if not any(_fails(program, bundle) for _ in range(3)):
                yield quarters / 4
                break
        else:
            raise Failed("not even under 16 MiB")


def _fails(program: Program, bundle: Path) -> bool:
    failed: bool = program.run("run", program.id, directory=bundle).status != 0
    if failed:
        program.run("delete", "-f", program.id)
    return failed


def _cpu(program: Program, bundles: Bundles) -> Samples:
    bundle = bundles.of(TRUE)
    while True:
        yield program.expect("run", program.id, directory=bundle).cpu


def bundle_samples(make: Callable[[Bundles], Path]) -> Callable[[Program, Bundles], Samples]:
    """`run` of a bundle."""

    def samples(program: Program, bundles: Bundles) -> Samples:
        bundle = make(bundles)
        while True:
            yield program.expect("run", program.id, directory=bundle).wall

    return samples


ROWS = [
    Row("run", "`run` /bin/true", 0.75, 0.6, "ms", 1, run_samples()),
    Row("run-seccomp", "the same, Docker's seccomp profile", 0.45, 0.35, "ms", 1, run_samples(True)),
    Row("create", "`create` + `start` + `delete`", 1, 0.8, "ms", 1, _create_start_delete),
    Row("exec", "`exec` /bin/true", 1, 0.8, "ms", 1, _with_container("exec", ID, TRUE)),
    Row(
        "exec-seccomp", "`exec`, Docker's seccomp profile", 0.8, 0.6, "ms", 1,
        _with_container("exec", ID, TRUE, seccomp=True),
    ),
    Row("state", "`state`", 1.5, 1.2, "ms", 1, _with_container("state", ID)),
    Row("kill", "`kill` 0", 1.5, 1.2, "ms", 1, _with_container("kill", ID, "0")),
    Row("spec", "`spec`", 1.5, 1.2, "ms", 1, _spec),
    Row("version", "`--version`", 1.5, 1.2, "ms", 1, _version),
    Row("list-100", "`list -q` of 100", 1, 0.5, "ms", 1, _list(100)),
    Row("list-1000", "`list -q` of 1,000", 1, 0.5, "ms", 0.4, _list(1000)),
    Row("parallel", f"{PARALLEL} `run` in parallel", 0.75, 0.6, "ms", 0.2, _parallel),
    Row("sequence", f"{SEQUENCE} `run` in sequence", 0.75, 0.6, "ms", 0.1, _sequence),
    Row("peak", "peak memory of `run`", 1, 0.8, "MiB", 0.2, _peak),
    Row("waiting", "private memory of a created init", 1, 0.8, "MiB", 0.2, _waiting),
    Row("limit", "smallest memory limit", 0, 0, "MiB", 0.1, _smallest_limit),
    Row("cpu", "CPU time of `run`", 0.9, 0.7, "ms", 1, _cpu),
    Row("mounts", f"`run` with {MOUNTS} mounts", 1, 0.7, "ms", 0.4,
        bundle_samples(Bundles.with_mounts)),
    Row("masks", f"`run` with {MASKS:,} masked paths", 1, 0.7, "ms", 0.3,
        bundle_samples(Bundles.with_masks)),
    Row("env", f"`run` with {VARIABLES:,} variables", 1, 0.7, "ms", 1,
        bundle_samples(Bundles.with_variables)),
]  # fmt: skip

# What may be there in large numbers: (title, how many at most, the bundle with so many).
GROWTH: list[tuple[str, int, Callable[[Bundles, int], Path]]] = [
    ("mounts", MOUNTS, Bundles.with_mounts),
    ("masked paths", MASKS, Bundles.with_masks),
    ("variables", VARIABLES, Bundles.with_variables),
]
