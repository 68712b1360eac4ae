"""How much the model's predictions feel an error of a layer: Fisher information of the outputs.

    g_i = ∂ log p(y) / ∂ h_i        h_i the float stream behind block i, y drawn from the float model's own p
    G   = Σ_tokens g gᵀ             g = Jᵀ g_i, J the Jacobian of the block by the outputs of one of its layers

To second order an error E of a weight before inputs x̂, taken as independent of g, makes a divergence that goes with
tr(G E H Eᵀ), H = E[x̂ x̂ᵀ]. Gradients are those of a part of the calibration text, kept behind every block: one sweep
forward and one back, a block in memory at a time. Layers of many outputs get the diagonal blocks of their G.

Source: Martens and Grosse 2015 (K-FAC, arXiv 1503.05671) for the factors, Tseng et al. 2025 (YAQA, arXiv 2505.22988)
for rounding by such a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from darkit_nb.convert.folding import linear_of
from darkit_nb.convert.prepare import float_block
from darkit_nb.convert.skeleton import Skeleton
from darkit_nb.train.group import rank, world
from darkit_nb.train.processes import reduce_sum

FELT_TOKENS = 4096
"""Tokens whose gradients are looked at, of all processes together; whole batches, at least one of each."""

MOST_OUTPUTS = 2048
"""Outputs that one matrix is for; a layer of more has several."""

HEAD_TOKENS = 256
"""Tokens whose logits exist at a time."""


@torch.no_grad()
def stream_gradients(
    skeleton: Skeleton, rotation: Tensor | None, floats: Sequence[Tensor], seed: int
) -> list[list[Tensor]]:
    """g_i of the first tokens behind every block, batch by batch `[b, L, D]`, in the basis of the rotated stream.

    Args:
        skeleton: with its front folded.
        rotation: R of the residual stream, or None.
        floats: the float stream before the first block, batch by batch; the first `FELT_TOKENS` tokens are used.
        seed: of the draws; every sample has its own, whichever process holds it.
    """
    kept = [_few(floats)]
    for index in range(skeleton.blocks):
        kept.append(skeleton.run(float_block(skeleton, index, rotation), index, kept[-1]))
    kept[-1] = _at_head(skeleton, rotation, kept[-1], seed)
    for index in range(skeleton.blocks - 1, 0, -1):
        block = float_block(skeleton, index, rotation)
        # What a block was given is needed for the last time: its place is the gradient's.
        for place, hidden in enumerate(kept[index]):
            kept[index][place] = _pulled_back(skeleton, index, block, hidden, kept[index + 1][place], [])[0]
    return kept[1:]


@torch.no_grad()
def layer_sensitivity(
    skeleton: Skeleton, index: int, block: nn.Module, floats: Sequence[Tensor], gradients: Sequence[Tensor]
) -> dict[str, tuple[Tensor, ...]]:
    """G of the outputs of every linear layer of a block, in parts of at most `MOST_OUTPUTS` neighbours.

    Args:
        skeleton: the model.
        index: of the block.
        block: in float, after every step that keeps its function.
        floats: the float stream before it, batch by batch.
        gradients: g_i behind it of the first batches.

    Returns:
        By layer `[n, n]` float64 matrices, one behind the other down the diagonal.
    """
    names = skeleton.family.linears
    layers = [linear_of(block, name) for name in names]
    parts = {name: _parts(layer.out_features, skeleton.device) for name, layer in zip(names, layers, strict=True)}
    for hidden, behind in zip(floats, gradients, strict=False):
        _, *found = _pulled_back(skeleton, index, block, hidden, behind, layers)
        for name, gradient in zip(names, found, strict=True):
            flat = gradient.flatten(0, -2)
            for part, piece in zip(parts[name], flat.split(part_width(flat.shape[1]), 1), strict=True):
                part.add_(piece.T @ piece)
    reduce_sum(*(part for name in names for part in parts[name]))
    return parts


def part_width(outputs: int) -> int:
    """Outputs of one part of a layer: parts are as few as `MOST_OUTPUTS` lets them be, and as equal as they can."""
    return -(-outputs // -(-outputs // MOST_OUTPUTS))


def _parts(outputs: int, device: torch.device) -> tuple[Tensor, ...]:
    """Matrices of zeros, one for each part of a layer's outputs."""
    widths = [len(part) for part in torch.arange(outputs).split(part_width(outputs))]
    return tuple(torch.zeros(width, width, dtype=torch.float64, device=device) for width in widths)


def _few(floats: Sequence[Tensor]) -> list[Tensor]:
    """The first batches, up to this process's share of `FELT_TOKENS`."""
    tokens = floats[0].shape[:-1].numel() * world()
    return list(floats[: max(1, FELT_TOKENS // tokens)])


def _at_head(skeleton: Skeleton, rotation: Tensor | None, stream: Sequence[Tensor], seed: int) -> list[Tensor]:
    """Gradients of log p(y) at the stream behind the last block, y drawn from p."""
    family, source = skeleton.family, skeleton.source
    head, embedding = f"{family.head}.weight", f"{family.embeddings[0]}.weight"
    stored = source.tensor(embedding if source.head_is_embedding(head, embedding) else head)
    weight, norm = stored.to(skeleton.device, skeleton.dtype), skeleton.model.get_submodule(family.final_norm)
    sample, found = rank(), []
    for hidden in stream:
        with torch.enable_grad():
            leaf = hidden.detach().requires_grad_()
            read = cast(Tensor, norm(leaf if rotation is None else leaf @ rotation.T.to(leaf.dtype)))
        pulls = []
        for rows in read.detach():
            generator = torch.Generator(skeleton.device).manual_seed((seed * 1_000_003 + sample) % 2**31)
            pulls.append(_pull_of_draws(rows, weight, generator))
            sample += world()
        found.append(torch.autograd.grad(read, leaf, torch.stack(pulls))[0])
    return found


def _pull_of_draws(rows: Tensor, weight: Tensor, generator: torch.Generator) -> Tensor:
    """∂ log p(y) / ∂ of what the head reads, `[L, D]`, with p = softmax(rows Wᵀ): the row of y less the mean row."""
    pulls = []
    for few in rows.split(HEAD_TOKENS):
        probability = torch.softmax(few @ weight.T, -1)
        drawn = torch.multinomial(probability, 1, generator=generator)[:, 0]
        pulls.append(weight[drawn] - probability @ weight)
    return torch.cat(pulls)


def _pulled_back(
    skeleton: Skeleton, index: int, block: nn.Module, hidden: Tensor, gradient: Tensor, layers: Sequence[nn.Linear]
) -> list[Tensor]:
    """A gradient at the end of a block as it is at its begin, and at the outputs of some of its layers."""
    outputs: dict[int, Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda _module, _args, out, place=place: outputs.update({place: out}))
        for place, layer in enumerate(layers)
    ]
    try:
        # The plain form of attention: its backward adds in one order on every device.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            leaf = hidden.detach().requires_grad_()
            end = skeleton.call(block, index, leaf)
            return list(torch.autograd.grad(end, [leaf, *(outputs[place] for place in range(len(layers)))], gradient))
    finally:
        for handle in handles:
            handle.remove()
