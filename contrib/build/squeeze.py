"""Packed sources, smaller still: without blanks that nobody needs, and with short names.

Local variables of functions, and parameters that no call names, get names of one letter, the same
letters in each function; local variables lose their annotations. Every statement stays on its line, and
what Python compiles it to stays the same but for the names of locals, which is checked.
"""

from __future__ import annotations

import ast
import io
import tokenize
from types import CodeType
from typing import Iterable, Iterator, Tuple

LETTERS = "abcdefghijklmnopqrstuvwxyz"
NESTED = (
    *(ast.FunctionDef, ast.Lambda, ast.ClassDef),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
LAYOUT = (
    *(tokenize.ENCODING, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.COMMENT, tokenize.ENDMARKER),
)

# Row from 0, first and last byte, what comes in their place.
Edit = Tuple[int, int, int, bytes]


def named(sources: Iterable[bytes]) -> set[str]:
    """What calls may name a parameter by: the keywords in all sources, and all strings (for **)."""
    found = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def squeeze(source: bytes, keywords: set[str]) -> bytes:
    """The source, as above; `keywords` are named()'s.  Raises SystemExit for another program."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    edits = [edit for function in functions for edit in short_names(function, keywords)]
    edits += [*local_types(functions), *strings(tree, source.split(b"\n"))]
    found = without_blanks(edited(source, edits))
    if list(meaning(source)) != list(meaning(found)):
        raise SystemExit(
            "pack.py: squeezed, a source is another program:\n" + source[:200].decode()
        )
    return found


def edited(source: bytes, edits: list[Edit]) -> bytes:
    lines = source.split(b"\n")
    for row, start, end, text in sorted(set(edits), reverse=True):
        lines[row] = lines[row][:start] + text + lines[row][end:]
    return b"\n".join(lines)


def short_names(function: ast.FunctionDef, keywords: set[str]) -> Iterator[Edit]:
    """The edits that rename what is local in a function that has no functions of its own."""
    if any(isinstance(node, NESTED[:3]) and node is not function for node in ast.walk(function)):
        return
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    given = function.args
    arguments = [node for node in ast.walk(given) if isinstance(node, ast.arg)]
    free = {one.arg for one in given.args} - keywords - {"self"}
    kept = {one.arg for one in arguments} - free
    for node in ast.walk(function):
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            kept.update(node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            kept.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            kept.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.JoinedStr, *NESTED[3:])):
            # Of names in an f-string old versions do not know the place; a comprehension's are a
            # scope of their own.
            kept.update(name.id for name in ast.walk(node) if isinstance(name, ast.Name))
    local = (free | {name.id for name in names if isinstance(name.ctx, ast.Store)}) - kept
    taken = kept | free | {name.id for name in names}
    places = [(one.lineno, one.col_offset, one.arg) for one in arguments]
    places = sorted(places + [(name.lineno, name.col_offset, name.id) for name in names])
    wanted = dict.fromkeys(name for _, _, name in places if name in local and len(name) > 1)
    short = dict(zip(wanted, [letter for letter in LETTERS if letter not in taken]))
    for line, column, name in places:
        if name in short:
            yield line - 1, column, column + len(name.encode()), short[name].encode()


def local_types(functions: list[ast.FunctionDef]) -> Iterator[Edit]:
    """The edits that take the annotations of local variables out, where they stand in one line."""
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, ast.AnnAssign) and node.value is not None:
                start, end = node.target, node.annotation
                assert start.end_col_offset is not None and end.end_col_offset is not None
                if start.lineno == end.end_lineno:
                    yield start.lineno - 1, start.end_col_offset, end.end_col_offset, b""


def strings(tree: ast.Module, lines: list[bytes]) -> Iterator[Edit]:
    """The edits that empty the texts behind attributes; an empty string has an instruction, too."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            start, end = value.lineno - 1, value.end_lineno or 0
            yield start, value.col_offset, len(lines[start]), b'""'
            yield from ((row, 0, len(lines[row]), b"") for row in range(start + 1, end))


def without_blanks(source: bytes) -> bytes:
    """No blanks between tokens that do not run together without."""
    edits = []
    lines = source.decode().split("\n")
    last = None
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type in LAYOUT:
            last = None
            continue
        if last is not None and last.end[0] == token.start[0] and last.end[1] < token.start[1]:
            before, after = last.string[-1], token.string[0]
            if not is_word(before) or not (is_word(after) or after in "\"'"):
                row, line = token.start[0] - 1, lines[token.start[0] - 1]
                start = len(line[: last.end[1]].encode())
                edits.append((row, start, len(line[: token.start[1]].encode()), b""))
        last = token
    return edited(source, edits)


def is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def meaning(source: bytes) -> Iterator[tuple[object, ...]]:
    """What the source compiles to, code object by code object, without the names of locals."""
    waiting = [compile(source, "", "exec", 0, True, 2)]
    while waiting:
        code = waiting.pop()
        inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        waiting += inner
        constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
        lines = list(code.co_lines()) if hasattr(code, "co_lines") else code.co_lnotab
        yield (
            *(code.co_code, code.co_name, code.co_names, repr(constants), lines, len(inner)),
            *(code.co_argcount, code.co_kwonlyargcount, code.co_flags, code.co_nlocals),
            *(code.co_freevars, code.co_cellvars, getattr(code, "co_exceptiontable", b"")),
        )
