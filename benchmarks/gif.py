"""The GIF neuron on the CPU: cache blocks against the definition, in units of one copy of the tokens too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from darkit_nb.functional import gif as reference
from darkit_nb.ops import gif

from .harness import compare

BLOCKED = SimpleNamespace(
    gif_encode=partial(gif.gif_encode, backend="blocked"), gif_quantise=partial(gif.gif_quantise, backend="blocked")
)
SHAPES = ((4096, 128), (4096, 512), (2048, 4096))


def _equal(results: Mapping[str, Any]) -> None:
    torch.testing.assert_close(results["blocked"], results["reference"], rtol=1e-5, atol=1e-5)


def _backward(quantise: Callable[..., Tensor], x: Tensor, grad: Tensor, **settings: Any) -> Tensor:
    leaf = x.detach().requires_grad_()
    (found,) = torch.autograd.grad(quantise(leaf, **settings), leaf, grad)
    return found


def _rows(rows: int, features: int, rounds: int) -> Iterator[dict]:
    random = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(rows, features, generator=random) for _ in range(2))
    settings: dict[str, Any] = {"num_levels": 16, "num_steps": 2}
    settings["salient"] = torch.rand(features, generator=random) < 0.1
    out = torch.empty_like(x)
    operations: dict[str, Callable[[Any], Tensor]] = {
        "encode": lambda hand: hand.gif_encode(x, **settings).counts,
        "quantise, clipped gradient": lambda hand: _backward(hand.gif_quantise, x, grad, **settings),
        "quantise, range gradient": lambda hand: _backward(hand.gif_quantise, x, grad, gradient="range", **settings),
    }
    for name, operation in operations.items():
        rivals = {
            "reference": partial(operation, reference),
            "blocked": partial(operation, BLOCKED),
            "copy": lambda: out.copy_(x),
        }
        row = compare(rivals, agree=_equal, rounds=rounds)
        yield {"operation": name, "rows": rows, "features": features, "threads": torch.get_num_threads(), **row}


def run(quick: bool) -> Iterator[dict]:
    """One row per shape and operation."""
    for shape in SHAPES[:1] if quick else SHAPES:
        yield from _rows(*shape, rounds=3 if quick else 15)
