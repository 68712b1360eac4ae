"""One generated token over a long key/value cache: packed codes against float states.

Rivals: flash attention over float keys and values, which is what a float model does; over float states that are encoded
at every use, as spiking attention does without a cache of codes; and over the codes themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from darkit_nb.functional.packed_spikes import PackedSpikes, pack_spikes
from darkit_nb.ops.gif import gif_encode, gif_quantise
from darkit_nb.ops.spike_attention import spike_attention

from .harness import compare

SHAPES = ((32, 32, 128, 2048), (32, 8, 64, 8192))
"""Query heads, key/value heads, width of a head, tokens: a layer of LLaMA-7B, one of Llama 3.2 1B."""


def _attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, keys, values, enable_gqa=query.shape[1] != keys.shape[1])


def _agree(results: Mapping[str, Tensor]) -> None:
    """To 1e-5 of the range of the values, as the product states."""
    torch.testing.assert_close(results["codes"], results["float states, encoded"], rtol=0, atol=5e-5)


@torch.no_grad()
def _row(query_heads: int, heads: int, width: int, tokens: int, steps: int, rounds: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    query = torch.randn(1, query_heads, 1, width, generator=random)
    keys, values = (torch.randn(1, heads, tokens, width, generator=random) for _ in range(2))
    salient = (torch.rand(heads, 1, width, generator=random) < 0.1) if steps > 1 else None
    settings: dict[str, Any] = {"num_levels": 16, "num_steps": steps, "salient": salient}
    packed: list[PackedSpikes] = [pack_spikes(gif_encode(states, **settings)) for states in (keys, values)]
    rivals = {
        "float states": lambda: _attend(query, keys, values),
        "codes": lambda: spike_attention(query, *packed),
        "float states, encoded": lambda: _attend(
            query, *(gif_quantise(states, **settings) for states in (keys, values))
        ),
    }
    states_bytes, codes_bytes = keys.nbytes + values.nbytes, sum(each.nbytes for each in packed)
    return {
        "operation": "one token, " + ("S=1" if steps == 1 else "S=2, 10 % salient"),
        "shape": [query_heads, heads, width, tokens],
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        **compare(rivals, agree=_agree, rounds=rounds),
        "held_bytes": {"float states": states_bytes, "codes": codes_bytes, "float states, encoded": states_bytes},
    }


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """One row a shape and coding."""
    for shape in ((4, 2, 32, 64),) if quick else SHAPES:
        for steps in (1, 2):
            yield _row(*shape, steps, rounds=3 if quick else 15)
