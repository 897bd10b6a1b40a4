"""Compiles sources with the interpreter that runs this file (3.8 or newer), for pack.py.

    python3 -X no_debug_ranges compile_modules.py DIRECTORY < names

reads paths relative to DIRECTORY, one a line, and writes one marshalled object in the oldest format:
(magic number, (major, minor), {name of an instruction: its number}, {path: marshalled code}).

What only people and type checkers read stays out of the byte code, where it would cost a fifth of the
size and a fortieth of the start: docstrings and asserts (optimize=2), the columns of 3.11 and newer
(-X no_debug_ranges; lines stay), annotations, and what stands under ``if TYPE_CHECKING:``. Nor does
``from __future__ import annotations``: at run time it would find, read and execute a module of the
standard library (0.3 ms). File names in the code are relative, so that the same sources give the same
bytes wherever they lie.
"""

from __future__ import annotations
import __future__

import ast
import marshal
import opcode
import sys
from importlib.util import MAGIC_NUMBER
from typing import TypeVar

Function = TypeVar("Function", ast.FunctionDef, ast.AsyncFunctionDef)


class WithoutTypes(ast.NodeTransformer):
    """Drops annotations of functions and modules; those of classes may be data, they stay."""

    def function(self, node: Function) -> Function:
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self.function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.function(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        # Straight to the methods: AnnAssign in the class's own body is left as it is.
        node.body = [
            child if isinstance(child, ast.AnnAssign) else self.visit(child) for child in node.body
        ]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        # compile() is told by its flags.
        return None if node.module == "__future__" else node

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse:
            return ast.copy_location(ast.Pass(), node)
        return node


def main(directory: str, paths: list[str]) -> bytes:
    codes = {}
    for path in paths:
        with open(directory + "/" + path, "rb") as file:
            tree = WithoutTypes().visit(ast.parse(file.read()))
        tree = ast.fix_missing_locations(tree)
        flags = __future__.annotations.compiler_flag
        code = compile(tree, path, "exec", flags, dont_inherit=True, optimize=2)
        codes[path] = marshal.dumps(code)
    return marshal.dumps((MAGIC_NUMBER, sys.version_info[:2], opcode.opmap, codes), 2)


if __name__ == "__main__":
    sys.stdout.buffer.write(main(sys.argv[1], sys.stdin.read().splitlines()))
