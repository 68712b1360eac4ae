"""Where a module's class is written."""

from __future__ import annotations

import ast
import inspect
import linecache
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_LOOPS = ast.For | ast.AsyncFor | ast.While | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True)
class Source:
    """Place of a class; empty and 0 where it is written in no file.

    Attributes:
        file: path.
        line, end_line: first and last line of the class.
        forward_line: first line of its forward, wherever that is inherited from.
        signature: of the forward, without `self`.
        arguments: names of its positional arguments.
    """

    file: str = ""
    line: int = 0
    end_line: int = 0
    forward_line: int = 0
    signature: str = ""
    arguments: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def source_of(kind: type) -> Source:
    """Place and signature of a module class. Also of one from a notebook cell, whose text Python keeps."""
    forward = inspect.unwrap(getattr(kind, "forward", lambda: None))
    code = getattr(forward, "__code__", None)
    file = _file_of(kind, code)
    line, end = _classes(file).get(kind.__qualname__.replace("<locals>.", ""), (0, 0))
    signature, arguments = _signature(forward)
    return Source(file if line else "", line, end, code.co_firstlineno if code else 0, signature, arguments)


def _file_of(kind: type, code: Any) -> str:
    try:
        return inspect.getsourcefile(kind) or ""
    except (TypeError, OSError):
        return code.co_filename if code else ""


@lru_cache(maxsize=256)
def _classes(file: str) -> dict[str, tuple[int, int]]:
    """First and last line of every class in a file, by qualified name without `<locals>`."""
    found: dict[str, tuple[int, int]] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            name = f"{prefix}{child.name}" if named else ""
            if isinstance(child, ast.ClassDef):
                found[name] = (child.lineno, child.end_lineno or child.lineno)
            visit(child, f"{name}." if named else prefix)

    try:
        visit(ast.parse("".join(linecache.getlines(file))), "")
    except (SyntaxError, ValueError):
        return {}
    return found


@lru_cache(maxsize=256)
def loops_of(file: str) -> tuple[tuple[int, int], ...]:
    """First and last lines of every loop and comprehension in a file."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ()
    loops = [node for node in ast.walk(tree) if isinstance(node, _LOOPS)]
    return tuple((node.lineno, node.end_lineno or node.lineno) for node in loops)


def _signature(forward: Any) -> tuple[str, tuple[str, ...]]:
    try:
        found = inspect.signature(forward)
    except (TypeError, ValueError):
        return "", ()
    own = list(found.parameters.values())[1:]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    shown = [each.replace(annotation=_plain(each.annotation)) for each in own]
    text = str(found.replace(parameters=shown, return_annotation=_plain(found.return_annotation)))
    return text.replace("'", ""), tuple(each.name for each in own if each.kind in positional)


def _plain(annotation: Any) -> Any:
    """An annotation as written, without the module names of its parts."""
    if annotation is inspect.Parameter.empty:
        return annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return text.replace("torch.Tensor", "Tensor").replace("torch.nn.", "")
