"""Bytes of a training step are counted as they are, and a rival that does other work is not timed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from benchmarks import attention_cache, rivals, training_step


class Small(nn.Module):
    """A loss of known storages: the float tokens and one activation are kept for the backward."""

    def __init__(self, scratch: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64, 64))
        self.scratch = scratch

    def forward(self, input_ids: Tensor, labels: Tensor, use_cache: bool) -> SimpleNamespace:
        torch.zeros(self.scratch, dtype=torch.uint8)  # gone at once
        y = (input_ids.float() @ self.weight).relu()
        return SimpleNamespace(loss=(y * y).sum())


def test_saved_bytes_are_those_of_the_storages_autograd_keeps():
    ids = torch.arange(128).view(2, 64)
    # tokens as float32 for the weight, the activation once, although both relu and the square keep it
    assert training_step.Step(Small(), ids).saved_bytes() == 2 * (2 * 64 * 4)


def test_the_peak_sees_what_is_freed_before_the_end():
    ids = torch.arange(128).view(2, 64)
    for scratch in (0, 3_000_000):
        step = training_step.Step(Small(scratch), ids)
        step()
        assert scratch <= step.peak_bytes() < scratch + 200_000


def test_ours_with_published_codes_is_the_published_formulation(monkeypatch: pytest.MonkeyPatch):
    ids = torch.randint(0, 256, (1, 16), generator=torch.Generator().manual_seed(0))
    apart = training_step.check("spike-llama-nano", ids)
    assert apart["gradient"] < 1e-3
    published = rivals.published_spikes
    monkeypatch.setattr(rivals, "published_spikes", lambda x, levels, *rest: published(x, 2 * levels, *rest))
    with pytest.raises(AssertionError):
        training_step.check("spike-llama-nano", ids)


def test_attention_over_codes_is_checked_before_it_is_timed(monkeypatch: pytest.MonkeyPatch):
    rows = list(attention_cache.run(quick=True))
    assert [row["operation"] for row in rows] == ["one token, S=1", "one token, S=2, 10 % salient"]
    assert all(row["held_bytes"]["float states"] > 4 * row["held_bytes"]["codes"] for row in rows)
    right = attention_cache.spike_attention
    monkeypatch.setattr(attention_cache, "spike_attention", lambda query, key, value: right(query * 2, key, value))
    with pytest.raises(AssertionError):
        list(attention_cache.run(quick=True))
