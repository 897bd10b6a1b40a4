"""args[0]: how it is looked up in the container, and what is said when it cannot be executed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.integration import ways

if TYPE_CHECKING:
    from tests.conftest import Bundle

pytestmark = pytest.mark.parametrize("way", ways.ALL)

PREFIXES = {
    ways.RUN: "runc run failed: unable to start container process: error during container init: ",
    ways.EXEC: "exec failed: unable to start container process: ",
    ways.PROCESS: "exec failed: unable to start container process: ",
}


def place(
    bundle: Bundle, name: str, content: str = "#!/bin/sh\necho $0\n", mode: int = 0o755
) -> None:
    path = bundle.rootfs / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


def fails(bundle: Bundle, way: str, name: str, fault: str, env: list[str] | None = None) -> None:
    process = {"env": ["PATH=/bin"] if env is None else env}
    done = ways.call(bundle, way, name, process=process)
    assert done.returncode == (1 if way == ways.RUN else 255), done
    expected = (PREFIXES[way] + fault).replace('"', '\\"')
    assert f'msg="{expected}"' in done.stderr
    if way == ways.RUN:
        assert bundle.state() == {}, "a container that could not start is removed"


def test_found_in_path(bundle: Bundle, way: str) -> None:
    place(bundle, "one/program")
    place(bundle, "two/program")
    process = {"env": ["PATH=/zero:/two:/one"]}
    assert ways.call(bundle, way, "program", process=process).stdout == "/two/program\n"


def test_what_is_not_executable_is_passed_over(bundle: Bundle, way: str) -> None:
    place(bundle, "one/program", mode=0o644)
    (bundle.rootfs / "two/program").mkdir(parents=True)
    place(bundle, "three/program")
    process = {"env": ["PATH=/one:/two:/three"]}
    assert ways.call(bundle, way, "program", process=process).stdout == "/three/program\n"


def test_what_only_others_may_execute_is_passed_over(bundle: Bundle, way: str) -> None:
    place(bundle, "one/program", mode=0o700)
    place(bundle, "two/program")
    process = {"env": ["PATH=/one:/two"], "user": {"uid": 1000, "gid": 1000}}
    assert ways.call(bundle, way, "program", process=process).stdout == "/two/program\n"


def test_relative_to_the_directory(bundle: Bundle, way: str) -> None:
    place(bundle, "one/program")
    assert ways.call(bundle, way, "./program", process={"cwd": "/one"}).stdout == "./program\n"


def test_last_path_counts(bundle: Bundle, way: str) -> None:
    place(bundle, "one/program")
    process = {"env": ["PATH=/nowhere", "PATH=/one"]}
    assert ways.call(bundle, way, "program", process=process).stdout == "/one/program\n"


def test_not_found(bundle: Bundle, way: str) -> None:
    fails(bundle, way, "nosuch", 'exec: "nosuch": executable file not found in $PATH')


@pytest.mark.parametrize("variable", ["A=b", "PATH="])
def test_no_path(bundle: Bundle, way: str, variable: str) -> None:
    """Nor is the program looked for in the directory, as it is for an empty element."""
    place(bundle, "program")
    fault = 'exec: "program": executable file not found in $PATH'
    fails(bundle, way, "program", fault, env=[variable])


@pytest.mark.parametrize("path", ["bin", "/nowhere:bin", "bin:/bin", ":/nowhere", ".:/bin"])
def test_relative_path_is_refused(bundle: Bundle, way: str, path: str) -> None:
    """What runs must not hang on the directory; a relative element without the program is passed."""
    place(bundle, "program")
    name = "program" if path[0] in ".:" else "sh"
    fault = f'exec: "{name}": cannot run executable found relative to current directory'
    fails(bundle, way, name, fault, env=[f"PATH={path}"])


@pytest.mark.parametrize("path", [":/bin", "nowhere:/bin"])
def test_relative_path_without_the_program(bundle: Bundle, way: str, path: str) -> None:
    assert ways.call(bundle, way, "true", process={"env": [f"PATH={path}"]}).returncode == 0


def test_path_is_not_the_hosts(bundle: Bundle, way: str) -> None:
    bundle.environment = {**bundle.environment, "PATH": f"{bundle.environment['PATH']}:/elsewhere"}
    place(bundle, "elsewhere/program")
    fails(bundle, way, "program", 'exec: "program": executable file not found in $PATH')


def test_absolute_and_missing(bundle: Bundle, way: str) -> None:
    fails(bundle, way, "/no/such", 'exec: "/no/such": stat /no/such: no such file or directory')


def test_not_executable(bundle: Bundle, way: str) -> None:
    place(bundle, "program", mode=0o644)
    fails(bundle, way, "/program", 'exec: "/program": permission denied')


def test_directory(bundle: Bundle, way: str) -> None:
    fails(bundle, way, "/bin", 'exec: "/bin": is a directory: permission denied')


def test_dangling_link(bundle: Bundle, way: str) -> None:
    os.symlink("/nowhere", bundle.rootfs / "program")
    fails(bundle, way, "/program", 'exec: "/program": stat /program: no such file or directory')


def test_empty_name(bundle: Bundle, way: str) -> None:
    fails(bundle, way, "", 'exec: "": executable file not found in $PATH')


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("no format that a kernel knows\n", "exec /program: exec format error"),
        ("#!/no/such/interpreter\n", "exec /program: no such file or directory"),
        ("#!/etc/passwd\n", "exec /program: permission denied"),
    ],
)
def test_what_only_execve_finds_out(bundle: Bundle, way: str, content: str, fault: str) -> None:
    place(bundle, "program", content)
    done = ways.call(bundle, way, "/program")
    assert done.returncode == 255, done
    assert fault in done.stderr
    if way == ways.RUN:
        assert bundle.state() == {}


def test_no_arguments(bundle: Bundle, way: str) -> None:
    done = ways.call(bundle, way)
    assert done.returncode == (1 if way == ways.RUN else 255)
    assert "args" in done.stderr
    assert "empty" in done.stderr
