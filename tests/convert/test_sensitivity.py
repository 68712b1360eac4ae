"""What predictions feel: gradients of the whole model at the stream, and of a block at its layers."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from darkit_nb.convert import sensitivity
from darkit_nb.convert.folding import linear_of
from darkit_nb.convert.front import fold_front
from darkit_nb.convert.prepare import residual_rotation
from darkit_nb.convert.sensitivity import layer_sensitivity, part_width, stream_gradients
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.convert.source import open_source
from tests.convert.decoders import decoder
from tests.convert.tiny import ids, small


def begun(model: Any, rotated: bool) -> tuple[Skeleton, Tensor | None, list[Tensor]]:
    """A skeleton in double, its rotation, and the stream before the first block."""
    skeleton = Skeleton(open_source(model), dtype=torch.float64)
    skeleton.fill_front()
    width = skeleton.widths.hidden
    rotation = residual_rotation(small(), width, torch.eye(width).double()) if rotated else None
    fold_front(skeleton, rotation)
    return skeleton, rotation, skeleton.enter(ids())


def of_the_whole_model(model: Any, tokens: Tensor, skeleton: Skeleton, seed: int) -> list[Tensor]:
    """Gradients behind every block by autograd through the model, with the same draws."""
    streams: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, out: Any) -> None:
        streams.append(out[0] if isinstance(out, tuple) else out)

    blocks = cast(nn.ModuleList, model.get_submodule(skeleton.family.blocks))
    handles = [block.register_forward_hook(keep) for block in blocks]
    logits = model(input_ids=tokens, use_cache=False).logits
    for handle in handles:
        handle.remove()
    drawn = torch.stack(
        [
            torch.multinomial(one.softmax(-1), 1, generator=torch.Generator().manual_seed(seed * 1_000_003 + sample))
            for sample, one in enumerate(logits.detach())
        ]
    )
    return list(torch.autograd.grad(logits.log_softmax(-1).gather(-1, drawn).sum(), streams))


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gpt2", "opt"])
def test_behind_every_block_they_are_the_gradients_of_the_whole_model(kind: str, rotated: bool):
    model = decoder(kind)
    skeleton, rotation, stream = begun(model, rotated)
    found = stream_gradients(skeleton, rotation, stream, seed=3)
    expected = of_the_whole_model(model, ids(), skeleton, 3)
    assert len(found) == len(expected) == skeleton.blocks
    turn = torch.eye(skeleton.widths.hidden).double() if rotation is None else rotation
    if skeleton.family.centred and rotated:  # a folded norm reads a mean that the float one takes away
        turn = turn - turn.mean(0)
    for one, other in zip(found, expected, strict=True):  # norms of some families compute in float32
        torch.testing.assert_close(torch.cat(one) @ turn.T, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_of_a_layer_it_is_what_a_small_error_there_does_behind_the_block(kind: str):
    """uᵀ G u against Σ_tokens (Σ g_i · Δ / ε)², Δ the change behind the block for ε u added at a token."""
    skeleton, _, stream = begun(decoder(kind), False)
    block, generator = skeleton.block(1), torch.Generator().manual_seed(4)
    gradients = [torch.randn(hidden.shape, generator=generator, dtype=torch.float64) for hidden in stream]
    found = layer_sensitivity(skeleton, 1, block, stream, gradients)

    def behind(layer: nn.Linear, nudge: Tensor) -> Tensor:
        def nudged(_module: nn.Module, _args: Any, out: Tensor) -> Tensor:
            return out + nudge

        with layer.register_forward_hook(nudged):
            return torch.cat(skeleton.run(block, 1, stream))

    for name in skeleton.family.linears:
        layer, (matrix,) = linear_of(block, name), found[name]
        error, felt = torch.randn(layer.out_features, generator=generator, dtype=torch.float64), 0.0
        for token in range(ids().shape[1]):
            nudge = torch.zeros(ids().shape[1], layer.out_features, dtype=torch.float64)
            nudge[token] = 1e-3 * error  # norms compute in float32: less would drown in their rounding
            change = (behind(layer, nudge) - behind(layer, -nudge)) / 2e-3
            felt += float((change * torch.cat(gradients)).sum((1, 2)).square().sum())
        assert float(error @ matrix @ error) == pytest.approx(felt, rel=0.02)


def test_wide_layers_have_a_matrix_for_each_part(llama, monkeypatch: pytest.MonkeyPatch):
    skeleton, _, stream = begun(llama, False)
    block, gradients = skeleton.block(0), [torch.randn_like(hidden) for hidden in stream]
    whole = layer_sensitivity(skeleton, 0, block, stream, gradients)["mlp.up_proj"]
    monkeypatch.setattr(sensitivity, "MOST_OUTPUTS", 16)
    parts = layer_sensitivity(skeleton, 0, block, stream, gradients)["mlp.up_proj"]
    assert [len(part) for part in whole] == [40]
    assert [len(part) for part in parts] == [14, 14, 12]
    torch.testing.assert_close(parts[1], whole[0][14:28, 14:28])
    assert part_width(16) == 16


def test_no_more_tokens_are_looked_at_than_asked(llama, monkeypatch: pytest.MonkeyPatch):
    skeleton, _, stream = begun(llama, False)
    longer = [*stream, torch.full_like(stream[0], torch.nan)]
    monkeypatch.setattr(sensitivity, "FELT_TOKENS", 120)
    found = stream_gradients(skeleton, None, longer, seed=0)
    assert [len(batches) for batches in found] == [1, 1, 1]
    assert all(bool(batches[0].isfinite().all()) for batches in found)
    felt = layer_sensitivity(skeleton, 1, skeleton.block(1), longer, found[1])
    assert all(bool(part.isfinite().all()) for parts in felt.values() for part in parts)
