"""With which arguments a module of a living model was built: read from the module, its model, and their source."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any

from torch import Tensor, nn

from darkit_nb.edit.class_text import edited_class, methods_of
from darkit_nb.edit.source import class_text, find_module, known_globals
from darkit_nb.errors import PatchError

_PURE = (
    *(ast.Expression, ast.Name, ast.Load, ast.Attribute, ast.Constant, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare),
    *(ast.IfExp, ast.Subscript, ast.Tuple, ast.List, ast.Dict, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
_NOTHING = object()
_OWN = set(vars(nn.Module()))
_DEPTH = 6


@dataclass(frozen=True)
class Place:
    """A module and where it stands.

    Attributes:
        model: the model.
        path: dotted path of the module in it.
        module: the module.
        depth: modules above that were asked on the way here.
    """

    model: nn.Module
    path: str
    module: nn.Module
    depth: int = 0

    def above(self, levels: int = 1) -> Place | None:
        """The module that holds this one; None at the top."""
        parts = self.path.split(".") if self.path else []
        if len(parts) < levels or self.depth >= _DEPTH:
            return None
        path = ".".join(parts[:-levels])
        return Place(self.model, path, find_module(self.model, path), self.depth + 1)


def constructor_arguments(place: Place, kind: type, given: Mapping[str, Any], *, line: bool = False) -> dict[str, Any]:
    """Arguments for `kind.__init__` that fit the module at a place.

    Each is taken from `given`, else from the attribute `__init__` stores it in, else from an attribute of its name,
    else from the configuration of the model, else from the line of the parent that builds the module, else it is left
    to its default.

    Args:
        place: where the module stands.
        kind: the class to build.
        given: arguments that are known.
        line: whether the line of the parent counts more than attributes.

    Raises:
        PatchError: an argument that has no default is nowhere to be found, or one was given that is not taken.
    """
    taken = _parameters(kind)
    unknown = [name for name in given if name not in taken] if not _open(kind) else []
    found, missing = dict(given), []
    written = _line_of_parent(place)
    for name, parameter in taken.items():
        if name in found:
            continue
        value = _found(place, name, parameter, written, line=line)
        if value is not _NOTHING:
            found[name] = value
        elif parameter.default is inspect.Parameter.empty:
            missing.append(name)
    if missing or unknown:
        raise PatchError(
            f"{place.path or 'The model'} cannot be built again as {kind.__name__}: its arguments are not known.",
            expected=f"values of {', '.join(taken)}",
            received=f"nothing for {', '.join(missing)}" if missing else f"unknown: {', '.join(unknown)}",
            cause="the module keeps no attribute of that name, and the code that built it is not a plain call",
            fix=f"apply(model, patch, arguments={{{', '.join(f'{name!r}: …' for name in missing)}}})",
        )
    return found


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Named arguments of `__init__`, those that a base takes through `**kwargs` among them."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    every = list(inspect.signature(kind.__init__).parameters.values())[1:]
    own = {each.name: each for each in every if each.kind in named}
    if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in every):
        return own
    writers = list(_init_of(kind))
    passed = _super_call(writers[0][1]) if len(writers) > 1 else None
    if passed is None:
        return own
    above = list(_parameters(writers[1][0]).items())[len([a for a in passed.args if not isinstance(a, ast.Starred)]) :]
    fixed = {each.arg for each in passed.keywords}
    return {**{name: each for name, each in above if name not in fixed}, **own}


def _super_call(method: ast.AST) -> ast.Call | None:
    calls = [each for each in ast.walk(method) if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)]
    return next((each for each in calls if isinstance(each.func, ast.Attribute) and each.func.attr == "__init__"), None)


def _open(kind: type) -> bool:
    every = inspect.signature(kind.__init__).parameters.values()
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in every)


def _found(place: Place, name: str, parameter: inspect.Parameter, written: Mapping[str, Any], *, line: bool) -> Any:
    if line and name in written:
        return written[name]
    module = place.module
    for attribute in (_stored_as(type(module)).get(name), name, f"_{name}"):
        value = getattr(module, attribute, _NOTHING) if attribute and attribute not in _OWN else _NOTHING
        if isinstance(parameter.default, bool) and (value is None or isinstance(value, Tensor | nn.Module)):
            return value is not None  # as `bias` of a linear layer
        if value is not _NOTHING and not isinstance(value, Tensor | MethodType):
            return value
    if name in written:
        return written[name]
    if name == "config":
        return _configuration(place)
    if name in ("layer_idx", "layer_id", "layer_index"):
        return next((int(part) for part in reversed(place.path.split(".")) if part.isdigit()), _NOTHING)
    return _NOTHING


def _configuration(place: Place) -> Any:
    above: Place | None = place
    while above is not None:
        value = getattr(above.module, "config", None)
        if value is not None:
            return value
        above = above.above()
    return getattr(place.model, "config", _NOTHING)


def _init_of(kind: type) -> Iterator[tuple[type, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The `__init__` of a class and of its bases, as written, the nearest first."""
    for each in kind.__mro__:
        if each in (nn.Module, object) or "__init__" not in vars(each):
            continue
        try:
            node = edited_class(ast.parse(class_text(each)[0]), each.__name__)
        except (PatchError, SyntaxError):
            continue
        method = methods_of(node).get("__init__") if node else None
        if method is not None:
            yield each, method


def _stored_as(kind: type) -> dict[str, str]:
    """Argument of `__init__` → attribute it is stored in, for plain `self.attribute = argument`."""
    found: dict[str, str] = {}
    for _, method in _init_of(kind):
        for node in ast.walk(method):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                        found.setdefault(node.value.id, target.attr)
        break
    return found


# -- the line of the parent --------------------------------------------------------------------------------------------


def _line_of_parent(place: Place) -> dict[str, Any]:
    """Arguments the parent's `__init__` passed, as far as its source says them without calling anything."""
    name = place.path.rpartition(".")[2]
    levels = 2 if name.isdigit() else 1
    above = place.above(levels)
    if above is None:
        return {}
    attribute = place.path.split(".")[-levels]
    for kind, method in _init_of(type(above.module)):
        for node in ast.walk(method):
            if isinstance(node, ast.Assign) and any(_is_attribute(target, attribute) for target in node.targets):
                call, loop = _element(node.value, int(name)) if levels == 2 else (node.value, {})
                if isinstance(call, ast.Call):
                    return _passed(call, place, {**_seen(above, kind, method), **loop})
    return {}


def _is_attribute(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.value, ast.Name)


def _element(value: ast.expr, index: int) -> tuple[ast.expr | None, dict[str, int]]:
    """The call that builds element `index` of a list of modules, and the loop variable it sees."""
    inside = value.args[0] if isinstance(value, ast.Call) and value.args else None
    if isinstance(inside, ast.ListComp | ast.GeneratorExp):
        target = inside.generators[0].target
        counted = isinstance(inside.generators[0].iter, ast.Call) and isinstance(target, ast.Name)
        return inside.elt, {target.id: index} if counted and isinstance(target, ast.Name) else {}
    elements = inside.elts if isinstance(inside, ast.List | ast.Tuple) else getattr(value, "args", [])
    return (elements[index] if index < len(elements) else None), {}


def _seen(above: Place, kind: type, method: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, Any]:
    """The variables that stand in the `__init__` of a parent: globals, its arguments, and what it works out of them."""
    seen: dict[str, Any] = {**known_globals(kind), "self": above.module}
    written = _line_of_parent(above)
    for name, parameter in _parameters(type(above.module)).items():
        value = _found(above, name, parameter, written, line=False)
        value = parameter.default if value is _NOTHING else value
        if value is not inspect.Parameter.empty:
            seen[name] = value
    for node in method.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _value(node.value, seen)
            if value is not _NOTHING:
                seen[node.targets[0].id] = value
    return seen


def _passed(call: ast.Call, place: Place, seen: Mapping[str, Any]) -> dict[str, Any]:
    names = list(_parameters(type(place.module)))
    pairs = [*zip(names, call.args, strict=False), *((each.arg, each.value) for each in call.keywords if each.arg)]
    values = {name: _value(node, seen) for name, node in pairs}
    return {name: value for name, value in values.items() if value is not _NOTHING}


def _value(node: ast.expr, seen: Mapping[str, Any]) -> Any:
    """The value of an expression that calls nothing; `_NOTHING` where it would, or where a name is not known."""
    if not all(isinstance(each, _PURE) for each in ast.walk(node)):
        return _NOTHING
    try:
        code = compile(ast.Expression(node), "<arguments>", "eval")
        return eval(code, {"__builtins__": {}}, dict(seen))  # noqa: S307 - names, attributes and arithmetic of the model's own code
    except Exception:  # noqa: BLE001 - an argument that cannot be worked out is looked for elsewhere
        return _NOTHING
