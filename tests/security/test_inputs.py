"""Files that the caller names, in directories where others can put links.

Each attack plants a link to a file of the host's where the runtime is going to write; `naive` is
open(2) for writing, which follows it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

VERBS = ["create", "run -d", "exec -d"]


def naive(path: Path) -> None:
    """How the attack succeeds: write to the name."""
    path.write_text("overwritten")


@pytest.fixture
def victim(scratch: Path) -> Path:
    """A file of the host's, in a directory where anybody may make links."""
    scratch.chmod(0o777)
    (scratch / "victim").write_text("of the host")
    return scratch / "victim"


def call(bundle: Any, verb: str, *options: str) -> Any:
    if verb.startswith("exec"):
        bundle.start("sleep", "1000")
        return bundle.call("exec", "-d", *options, bundle.id, "true")
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.write()
    return bundle.call(*verb.split(), *options, bundle.id)


def test_the_attack_on_a_naive_runtime(victim: Path) -> None:
    link = victim.parent / "pid"
    link.symlink_to(victim)
    naive(link)
    assert victim.read_text() == "overwritten"


@pytest.mark.parametrize("name", ["pid", ".pid"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_link_where_the_pid_file_goes(verb: str, name: str, bundle: Any, victim: Path) -> None:
    """The file itself, and the temporary one that becomes it."""
    (victim.parent / name).symlink_to(victim)
    pid_file = victim.parent / "pid"
    done = call(bundle, verb, "--pid-file", str(pid_file))
    assert done.returncode == 0, done.stderr
    assert victim.read_text() == "of the host"
    assert not pid_file.is_symlink() and pid_file.read_text().isdigit()
    assert not (victim.parent / ".pid").exists()


@pytest.mark.parametrize("kind", ["file", "fifo", "directory"])
@pytest.mark.parametrize("option", ["--console-socket", "--pidfd-socket"])
def test_what_is_no_socket(option: str, kind: str, bundle: Any, victim: Path) -> None:
    """A link to a file, a FIFO that would block, a directory: an error, and nothing is left."""
    target = victim
    if kind == "fifo":
        target = victim.parent / "fifo"
        os.mkfifo(target)
    elif kind == "directory":
        target = victim.parent
    link = victim.parent / "socket"
    link.symlink_to(target)
    bundle.config["process"]["terminal"] = option == "--console-socket"
    done = call(bundle, "create", option, str(link))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and str(link) in done.stderr
    assert victim.read_text() == "of the host"
    assert not bundle.state()


HUGE = {
    "100 MB": lambda: '{"ociVersion": "1.0.0", "annotations": {"a": "' + "x" * 100_000_000 + '"}}',
    "100 MB of white space": lambda: " " * 100_000_000 + "{}",
    "100,000 lists deep": lambda: "[" * 100_000 + "]" * 100_000,
    "100,000 objects deep": lambda: '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep below a property": lambda: '{"process": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "a number of 10 MB": lambda: '{"ociVersion": ' + "9" * 10_000_000 + "}",
}


@pytest.mark.parametrize("what", HUGE)
@pytest.mark.parametrize("verb", ["create", "exec"])
def test_a_huge_document(verb: str, what: str, bundle: Any, scratch: Path) -> None:
    """config.json and the file of `exec --process`: one line of error, quickly, nothing left."""
    document = scratch / "document.json"
    document.write_text(HUGE[what]())
    if verb == "exec":
        bundle.start("sleep", "1000")
        done = bundle.call("exec", "--process", str(document), bundle.id)
    else:
        document.rename(bundle.path / "config.json")
        done = bundle.call("create", bundle.id)
    assert done.returncode in (1, 255)
    assert "Traceback" not in done.stderr and 0 < len(done.stderr) < 10_000
    assert bool(bundle.state()) is (verb == "exec")


def test_arbitrary_configs(bundle: Any) -> None:
    """What the fuzz test does to the checks, done to the file: one line of error, nothing left.

    The root file system is missing, so whatever is accepted fails in the end.
    """
    fuzz = pytest.importorskip("tests.unit.test_config_fuzz")
    chance = random.Random(2024)
    shutil.rmtree(bundle.rootfs)
    for _ in range(60):
        document = json.loads(fuzz.TEXT)
        for _ in range(chance.randint(1, 4)):
            place, new = chance.choice(fuzz.PLACES), chance.choice(fuzz.SPECIAL)
            fuzz.mutate(document, place, chance.randint(0, 3), new)
        document["root"] = {"path": "rootfs"}
        (bundle.path / "config.json").write_text(json.dumps(document))
        done = bundle.call("create", bundle.id)
        assert done.returncode == 1 and done.stdout == "", (document, done)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done
        left = os.listdir(bundle.root) if bundle.root.exists() else []
        assert [name for name in left if name != "~seccomp"] == [], (document, left)
