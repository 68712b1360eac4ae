"""The source of a module's class, wherever it was written: in a file, a notebook cell or an earlier patch."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from darkit_nb.edit.lineage import class_before, original_class, patch_of
from darkit_nb.errors import PatchError
from darkit_nb.records.patch import clean_text, text_hash


@dataclass(frozen=True, kw_only=True)
class ModuleSource:
    """The class of a module, as text to edit.

    Attributes:
        path: dotted path of the module in its model; "" for a lone module.
        class_name: qualified name of the class; of the first one, where it was patched since.
        module: name of the Python module that holds it; of the first one, where it was patched since.
        file: where it is written; a name like `/tmp/ipykernel_…` for a notebook cell.
        line: line of the file its first line stands on.
        text: the source, not indented. All of the edited text, where the class was patched before.
        hash: `text_hash` of it.
        same_class: paths of all modules of this very class, this one among them.
        globals_name: names the text can use besides its own and the built-in ones.
    """

    path: str
    class_name: str
    module: str
    file: str
    line: int
    text: str
    hash: str
    same_class: tuple[str, ...]
    globals_name: tuple[str, ...]


def module_source(model: nn.Module, path: str = "") -> ModuleSource:
    """The source of the class of `model`, or of its submodule at `path`.

    Raises:
        PatchError: no such module, or a class whose text is nowhere: C++, scripted, or generated at run time.
    """
    model = plain_module(model)
    module = find_module(model, path)
    kind = type(module)
    text, file, line = class_text(kind)
    first = original_class(kind)
    return ModuleSource(
        path=path,
        class_name=first.__qualname__,
        module=first.__module__,
        file=file,
        line=line,
        text=text,
        hash=text_hash(text),
        same_class=tuple(name for name, other in model.named_modules() if type(other) is kind),
        globals_name=tuple(sorted(known_globals(kind))),
    )


def plain_module(model: nn.Module) -> nn.Module:
    """The model inside the wrappers that torch.compile and data parallelism put around it."""
    while True:
        inside = getattr(model, "_orig_mod", None)
        if inside is None and type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
            inside = getattr(model, "module", None)
        if not isinstance(inside, nn.Module):
            return model
        model = inside


def find_module(model: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path.

    Raises:
        PatchError: there is none.
    """
    module = model
    for number, name in enumerate(path.split(".") if path else []):
        inside = module._modules.get(name)
        if inside is None:
            here = ".".join(path.split(".")[:number])
            raise PatchError(
                f"The model has no module {path!r}.",
                expected=f"one of {', '.join(list(module._modules)[:8]) or 'no submodules'} in {here or 'the model'}",
                received=name,
                fix="take the path from named_modules() or from the model tree",
            )
        module = plain_module(inside)
    return module


def class_text(kind: type) -> tuple[str, str, int]:
    """Source of a module class, the file it stands in, and its first line there.

    Raises:
        PatchError: there is no text, or the file is not the one that was imported.
    """
    patch = patch_of(kind)
    if patch is not None:
        return patch.source, sys.modules[kind.__module__].__file__ or "", 1
    _refuse_generated(kind)
    for file in _files(kind):
        lines = linecache.getlines(file)
        node = _node(kind, lines)
        if node is not None:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            return _cut(lines[first - 1 : node.end_lineno], node.col_offset), file, first
    raise PatchError(
        f"The source of {kind.__qualname__} is not to be found.",
        expected="a class written in a file or in a notebook cell of this session",
        received=f"{kind.__module__}.{kind.__qualname__}",
        cause="it was built at run time, compiled, or its file has changed or gone since it was imported",
        fix="restart the session so that file and class agree, or edit the module that holds it",
    )


def known_globals(kind: type) -> dict[str, Any]:
    """What the methods of a class see: the globals of its module, and for a local class the variables around it."""
    known: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        known[base.__name__] = base  # a local class sees its bases by name
    first = original_class(kind)
    functions = list(own_functions(first))
    own = next((each.__globals__ for each in functions if each.__globals__.get("__name__") == first.__module__), None)
    known |= own if own is not None else vars(sys.modules.get(first.__module__, ast))
    for function in functions:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                known[name] = cell.cell_contents
    known |= _lineage_names(kind)
    return {name: value for name, value in known.items() if not (name.startswith("__") and name.endswith("__"))}


def _lineage_names(kind: type) -> dict[str, type]:
    """What the name of a class means to the next edit: the latest text that stands for itself.

    An edit that derives from the class keeps the name for what it derives from, so that editing its text again
    replaces it and does not stack on it.
    """
    before = class_before(kind)
    if before is kind:
        return {kind.__name__: kind}
    names = _lineage_names(before)
    derives = original_class(kind) in type.mro(kind)
    return {**{kind.__name__: kind}, **names} if derives else {**names, kind.__name__: kind}


def own_functions(kind: type) -> Iterator[FunctionType]:
    """The functions written in the body of a class."""
    for value in vars(kind).values():
        inside = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        function = inspect.unwrap(inside) if callable(inside) else None
        if isinstance(function, FunctionType) and function.__qualname__.rpartition(".")[0] == kind.__qualname__:
            yield function


def _files(kind: type) -> list[str]:
    """Files the class may stand in, the likeliest first."""
    found = [each.__code__.co_filename for each in own_functions(kind)]
    if not found and kind.__module__ == "__main__":  # no function tells which cell it stands in
        found = [name for name, entry in linecache.cache.items() if len(entry) == 4 and entry[1] is None][::-1]
    with suppress(TypeError, OSError):
        found.append(inspect.getsourcefile(kind) or "")
    return [each for each in dict.fromkeys(found) if each]


def _node(kind: type, lines: list[str]) -> ast.ClassDef | None:
    """The class in the text of its file. None where that text is not what was imported."""
    codes = [each.__code__ for each in own_functions(kind)]
    name = kind.__qualname__.replace("<locals>.", "")
    fitting = [
        node
        for each, node in _classes_of("".join(lines))
        if each == name
        and all(_stands_in(code, node) for code in codes)
        and (codes or kind.__module__ != "__main__" or _says(node, kind))
    ]
    return fitting[-1] if fitting else None


@lru_cache(maxsize=64)
def _classes_of(text: str) -> tuple[tuple[str, ast.ClassDef], ...]:
    """Every class of a text with its qualified name, without `<locals>`."""
    try:
        return tuple(_classes(ast.parse(text), ""))
    except (SyntaxError, ValueError):
        return ()


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        name = f"{prefix}{child.name}" if named else ""
        if isinstance(child, ast.ClassDef):
            yield name, child
        yield from _classes(child, f"{name}." if named else prefix)


def _stands_in(code: CodeType, node: ast.ClassDef) -> bool:
    """Whether a function was compiled from this very class: its name stands where the code says."""
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name == code.co_name:
            first = min([each.lineno, *(decorator.lineno for decorator in each.decorator_list)])
            if first == code.co_firstlineno:
                return True
    # lambdas and generated functions stand under another name
    return not (node.lineno <= code.co_firstlineno <= (node.end_lineno or 0)) and code.co_name == "<lambda>"


def _says(node: ast.ClassDef, kind: type) -> bool:
    """Whether the body of a class without functions, in a cell that may have been run again, is that of `kind`."""
    bases = [ast.unparse(each).rpartition(".")[2] for each in node.bases]
    values = {}
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return False
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            values[each.targets[0].id] = each.value
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.value is not None:
            values[each.target.id] = each.value
    held = {name: value for name, value in vars(kind).items() if not name.startswith("__")}
    literal = {name: value.value for name, value in values.items() if isinstance(value, ast.Constant)}
    same = all(held.get(name, held) == value for name, value in literal.items())
    return same and held.keys() == values.keys() and bases == [base.__name__ for base in kind.__bases__]


def _cut(lines: list[str], indent: int) -> str:
    """Lines of a nested class without its indentation; the text of long strings may stand further left."""
    margin = " " * indent
    return clean_text("".join(line.removeprefix(margin) for line in lines))


def _refuse_generated(kind: type) -> None:
    names = {base.__name__ for base in kind.__mro__}
    module = kind.__module__
    if not names & {"ScriptModule", "GraphModule"} and module != "torch.nn.utils.parametrize":
        return
    if "ScriptModule" in names:
        received, fix = "a module of torch.jit", "edit the Python class it was scripted from, then script it again"
    elif "GraphModule" in names:
        received, fix = "a module of torch.fx, written by a tracer", "edit the module it was traced from, or its graph"
    else:
        received = f"{kind.__name__}, made by torch.nn.utils.parametrize"
        fix = "edit a module under its `parametrizations`, or call remove_parametrizations first"
    raise PatchError(
        f"{kind.__qualname__} has no source of its own.",
        expected="a module whose class is written in Python",
        received=received,
        fix=fix,
    )
