"""The command line: both readers of it agree, and what it says has the shapes that tools parse."""

from __future__ import annotations

import ctypes
import json
import os
import posix
import random
import re
import subprocess
import sys
import time
import typing

import pytest

import runc
from libcontainer import commandline, config, default_spec, version
from libcontainer.commandline import (
    DURATION,
    FLAG,
    GLOBALS,
    NUMBER,
    NUMBERS,
    VERBS,
    Command,
    limits,
    loglines,
    parse,
    roots,
    signals,
    similar,
    tables,
    texts,
    usage,
)
from libcontainer.errors import Error

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START = "import sys; sys.path.append(%r); import runc; " % ROOT

# What state, kill, list and delete must never wait for.
SLOW = "os ctypes _ctypes argparse re json typing enum subprocess logging collections functools"


def cli(*argv: str, **options: typing.Any) -> subprocess.CompletedProcess[str]:
    """Run `runc` with `argv` in an interpreter of its own, as the packed file does."""
    command = [sys.executable, "-IS", "-c", START + "runc.entry()", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def same(one: Command, other: Command) -> bool:
    """Whether two readings of a command line are one."""
    return vars(one) == vars(other)


# Words that are wrong, odd, or look like something else.
VALUES = ["x", "", "-", "-x", "--root", "a=b", "=", "0", "7", "-7", "0x1f", "010", "1_0", " 1", "é"]
VALUES += ["true", "false", "T", "yes", "9" * 30, "--", "-f", "٣"]
ARGUMENTS = ["web1", "ls", "-la", "--", "-", "", "--force", "KILL", "9", "a b", "-h", "--bundle=x"]


def random_option(rng: random.Random, options: tuple[commandline.Option, ...]) -> list[str]:
    """One option in one of its spellings, seldom a wrong one."""
    words, kind, _, _ = rng.choice(options)
    name = rng.choice(words.split())
    dashes = rng.choice(["-", "--"])
    if kind == FLAG and rng.random() < 0.8:
        return [dashes + name]
    value = rng.choice(VALUES)
    if kind == FLAG:
        value = rng.choice(["true", "false", "0", "1", "t", "F", "x"])
    elif kind == DURATION and rng.random() < 0.8:
        value = rng.choice(["5s", "1m30s", "0", "x", "1.5h", "-1s"])
    elif kind in (NUMBER, NUMBERS) and rng.random() < 0.7:
        value = str(rng.randrange(-9, 99))
    return [dashes + name + "=" + value] if rng.random() < 0.5 else [dashes + name, value]


def random_line(rng: random.Random) -> list[str]:
    """A command line, well-formed in about half of all cases."""
    line: list[str] = []
    for _ in range(rng.choice([0, 0, 1, 2])):
        line += random_option(rng, GLOBALS[:-2] if rng.random() < 0.95 else GLOBALS)
    if rng.random() < 0.03:
        return line
    verb = rng.choice(list(VERBS)) if rng.random() < 0.97 else rng.choice(["stat", "help", "h"])
    line.append(verb)
    options = VERBS[verb].options if verb in VERBS else ()
    rest: list[list[str]] = []
    if options:
        rest += [random_option(rng, options) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    rest += [[rng.choice(ARGUMENTS)] for _ in range(rng.choice([0, 1, 1, 1, 2, 3]))]
    if rng.random() < 0.7:
        rng.shuffle(rest)
    if rng.random() < 0.05:
        rest.append([rng.choice(["--nosuch", "-Z", "--", "-h", "---x", "-=", "--=y"])])
    return line + [word for part in rest for word in part]


def test_both_readers_agree() -> None:
    rng = random.Random(20250923)
    understood = 0
    for _ in range(6000):
        line = random_line(rng)
        plain, answer = parse(line), usage.read(line)
        if plain is None:
            assert answer.command is None, line
            assert answer.text or answer.error, line
        else:
            understood += 1
            assert answer.command is not None, (line, answer.error)
            assert same(plain, answer.command), (line, vars(plain), vars(answer.command))
    assert 1500 < understood < 5700


@pytest.mark.parametrize(
    ("line", "verb", "arguments", "options"),
    [
        ("start x", "start", ["x"], {}),
        ("-root /r state x", "state", ["x"], {}),
        ("run x -d --bundle b", "run", ["x"], {"detach": True, "bundle": "b"}),
        ("run -b=b -d=false x", "run", ["x"], {"detach": False, "bundle": "b"}),
        ("checkpoint --status-fd=5 x", "checkpoint", ["x"], {"status-fd": 5, "pre-dump": False}),
        ("restore x -b b", "restore", ["x"], {"bundle": "b", "manage-cgroups-mode": ""}),
        ("delete x --force", "delete", ["x"], {"force": True}),
        ("delete -- --force", "delete", ["--force"], {"force": False}),
        ("exec x ls -t --env", "exec", ["x", "ls", "-t", "--env"], {"tty": False, "env": []}),
        ("exec -e A=1 -e B=2,C=3 x y", "exec", ["x", "y"], {"env": ["A=1", "B=2,C=3"]}),
        ("exec x -- ls", "exec", ["x", "--", "ls"], {}),
        ("exec -- x ls", "exec", ["x", "ls"], {}),
        ("exec --cwd -x y z", "exec", ["y", "z"], {"cwd": "-x"}),
        ("exec -g 7 -g +8 x y", "exec", ["x", "y"], {"additional-gids": [7, 8]}),
        ("create --preserve-fds 0x10 x", "create", ["x"], {"preserve-fds": 16}),
        ("ps x -o pid", "ps", ["x", "-o", "pid"], {"format": "table"}),
        ("ps -f json x", "ps", ["x"], {"format": "json"}),
        ("kill --all x 9", "kill", ["x", "9"], {"all": True}),
    ],
)
def test_what_is_read(
    line: str, verb: str, arguments: list[str], options: dict[str, typing.Any]
) -> None:
    command = parse(line.split())
    assert command is not None
    assert (command.verb, command.arguments) == (verb, arguments)
    assert {name: command.options[name] for name in options} == options


# The messages are runc's to the letter where nothing is suggested.
@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("", 0, ""),
        ("help", 0, ""),
        ("help run", 0, ""),
        ("h", 0, ""),
        ("run -h", 0, ""),
        ("--help state", 0, ""),
        ("nosuch", 3, "No help topic for 'nosuch'"),
        ("help nosuch", 3, "No help topic for 'nosuch'"),
        ("stat", 3, "No help topic for 'stat'; did you mean runc state?"),
        ("craete x", 3, "No help topic for 'craete'; did you mean runc create?"),
        ("hlep", 3, "No help topic for 'hlep'; did you mean runc help?"),
        ("--nosuch list", 1, "flag provided but not defined: -nosuch"),
        ("list -nosuch", 1, "flag provided but not defined: -nosuch"),
        ("run -dt x", 1, "flag provided but not defined: -dt"),
        ("run --bndle x", 1, "flag provided but not defined: -bndle; did you mean --bundle?"),
        ("--rot x list", 1, "flag provided but not defined: -rot; did you mean --root?"),
        ("run --bundle", 1, "flag needs an argument: -bundle"),
        ("list -f", 1, "flag needs an argument: -f"),
        (
            "create --preserve-fds=x y",
            1,
            'invalid value "x" for flag -preserve-fds: parse error',
        ),
        ("spec --rootless=foo", 1, 'invalid boolean value "foo" for -rootless: parse error'),
        ("state", 1, 'runc: "state" requires exactly 1 argument(s)'),
        ("state a b", 1, 'runc: "state" requires exactly 1 argument(s)'),
        ("list x", 1, 'runc: "list" requires exactly 0 argument(s)'),
        ("exec", 1, 'runc: "exec" requires a minimum of 1 argument(s)'),
        ("kill a b c", 1, 'runc: "kill" requires a maximum of 2 argument(s)'),
    ],
)
def test_what_is_refused(line: str, status: int, message: str) -> None:
    answer = usage.read(line.split())
    assert (answer.error, answer.status) == (message, status)
    assert answer.command is None
    if status == 1:
        assert answer.text.startswith("Incorrect Usage")
        assert "\nNAME:\n" in answer.text


def test_errors_in_a_verbs_options_go_to_the_log_that_was_asked_for(tmp_path: typing.Any) -> None:
    log = tmp_path / "log"
    done = cli("--log", str(log), "--log-format", "json", "state")
    assert done.returncode == 1
    assert done.stdout.startswith("Incorrect Usage.\n\nNAME:\n   runc state - ")
    assert done.stderr == 'runc: "state" requires exactly 1 argument(s)\n'
    assert json.loads(log.read_text())["msg"] == done.stderr[:-1]


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb: str) -> None:
    text = usage.read([verb, "--help"]).text
    assert text == usage.read(["help", verb]).text
    assert text == usage.read(["-root=x", verb, "-h"]).text
    assert text.startswith(
        "NAME:\n   runc %s - %s\n\nUSAGE:\n   runc %s" % (verb, VERBS[verb].summary, verb)
    )
    for heading in ("DESCRIPTION", "EXAMPLE", "OPTIONS"):
        assert "\n\n%s:\n   " % heading in text
    example = text.partition("EXAMPLE:\n")[2].partition("\n\n")[0]
    assert "# runc" in example and " %s" % verb in example
    for names, _, _, description in VERBS[verb].options:
        assert (description in text) if description else ("--" + names.split()[0] not in text)
    assert max(map(len, text.splitlines())) <= 110
    assert texts.DESCRIPTIONS.keys() == texts.EXAMPLES.keys() == texts.ARGUMENTS.keys()


def test_examples_are_command_lines() -> None:
    for example in texts.EXAMPLES.values():
        for line in re.findall(r"runc [^|&\n]*", example):
            words = line.split()[1:]
            assert parse([word.strip("`") for word in words]) is not None, line


def test_general_help() -> None:
    text = usage.general_help()
    assert text.startswith("NAME:\n   runc - Open Container Initiative runtime\n")
    for heading in ("USAGE", "VERSION", "COMMANDS", "GLOBAL OPTIONS"):
        assert "\n\n%s:\n   " % heading in text
    for verb in VERBS:
        assert re.search(r"^   %s +\w" % verb, text, re.MULTILINE)


def test_version() -> None:
    lines = cli("--version").stdout.splitlines()
    assert re.match(r"runc version \d+\.\d+\.\d+", lines[0])
    assert version.VERSION in lines[0]
    assert lines[1].startswith("commit: ")
    assert lines[2] == "spec: 1.3.0"
    assert lines[3] == "python: %d.%d.%d" % sys.version_info[:3]
    assert lines == cli("-v", "state").stdout.splitlines()


def test_version_of_libseccomp() -> None:
    class Version(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint) for name in ("major", "minor", "micro")]

    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("no libseccomp here")
    library.seccomp_version.restype = ctypes.POINTER(Version)
    told = library.seccomp_version().contents
    found = "%d.%d.%d" % (told.major, told.minor, told.micro)
    assert version.libseccomp() in ("", found)


@pytest.mark.parametrize(
    ("message", "written"),
    [
        ("plain", "plain"),
        ("a/b-c.d_e@f^g+1", "a/b-c.d_e@f^g+1"),
        ("", ""),
        ("two words", '"two words"'),
        ('say "x" \\', '"say \\"x\\" \\\\"'),
        ("a\nb\tc\rd\0e\x7f\x1b", '"a\\nb\\tc\\rd\\x00e\\x7f\\x1b"'),
        ("\a\b\v\f", '"\\a\\b\\v\\f"'),
        ("grün 日本", '"grün 日本"'),
        ("a\u00a0\u200b\U000e0001", '"a\\u00a0\\u200b\\U000e0001"'),
        ("x\udcff", '"x\\xff"'),
    ],
)
def test_text_log(message: str, written: str) -> None:
    line = loglines.line("error", message, {}, None)
    assert re.match(
        r'time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)" level=error msg=', line
    )
    assert line.endswith(" msg=" + written + "\n")


def test_json_log() -> None:
    from libcontainer.jsonio import dumps

    line = loglines.line("error", 'a <b> "c"\n\udcff', {"step": "1ms"}, dumps)
    assert line.endswith("}\n") and line.count("\n") == 1
    assert "\\u003cb\\u003e" in line
    entry = json.loads(line.encode())
    assert list(entry) == ["level", "msg", "step", "time"]
    assert (entry["level"], entry["msg"]) == ("error", 'a <b> "c"\n\ufffd')


@pytest.mark.parametrize(
    ("zone", "suffix"),
    [("UTC0", "Z"), ("ABC-5:30", "+05:30"), ("ABC3:30", "-03:30"), ("ABC-0:15", "+00:15")],
)
def test_time_zone(zone: str, suffix: str, monkeypatch: typing.Any) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert loglines.timestamp()[19:] == suffix
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Error("no"), "no"),
        (OSError(2, "No such file or directory", "/x"), "/x: no such file or directory"),
        (
            OSError(1, "mount: Operation not permitted", "/dev"),
            "mount /dev: operation not permitted",
        ),
        (OSError(1, "mount: Operation not permitted"), "mount: operation not permitted"),
        (OSError(18, "Invalid link", "a", None, b"b"), "a b: invalid link"),
        (OSError(9, "Bad file descriptor", 7), "descriptor 7: bad file descriptor"),
        (OSError(9, "Bad file descriptor"), "bad file descriptor"),
        (OSError("odd"), "odd"),
    ],
)
def test_errors(error: Exception, text: str) -> None:
    assert loglines.describe(error) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigterm", 15),
        ("Hup", 1),
        ("9", 9),
        ("0", 0),
        ("-1", -1),
        ("STKFLT", 16),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX", 64),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert signals.signal_number(text) == number


@pytest.mark.parametrize(
    "text", ["FOO", "", "SIG", "9x", "KILL+1", "RTMIN+", "RTMIN+99", "RTMIN+-1", "_DFL", "SIG_IGN"]
)
def test_unknown_signals(text: str) -> None:
    with pytest.raises(Error, match=re.escape('unknown signal "%s"' % text)):
        signals.signal_number(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("-2s", -2),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert commandline.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5x", "1m3", "-", ".s", "1..2s", "1s ", "1e3s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError):
        commandline.duration(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-1", -1),
        ("4096", 4096),
        ("9223372036854775807", (1 << 63) - 1),
        ("10M", 10 << 20),
        ("10 mb", 10 << 20),
        ("1.5GiB", 3 << 29),
        ("512kb", 512 << 10),
        ("7b", 7),
        ("2t", 2 << 40),
    ],
)
def test_sizes(text: str, number: int) -> None:
    assert limits.size(text) == number


@pytest.mark.parametrize(
    "text", ["", "x", "-2", "10x", "10bb", "10mib2", "1.2.3", "M", "5kk", "-5k"]
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid (size|suffix): '"):
        limits.size(text)


def told(line: str) -> dict[str, typing.Any]:
    """The resources that `update` was told."""
    command = parse(["update", *line.split(), "x"])
    assert command is not None
    return limits.resources(command.options, command.given)


def test_limits(tmp_path: typing.Any) -> None:
    assert told("") == {}
    assert told("--memory 64M --cpu-quota -1 --cpu-share 0") == {
        "memory": {"limit": 64 << 20},
        "cpu": {"quota": -1, "shares": 0},
    }
    assert told("--memory -1") == {"memory": {"limit": -1}}
    assert told("--memory -1 --memory-swap 1G") == {"memory": {"limit": -1, "swap": 1 << 30}}
    assert told("--pids-limit 0 --blkio-weight 500 --cpuset-cpus 0-1") == {
        "pids": {"limit": 0},
        "blockIO": {"weight": 500},
        "cpu": {"cpus": "0-1"},
    }
    assert told("--kernel-memory 1G") == {}
    file = tmp_path / "limits.json"
    file.write_text('{"cpu": {"idle": 1}, "unified": {"memory.high": "max"}}')
    assert told("--memory 5 -r %s" % file) == {
        "cpu": {"idle": 1},
        "unified": {"memory.high": "max"},
    }
    for line, message in (
        ("--cpu-quota x", 'cpu-quota: strconv.ParseInt: parsing "x": invalid syntax'),
        (
            "--cpu-share -5",
            'cpu-share: strconv.ParseUint: parsing "-5": invalid syntax',
        ),
        ("--memory 5x", "memory: invalid suffix: 'x'"),
    ):
        with pytest.raises(Error, match=re.escape("invalid value for " + message)):
            told(line)


def test_absolute_paths() -> None:
    here = os.getcwd()
    for path in ("/a/b", "a", ".", "../x", "/../..", "a//b/./c/..", "", "/"):
        assert roots.absolute(path) == os.path.abspath(path) if path else here


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [("", "", 0), ("a", "", 1), ("list", "lsit", 1), ("start", "state", 2), ("kill", "exec", 4)],
)
def test_edits(one: str, other: str, steps: int) -> None:
    assert similar.edits(one, other) == steps


def test_similar_container(tmp_path: typing.Any) -> None:
    (tmp_path / "web1").mkdir()
    (tmp_path / "0123456789abcdef").mkdir()
    assert similar.similar_container(str(tmp_path), "wbe1") == '; did you mean "web1"?'
    assert (
        similar.similar_container(str(tmp_path), "0123456") == '; did you mean "0123456789abcdef"?'
    )
    assert similar.similar_container(str(tmp_path), "db") == ""
    assert similar.similar_container(str(tmp_path / "none"), "db") == ""


def test_unknown_container(tmp_path: typing.Any) -> None:
    (tmp_path / "web1").mkdir()
    done = cli("--root", str(tmp_path), "state", "web2")
    assert done.returncode == 1
    assert re.search(r'msg="container does not exist; did you mean \\"web1\\"\?"\n$', done.stderr)
    done = cli("--root", str(tmp_path), "kill", "other")
    assert done.returncode == 1
    assert done.stderr.endswith('level=error msg="container does not exist"\n')


def test_table_of_containers() -> None:
    assert tables.containers([]) == (
        "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    )
    entry = {
        "id": "a-long-name-1",
        "pid": 12,
        "status": "running",
        "bundle": "/b",
        "created": "2026-01-01T00:00:00Z",
        "owner": "root",
    }
    assert tables.containers([entry]) == (
        "ID              PID         STATUS      BUNDLE      CREATED                OWNER\n"
        "a-long-name-1   12          running     /b          2026-01-01T00:00:00Z   root\n"
    )


def test_table_of_processes() -> None:
    lines = tables.processes([os.getpid()], ["-ef"]).splitlines()
    assert lines[0].split()[1] == "PID"
    assert [line.split()[1] for line in lines[1:]] == [str(os.getpid())]
    with pytest.raises(Error, match="couldn't find PID field in ps output"):
        tables.processes([1], ["-o", "comm"])
    with pytest.raises(Error, match="exit status 1: "):
        tables.processes([1], ["--nosuch"])


def test_spec(tmp_path: typing.Any) -> None:
    assert cli("spec", "-b", str(tmp_path)).returncode == 0
    written = (tmp_path / "config.json").read_bytes()
    assert written.startswith(b'{\n\t"ociVersion": "1.3.0",\n\t"process": {\n\t\t"terminal": true,')
    assert written.endswith(b"\n\t}\n}")
    assert json.loads(written) == default_spec.default()
    done = cli("spec", cwd=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.endswith('level=error msg="File config.json exists. Remove it first"\n')
    assert (tmp_path / "config.json").read_bytes() == written
    done = cli("spec", "-b", str(tmp_path / "none"))
    assert 'msg="chdir %s/none: no such file or directory"' % tmp_path in done.stderr


def test_spec_is_accepted() -> None:
    config.check_document(typing.cast(typing.Any, default_spec.default()))
    config.check_document(typing.cast(typing.Any, default_spec.rootless()))


def test_rootless_spec() -> None:
    spec = default_spec.rootless()
    linux = spec["linux"]
    kinds = [entry["type"] for entry in linux["namespaces"]]
    assert "network" not in kinds and kinds[-1] == "user"
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    assert "resources" not in linux
    options = [option for mount in spec["mounts"] for option in mount.get("options", [])]
    assert not [option for option in options if option.startswith(("uid=", "gid="))]


def test_features() -> None:
    done = cli("features")
    assert done.stdout.startswith('{\n    "ociVersionMin": "1.0.0",\n    "ociVersionMax": "1.3.0"')
    told = json.loads(done.stdout)
    assert {"ro", "rro", "rbind", "tmpcopyup"} <= set(told["mountOptions"])
    linux = told["linux"]
    assert len(linux["capabilities"]) == 41
    assert set(linux["seccomp"]["supportedFlags"]) <= set(linux["seccomp"]["knownFlags"])
    assert "SCMP_ACT_NOTIFY" in linux["seccomp"]["actions"]
    for name in ("v1", "v2", "systemd", "systemdUser", "rdma"):
        assert isinstance(linux["cgroup"][name], bool)


SCHEMAS = os.path.join(ROOT, "tests/unit/data/oci-schema")


def breaches(value: typing.Any, schema: typing.Any, file: str, place: str) -> list[str]:
    """Where `value` is not as `schema` (JSON Schema draft 4, as much of it as `file` uses) says."""
    if "$ref" in schema:
        name, _, pointer = schema["$ref"].partition("#")
        file = name or file
        with open(os.path.join(SCHEMAS, file), encoding="utf-8") as stream:
            schema = json.load(stream)
        for key in filter(None, pointer.split("/")):
            schema = schema[key]
        return breaches(value, schema, file, place)
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    wanted = schema.get("type")
    if wanted and type(value) is not types[wanted]:
        return ["%s: is no %s" % (place, wanted)]
    found = []
    if value not in schema.get("enum", [value]):
        found.append("%s: %r is not in the list" % (place, value))
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append("%s: %r does not match" % (place, value))
    if isinstance(value, list):
        for index, member in enumerate(value):
            found += breaches(member, schema.get("items", {}), file, "%s[%d]" % (place, index))
    if isinstance(value, dict):
        found += [place + "." + name for name in schema.get("required", ()) if name not in value]
        for name, member in value.items():
            shapes = [schema["properties"][name]] if name in schema.get("properties", {}) else []
            patterns = schema.get("patternProperties", {})
            shapes += [shape for pattern, shape in patterns.items() if re.search(pattern, name)]
            for shape in shapes:
                found += breaches(member, shape, file, place + "." + name)
    for part in schema.get("allOf", ()):
        found += breaches(value, part, file, place)
    return found


def test_features_fit_the_schema() -> None:
    whole = {"$ref": "features-schema.json"}
    for kind in ("good", "bad"):
        for name in os.listdir(os.path.join(SCHEMAS, "features", kind)):
            with open(os.path.join(SCHEMAS, "features", kind, name), encoding="utf-8") as file:
                try:
                    example = json.load(file)
                except ValueError:
                    continue
            assert bool(breaches(example, whole, "", "")) == (kind == "bad"), name
    told = json.loads(cli("features").stdout)
    assert breaches(told, whole, "", "") == []
    # Nothing but what the schema knows: a misspelt property would be valid.
    with open(os.path.join(SCHEMAS, "features-linux.json"), encoding="utf-8") as file:
        known = json.load(file)["linux"]["properties"]
    # The specification's text has this one too (features-linux.md).
    assert set(told["linux"]) - {"memoryPolicy"} <= set(known)


def test_log_file(tmp_path: typing.Any) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        done = cli("--log", str(log), "--root", str(tmp_path / "none"), "list")
        message = "open %s/none: no such file or directory" % tmp_path
        assert (done.returncode, done.stderr) == (1, message + "\n")
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    assert all(line.endswith('level=error msg="%s"' % message) for line in lines)
    assert log.stat().st_mode & 0o777 == 0o644
    done = cli("--log", str(tmp_path / "no" / "log"), "list")
    assert done.returncode == 1
    assert 'msg="open %s/no/log: no such file or directory"' % tmp_path in done.stderr
    done = cli("--log-format", "xml", "list")
    assert (done.returncode, done.stderr[-26:]) == (1, '"invalid log-format: xml"\n')


def test_debug_tells_a_story(tmp_path: typing.Any) -> None:
    done = cli("--debug", "--root", str(tmp_path), "state", "x")
    lines = done.stderr.splitlines()
    assert len(lines) >= 3
    for line in lines:
        assert re.search(r" elapsed=\d+\.\d\dms step=\d+\.\d\dms$", line)
    assert "Traceback" in done.stderr
    assert "Traceback" not in cli("--root", str(tmp_path), "state", "x").stderr


def test_a_defect_is_one_sentence(tmp_path: typing.Any) -> None:
    code = START + "runc.HANDLERS['start'] = lambda *_: 1 // 0; runc.entry()"
    command = [sys.executable, "-IS", "-c", code, "start", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert 'msg="internal error: ZeroDivisionError: ' in done.stderr


@pytest.mark.parametrize(("verb", "status"), [("create", 1), ("exec", 255)])
def test_prefixes_and_statuses(verb: str, status: int, tmp_path: typing.Any) -> None:
    prefix = {"create": "runc create failed: ", "exec": "exec failed: "}[verb]
    done = cli("--root", str(tmp_path), verb, "", cwd=str(tmp_path))
    assert done.returncode == status
    assert done.stderr.endswith('msg="%scontainer id cannot be empty"\n' % prefix)


def test_root_may_not_be_the_whole_disk() -> None:
    for root in ("/", "/../", "//"):
        done = cli("--root", root, "list")
        assert done.returncode == 1
        assert 'msg="Option --root argument should not be set to /"' in done.stderr


@pytest.mark.parametrize("user", [True, False])
def test_runtime_dir(user: bool, tmp_path: typing.Any, monkeypatch: typing.Any) -> None:
    command = parse(["list"])
    assert command is not None
    monkeypatch.setattr(roots, "honours_runtime_dir", lambda: user)
    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", os.fsencode(tmp_path / "a"))
    expected = str(tmp_path / "a" / "runc") if user else "/run/runc"
    assert roots.find_root(command) == expected
    if user:
        assert os.stat(expected).st_mode & 0o7777 == 0o1700
    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", b"/dev/null")
    if user:
        with pytest.raises(Error, match=r"XDG_RUNTIME_DIR must be writable: "):
            roots.find_root(command)
    command = parse(["--root", "x/../y", "list"])
    assert command is not None
    assert roots.find_root(command) == os.getcwd() + "/y"


def test_nobody_reads() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-IS", "-c", START + "runc.entry()", "features"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


def test_full_disk() -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-IS", "-c", START + "runc.entry()", "features"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b'msg="write /dev/stdout: no space left on device"' in done.stderr


def test_closed_stdio(tmp_path: typing.Any) -> None:
    code = START + "runc.HANDLERS['list'] = lambda *_: 0 if runc.posix.get_inheritable(0) else 9;"
    code += "runc.entry()"
    command = 'exec "$@" <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-IS", "-c", code, "--log", "log", "list"],
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.parametrize(
    "line", ["state x", "kill x 9", "list", "list -q", "delete x", "--version", "start x"]
)
def test_light_verbs_load_little(line: str, tmp_path: typing.Any) -> None:
    argv = ["--root", str(tmp_path), *line.split()]
    code = START + "runc.main(%r); print(*sorted(sys.modules))" % argv
    command = [sys.executable, "-IS", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    bare = subprocess.run(
        [sys.executable, "-IS", "-c", "import sys; print(*sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split()) - set(bare.stdout.split())
    assert not loaded & set(SLOW.split())
    # The bindings but for signals are made with _ctypes.
    bindings = {name for name in loaded if name.startswith("libc_bindings")}
    assert bindings <= {"libc_bindings", "libc_bindings.signals"}


def test_table_of_options_is_sound() -> None:
    assert set(runc.HANDLERS) == set(VERBS)
    for options in [GLOBALS, *(verb.options for verb in VERBS.values())]:
        table = commandline.names(options)
        assert len(table) == sum(len(option[0].split()) for option in options)
        for names, kind, metavar, text in options:
            assert kind in commandline.CONVERT
            assert bool(metavar) == (kind != FLAG), names
            assert not text.endswith(".")
