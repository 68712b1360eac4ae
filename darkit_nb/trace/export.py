"""Drawings of a whole model for papers, through torchview and Graphviz."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from torch import nn
from torchview import draw_graph

from darkit_nb.errors import ModelError
from darkit_nb.trace.inputs import arguments_of, device_of, fresh
from darkit_nb.trace.lazy import shaped
from darkit_nb.trace.source import source_of
from darkit_nb.trace.untouched import untouched
from darkit_nb.trace.values import named_arguments

FORMATS = ("svg", "pdf", "png", "dot")


def draw_model(
    model: nn.Module, inputs: Any, path: str | Path, *, depth: int = 3, expand: bool = True, tokenizer: Any = None
) -> Path:
    """Draw the whole model, every operator of it, into a file.

    Time steps are not folded here; `trace_flow` and `flow_svg` do that, and need no other program.

    Args:
        model: any module.
        inputs: as for `trace_model`.
        path: .svg, .pdf, .png, or .dot for the text that Graphviz draws.
        depth: levels of modules that are opened.
        expand: draw modules as frames around what they hold.
        tokenizer: of transformers, for a text.

    Returns:
        The file.

    Raises:
        ModelError: another ending, Graphviz is not installed, or torchview cannot follow the model.
        ShapeError: there is no tensor in the inputs.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    _check(kind)
    arguments = arguments_of(model, inputs, tokenizer)
    model = shaped(model, arguments)
    args, kwargs = fresh(arguments)
    named = named_arguments(source_of(type(model)).arguments, args, kwargs)
    with untouched(model):
        try:
            graph = draw_graph(
                model, input_data=named, depth=depth, expand_nested=expand, device=str(device_of(model)), mode="eval"
            )
        except Exception as error:
            raise ModelError(
                f"torchview cannot follow {type(model).__name__}.",
                expected="a model that runs on these inputs and builds on tensors only",
                received=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}",
                fix="trace_model and trace_flow draw it without torchview",
            ) from error
    text = graph.visual_graph.source
    if kind == "dot":
        path.write_text(text, encoding="utf-8")
        return path
    _run_dot(text, kind, path)
    return path


def _check(kind: str) -> None:
    if kind not in FORMATS:
        raise ModelError(
            "A drawing has no such format.",
            expected=f"a file ending in {', '.join(f'.{each}' for each in FORMATS)}",
            received=repr(kind),
        )
    if kind != "dot" and shutil.which("dot") is None:
        raise ModelError(
            "Graphviz is not installed, and this drawing needs its program `dot`.",
            expected="`dot` on the PATH",
            received="none",
            fix="apt install graphviz, brew install graphviz or conda install graphviz; or write a .dot file, "
            "or use flow_svg and the tree, which need no program",
        )


def _run_dot(text: str, kind: str, path: Path) -> None:
    program = shutil.which("dot") or "dot"
    done = subprocess.run([program, f"-T{kind}"], input=text.encode(), capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise ModelError(
            "Graphviz could not draw the model.",
            expected="a drawing",
            received=done.stderr.decode(errors="replace").strip()[:300],
            fix="lower depth",
        )
    path.write_bytes(done.stdout)
