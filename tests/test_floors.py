"""Imports go down only: the table of floors, read from the syntax tree so that no import can hide from it.

An import counts wherever it stands: at the top, inside a function, under TYPE_CHECKING, or as the literal argument of
`import_module`. A lazy import upward would hide a cycle, not remove it. What floor 0 needs from above it takes as an
argument, or names as a registry entry, whose builder is text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import darkit_nb

PACKAGE = Path(darkit_nb.__file__).parent

# Floor of every part of the package. Parts with the same number may import one another; the fraction orders the verbs
# of floor 5, each of which may import those to its left: trace → evaluate → edit → train → convert.
FLOORS = {
    "widgets": 7.0,
    "magics": 7.0,
    "cli": 7.0,
    "__main__": 7.0,
    "views": 6.0,
    "convert": 5.4,
    "train": 5.3,
    "edit": 5.2,
    "evaluate": 5.1,
    "trace": 5.0,
    "spikify": 4.0,
    "models": 4.0,
    "nn": 3.0,
    "ops": 2.0,
    "functional": 1.0,
    "config": 0.0,
    "data": 0.0,
    "runs": 0.0,
    "doctor": 0.0,
    "records": 0.0,
    "plugins": 0.0,
    "errors": 0.0,
}

HEAVY = {"torch", "transformers", "cupy", "accelerate", "datasets"}
NO_HEAVY_WHEN_IMPORTED = {0.0, 6.0, 7.0}
NEVER_TORCH = {"views", "widgets", "magics", "cli"}


@dataclass(frozen=True)
class Import:
    """One import statement, resolved to an absolute dotted name."""

    line: int
    name: str
    lazy: bool


def imports_of(source: str, module: str, *, is_package: bool) -> Iterator[Import]:
    """Every import in `source`, with `from a import b` given as `a.b`."""
    package = module.split(".") if is_package else module.split(".")[:-1]

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(node.lineno, f"{prefix}.{alias.name}", lazy) for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            named = node.args[0] if node.args else None
            yield from [Import(node.lineno, named.value, lazy)] if isinstance(named, ast.Constant) else []
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _type_checking(node)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(source), False)


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def violations(package: Path, name: str = "darkit_nb") -> list[str]:
    """What is wrong with the imports of the package at `package`, one line each."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        parts = parts[:-1] if is_package else parts
        if not parts:
            continue  # the package's own __init__ exports lazily from every floor
        if parts[0] not in FLOORS:
            found.append(f"{path.relative_to(package)}: {parts[0]!r} has no floor; give it one in tests/test_floors.py")
            continue
        for each in imports_of(path.read_text(), ".".join([name, *parts]), is_package=is_package):
            fault = _fault(each, parts[0], name)
            if fault:
                found.append(f"{path.relative_to(package)}:{each.line}: {fault}")
    return found


def _fault(each: Import, part: str, name: str) -> str | None:
    top, _, rest = each.name.partition(".")
    floor = FLOORS[part]
    if top == name:
        target = rest.split(".")[0]
        if target in ("", "__version__"):
            return None
        if target not in FLOORS:
            return f"imports {each.name} from the package's front door; import it from the module that defines it"
        return f"floor {floor} imports {each.name} of floor {FLOORS[target]}" if FLOORS[target] > floor else None
    if top in HEAVY and not each.lazy and floor in NO_HEAVY_WHEN_IMPORTED:
        return f"{part} loads {top} when it is imported"
    return f"{part} imports {top}, which it must never need" if top == "torch" and part in NEVER_TORCH else None


def test_imports_of_the_package_go_down_only():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("errors.py", "from darkit_nb.train import loop", "floor 0.0 imports darkit_nb.train.loop of floor 5.3"),
        ("nn/gif.py", "def f():\n    import darkit_nb.spikify", "floor 3.0 imports darkit_nb.spikify"),
        ("nn/gif.py", "from ..models import llama", "floor 3.0 imports darkit_nb.models.llama"),
        ("nn/gif.py", "from .. import spikify", "floor 3.0 imports darkit_nb.spikify"),
        ("ops/__init__.py", "from ..nn import gif", "floor 2.0 imports darkit_nb.nn.gif"),
        ("evaluate/run.py", "from darkit_nb.train import loop", "floor 5.1 imports darkit_nb.train.loop of floor 5.3"),
        ("ops/a.py", "if TYPE_CHECKING:\n    from darkit_nb.nn import A", "floor 2.0 imports darkit_nb.nn.A"),
        ("ops/a.py", "import importlib\nimportlib.import_module('darkit_nb.nn.a')", "imports darkit_nb.nn.a"),
        ("ops/a.py", "from darkit_nb import SpikeSpec", "front door"),
        ("runs/a.py", "import torch.nn", "runs loads torch when it is imported"),
        ("data/a.py", "try:\n    from datasets import Dataset\nexcept ImportError:\n    pass", "data loads datasets"),
        ("views/a.py", "def f():\n    import torch", "must never need"),
        ("surprise/a.py", "", "has no floor"),
    ],
)
def test_the_table_catches(tmp_path: Path, path: str, source: str, complaint: str):
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(source)
    assert [complaint in line for line in violations(tmp_path)] == [True]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("nn/gif.py", "from darkit_nb.functional import gif\nfrom ..records.spike_spec import SpikeSpec\nimport torch"),
        ("train/loop.py", "from darkit_nb.evaluate import run"),
        ("models/a.py", "from darkit_nb.spikify import b"),
        ("data/a.py", "def load():\n    import transformers"),
        ("runs/a.py", "from darkit_nb import __version__"),
        ("data/builtin.py", "BUILDER = 'darkit_nb.nn.gif:build'"),
    ],
)
def test_the_table_allows(tmp_path: Path, path: str, source: str):
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(source)
    assert violations(tmp_path) == []
