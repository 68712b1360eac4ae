"""Open a model by its name: a preset, a run, a folder, a hub id, or a trace kept in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from darkit_nb.errors import ModelError
from darkit_nb.models.build import build_model
from darkit_nb.plugins import import_modules, registry
from darkit_nb.records.bundled import located
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_file import read_trace
from darkit_nb.runs import RunDirectory
from darkit_nb.spikify import load_model, spikify, unspikify
from darkit_nb.trace.tracer import trace_model

SAMPLE = "The quick brown fox jumps over the lazy dog."
"""What a trained model reads where no text is given."""

FLOAT = "float:"
"""Before a name: the float twin of that model."""

META_TOKENS = 128
"""Tokens that pass a model without weights, at most."""


def trace_named(
    name: str,
    *,
    meta: bool = False,
    text: str | None = None,
    timing: bool = False,
    memory: bool = False,
    runs_dir: str = "runs",
) -> ModelTrace:
    """The trace of a preset, of the newest checkpoint of a run, of a model folder, or of a hub id.

    Args:
        name: what to open; also a file with a trace. A preset is made spiking with the default settings; `float:`
            before a name opens the model with its float layers.
        meta: without weights; spikes are then not counted. A preset without a text is always opened so.
        text: what the model reads.
        timing: also measure seconds, of a model with weights.
        memory: also measure the memory of activations.
        runs_dir: where run ids are looked up.

    Raises:
        ModelError: it cannot be loaded or read, or a text was given for a model without weights.
        RunError: neither a preset nor a run nor a model, or a run without a checkpoint.
    """
    if meta and text is not None:
        raise ModelError(
            "Spikes need weights, and the meta device has none.",
            expected="a text, or a model without weights",
            received="both",
            fix="leave out --meta to see how the model fires, or the text to see its shape",
        )
    if name.endswith(".json") and Path(name).is_file():
        return read_trace(name)
    twin, name = name.startswith(FLOAT), name.removeprefix(FLOAT)
    measured = {"timing": timing, "memory": memory}
    if name in registry("model"):
        model, inputs = _preset(name, text, twin)
        return trace_model(model, inputs, **measured)
    place = _place(name, runs_dir)
    model = _empty(place) if meta else load_model(place)
    if twin:
        unspikify(model)
    if meta:
        return trace_model(model, _tokens(model), **measured)
    tokenizer: Any = AutoTokenizer.from_pretrained(place)
    return trace_model(model, SAMPLE if text is None else text, tokenizer=tokenizer, **measured)


def _preset(name: str, text: str | None, twin: bool) -> tuple[PreTrainedModel, Tensor]:
    with torch.device("meta" if text is None else "cpu"):
        model = build_model(name) if twin else spikify(build_model(name))
    return model, _tokens(model) if text is None else torch.tensor([list(text.encode())])


def _place(name: str, runs_dir: str) -> Path | str:
    found = Path(located(name))
    if (found / "config.json").is_file():
        return found
    if "/" in name and not Path(name).exists():
        return name
    run = RunDirectory.open(name, runs_dir=runs_dir)
    import_modules(run.read_config().plugins, Path.cwd())
    return run.require_checkpoint().path


def _empty(place: Path | str) -> PreTrainedModel:
    """The model of a folder, without its weights."""
    config = AutoConfig.from_pretrained(place)
    stated = getattr(config, "quantization_config", None)
    if stated is not None:
        delattr(config, "quantization_config")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    facts = stated if isinstance(stated, dict) else vars(stated) if stated is not None else {}
    if facts.get("spike") is not None:
        spikify(model, SpikeSpec.from_dict(facts["spike"]))
    if facts.get("patches"):
        registry("edit").get("load").load()(model, facts["patches"], trust=False)
    return model


def _tokens(model: PreTrainedModel) -> Tensor:
    longest = getattr(model.config, "max_position_embeddings", None) or META_TOKENS
    return torch.zeros(1, min(longest, META_TOKENS), dtype=torch.long)
