"""Quantise and fire on a GPU: counts, and gradients through the range of a token, against eager and compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from darkit_nb.functional import gif as gif_law
from darkit_nb.ops.gif import encode_rows, gif_quantise

from . import counted_bytes as counted
from .cuda_harness import Bench, agreeing, backward_of, compiled, copy_of, gradient_of, random_sets
from .rivals import published_spikes


def _mask(bench: Bench, features: int) -> Tensor:
    return torch.rand(features, generator=torch.Generator().manual_seed(0)).lt(0.1).to(bench.device)


def _definition(x: Tensor, salient: Tensor | None, steps: int) -> Tensor:
    return gif_law.gif_encode(x, num_levels=16, num_steps=steps, salient=salient).counts


def forward(bench: Bench, rows: int, features: int, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """Counts in bytes, without salient features and with two steps on a tenth of them."""
    size = dtype.itemsize
    facts = {"shape": [rows, features], "dtype": str(dtype).removeprefix("torch.")}
    sets, mask = random_sets(bench, (rows, features), dtype), _mask(bench, features)
    for steps, salient in ((1, None), (2, mask)):
        settings: dict[str, Any] = {"num_levels": 16, "num_steps": steps, "salient": salient}
        rivals: dict[str, Callable[[Any], Any]] = {
            "copy": copy_of,
            "ours": lambda each, settings=settings: encode_rows(each[0], mask=False, **settings)[0],
            "definition, eager": lambda each, s=salient, t=steps: _definition(each[0], s, t),
            "published, two quantisers": lambda each: published_spikes(each[0], 16, 2, mask),
        }
        if bench.on_gpu:
            rivals["torch.compile"] = lambda each, s=salient, t=steps: compiled(_definition)(each[0], s, t)
        groups = 1 if salient is None else 2
        with torch.no_grad():
            yield bench.row(
                "quantise and fire",
                sets,
                rivals,
                agree=partial(agreeing, expected="definition, eager", exact=True),
                graphs=("ours",),
                counted={"ours": counted.quantise_forward(rows, features, size, count_bits=8, groups=groups)},
                copied=counted.copy(rows * features, size),
                steps=steps,
                **facts,
            )


def backward(bench: Bench, rows: int, features: int, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """Through the range of the token with the forward before it; then the backward alone, of both gradients."""
    size = dtype.itemsize
    facts = {"shape": [rows, features], "dtype": str(dtype).removeprefix("torch."), "steps": 2}
    facts |= {"copied": counted.copy(rows * features, size)}
    sets, mask = random_sets(bench, (rows, features), dtype), _mask(bench, features)

    def values(quantise: Callable[..., Tensor], gradient: str) -> Callable[[Tensor], Tensor]:
        return lambda x: quantise(x, num_levels=16, num_steps=2, salient=mask, gradient=gradient)

    hands: Mapping[str, Callable[..., Tensor]] = {"ours": gif_quantise, "definition, eager": gif_law.gif_quantise}
    same = partial(agreeing, expected="definition, eager", exact=False)
    through = counted.quantise_backward_range(rows, features, size, groups=2)
    least = counted.quantise_forward(rows, features, size, count_bits=8 * size, groups=2) + through
    rivals = {name: partial(gradient_of, values(hand, "range")) for name, hand in hands.items()}
    rivals = {"copy": copy_of, **rivals}
    name = "quantise and fire, forward and backward through the range"
    yield bench.row(name, sets, rivals, agree=same, counted={"ours": least}, **facts)
    for gradient, bytes_ in (("range", through), ("clipped", counted.quantise_backward_clipped(rows, features, size))):
        rivals = {name: backward_of(values(hand, gradient)) for name, hand in hands.items()}
        rivals = {"copy": copy_of, **rivals}
        name = "quantise and fire, backward"
        yield bench.row(name, sets, rivals, agree=same, counted={"ours": bytes_}, gradient=gradient, **facts)
