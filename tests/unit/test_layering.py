"""The house's rules on imports: downwards only, and nothing slow on the way to a container."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    [ROOT / "runc.py", *ROOT.glob("libc_bindings/**/*.py"), *ROOT.glob("libcontainer/**/*.py")]
)

# Each costs between 0.3 and 11 ms of a start that takes 6 (docs/performance.md).
SLOW = {
    *("os", "ctypes", "re", "typing", "enum", "dataclasses", "pathlib", "subprocess", "logging"),
    *("contextlib", "inspect", "functools", "collections", "json", "struct", "tempfile", "shutil"),
    *("socket", "signal", "stat", "argparse", "traceback", "importlib", "pyseccomp"),
}


def imports(path: Path, everywhere: bool) -> set[str]:
    """The modules that a source imports: all, or only those that load with it.

    Those that only load with it are not what type checkers read, nor what stands in for a missing
    private module (the body of `except ImportError`).
    """
    package = path.relative_to(ROOT).parts[:-1]
    return set(imports_below(ast.parse(path.read_bytes()), everywhere, package))


def imports_below(tree: ast.AST, everywhere: bool, package: tuple[str, ...]) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ExceptHandler) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ):
            if everywhere:
                yield from imports_below(node, everywhere, package)
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            yield from imports_below(node, everywhere, package)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_run_downwards(path: Path) -> None:
    above = {
        "runc.py": set(),
        "libcontainer": {"runc", "tests"},
        "libc_bindings": {"runc", "tests", "libcontainer"},
    }[path.relative_to(ROOT).parts[0]]
    found = {module.partition(".")[0] for module in imports(path, True)}
    assert not found & above


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_slow_loads_with_a_module(path: Path) -> None:
    """What a verb does not always need is imported by the function that does."""
    found = {module.partition(".")[0] for module in imports(path, False)}
    if path.relative_to(ROOT).as_posix() in COLD:
        pytest.skip("no verb that has to be fast loads it")
    assert not found & SLOW


# Help texts, tables of rare verbs, the compiler of seccomp profiles: they may be comfortable.
COLD = {
    "libcontainer/commandline/usage.py",
    "libcontainer/commandline/similar.py",
    "libcontainer/seccomp/build.py",
    "libcontainer/seccomp/enosys.py",
    "libcontainer/spec.py",
}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_ffi_knows_ctypes(path: Path) -> None:
    if name(path) == "libc_bindings/ffi.py":
        pytest.skip("it is ffi.py")
    found = {module.partition(".")[0] for module in imports(path, True)}
    allowed = {"ctypes"} if path.name == "build.py" else set()
    assert not found & {"ctypes", "_ctypes"} - allowed


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_runc_prints(path: Path) -> None:
    if path.name == "runc.py":
        pytest.skip("it is runc.py")
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"print", "exit", "input"}
