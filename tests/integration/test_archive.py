"""The built file: how it starts, from where, under which interpreter, and what it loads."""

from __future__ import annotations

import ast
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any, Iterator

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = Path(__file__).resolve().parent / "modules.json"
LIMIT = 600_000
OURS = ("runc", "libcontainer", "libc_bindings", "pyseccomp")
FIRST_LINE = "runc version "


def call(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    options.setdefault("timeout", 60)
    # Files, not pipes: a container that stays behind keeps its end open.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        done = subprocess.run(
            list(map(str, command)), stdout=out, stderr=err, text=True, check=False, **options
        )
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())


def starts(*command: str | Path, **options: Any) -> None:
    done = call(*command, "--version", **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.startswith(FIRST_LINE)


@pytest.fixture(scope="module")
def archive(runc: str) -> str:
    """The file, if it is ours."""
    if not zipfile.is_zipfile(runc):
        pytest.skip(f"{runc} is not the file that build_zipapp.sh makes")
    return runc


def program(archive: str) -> str:
    """What the lines in front of the archive hand to `python3 -c`."""
    head = Path(archive).read_bytes()[:8192].decode("ascii", "replace")
    return head.split("\np='", 1)[1].split("'\n", 1)[0]


# Where it starts from


def test_size(archive: str) -> None:
    assert os.path.getsize(archive) < LIMIT


def test_is_a_zip_archive(archive: str) -> None:
    with zipfile.ZipFile(archive) as content:
        assert content.testzip() is None
        assert {"sources.gz", "environment.json", "LICENSE"} <= set(content.namelist())


def test_shiv_info_reads_it(archive: str) -> None:
    info = ROOT / "build" / "venv" / "bin" / "shiv-info"
    if not info.exists():
        pytest.skip("the build's environment is not here")
    done = call(info, "--json", archive)
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["entry_point"] == "runc:entry"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PATH": "/nowhere"},
        {"HOME": "/nowhere", "LC_ALL": "de_DE.ISO-8859-1"},
        {"SHIV_ROOT": "/nowhere", "PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere"},
    ],
    ids=["env -i", "PATH", "HOME", "PYTHON"],
)
def test_starts_in_any_environment(archive: str, environment: dict[str, str]) -> None:
    starts(archive, env=environment)


def test_writes_nothing_at_home(archive: str, scratch: Path) -> None:
    starts(archive, env={"HOME": str(scratch), "PATH": os.environ["PATH"]})
    assert not list(scratch.iterdir())


def test_starts_through_a_link_under_any_name(archive: str, scratch: Path) -> None:
    link = scratch / "link"
    link.symlink_to(archive)
    starts(link)
    starts("./link", cwd=scratch)
    for name in ("docker runc", "-x", "ä'\"$(id)\n", "runc.py"):
        copy = scratch / name
        shutil.copy(archive, copy)
        starts(f"./{name}", cwd=scratch)
        copy.unlink()


def test_starts_by_path_shell_and_descriptor(archive: str, scratch: Path) -> None:
    shutil.copy(archive, scratch / "runc-copy")
    path = {"PATH": f"{scratch}:/usr/bin:/bin"}
    starts("env", "runc-copy", env=path)
    starts("sh", archive)
    starts("sh", "runc-copy", cwd=scratch)
    with open(archive, "rb") as file:
        fd = file.fileno()
        starts(f"/proc/self/fd/{fd}", pass_fds=[fd])


def test_all_of_it_works_elsewhere(archive: str, scratch: Path) -> None:
    """A relative path stays right after a verb has changed the directory."""
    (scratch / "bin").mkdir()
    shutil.copy(archive, scratch / "bin" / "runc")
    done = call("bin/runc", "spec", "--bundle", scratch, cwd=scratch)
    assert done.returncode == 0, done
    done = call("bin/runc", "nonsense", cwd=scratch)
    assert "Traceback" not in done.stderr
    assert call("bin/runc", "features", cwd=scratch).returncode == 0


@pytest.mark.root
def test_starts_from_a_read_only_mount(archive: str, scratch: Path) -> None:
    disk = scratch / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
    shutil.copy(archive, disk / "runc")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    starts(disk / "runc", cwd=disk, env={})
    assert call(disk / "runc", "features", cwd=disk, env={}).returncode == 0


@pytest.mark.root
def test_a_minimal_python_is_told_what_it_lacks(archive: str, bundle: Any, scratch: Path) -> None:
    """As python3-minimal of Debian, which has no _ctypes. (An interpreter with it built in skips.)"""
    find = "import _ctypes, os; print(os.path.dirname(_ctypes.__file__))"
    found = call("/usr/bin/python3", "-IS", "-c", find)
    if found.returncode != 0:
        pytest.skip("_ctypes is no file of its own here")
    bundle.config["process"]["args"] = ["true"]
    bundle.write()
    hide = f'mount --bind {scratch} {found.stdout.strip()} && exec "$@"'
    done = call(
        "unshare", "-m", "sh", "-c", hide, "sh", *bundle.command("run", bundle.id), cwd=bundle.path
    )
    assert done.returncode == 1
    assert "lacks the module _ctypes of its standard library" in done.stderr
    assert "Traceback" not in done.stderr and "internal" not in done.stderr
    assert call(*bundle.command("state", bundle.id)).returncode != 0


@pytest.mark.root
def test_starts_as_a_user(archive: str, scratch: Path) -> None:
    copy = scratch / "runc"
    shutil.copy(archive, copy)
    copy.chmod(0o755)
    starts(copy, user=65534, group=65534, extra_groups=[], env={}, cwd="/")


# Nothing of the caller's gets in


HOSTILE = "raise SystemExit('hostile code')\n"


@pytest.mark.parametrize("start", ["./runc", "python3"])
def test_directory_is_not_searched(archive: str, scratch: Path, start: str) -> None:
    shutil.copy(archive, scratch / "runc")
    for name in ("runc", "posix", "marshal", "zlib", "_json", "argparse", "traceback"):
        (scratch / f"{name}.py").write_text(HOSTILE)
    for package in ("libcontainer", "libc_bindings"):
        (scratch / package).mkdir()
        (scratch / package / "__init__.py").write_text(HOSTILE)
    command = [start] if start == "./runc" else ["/usr/bin/python3", str(scratch / "runc")]
    starts(*command, cwd=scratch)
    assert call(*command, "--help", cwd=scratch).returncode == 0


@pytest.mark.parametrize(
    "variable", ["PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONUSERBASE"]
)
def test_python_variables_have_no_effect(archive: str, scratch: Path, variable: str) -> None:
    for name in ("sitecustomize", "usercustomize", "runc", "posix", "encodings"):
        (scratch / f"{name}.py").write_text(HOSTILE)
    starts(archive, env={"PATH": os.environ["PATH"], variable: str(scratch)})
    starts(archive, env={"PATH": os.environ["PATH"], variable: str(scratch / "runc.py")})


def test_relative_elements_of_path_are_passed_over(archive: str, scratch: Path) -> None:
    """Where no usual place has a Python, the caller's directory is still no place to take one from."""
    text = Path(archive).read_bytes().replace(b"/usr/bin/python3", b"/usr/bin/pythonX", 1)
    (scratch / "runc").write_bytes(text)
    (scratch / "runc").chmod(0o755)
    hostile = scratch / "python3"
    hostile.write_text("#!/bin/sh\necho hostile\n")
    hostile.chmod(0o755)
    done = call("./runc", "--version", cwd=scratch, env={"PATH": ":.:"})
    if done.returncode == 0:
        pytest.skip("there is a Python in /usr/local/bin or /usr/libexec")
    assert done.returncode == 127
    assert done.stdout == ""
    assert done.stderr.startswith("runc: no Python found")
    assert done.stderr.count("\n") == 1


# Interpreters


def with_interpreter(archive: str, scratch: Path, *scripts: str) -> dict[str, str]:
    """A copy of the file that finds only these interpreters; the environment to call it in."""
    text = Path(archive).read_bytes()
    for place in (b"/usr/bin/python3", b"/usr/local/bin/python3", b"/usr/libexec/platform-python"):
        assert place in text
        text = text.replace(place, place[:-1] + b"\x7e", 1)
    (scratch / "runc").write_bytes(text)
    (scratch / "runc").chmod(0o755)
    path = []
    for number, script in enumerate(scripts):
        folder = scratch / f"bin{number}"
        folder.mkdir()
        (folder / "python3").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "python3").chmod(0o755)
        path.append(str(folder))
    return {"PATH": ":".join(path)}


def test_every_interpreter(archive: str, scratch: Path, interpreters: list[str]) -> None:
    for number, interpreter in enumerate(interpreters):
        where = scratch / str(number)
        where.mkdir()
        environment = with_interpreter(archive, where, f'exec {interpreter} "$@"')
        version = call(interpreter, "-c", "import platform; print(platform.python_version())")
        done = call(where / "runc", "--version", env=environment)
        assert f"python: {version.stdout.strip()}\n" in done.stdout, done
        # Verbs of every group of modules.
        assert call(where / "runc", "features", env=environment).returncode == 0
        assert call(where / "runc", "help", env=environment).returncode == 0
        # And the other way in: the archive as an argument.
        starts(interpreter, archive)
        starts(interpreter, "-IS", archive)


@pytest.mark.root
def test_every_interpreter_runs_a_container(
    archive: str, make_bundle: Any, scratch: Path, interpreters: list[str]
) -> None:
    for number, interpreter in enumerate(interpreters):
        where = scratch / f"with{number}"
        where.mkdir()
        environment = with_interpreter(archive, where, f'exec {interpreter} "$@"')
        bundle = make_bundle(f"bundle{number}")
        bundle.runc = str(where / "runc")
        bundle.environment = {**environment, "HOME": "/root"}
        done = bundle.run("echo", interpreter)
        assert (done.returncode, done.stdout) == (0, f"{interpreter}\n"), done


def old_interpreter() -> str:
    found = [*Path("~/.pyenv/versions").expanduser().glob("3.[67].*/bin/python3")]
    if not found:
        pytest.skip("there is no Python older than 3.8 here")
    return str(found[0])


def test_too_old_interpreters_are_passed_over(
    archive: str, scratch: Path, interpreters: list[str]
) -> None:
    old = f'exec {old_interpreter()} "$@"'
    environment = with_interpreter(archive, scratch, old, old, f'exec {interpreters[0]} "$@"')
    starts(scratch / "runc", env=environment)


def test_only_too_old_interpreters(archive: str, scratch: Path) -> None:
    environment = with_interpreter(archive, scratch, f'exec {old_interpreter()} "$@"')
    done = call(scratch / "runc", "--version", env=environment)
    assert done.returncode == 127
    assert done.stderr.startswith("runc: no usable Python found")
    assert done.stderr.count("\n") == 1


def test_foreign_byte_code_is_not_used(archive: str, scratch: Path) -> None:
    """Another magic number in the table, or in front of the byte code: the sources run."""
    original = Path(archive).read_bytes()
    magic = call("/usr/bin/python3", "-c", MAGIC).stdout.strip()
    written = "".join(f"\\x{byte:02x}" for byte in bytes.fromhex(magic)).encode()
    assert original.count(written) == 1, "there is byte code for this interpreter"
    in_table = original.replace(written, b"\\xff" + written[4:])
    raw = bytes.fromhex(magic)
    start = table(archive)[raw][0]
    assert original[start : start + 4] == raw
    in_front = original[:start] + b"\xff" + original[start + 1 :]
    for name, text in (("table", in_table), ("front", in_front)):
        copy = scratch / name
        copy.write_bytes(text)
        copy.chmod(0o755)
        starts(copy)
        assert loaded_from(str(copy)) == {"Sources"}
    assert loaded_from(archive) == {"ByteCode"}


MAGIC = "import importlib.util as u; print(u.MAGIC_NUMBER.hex())"


def table(archive: str) -> dict[bytes, tuple[int, ...]]:
    """The program's table of byte code: {magic number: (offset, size, …)}."""
    text = program(archive).split("\nt=", 1)[1].split(".get(m)", 1)[0]
    places: dict[bytes, tuple[int, ...]] = ast.literal_eval(text)
    return places


def loaded_from(path: str) -> set[str]:
    """The kinds of importers that our modules came from."""
    shown = at_exit(
        path,
        "print({type(m.__loader__).__name__ for n, m in sys.modules.items()"
        f" if n.split('.')[0] in {OURS}}}, file=sys.stderr)",
        "--version",
    )
    found: set[str] = ast.literal_eval(shown.stderr)
    return found


def at_exit(
    path: str, statement: str, *args: str, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Starts the file as its own first lines do, with a statement before the process leaves."""
    hook = f"""import posix, sys
_getpid, _leave, _pid = posix.getpid, posix._exit, posix.getpid()
def _report(status):
    if _getpid() == _pid:
        {statement}
        sys.stderr.flush()
    _leave(status)
posix._exit = _report
del posix
"""
    flags = ["-X", "utf8", "-BIS", "-c", hook + program(path)]
    return call("/usr/bin/python3", *flags, path, *args, **options)


def test_traceback_has_exact_lines(archive: str) -> None:
    """The byte code knows first lines only; the sources know the rest."""
    text = program(archive).replace("f=sys.argv[0]", "f=sys.argv[0]\nsys.argv=7", 1)
    done = call("/usr/bin/python3", "-BIS", "-c", text, archive)
    assert done.returncode == 1
    lines = (ROOT / "runc.py").read_text().split("\n")
    number = 1 + next(n for n, line in enumerate(lines) if "main(sys.argv[1:])" in line)
    assert f'File "runc.py", line {number}, in entry' in done.stderr
    assert lines[number - 1].strip() in done.stderr
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("TypeError: 'int' object is not subscriptable\n")


# What a verb loads


FORBIDDEN = {
    *("os", "ctypes", "re", "typing", "enum", "dataclasses", "pathlib", "subprocess", "logging"),
    *("contextlib", "inspect", "functools", "collections", "json", "struct", "tempfile", "shutil"),
    *("socket", "signal", "stat", "argparse", "traceback", "importlib", "importlib.util"),
    *("pyseccomp", "site", "types", "operator", "reprlib"),
}


def modules_of(archive: str, bundle: Any, *args: str) -> list[str]:
    done = at_exit(
        archive,
        "print('\\n'.join(['modules:'] + sorted(sys.modules)), file=sys.stderr)",
        *bundle.command(*args)[1:],
        cwd=bundle.path,
        env=bundle.environment,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done
    return done.stderr.split("modules:\n", 1)[1].split()


@pytest.fixture(scope="module")
def verbs() -> Iterator[dict[str, list[str]]]:
    """The pinned lists; rewritten at the end if RUNC_PIN_MODULES is set."""
    pinned: dict[str, list[str]] = json.loads(MODULES.read_text()) if MODULES.exists() else {}
    yield pinned
    if os.environ.get("RUNC_PIN_MODULES"):
        MODULES.write_text(json.dumps(pinned, indent=1, sort_keys=True) + "\n")


def test_modules_that_each_verb_loads(
    archive: str, bundle: Any, verbs: dict[str, list[str]]
) -> None:
    """What a new module costs every start: if it is worth it, RUNC_PIN_MODULES=1 writes the new list.

    Modules of cgroups are left out: they differ between hosts.
    """
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    calls = {
        "--version": ["--version"],
        "create": ["create", bundle.id],
        "state": ["state", bundle.id],
        "start": ["start", bundle.id],
        "list": ["list"],
        "ps": ["ps", "--format", "json", bundle.id],
        "exec": ["exec", bundle.id, "true"],
        "kill": ["kill", bundle.id, "KILL"],
        "delete": ["delete", "--force", bundle.id],
        "run": ["run", bundle.id],
    }
    found = {}
    for verb, args in calls.items():
        if verb == "run":
            bundle.config["process"]["args"] = ["true"]
            bundle.write()
        names = modules_of(archive, bundle, *args)
        slow = FORBIDDEN.intersection(names)
        assert not slow, f"{verb} loads {slow}"
        found[verb] = [
            name for name in names if name.split(".")[0] in OURS and ".cgroups." not in name
        ]
    if os.environ.get("RUNC_PIN_MODULES"):
        verbs.clear()
        verbs.update(found)
    for verb, names in found.items():
        assert names == verbs.get(verb), f"{verb} loads other modules; see this test's docstring"


def test_common_verbs_need_no_sources(archive: str, bundle: Any) -> None:
    """What a plain start needs is in the byte code; compiling a source takes 10 ms and more."""
    done = at_exit(
        archive,
        "print(sys.meta_path[0].sources is None, file=sys.stderr)",
        *bundle.command("run", bundle.id)[1:],
        cwd=(bundle.write(), bundle.path)[1],
        env=bundle.environment,
        stdin=subprocess.DEVNULL,
    )
    assert done.stderr.split()[-1:] == ["True"], done


# Speed, loosely: tests/bench measures


def test_version_takes_well_under_twice_the_interpreters_start(archive: str) -> None:
    bare = ["/usr/bin/python3", "-IS", "-c", "import posix; posix._exit(0)"]
    took: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(20):
        for ours, command in ((False, bare), (True, [archive, "--version"])):
            began = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            took[ours].append(time.perf_counter() - began)
    assert statistics.median(took[True]) < 2 * statistics.median(took[False])


# The build


def build_tree(where: Path) -> Path:
    """A copy of what the build reads; the build's environment is shared."""
    where.mkdir()
    for name in ("runc.py", "libcontainer", "libc_bindings", "contrib", "pyproject.toml"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, where / name)
    for name in ("README.md", "LICENSE", "build_zipapp.sh"):
        shutil.copy(ROOT / name, where / name)
    (where / "build").mkdir()
    (where / "build" / "venv").symlink_to(ROOT / "build" / "venv")
    return where


@pytest.mark.slow
def test_same_sources_same_bytes(scratch: Path) -> None:
    if not (ROOT / "build" / "venv" / "ready").exists():
        pytest.skip("the build's environment is not here")
    built = []
    build_tree(scratch / "tree0")
    shutil.copytree(scratch / "tree0", scratch / "tree1", symlinks=True)
    for number, umask in enumerate((0o022, 0o077)):
        tree = scratch / f"tree{number}"
        done = call(
            tree / "build_zipapp.sh",
            "--quick",
            env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "PYTHONHASHSEED": str(number)},
            umask=umask,
            timeout=300,
        )
        assert done.returncode == 0, done
        built.append((tree / "dist" / "runc").read_bytes())
    assert built[0] == built[1]
    starts(scratch / "tree0" / "dist" / "runc")


@pytest.mark.slow
def test_pip_install(scratch: Path) -> None:
    python = ROOT / "build" / "venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("the build's environment is not here")
    target = scratch / "venv"
    # The environment's setuptools and pyseccomp do: nothing is fetched.
    subprocess.run([python, "-m", "venv", "--system-site-packages", target], check=True)
    tree = build_tree(scratch / "tree")
    packages = subprocess.run(
        [python, "-c", "import setuptools; print(setuptools.__path__[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    done = call(
        *(target / "bin" / "pip", "install", "-q", "--no-build-isolation", "--no-deps", tree),
        env={**os.environ, "PYTHONPATH": str(Path(packages.stdout.strip()).parent)},
        timeout=300,
    )
    assert done.returncode == 0, done
    starts(target / "bin" / "runc")
