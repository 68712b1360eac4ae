"""Does the gradient still flow through an edited module: to its parameters, and to what came before it?"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress

import torch
from torch import Tensor, nn

from darkit_nb.edit.class_text import attributes_in, edited_class, methods_of
from darkit_nb.edit.trial_run import Run
from darkit_nb.edit.trial_values import summed
from darkit_nb.records.patch import Patch, PatchProblem

INPUT = "the input"
_CUTS = ("detach", "detach_", "data", "no_grad", "inference_mode", "item", "numpy", "tolist", "argmax", "bool", "long")
_STEEP = ("sqrt", "rsqrt", "norm", "log", "pow")
_FLATS = ("round", "sign", "floor", "ceil", "trunc", "heaviside", "round_", "sign_", "gt", "lt", "ge", "le")


def gradients(module: nn.Module, run: Run) -> dict[str, Tensor | None]:
    """Gradient of a fixed weighted sum of the outputs, of every trainable parameter and of the input.

    Empty where the outputs depend on nothing that a gradient could reach.
    """
    module.zero_grad(set_to_none=True)
    total = summed(run.outputs)
    if total is None:
        return {}
    total.backward()
    found = {name: each.grad for name, each in module.named_parameters() if each.requires_grad}
    for leaf in run.inputs.leaves:
        found[INPUT] = leaf.grad
    return found


def gradient_problems(
    before: dict[str, Tensor | None],
    after: dict[str, Tensor | None],
    nudged: Callable[[], dict[str, Tensor | None]],
    broken_at: Callable[[], int | None],
    new: tuple[str, ...],
    patch: Patch,
) -> Iterator[PatchProblem]:
    """Gradients that are not finite, or no longer arrive.

    Args:
        before, after: of the class as it was, and edited.
        nudged: those of the edited one with its new parameters moved a little: a gate that begins at zero stops the
            gradient of what it gates at first, and only at first.
        broken_at: line of the forward whose gradient is not finite.
        new: parameters the edit brings.
        patch: the edit, whose text is searched for what cuts gradients.
    """
    broken = [name for name, each in after.items() if not _finite(each)]
    if broken and all(map(_finite, before.values())):
        line = _first(ast.parse(patch.source), _STEEP) or broken_at()
        yield _problem(broken, "is not finite", "a root or a norm at zero, or an overflow", line)
        return
    wanted = [name for name, each in before.items() if name in after and each is not None and bool(each.any())]
    wanted += [name for name in new if name in after]
    cut = [name for name in wanted if after[name] is None]
    if cut:
        yield _problem(cut, "does not arrive any more", "it is cut off, or not used", _line(patch, cut, _CUTS))
        return
    flat = [name for name in wanted if not _any(after[name])]
    if flat and new:
        later = nudged()
        flat = [name for name in flat if not _any(later.get(name))]
    if flat:
        yield _problem(flat, "is zero everywhere", "rounding and comparing have no slope", _line(patch, flat, _FLATS))


def no_gradient(patch: Patch) -> PatchProblem:
    """The problem of an output without any gradient."""
    return _problem(["everything"], "does not arrive any more", "it is cut off", _line(patch, [], _CUTS))


def forward_line(run: Callable[[], Run], folder: str) -> int | None:
    """Line of the forward whose backward fails: torch remembers it when asked before."""
    with warnings.catch_warnings(record=True) as told, torch.autograd.set_detect_anomaly(True):
        warnings.simplefilter("always")
        with suppress(Exception):  # it failed before, and that is what is looked into
            total = summed(run().outputs)
            if total is not None:
                total.backward()
    pattern = re.compile(rf'File "{re.escape(folder)}[^"]*", line (\d+)')
    lines = [line for each in told for line in pattern.findall(str(each.message))]
    return int(lines[-1]) if lines else None


def _finite(gradient: Tensor | None) -> bool:
    return gradient is None or bool(gradient.isfinite().all())


def _any(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.any())


def _problem(names: list[str], what: str, cause: str, line: int | None) -> PatchProblem:
    shown = ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
    return PatchProblem(
        check="gradient",
        message=f"The gradient of {shown} {what}.",
        line=line,
        expected="a finite gradient wherever the class had one before, and for all new parameters",
        received=", ".join(names),
        cause=cause,
        fix="use darkit_nb's neurons for spikes, they have a surrogate gradient; drop what is unused from __init__ too",
    )


def _line(patch: Patch, names: list[str], words: tuple[str, ...]) -> int | None:
    """The first place that cuts gradients; else where the parameter is used; else the forward."""
    node = edited_class(ast.parse(patch.source), patch.class_name.rpartition(".")[2])
    if node is None:
        return None
    cut = _first(node, words)
    if cut is not None:
        return cut
    first = {name.split(".")[0] for name in names}
    used = [each.lineno for each in attributes_in(node).read if each.attr in first]
    methods = methods_of(node)
    return used[0] if used else methods["forward"].lineno if "forward" in methods else node.lineno


def _first(tree: ast.AST, words: tuple[str, ...]) -> int | None:
    """The first line that does one of these."""
    lines = [each.lineno for each in ast.walk(tree) if isinstance(each, ast.expr) and _cuts(each, words)]
    return min(lines, default=None)


def _cuts(node: ast.AST, words: tuple[str, ...]) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in words
    return (
        words is _FLATS
        and isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.Gt | ast.GtE | ast.Lt | ast.LtE)
    )
