"""Outliers put into a Llama on purpose, without changing what it computes.

    diag       the gain of every norm × 16 on 3 % of the channels, the columns that read them ÷ 16: the same channels in
               every block, drawn by a seed. Powers of two: the model computes the very same bits.
    pca        the residual stream in its principal basis, so that a few coordinates carry most of it: gains are folded
               into the layers that read them, embeddings and writers turned by the eigenvectors, readers turned back.
    pca+diag   both, in this order.

Scaling undoes `diag` exactly, so it says little by itself; all four are always shown together.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

PLANTINGS = ("none", "diag", "pca", "pca+diag")
FACTOR = 16.0
SHARE = 0.03


@torch.no_grad()
def planted(model: PreTrainedModel, how: str, ids: Tensor, *, seed: int = 0) -> PreTrainedModel:
    """A copy of `model` with outliers; the original stays as it is.

    Args:
        model: a Llama, or a decoder with its modules' names.
        how: one of `PLANTINGS`.
        ids: `[B, L]` tokens, on which principal directions are found.
        seed: draws the channels.
    """
    if how not in PLANTINGS:
        raise ValueError(f"no planting called {how!r}; there are {', '.join(PLANTINGS)}")
    made = copy.deepcopy(model)
    if "pca" in how:
        _rotate(made, _principal(made, ids))
    if "diag" in how:
        _scale(made, seed)
    return made


def _readers(model: Any) -> Iterator[tuple[nn.Module, list[nn.Linear]]]:
    """Every norm inside the blocks, with the layers that read it."""
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        yield layer.input_layernorm, [attention.q_proj, attention.k_proj, attention.v_proj]
        yield layer.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj]


def _scale(model: Any, seed: int) -> None:
    width = model.config.hidden_size
    count = max(1, round(SHARE * width))
    channels = torch.randperm(width, generator=torch.Generator().manual_seed(seed))[:count]
    for norm, readers in _readers(model):
        norm.weight[channels] *= FACTOR
        for reader in readers:
            reader.weight[:, channels] /= FACTOR


def _principal(model: Any, ids: Tensor) -> Tensor:
    """Eigenvectors of E[x xᵀ] over the inputs of all norms of the blocks, largest first, float64 `[D, D]`."""
    total = torch.zeros(model.config.hidden_size, model.config.hidden_size, dtype=torch.float64)

    def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        flat = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
        total.add_(flat.T @ flat)

    handles = [norm.register_forward_pre_hook(add) for norm, _ in _readers(model)]
    try:
        model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return torch.linalg.eigh(total).eigenvectors.flip(-1)


def _rotate(model: Any, basis: Tensor) -> None:
    """x → x U: an RMSNorm without a gain commutes with a rotation, so its gain moves into the readers first."""
    _untie(model)
    for norm, readers in (*_readers(model), (model.model.norm, [model.lm_head])):
        for reader in readers:
            _turn_in(reader, basis, norm.weight.double())
        norm.weight.fill_(1.0)
    for layer in model.model.layers:
        for writer in (layer.self_attn.o_proj, layer.mlp.down_proj):
            writer.weight.copy_(basis.T @ writer.weight.double())
    embedding = model.model.embed_tokens
    embedding.weight.copy_(embedding.weight.double() @ basis)


def _turn_in(reader: nn.Linear, basis: Tensor, gain: Tensor) -> None:
    reader.weight.copy_((reader.weight.double() * gain) @ basis)


def _untie(model: Any) -> None:
    model.config.tie_word_embeddings = False
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())


@torch.no_grad()
def outlier_statistics(model: Any, ids: Tensor) -> dict[str, float]:
    """How peaked the channels are in front of the layers: published with every planting.

    For each norm's output, s_c the root mean square of channel c: kurtosis mean(s⁴) / mean(s²)², 1 where all channels
    are alike (He et al. 2024), its mean and maximum over norms; and the mean over norms of max |x| ÷ median |x|.
    """
    kurtoses, ratios = [], []

    def look(_: nn.Module, inputs: Any, output: Tensor) -> None:
        flat = output.reshape(-1, output.shape[-1]).double()
        power = flat.square().mean(0)
        kurtoses.append(float(power.square().mean() / power.mean().square()))
        ratios.append(float(flat.abs().amax(0).max() / flat.abs().median()))

    with _looking(model, look):
        model(input_ids=ids, use_cache=False)
    return {
        "kurtosis_mean": sum(kurtoses) / len(kurtoses),
        "kurtosis_max": max(kurtoses),
        "absmax_to_median": sum(ratios) / len(ratios),
    }


@contextmanager
def _looking(model: Any, look: Any) -> Iterator[None]:
    handles = [norm.register_forward_hook(look) for norm, _ in _readers(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
