"""Compares the built file with the runc and crun that this host has, and writes docs/bench.md.

    tests/run.sh bench [--rows run,exec,…] [--runs N] [--output FILE]

All of a row's programs take turns, so that what else the machine does meets them alike. Figures are
medians; a ratio is to the host's runc. A part of the rows or of the runs writes no file unless told.
"""

from __future__ import annotations

import argparse
import datetime
import glob
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP))

from tests.bench.bundles import Bundles  # noqa: E402
from tests.bench.measure import UNIFIED, Failed, MountNamespace, Program  # noqa: E402
from tests.bench.rows import GROWTH, ROWS, Row, bundle_samples, run_samples  # noqa: E402

OURS = "dist/runc"
RUNC = "runc"
CRUN = "crun"
FEWEST = 30


def find_programs(where: Path) -> list[Program]:
    """The built file and what the host has; their state directories are below `where`."""
    built = os.environ.get("RUNC") or str(TOP / "dist/runc")
    found = [Program(OURS, [built], where / "ours", version(built))]
    for name in (RUNC, CRUN):
        path = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if path and not Path(path).samefile(built):
            found.append(Program(name, [path], where / name, version(path)))
    return found


def version(path: str) -> str:
    """The first line of `--version`."""
    output = subprocess.run([path, "--version"], stdout=subprocess.PIPE, check=True, text=True)
    return output.stdout.splitlines()[0]


def interpreters(program: Program, where: Path) -> list[Program]:
    """The built file started by each CPython that this host has, from 3.8 on."""
    head = Path(program.command[0]).read_bytes()[:8192].decode("ascii", "replace")
    text = head.split("\np='", 1)[1].split("'\n", 1)[0]
    pyenv = subprocess.run(["sh", "-c", "pyenv root"], stdout=subprocess.PIPE, stderr=-3, text=True)
    places = ["/usr/bin", "/usr/local/bin", *glob.glob(f"{pyenv.stdout.strip()}/versions/*/bin")]
    found: dict[int, Program] = {}
    for minor in range(8, 20):
        for place in places:
            path = f"{place}/python3.{minor}"
            if minor in found or not os.access(path, os.X_OK):
                continue
            name = f"Python 3.{minor}"
            command = [path, "-X", "utf8", "-BIS", "-c", text, *program.command]
            found[minor] = Program(name, command, where / f"python3.{minor}", name)
    return list(found.values())


def measure(row: Row, programs: list[Program], bundles: Bundles, runs: int) -> dict[str, float]:
    """The medians of one row by program; a program that cannot do it is missing, and said."""
    count = max(3, round(runs * row.share))
    taking = {}
    taken: dict[str, list[float]] = {}
    for program in programs:
        taking[program.name] = row.samples(program, bundles)
        taken[program.name] = []
    for number in range(count):
        # Who begins changes as well.
        for program in programs[number % len(programs) :] + programs[: number % len(programs)]:
            if program.name not in taking:
                continue
            try:
                taken[program.name].append(next(taking[program.name]))
            except Failed as failure:
                print(f"bench: {row.key}: {failure}", file=sys.stderr)
                program.run("delete", "-f", program.id)
                del taking[program.name]
    return {name: statistics.median(taken[name]) for name in taking}


def cells(row: Row, medians: dict[str, float]) -> list[str]:
    """A row of the table."""
    own, runc, crun = (medians.get(name) for name in (OURS, RUNC, CRUN))

    def figure(value: float | None) -> str:
        if value is None:
            return "-"
        return f"{value:.2f}" if row.unit == "MiB" else f"{value:.1f}"

    def ratio(to: float | None) -> str:
        return f"{own / to:.2f}" if own and to else "-"

    verdict = "-"
    if row.bar and own and runc:
        got = own / runc
        verdict = "aim" if got <= row.aim else "yes" if got <= row.bar else "**no**"
    bars = f"{row.bar:.2f} / {row.aim:.2f}" if row.bar else "-"
    title = f"{row.title}, {row.unit}"
    return [title, figure(own), figure(runc), figure(crun), ratio(runc), bars, verdict, ratio(crun)]


HEADER = [
    "work", OURS, RUNC, CRUN, f"{OURS} : {RUNC}", "at most / aim", "reached", f"{OURS} : {CRUN}",
]  # fmt: skip


def table(lines: list[list[str]]) -> str:
    """A table in Markdown with columns of even width."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    out = []
    for number, line in enumerate(lines):
        out.append("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |")
        if number == 0:
            out.append("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(out) + "\n"


def machine() -> str:
    """What the figures belong to."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part")):
            model = line.split(":", 1)[1].strip()
            break
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        groups = "v2"
    else:
        groups = "v1 with an empty unified mount" if os.path.ismount(UNIFIED) else "v1"
    return (
        f"{os.cpu_count()} x {model}, {platform.machine()}, "
        f"Linux {platform.release().split('-')[0]}, cgroup {groups}; "
        f"load average at the end: {os.getloadavg()[0]:.1f}"
    )


def document(programs: list[Program], runs: int, text: str, versions: str) -> str:
    """docs/bench.md."""
    names = "\n".join(f"* {program.name}: {program.version}" for program in programs)
    return f"""# Measured against runc and crun

Written by `tests/run.sh bench` on {datetime.date.today().isoformat()}; {runs} runs of each, in turns \
(fewer of those that take long), medians.

* machine: {machine()}
{names}
* the interpreter: {platform.python_implementation()} {interpreter_version()}

{text}
"reached" compares with the bar ("yes") and the aim of the project. The smallest memory limit has an
absolute bar: 1 MiB, the aim is 0.5 MiB. `list` reads copies of the state of one stopped container.
Where crun refuses the host's cgroups because of the unified mount beside v1, it runs in a mount
namespace without it, which is entered before the clock starts.

{versions}"""


def interpreter_version() -> str:
    """Of the interpreter that the built file is started with."""
    path = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else "python3"
    code = "import platform; print(platform.python_version())"
    return subprocess.check_output([path, "-c", code], text=True).strip()


def compare_interpreters(ours: Program, programs: list[Program], where: Path, runs: int) -> str:
    """The table of `run` /bin/true by interpreter."""
    bundles = Bundles(where / "interpreters", ours.command[0])
    others = interpreters(ours, where)
    runc = [program for program in programs if program.name == RUNC]
    row = Row("python", "`run` /bin/true", 0.75, 0.6, "ms", 1, run_samples())
    medians = measure(row, others + runc, bundles, runs)
    lines = [["`run` /bin/true, started by", "ms", f"ratio to {RUNC}"]]
    for name, value in medians.items():
        ratio = f"{value / medians[RUNC]:.2f}" if RUNC in medians else "-"
        lines.append([name, f"{value:.1f}", ratio])
    return table(lines)


def growth(programs: list[Program], bundles: Bundles, runs: int) -> str:
    """The table of what each more of many things takes, in thirds of their number."""
    lines = [["`run` with"]]
    lines[0] += [f"{name}, {what}" for what in ("ms", "us for each more") for name in (OURS, RUNC)]
    programs = [program for program in programs if program.name in (OURS, RUNC)]
    for title, most, make in GROWTH:
        before: dict[str, float] = {}
        for part in range(4):
            count = most * part // 3
            samples = bundle_samples(lambda all, make=make, count=count: make(all, count))  # type: ignore[misc]
            medians = measure(Row("growth", "", 0, 0, "ms", 0.3, samples), programs, bundles, runs)
            line = [f"{count:,} {title}"]
            more = []
            for name in (OURS, RUNC):
                line.append(f"{medians[name]:.1f}" if name in medians else "-")
                if name in before and name in medians:
                    step = (medians[name] - before[name]) / (most / 3) * 1000
                    more.append(f"{step:.1f}")
            lines.append([*line, *more, *[""] * (2 - len(more))])
            before = medians
    return table(lines)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    known = [row.key for row in ROWS] + ["growth", "python"]
    parser.add_argument("--rows", default=",".join(known), help="of: " + ", ".join(known))
    parser.add_argument("--runs", type=int, default=40, help="samples of each (default 40)")
    parser.add_argument("--output", type=Path, help="default docs/bench.md for all rows")
    options = parser.parse_args()
    keys = options.rows.split(",")
    if unknown := [key for key in keys if key not in known]:
        parser.error(f"unknown row {unknown[0]}")
    if os.geteuid() != 0:
        parser.error("needs root")
    where = Path(tempfile.mkdtemp(prefix="runc-bench-"))
    namespace = None
    try:
        programs = find_programs(where)
        if os.path.ismount(UNIFIED) and programs[-1].name == CRUN:
            namespace = programs[-1].namespace = MountNamespace()
        bundles = Bundles(where / "bundles", programs[0].command[0])
        lines = [HEADER]
        for row in ROWS:
            if row.key in keys:
                print(f"bench: {row.key}", file=sys.stderr)
                lines.append(cells(row, measure(row, programs, bundles, options.runs)))
        versions = ""
        if "growth" in keys:
            print("bench: growth", file=sys.stderr)
            versions = growth(programs, bundles, options.runs)
        if "python" in keys:
            print("bench: python", file=sys.stderr)
            compared = compare_interpreters(programs[0], programs, where, options.runs)
            versions = "\n".join(filter(None, [versions, compared]))
        text = table(lines) if len(lines) > 1 else ""
        print(text)
        print(versions)
        output = options.output
        if not output and set(keys) == set(known) and options.runs >= FEWEST:
            output = TOP / "docs/bench.md"
        if output:
            output.parent.mkdir(exist_ok=True)
            output.write_text(document(programs, options.runs, text, versions))
    finally:
        if namespace:
            namespace.close()
        shutil.rmtree(where, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
