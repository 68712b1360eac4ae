"""Attention over packed codes in C++ against the definition: widths that fill vectors, leave tails, or do neither."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.packed_spikes import pack_spikes
from darkit_nb.functional.spike_attention import spike_attention_product
from darkit_nb.ops.native_build import LEVELS
from darkit_nb.ops.spike_attention import spike_attention
from tests.ops.native import need_library, poisoned, use_level

CODES: list[dict[str, Any]] = [
    {"num_levels": 16},
    {"num_levels": 2, "num_steps": 3, "coding": "radix", "signed": True},
    {"num_levels": 4, "num_steps": 2},
    {"num_levels": 16, "num_steps": 2, "coding": "radix"},
    {"num_levels": 16, "num_steps": 2, "ranges": "own"},
    {"num_levels": 200, "num_steps": 1},
]


SHAPES = [(2, 3, 9, 70, 5), (1, 2, 40, 128, 1), (1, 1, 1, 1, 4)]
"""Sequences, heads, tokens, features of a head, queries a head."""


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    need_library()


def check(code: dict[str, Any], shape: tuple[int, int, int, int, int], level: str) -> None:
    """The library with this instruction set against the definition, all tokens and a window of them."""
    batch, heads, tokens, width, sharing = shape
    random = torch.Generator().manual_seed(1)
    query = torch.randn(batch, heads * sharing, 1, width, generator=random)
    keys, values = (torch.randn(batch, heads, tokens, width, generator=random) for _ in range(2))
    # Heads with many salient features, with few, and with none.
    share = torch.tensor([0.6, 0.05, 0.0])[:heads].view(-1, 1, 1)
    salient = torch.rand(heads, 1, width, generator=random) < share if code.get("num_steps", 1) > 1 else None
    key, value = (gif_encode(states, salient=salient, **code) for states in (keys, values))
    mask = torch.rand(1, 1, 1, tokens, generator=random) < 0.8
    mask[..., 0] = True
    expected = spike_attention_product(query, key, value, mask=mask)
    packed = [pack_spikes(each) for each in (key, value)]
    # A sliding window is a view of tokens, with strides of its own.
    begin = tokens // 2
    views = [each.tokens(begin, tokens) for each in packed]
    cut = [gif_encode(states[:, :, begin:], salient=salient, **code) for states in (keys, values)]
    with use_level(level), poisoned():
        found = spike_attention(query, *packed, mask=mask, backend="native")
        part = spike_attention(query, *views, backend="native")
    tolerance = {"rtol": 0.0, "atol": 1e-5 * float(values.abs().max())}
    torch.testing.assert_close(found, expected, **tolerance)
    torch.testing.assert_close(part, spike_attention_product(query, *cut), **tolerance)


@pytest.mark.parametrize("level", list(LEVELS))
@pytest.mark.parametrize("code", CODES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_library_gives_what_the_definition_gives(
    code: dict[str, Any], shape: tuple[int, int, int, int, int], level: str
):
    check(code, shape, level)
