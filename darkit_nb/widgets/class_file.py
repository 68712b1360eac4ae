"""What a file says about a class and the names around it, read and not imported."""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from darkit_nb.records.patch import clean_text


def class_at(file: str, line: int) -> tuple[str, str, int] | None:
    """Qualified name, source and first line of the class whose `class` stands on a line; None where there is none."""
    linecache.checkcache(file)
    lines = linecache.getlines(file)
    for name, node in _classes(_tree(file), ""):
        if node.lineno == line:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            margin = " " * node.col_offset
            text = "".join(each.removeprefix(margin) for each in lines[first - 1 : node.end_lineno])
            return name, clean_text(text), first
    return None


def module_names(file: str) -> tuple[str, ...] | None:
    """Names that code at the end of a file can use; None where an import brings names nobody wrote down."""
    found: set[str] = set()
    for node in _executed(_tree(file)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            if any(each.name == "*" for each in node.names):
                return None
            found |= {each.asname or each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        else:
            found |= set(_bound(node))
    return tuple(sorted(found))


@lru_cache(maxsize=256)
def file_of_module(module: str) -> str:
    """The file of a module, looked for along `sys.path`; "" where it is not a file there."""
    parts = module.split(".")
    for folder in sys.path:
        whole = Path(folder, *parts)
        for file in (whole.with_name(f"{whole.name}.py"), whole / "__init__.py"):
            if file.is_file():
                return str(file)
    return ""


def _tree(file: str) -> ast.Module:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield f"{prefix}{child.name}", child
            yield from _classes(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _classes(child, f"{prefix}{child.name}.<locals>.")
        else:
            yield from _classes(child, prefix)


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names a statement gives a value, without what stands in its body."""
    inside = (each for each in ast.iter_child_nodes(node) if not isinstance(each, ast.stmt | ast.ExceptHandler))
    for each in inside:
        yield from (
            name.id for name in ast.walk(each) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        )


def _executed(tree: ast.AST) -> Iterator[ast.stmt]:
    """Statements that run when the file does: also those in an `if`, a `try` or a `with`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ExceptHandler):
            yield from _executed(node)
        elif isinstance(node, ast.stmt):
            yield node
            if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
                yield from _executed(node)
