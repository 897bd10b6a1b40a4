"""Reading and writing JSON: the same values as the json package, strict errors, Go's bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import typing

import pytest

from libcontainer import jsonio
from libcontainer.errors import Error

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

VALUES: list[typing.Any] = [
    None,
    True,
    0,
    -1,
    18446744073709551615,
    1.5,
    "",
    'a"\\/\b\f\n\r\t\x01é€😀',
    [],
    {},
    [1, [2, {"a": None}]],
    {"a": {"b": [True, False]}, "c": "d"},
]


@pytest.fixture(params=["_json", "json"])
def codec(request: typing.Any, monkeypatch: typing.Any) -> str:
    """Run the test on the C module and on its replacement."""
    if request.param == "json":
        scan, encode = jsonio._package_codec()
        monkeypatch.setattr(jsonio, "_scan", scan)
        monkeypatch.setattr(jsonio, "_encode", encode)
    return str(request.param)


@pytest.mark.parametrize("value", VALUES)
def test_round_trip(codec: str, value: typing.Any) -> None:
    compact, indented = jsonio.dumps(value), jsonio.dumps(value, "\t")
    assert json.loads(compact) == json.loads(indented) == value
    assert jsonio.loads(compact) == jsonio.loads(indented.encode()) == value
    assert jsonio.loads(" \n\t\r" + json.dumps(value, indent=3) + "\n") == value


def test_bytes_of_go(codec: str) -> None:
    value = {"a": [1, {"b": "<é&>\u2028"}, "\x7f"], "c": {}, "d": [], "e": "\x01\b\f\n"}
    assert jsonio.dumps(value) == (
        '{"a":[1,{"b":"\\u003cé\\u0026\\u003e\\u2028"},"\x7f"],"c":{},"d":[],'
        '"e":"\\u0001\\b\\f\\n"}'
    )
    assert jsonio.dumps(value, "\t") == (
        '{\n\t"a": [\n\t\t1,\n\t\t{\n\t\t\t"b": "\\u003cé\\u0026\\u003e\\u2028"\n\t\t},\n\t\t"\x7f"'
        '\n\t],\n\t"c": {},\n\t"d": [],\n\t"e": "\\u0001\\b\\f\\n"\n}'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 column 1: unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ('{"a":1', "unexpected end of JSON input"),
        ('{"a":1}\n x', "line 2 column 2: text after the end of the value"),
        ("{]", "line 1 column 2: "),
        ('{"a":\n tru}', "line 2 column 2: "),
        ("{'a':1}", "line 1 column 2: "),
        ("[NaN]", "NaN is not a JSON number"),
        ("[-Infinity]", "-Infinity is not a JSON number"),
        ("[1e999]", "the number 1e999 is too large"),
        ("9" * 5000, "a number of 5000 digits is too large"),
        ('"\\ud800"', "without its other half"),
        ('{"\\uDC00\\ud800": 1}', "without its other half"),
        ('"\x00"', "line 1 column 2: "),
        ("[1]\0", "text after the end"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "not UTF-8"),
        ("\ufeff{}", "line 1 column 1: "),
        ("[" * 100000, "nested too deeply"),
        ("[" * 100000 + "]" * 100000, "nested too deeply"),
        ('{"a":' * 100000 + "1" + "}" * 100000, "nested too deeply"),
        (" " * (jsonio.MAX_BYTES + 1), "larger than 16 MiB"),
        (b" " * (jsonio.MAX_BYTES + 1), "larger than 16 MiB"),
    ],
    ids=range(25),
)
def test_refused(codec: str, text: str | bytes, message: str) -> None:
    with pytest.raises(Error) as caught:
        jsonio.loads(text, "name")
    assert str(caught.value).startswith("name: ")
    assert message in str(caught.value)


def test_pair_of_surrogates_is_one_character(codec: str) -> None:
    assert jsonio.loads('"\\uD83D\\ude00"') == "😀"


@pytest.mark.parametrize("value", [float("nan"), {"a": object()}, {1, 2}, b"x"])
@pytest.mark.parametrize("indent", [None, "\t"])
def test_unwritable(codec: str, value: typing.Any, indent: str | None) -> None:
    with pytest.raises(Error, match="cannot be written"):
        jsonio.dumps(value, indent)


@pytest.mark.parametrize("indent", [None, "\t"])
def test_too_deep_to_write(codec: str, indent: str | None) -> None:
    value: list[typing.Any] = []
    for _ in range(100000):
        value = [value]
    with pytest.raises(Error, match="nested too deeply"):
        jsonio.dumps(value, indent)


@pytest.mark.parametrize("text", ["[]", "null", "1", '"x"'])
def test_only_objects_are_read(tmp_path: typing.Any, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(Error, match=r"x\.json: must be a JSON object, not "):
        jsonio.read(str(tmp_path / "x.json"))


def test_read(tmp_path: typing.Any) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}')
    directory = os.open(str(tmp_path), os.O_RDONLY)
    try:
        assert jsonio.read("x.json", dir_fd=directory) == {"a": 1}
        with pytest.raises(FileNotFoundError):
            jsonio.read("y.json", dir_fd=directory)
    finally:
        os.close(directory)


def test_read_from_a_pipe() -> None:
    document = json.dumps({"a": "x" * 300000})
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "w") as file:
            file.write(document)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert jsonio.read_fd(reader, "stdin") == json.loads(document)
    finally:
        os.close(reader)
        thread.join()


def test_huge_file(tmp_path: typing.Any) -> None:
    path = tmp_path / "config.json"
    with open(str(path), "wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(Error, match=r"^config\.json: larger than 16 MiB$"):
        jsonio.read(str(path), name="config.json")


SCRIPT = """
import sys
sys.path.insert(0, %r)
from libcontainer import jsonio
assert jsonio.dumps(jsonio.loads('{"a": [1, "x"]}'), "\\t")
print(*[name for name in ("json", "re", "os", "typing", "enum") if name in sys.modules])
for text in ("{]", "[1,", '"', "tru", '{"a" 1}', "[1 2]", '{"a":1 "b":2}', '"\\\\x"', '"\\\\u12"'):
    try:
        jsonio.loads(text)
    except jsonio.Error:
        continue
    print("accepted", text)
"""


def test_bare_interpreter() -> None:
    """Nothing is imported for sound documents; errors are worded without json loaded before."""
    command = [sys.executable, "-I", "-S", "-c", SCRIPT % ROOT]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    assert result.stdout == "\n"
