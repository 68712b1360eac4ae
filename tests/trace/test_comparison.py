"""Traces of real models before and after a change: exactly what was touched is marked, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from darkit_nb.edit import apply_patch, make_patch, module_source
from darkit_nb.records.trace_compare import ComparedRow, TraceComparison, compare_traces
from darkit_nb.spikify import spikify, spiking_modules, unspikify
from darkit_nb.trace import trace_model
from tests.evaluate.models import decoder

IDS = torch.arange(8).view(1, 8)
BLOCK = "model.layers.1"


def compared(model: nn.Module, change: Callable[[Any], object]) -> TraceComparison:
    before = trace_model(model, IDS)
    other = copy.deepcopy(model)
    change(other)
    return compare_traces(before, trace_model(other, IDS))


def marked(comparison: TraceComparison) -> dict[str, ComparedRow]:
    """Rows that differ, without those that only fire differently."""
    return {row.path: row for row in comparison.rows if row.state != "same" and not row.affected}


def freeze(model: Any) -> None:
    model.get_submodule(f"{BLOCK}.mlp.up_proj").weight.requires_grad_(False)


def activate(model: Any) -> None:
    model.get_submodule(f"{BLOCK}.mlp").act_fn = nn.GELU()


def widen(model: Any) -> None:
    mlp = model.get_submodule(f"{BLOCK}.mlp")
    mlp.up_proj = nn.Sequential(mlp.up_proj, nn.Identity())


def shorten(model: Any) -> None:
    del model.model.layers[1]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda model: None, {}),
        (freeze, {f"{BLOCK}.mlp.up_proj": ("changed", "trainable")}),
        (activate, {f"{BLOCK}.mlp.act_fn": ("changed", "class_name")}),
        (
            widen,
            {
                f"{BLOCK}.mlp.up_proj": ("changed", "class_name"),
                f"{BLOCK}.mlp.up_proj.0": ("new", ""),
                f"{BLOCK}.mlp.up_proj.1": ("new", ""),
            },
        ),
    ],
)
def test_what_was_touched_is_marked(change: Callable[[Any], object], found: dict[str, tuple[str, str]]):
    rows = marked(compared(decoder("llama"), change))
    assert {path: row.state for path, row in rows.items()} == {path: state for path, (state, _) in found.items()}
    assert all(not field or field in rows[path].changed for path, (_, field) in found.items())


def test_a_block_that_was_taken_out_is_gone_with_all_that_is_in_it():
    model = decoder("llama")
    comparison = compared(model, shorten)
    inside = {name for name, _ in model.named_modules() if name == BLOCK or name.startswith(f"{BLOCK}.")}
    assert {row.path for row in comparison.rows if row.state == "gone"} == inside
    before, after = comparison.before.root, comparison.after.root
    assert before.parameters - after.parameters == comparison.before.node(BLOCK).parameters


def test_a_float_model_and_its_spiking_twin_differ_in_the_layers_that_spike():
    model = decoder("llama")
    comparison = compared(model, lambda other: spikify(other, attention=False))
    spiking = set(spiking_modules(spikify(copy.deepcopy(model), attention=False)))
    assert set(marked(comparison)) == spiking
    assert {row.below for row in comparison.rows if row.path in spiking} == {0}
    back = compared(spikify(model, attention=False), unspikify)
    assert {row.path: row.changed for row in back.rows} == {row.path: row.changed for row in comparison.rows}


def test_an_edited_class_is_the_only_change_and_what_follows_fires_differently(tmp_path: Path):
    model, path = spikify(decoder("llama")), "model.layers.0.mlp"

    def edit(other: Any) -> None:
        text = module_source(other, path).text.replace("down_proj = self", "down_proj = 0.5 * self")
        apply_patch(other, make_patch(other, path, text), folder=tmp_path)

    comparison = compared(model, edit)
    assert {path: row.changed for path, row in marked(comparison).items()} == {path: ("module", "source")}
    affected = [row.path for row in comparison.rows if row.affected]
    assert affected
    assert all(name.startswith("model.layers.1.") for name in affected)
