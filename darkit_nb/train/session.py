"""From a configuration to the parts of a training: data, tokenizer, model."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from darkit_nb.config import RunConfig
from darkit_nb.data import PreparedData, prepare
from darkit_nb.data.cache import cache_root
from darkit_nb.edit import trust as trusting
from darkit_nb.edit.apply import apply
from darkit_nb.errors import DarkitError, ModelError, RunError
from darkit_nb.models.build import build_model
from darkit_nb.plugins import import_modules
from darkit_nb.spikify import DarkitConfig, load_model, spikify
from darkit_nb.train.edits import RunEdits, edits_of

Progress = Any


@dataclass(frozen=True)
class Session:
    """Everything a training needs, built but not started."""

    config: RunConfig
    data: PreparedData
    model: PreTrainedModel
    edits: RunEdits


def open_session(config: RunConfig, progress: Progress | None = None, edits: RunEdits | None = None) -> Session:
    """Import plug-ins, prepare data, build the model, make it spiking and put its edits in.

    Args:
        config: of the run.
        progress: told what is being prepared.
        edits: those the run begins or goes on with; by default those of its fork.

    Raises:
        DarkitError: whatever is wrong with plug-ins, data, model or their combination, before anything is written.
    """
    edits = edits_of(config) if edits is None else edits
    import_modules(config.plugins, Path.cwd())
    data = prepare(config.data, seed=config.data.split_seed, progress=progress)
    model = make_model(config, data)
    for patch in edits.patches:
        apply(model, patch, folder=cache_root(None) / "patches")
        with suppress(DarkitError):  # then whoever loads a checkpoint is asked
            trusting.remember(trusting.patch_hash(patch), patch.label)
    return Session(config, data, model, edits)


def make_model(config: RunConfig, data: PreparedData) -> PreTrainedModel:
    """The model of a configuration, with fresh or pretrained weights, spiking where the configuration says so."""
    settings = config.model
    if settings.path is not None:
        model = load_model(settings.path)
    else:
        rows = settings.overrides.get("vocab_size")
        if isinstance(rows, int):
            _check_vocabulary(rows, data)
        model = build_model(
            settings.preset,
            vocab_size=None if "vocab_size" in settings.overrides else data.vocab_size,
            seq_len=None if "max_position_embeddings" in settings.overrides else config.data.seq_len,
            overrides=settings.overrides,
            seed=config.seed,
            eos_id=data.eos_id,
            pad_id=data.tokenizer.pad_id,
        )
    _check_vocabulary(cast(Tensor, model.get_input_embeddings().weight).shape[0], data)
    _check_context(model, config)
    already = getattr(model.config, "quantization_config", None)
    if isinstance(already, DarkitConfig) and already.spike is None and config.spike is not None:
        raise ModelError(
            "A float model with edits cannot be made spiking as it is loaded.",
            expected="spike=null, or a model without edits",
            received=f"{len(getattr(already, 'patches', ()))} edits in {settings.path}",
            cause="its edits were made for float layers",
            fix="train it with spike=null; or make a fork of the edits and train the base with model.fork",
        )
    if config.spike is not None and already is None:
        spikify(model, config.spike)
    return model


def _check_vocabulary(rows: int, data: PreparedData) -> None:
    if data.vocab_size > rows:
        raise ModelError(
            "The tokenizer knows more tokens than the model.",
            expected=f"at most {rows} tokens, the rows of the model's embedding",
            received=f"{data.vocab_size} tokens from {data.tokenizer_id!r}",
            cause="the model was built for another tokenizer",
            fix="use the tokenizer the model was trained with (data.tokenizer), or drop model.overrides.vocab_size",
        )


def _check_context(model: PreTrainedModel, config: RunConfig) -> None:
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and config.data.seq_len > longest:
        raise ModelError(
            "The windows are longer than the model's context.",
            expected=f"data.seq_len of at most {longest}",
            received=f"data.seq_len={config.data.seq_len}",
            fix=f"data.seq_len={longest}, or a larger model.overrides.max_position_embeddings",
        )


def spike_probe(data: PreparedData, config: RunConfig) -> Tensor:
    """Validation tokens whose spikes are measured: evenly spread windows, `[B, L]`, the same at every step."""
    count = max(1, config.monitor.spike_tokens // config.data.seq_len)
    windows = data.validation
    return torch.stack([torch.from_numpy(windows[i]["input_ids"]) for i in windows.spread(count)])


def tensor_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a checkpoint's safetensors files, read from their headers alone."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        shapes |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    return shapes


def check_same_architecture(model: PreTrainedModel, checkpoint: Path) -> None:
    """Refuse to load a checkpoint into a model of another architecture.

    Raises:
        RunError: tensors differ in name or shape; the first differences are named.
    """
    saved = tensor_shapes(checkpoint)
    built = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    differ = [
        f"{name}: {saved.get(name, 'absent')} saved, {built.get(name, 'absent')} built"
        for name in sorted(saved.keys() | built.keys())
        if saved.get(name) != built.get(name) and not (name in tied and name not in saved)
    ]
    if differ:
        raise RunError(
            "The checkpoint belongs to a model of another architecture.",
            expected=f"the {len(saved)} tensors of {checkpoint.name}",
            received=f"{len(differ)} differences, first {'; '.join(differ[:3])}",
            cause="model, spike or tokenizer settings were changed after the run was started",
            fix="resume with the run's own settings, or start a new run",
        )
