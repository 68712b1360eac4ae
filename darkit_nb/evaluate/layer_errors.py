"""Where a converted model departs from its float original, layer by layer, on text.

A rotated model holds its hidden states in another basis, so they cannot be subtracted from the float ones. Two measures
do not depend on the basis:

    coding error of a layer     ‖gif(x) W ᵀ − x Wᵀ‖² / ‖x Wᵀ‖² over the tokens, x its own input, W its low-bit weight:
                                what turning activations into spikes alone does to its output
    stream error of a block     ‖G_q − G‖ / ‖G‖, G = H Hᵀ the products of all pairs of tokens of a sequence, H the
                                residual stream behind the block: everything that has gone wrong up to there

Errors of weights by themselves are in the report of the conversion, which saw the float layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from darkit_nb.errors import ModelError
from darkit_nb.nn.linear import SpikingLinear
from darkit_nb.records.layer_errors import BlockStreamError, LayerCodingError, LayerErrorReport
from darkit_nb.trace.mode import evaluating


@torch.no_grad()
def layer_errors(model: PreTrainedModel, reference: PreTrainedModel, batches: Sequence[Tensor]) -> LayerErrorReport:
    """Coding error of every spiking linear layer, stream error of every block.

    Args:
        model: the converted model.
        reference: the float model it came from.
        batches: token ids `[B, L]` each.

    Raises:
        ModelError: the models have not the same number of blocks, or their blocks are not found.
    """
    blocks, floats = _blocks(model), _blocks(reference)
    if not blocks or len(blocks) != len(floats):
        raise ModelError(
            "These models cannot be compared block by block.",
            expected=f"the float model of the same {len(blocks)} blocks",
            received=f"{len(floats)} blocks in {type(reference).__name__}",
        )
    centred = _has(reference, nn.LayerNorm) and not _has(model, nn.LayerNorm)
    coding: dict[str, list[float]] = {}
    streams = {name: [0.0, 0.0] for name in blocks}
    tokens = 0
    for ids in batches:
        tokens += ids.numel()
        with evaluating(reference), _streams(floats.values()) as wanted:
            reference(input_ids=ids, use_cache=False)
        with evaluating(model), _streams(blocks.values()) as found, _codings(model, coding):
            model(input_ids=ids, use_cache=False)
        for name, mine, own in zip(blocks, found, wanted, strict=True):
            _add(streams[name], mine, own - own.mean(-1, keepdim=True) if centred else own)
    layers = [LayerCodingError(name=name, error=_share(sums)) for name, sums in coding.items()]
    departed = [BlockStreamError(name=name, error=_share(sums) ** 0.5) for name, sums in streams.items()]
    return LayerErrorReport(layers=tuple(layers), blocks=tuple(departed), tokens=tokens)


def _share(sums: Sequence[float]) -> float:
    return sums[0] / max(sums[1], 1e-30)


def _blocks(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Decoder blocks by dotted name: the longest list of modules of one class."""
    lists = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part)]
    name, longest = max(lists, key=lambda pair: len(pair[1]), default=("", nn.ModuleList()))
    return {f"{name}.{index}": block for index, block in enumerate(longest)}


def _has(model: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in model.modules())


@contextmanager
def _streams(blocks: Any) -> Iterator[list[Tensor]]:
    """Fill a list with what comes out of every block, in order."""
    found: list[Tensor] = []

    def keep(_: nn.Module, inputs: Any, output: Any) -> None:
        found.append((output[0] if isinstance(output, tuple) else output).double())

    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _add(sums: list[float], mine: Tensor, own: Tensor) -> None:
    wanted = own @ own.mT
    sums[0] += float((mine @ mine.mT - wanted).square().sum())
    sums[1] += float(wanted.square().sum())


@contextmanager
def _codings(model: nn.Module, sums: dict[str, list[float]]) -> Iterator[None]:
    """Add up the squared errors of coding and the squared outputs of every spiking linear layer."""
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, SpikingLinear):
            handles.append(module.register_forward_hook(_coding_hook(sums.setdefault(name, [0.0, 0.0]))))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _coding_hook(sums: list[float]) -> Any:
    def add(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rotation = getattr(module, "rotation", None)
        x = inputs[0] if rotation is None else rotation(inputs[0])
        weight = module.saliency_weight()
        bias = 0.0 if module.bias is None else module.bias
        exact = linear(x.double(), weight.double())
        sums[0] += float((output.double() - bias - exact).square().sum())
        sums[1] += float(exact.square().sum())

    return add
