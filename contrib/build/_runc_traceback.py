"""The lines of a traceback through byte code without line tables (see marshalling.py).

Each function's source is compiled again by the same interpreter; where the instructions are the same,
its line table fits, and so does the line.
"""

from __future__ import annotations

from _runc_sources import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Iterator


def functions(code: CodeType) -> Iterator[CodeType]:
    """The code object and all within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            yield from functions(constant)


def line_of(code: CodeType, offset: int) -> int:
    """The line of the instruction, by the code's own table."""
    if hasattr(code, "co_lines"):
        for start, end, line in code.co_lines():
            if start <= offset < end and line is not None:
                return int(line)
        return code.co_firstlineno
    # Before 3.10: pairs of (byte delta, signed line delta).
    line, at = code.co_firstlineno, 0
    for length, delta in zip(code.co_lnotab[::2], code.co_lnotab[1::2]):
        at += length
        if at > offset:
            break
        line += delta - 256 if delta > 127 else delta
    return line


def place(code: CodeType, offset: int, sources: dict[str, bytes]) -> tuple[int, str]:
    """(line, its text) of an instruction; the function's first line if the source differs."""
    line = code.co_firstlineno
    source = sources.get(code.co_filename)
    if source is None:
        return line, ""
    for candidate in functions(compile(source, code.co_filename, "exec", 0, True, 2)):
        alike = (candidate.co_name, candidate.co_firstlineno) == (code.co_name, line)
        if alike and candidate.co_code == code.co_code:
            line = line_of(candidate, offset)
            break
    lines = source.decode().split("\n")
    return line, lines[line - 1].strip() if line <= len(lines) else ""


def explain(error: BaseException, archive: str) -> str:
    """What Python itself would write about an error that nobody caught. Raises OSError."""
    sources = read(archive)
    text = "Traceback (most recent call last):\n"
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename in sources:
            line, source = place(code, trace.tb_lasti, sources)
        else:
            line, source = trace.tb_lineno or code.co_firstlineno, ""
        text += f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'
        if source:
            text += f"    {source}\n"
        trace = trace.tb_next
    message = str(error)
    name = type(error).__qualname__
    return text + (f"{name}: {message}\n" if message else f"{name}\n")
