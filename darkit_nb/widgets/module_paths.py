"""How people name a module: `model.layers[0].mlp` in a notebook, `layers.0.mlp` in a model, `0:6` for layers."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from darkit_nb.errors import ModelError, PatchError
from darkit_nb.runs.run import Run

_LAYER = re.compile(r"(?:^|(?<=\.))\d+(?=\.|$)")


def is_model(value: Any) -> bool:
    """Whether a value is a module of PyTorch, told without loading it."""
    return callable(getattr(value, "named_modules", None)) and not isinstance(value, type)


def named_in(expression: str, namespace: Mapping[str, Any]) -> tuple[Any, str, str]:
    """The model or run that an expression such as `net.layers[0].mlp` begins with, and the path that follows.

    Only names, attributes and constant indices are looked at; nothing is called.

    Returns: The root, the text that names it, and the dotted path below it, not looked up yet.

    Raises:
        ModelError: it is no such expression, or names neither a model nor a run.
    """
    parts = _parts(expression)
    found: Any = namespace.get(str(parts[0][0]), _NOTHING)
    text = str(parts[0][0])
    for at in range(len(parts)):
        if at:
            found = _step(found, *parts[at])
            text += parts[at][1]
        if is_model(found) or isinstance(found, Run):
            return found, text, ".".join(str(part) for part, _ in parts[at + 1 :])
        if found is _NOTHING:
            break
    roots = roots_in(namespace)
    raise ModelError(
        f"{text} is neither a model nor a run." if found is not _NOTHING else f"There is no {text} in this notebook.",
        expected="a name of a model or run, then the way to the module, as in model.layers[0].mlp",
        received=expression,
        cause=_perhaps(text, roots),
        fix=f"models and runs here: {', '.join(roots[:8])}" if roots else "make a model first, or dk.open_run(…)",
    )


_NOTHING = object()


def roots_in(namespace: Mapping[str, Any]) -> list[str]:
    """Names of the models and runs of a notebook."""
    here = [(name, value) for name, value in namespace.items() if not name.startswith("_")]
    return [name for name, value in here if is_model(value) or isinstance(value, Run)]


def _parts(expression: str) -> list[tuple[str | int, str]]:
    """Names and indices of an expression, each with its text."""

    def visit(node: ast.expr) -> list[tuple[str | int, str]]:
        if isinstance(node, ast.Name):
            return [(node.id, node.id)]
        if isinstance(node, ast.Attribute):
            return [*visit(node.value), (node.attr, f".{node.attr}")]
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            key = node.slice.value
            if isinstance(key, str | int):
                return [*visit(node.value), (key, f"[{key!r}]")]
        raise ValueError(ast.unparse(node))

    try:
        # People also write a path as the model names it, `model.layers.0.mlp`, which is no Python.
        python = _LAYER.sub(r"[\g<0>]", expression.strip()).replace(".[", "[")
        return visit(ast.parse(python, mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise ModelError(
            "This does not name a module.",
            expected="names, attributes and indices, as in model.layers[0].mlp",
            received=expression or "nothing",
            fix="%darkit edit model.layers[0].mlp",
        ) from error


def _step(value: Any, part: str | int, text: str) -> Any:
    try:
        return value[part] if text.startswith("[") else getattr(value, str(part))
    except (AttributeError, KeyError, IndexError, TypeError):
        return _NOTHING


def resolve(path: str, known: Sequence[str]) -> str:
    """The dotted path of a module as the model has it.

    The beginning may be left out where only one module fits: `layers.0.mlp` for `model.layers.0.mlp`; so may be
    the name `model` of a run's model.

    Raises:
        ModelError: there is none.
    """
    here = set(known)
    inner = path.removeprefix("model.") if path != "model" else ""
    for tried in (path, inner):
        if tried in here:
            return tried
    for tried in (path, inner):
        ends = [each for each in known if tried and each.endswith(f".{tried}")]
        if len(ends) == 1:
            return ends[0]
    near = difflib.get_close_matches(path, known, 3, 0.5)
    raise ModelError(
        f"The model has no module {path!r}.",
        expected="the dotted path of one of its modules",
        received=path,
        cause=f"did you mean {' or '.join(near)}?" if near else None,
        fix="the model tree shows them all",
    )


def same_place(path: str, others: Iterable[str]) -> list[tuple[int, str]]:
    """Modules at the same place in other layers, by number of the layer; empty where no part of a path is a number."""
    found = _LAYER.search(path)
    if found is None:
        return []
    head, tail = path[: found.start()], path[found.end() :]
    pattern = re.compile(re.escape(head) + r"(\d+)" + re.escape(tail))
    layers = ((pattern.fullmatch(each), each) for each in others)
    return sorted((int(match[1]), each) for match, each in layers if match)


def layer_range(text: str, path: str, same_class: Iterable[str]) -> tuple[str, ...]:
    """Modules of the same class at the same place in the layers `first:end`, as a Python slice counts.

    Raises:
        PatchError: no slice, or no such layers.
    """
    layers = same_place(path, same_class)
    found = re.fullmatch(r"\s*(\d*)\s*:\s*(\d*)\s*", text)
    if not found or not layers:
        raise PatchError(
            "Layers cannot be chosen like this." if layers else "This module stands in no numbered layer.",
            expected="first:end as in Python, such as 0:6 for the first six",
            received=text,
            fix="--layers 0:6, or --class for all modules of the class",
        )
    first, end = (int(each) if each else None for each in found.groups())
    chosen = [each for number, each in layers if (first is None or number >= first) and (end is None or number < end)]
    if not chosen:
        raise PatchError(
            f"There are no layers {text}.",
            expected=f"layers among {layers[0][0]} to {layers[-1][0]}",
            received=text,
            fix=f"--layers {layers[0][0]}:{layers[-1][0] + 1} is all of them",
        )
    return tuple(chosen)


def as_python(root: str, path: str) -> str:
    """The expression that names a module: `model` and `layers.0.mlp` → `model.layers[0].mlp`."""
    text = root
    for part in path.split(".") if path else []:
        text += f".{part}" if part.isidentifier() else f"[{part}]" if part.isdigit() else f"[{part!r}]"
    return text


def name_of(value: Any, namespace: Mapping[str, Any]) -> str | None:
    """Under which name a notebook holds a value; None where it has none."""
    names = [name for name, each in namespace.items() if each is value and not name.startswith("_")]
    return min(names, key=len) if names else None


def _perhaps(text: str, names: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(text, list(names), 1)
    return f"did you mean {near[0]}?" if near else None
