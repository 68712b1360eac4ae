"""What a model computes outside its spiking layers, and how each figure was obtained.

By forward hooks, from the shapes that really passed: embeddings, norms, activation functions, gates, residual
additions, rotary tables, every linear layer left in float, biases, transforms that mix features before encoding. From
the configuration, because they happen inside functions: attention products, softmax, rotation of queries and keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from darkit_nb.nn.kronecker import KroneckerTransform
from darkit_nb.nn.linear import SpikingLinear
from darkit_nb.nn.packed_linear import PackedLinear
from darkit_nb.nn.rotation import OnlineRotation, RangeCut
from darkit_nb.records.energy import FloatPart, ModelFacts
from darkit_nb.spikify.attention import KEYS, attention_modules
from darkit_nb.trace.attention import (
    attending_queries,
    attention_window,
    head_width,
    key_value_heads,
    query_heads,
    text_config,
)
from darkit_nb.trace.mode import evaluating

PROBE_TOKENS = 8
"""Tokens of the forward that is watched; everything hooked grows with the number of tokens and nothing else."""

ROTATION, LEARNED, CUT = "online rotation", "learned transform", "cut range"
MIXING = (ROTATION, LEARNED, CUT)
"""Names of the parts that only stand before encoding."""

_Counts = dict[str, dict[str, float]]


@torch.no_grad()
def model_facts(model: nn.Module, window: int) -> ModelFacts:
    """Float work per token of `model`, with attention averaged over a causal window.

    Args:
        model: spiking or float. It sees one sequence of at most 8 token ids, in evaluation mode.
        window: tokens of context.
    """
    counts: _Counts = {}
    probe = min(window, PROBE_TOKENS)
    device = next(model.parameters()).device
    with evaluating(model), _watching(model, counts):
        if isinstance(model, PreTrainedModel):
            model(input_ids=torch.zeros(1, probe, dtype=torch.long, device=device), use_cache=False)
        else:
            model(torch.zeros(1, probe, dtype=torch.long, device=device))
    parts = tuple(_part(name, work, probe) for name, work in counts.items())
    mixing = tuple(part for part in parts if part.name in MIXING)
    others = tuple(part for part in parts if part.name not in MIXING)
    return ModelFacts(others + tuple(attention_parts(model, window)), window, mixing)


def _part(name: str, work: dict[str, float], probe: int) -> FloatPart:
    per_token = {key: value if key == "weights" else value / probe for key, value in work.items()}
    return FloatPart(name=name, origin="hooks", **per_token)


@contextmanager
def _watching(model: nn.Module, counts: _Counts) -> Iterator[None]:
    def add(part: str, **work: float) -> None:
        row = counts.setdefault(part, {})
        for key, value in work.items():
            row[key] = row.get(key, 0.0) + value

    handles = []
    try:
        for name, module in model.named_modules():
            watch = _watcher(name, module, add)
            if watch is not None:
                handles.append(module.register_forward_hook(watch))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watcher(name: str, module: nn.Module, add: Callable[..., None]) -> Callable[..., None] | None:
    """A forward hook that adds what `module` computes in float, or None if it computes nothing of its own."""
    kind, own = type(module).__name__, sum(parameter.numel() for parameter in module.parameters(recurse=False))

    def hook(count: Callable[[Tensor, Tensor], None]) -> Callable[..., None]:
        def watch(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            out = output[0] if isinstance(output, tuple) else output
            count(inputs[0] if inputs and isinstance(inputs[0], Tensor) else out, out)

        return watch

    if isinstance(module, SpikingLinear):
        bias = module.bias is not None
        return hook(lambda x, y: add("biases", additions=y.numel(), weights=y.shape[-1])) if bias else None
    if isinstance(module, nn.Linear | Conv1D | PackedLinear):
        bias = module.bias is not None
        if isinstance(module, PackedLinear):
            own = module.in_features * module.out_features
        part = "output head" if name.rpartition(".")[2] == "lm_head" else f"float layer {name.rpartition('.')[2]}"
        return hook(lambda x, y: add(part, macs=x.numel() * y.shape[-1], additions=bias * y.numel(), weights=own))
    if isinstance(module, OnlineRotation):
        return hook(lambda x, y: add(ROTATION, **_times(rotation_work(module), y.numel() // y.shape[-1])))
    if isinstance(module, RangeCut):
        return hook(lambda x, y: add(CUT, additions=4 * (y.numel() // y.shape[-1]) * (module.features - module.begin)))
    if isinstance(module, KroneckerTransform):
        mixed = module.left.shape[0] + module.right.shape[0]
        return hook(lambda x, y: add(LEARNED, macs=mixed * y.numel(), weights=own))
    if isinstance(module, nn.Embedding):
        position = "position" in name or name.endswith("wpe")  # learned positions are added to the token embedding
        return hook(lambda x, y: add("embeddings", lookups=y.numel(), additions=position * y.numel()))
    if kind.endswith("Norm"):
        # square and sum, root, scale by it, gain; a layer norm also has a mean, a difference and a bias
        means = 0 if kind.endswith("RMSNorm") else 3
        return hook(lambda x, y: add("norms", **_norm_work(y, means), weights=own))
    if kind == "ReLU":
        return hook(lambda x, y: add("activation function", additions=y.numel()))
    if type(module).__module__ in ("transformers.activations", "torch.nn.modules.activation"):
        # an exponential and a division in one form or another, and the product with the input
        return hook(lambda x, y: add("activation function", special=2 * y.numel(), multiplications=y.numel()))
    if kind.endswith("RotaryEmbedding"):
        return hook(lambda x, y: add("rotary positions", special=y.numel()))
    if hasattr(module, "gate_proj") and hasattr(module, "down_proj"):
        return hook(lambda x, y: add("gates", multiplications=y.numel() // y.shape[-1] * _inputs_of(module.down_proj)))
    if kind.endswith("DecoderLayer") or kind.endswith("Block"):
        return hook(lambda x, y: add("residual additions", additions=2 * y.numel()))
    return None


def rotation_work(rotation: OnlineRotation) -> dict[str, float]:
    """What rotating one token takes: butterflies, and a product with a matrix on the odd axis of each block.

    A block of n = 2^a · m features has n additions for each of its a binary axes, n · m products for the odd one, and n
    multiplications by its scale. Signs are flipped for free. A range that is cut is found and applied: two comparisons
    a feature each.
    """
    work = {"additions": 0.0, "macs": 0.0, "multiplications": 0.0}
    for width in rotation.blocks:
        binary = width & -width
        odd = width // binary
        work["additions"] += width * (binary.bit_length() - 1)
        work["macs"] += width * odd if odd > 1 else 0
        work["multiplications"] += width
    if rotation.keep != 1.0:
        work["additions"] += 4 * rotation.blocks[-1]
    return work


def _times(work: dict[str, float], rows: int) -> dict[str, float]:
    return {name: rows * value for name, value in work.items()}


def _norm_work(y: Tensor, means: int) -> dict[str, float]:
    size = y.numel()
    return {"macs": size, "additions": means * size, "multiplications": 2 * size, "special": size / y.shape[-1]}


def _inputs_of(layer: Any) -> int:
    return layer.in_features if hasattr(layer, "in_features") else layer.weight.shape[0]


def attention_parts(model: nn.Module, window: int, *, newest: bool = False) -> Iterator[FloatPart]:
    """What attention does in float, per token, from the configuration.

    Args:
        model: spiking or float.
        window: tokens of context.
        newest: of the last token of the window alone, as when text is generated, instead of the mean over all.
    """
    config = text_config(model)
    modules = attention_modules(model) if isinstance(model, PreTrainedModel) else {}
    if not modules:
        return
    heads, width = query_heads(config), head_width(config)
    products = pairs = 0.0
    for name, module in modules.items():
        sight = attending_queries(window, attention_window(model, name)).double()
        attended = float(sight.max() if newest else sight.mean()) * heads
        pairs += attended
        products += 0.0 if hasattr(module, KEYS) else 2 * attended * width
    if products:
        yield FloatPart(name="attention products", origin="config", macs=products)
    # scale; maximum, difference, sum; exponential; multiplication by the reciprocal of the sum, one division a query
    yield FloatPart(
        name="softmax",
        origin="config",
        additions=3 * pairs,
        multiplications=2 * pairs,
        special=pairs + heads * len(modules),
    )
    if any(type(module).__name__.endswith("RotaryEmbedding") for module in model.modules()):
        rotated = (heads + key_value_heads(config)) * width * len(modules)
        yield FloatPart(name="rotation", origin="config", additions=rotated, multiplications=2 * rotated)
