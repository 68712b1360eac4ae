"""Attention over spikes: the integer form is the definition, and a code is its token's alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from darkit_nb.errors import ShapeError
from darkit_nb.functional.gif import gif_encode, gif_quantise
from darkit_nb.functional.packed_spikes import pack_spikes
from darkit_nb.functional.spike_attention import spike_attention, spike_attention_product
from darkit_nb.ops import spike_attention as fast

B, H, L, K = 2, 2, 21, 13
CODES: list[dict[str, Any]] = [
    {"num_levels": 16},
    {"num_levels": 2, "signed": True},
    {"num_levels": 16, "num_steps": 2},
    {"num_levels": 16, "num_steps": 2, "ranges": "own"},
    {"num_levels": 16, "num_steps": 2, "coding": "radix"},
    {"num_levels": 16, "num_steps": 2, "coding": "radix", "ranges": "own"},
    {"num_levels": 16, "num_steps": 2, "coding": "paper"},
    {"num_levels": 4, "num_steps": 3, "signed": True},
    {"num_levels": 256, "num_steps": 2, "coding": "radix"},
]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def settings_of(code: dict[str, Any], seed: int) -> dict[str, Any]:
    """With salient features that differ between heads, where there is more than one step."""
    if code.get("num_steps", 1) == 1:
        return code
    return {**code, "salient": torch.rand(H, 1, K, generator=torch.Generator().manual_seed(seed)) < 0.3}


def causal(queries: int, tokens: int) -> Tensor:
    """Query i is token tokens − queries + i."""
    return torch.ones(queries, tokens, dtype=torch.bool).tril(tokens - queries)


@pytest.mark.parametrize("code", CODES, ids=str)
@pytest.mark.parametrize(("sharing", "queries"), [(1, 1), (2, 1), (3, 4), (1, L)])
def test_products_of_counts_are_attention_over_the_values(code: dict[str, Any], sharing: int, queries: int):
    query = draw(B, H * sharing, queries, K, seed=1)
    keys, values = draw(B, H, L, K, seed=2), draw(B, H, L, K, seed=3) * 5
    keys[0, 0, 3] = 0
    key, value = (gif_encode(x, **settings_of(code, seed)) for x, seed in ((keys, 4), (values, 5)))
    mask = causal(queries, L)
    repeated = [each.dequantise().double().repeat_interleave(sharing, 1) for each in (key, value)]
    truth = scaled_dot_product_attention(query.double(), *repeated, attn_mask=mask, scale=0.3)
    tolerance = {"rtol": 0.0, "atol": 1e-5 * float(values.abs().max())}
    found = spike_attention_product(query, key, value, mask=mask, scaling=0.3)
    torch.testing.assert_close(found.double(), truth, **tolerance)
    defined = spike_attention(
        query,
        keys,
        values,
        key_settings=settings_of(code, 4),
        value_settings=settings_of(code, 5),
        mask=mask,
        scaling=0.3,
    )
    torch.testing.assert_close(defined.double(), truth, **tolerance)
    for backend in ("blocked", "auto"):
        packed = fast.spike_attention(
            query, pack_spikes(key), pack_spikes(value), mask=mask, scaling=0.3, backend=backend
        )
        torch.testing.assert_close(packed.double(), truth, **tolerance)


@pytest.mark.parametrize("block_bytes", [1, 4 * B * H * K * 5, 2**18])
def test_blocks_of_tokens_make_no_difference(block_bytes: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fast, "BLOCK_BYTES", block_bytes)
    query, keys, values = draw(B, 2 * H, 3, K), draw(B, H, L, K, seed=2), draw(B, H, L, K, seed=3)
    settings = settings_of(CODES[2], 4)
    key, value = gif_encode(keys, **settings), gif_encode(values, **settings)
    additive = torch.zeros(3, L).masked_fill(~causal(3, L), -math.inf)
    found = fast.spike_attention(query, pack_spikes(key), pack_spikes(value), mask=additive, backend="blocked")
    torch.testing.assert_close(found, spike_attention_product(query, key, value, mask=causal(3, L)))


def test_a_query_that_sees_nothing_gives_nothing():
    query, keys = draw(1, H, 2, K), draw(1, H, L, K, seed=2)
    code = gif_encode(keys, num_levels=16)
    mask = causal(2, L)
    mask[0] = False
    found = spike_attention_product(query, code, code, mask=mask)
    assert torch.equal(found[:, :, 0], torch.zeros(1, H, K))
    assert bool(found[:, :, 1].any())


def test_a_later_token_changes_nothing_earlier():
    query, keys, values = (draw(1, H, L, K, seed=seed) for seed in range(3))
    settings = {"key_settings": settings_of(CODES[3], 4), "value_settings": settings_of(CODES[3], 5)}
    changed = [x.clone() for x in (keys, values)]
    for x in changed:
        x[:, :, 15:] *= 100
    before = spike_attention(query, keys, values, mask=causal(L, L), **settings)
    after = spike_attention(query, *changed, mask=causal(L, L), **settings)
    assert torch.equal(before[:, :, :15], after[:, :, :15])
    assert not torch.equal(before[:, :, 15:], after[:, :, 15:])


def test_gradients():
    """In double: exact to the query; to keys and values what float attention gives at the values of the spikes."""
    query, keys, values = (draw(1, heads, 5, 4, seed=heads, dtype=torch.double) for heads in (4, 2, 2))
    settings: dict[str, Any] = {"key_settings": {"num_levels": 16}, "value_settings": {"num_levels": 16}}
    assert torch.autograd.gradcheck(
        lambda q: spike_attention(q, keys, values, mask=causal(5, 5), **settings), query.requires_grad_()
    )
    leaves = [x.clone().requires_grad_() for x in (keys, values)]
    grad = draw(1, 4, 5, 4, seed=7, dtype=torch.double)
    found = torch.autograd.grad(spike_attention(query, *leaves, mask=causal(5, 5), **settings), leaves, grad)
    spikes = [gif_quantise(x, num_levels=16).detach().requires_grad_() for x in (keys, values)]
    repeated = [x.repeat_interleave(2, 1) for x in spikes]
    plain = scaled_dot_product_attention(query, *repeated, attn_mask=causal(5, 5))
    for one, other in zip(found, torch.autograd.grad(plain, spikes, grad), strict=True):
        torch.testing.assert_close(one, other)


def test_heads_that_do_not_come_out_even_are_refused():
    code = gif_encode(draw(1, 2, L, K), num_levels=16)
    with pytest.raises(ShapeError, match="share"):
        spike_attention_product(draw(1, 3, 1, K), code, code)
