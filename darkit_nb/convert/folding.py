"""Changes to a decoder's weights that leave its function as it is: the ground on which quantising gets easier.

Every function here takes one block (or what surrounds the blocks) of a float decoder and changes it in place. In exact
arithmetic the model's logits stay the same after each; in float64 they do to about 1e-12.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor, nn

from darkit_nb.convert.relations import Family, Widths
from darkit_nb.convert.rotation import per_head, rotate_inputs, rotate_outputs
from darkit_nb.convert.scaling import shared_among_heads, spread_to_heads
from darkit_nb.functional.rotation import block_rotation
from darkit_nb.nn.rotation import OnlineRotation, RangeCut

ROWS = 4096
"""Tokens of a vocabulary whose rows are folded at a time."""


def linear_of(block: nn.Module, name: str) -> nn.Linear:
    """The float linear layer of that name, also where an online rotation stands before it."""
    module = block.get_submodule(name)
    return cast(nn.Linear, module[1] if isinstance(module, nn.Sequential) else module)


def rotation_before(block: nn.Module, name: str) -> OnlineRotation | RangeCut | None:
    """What mixes or cuts the input of a float linear layer while the model runs, None where nothing does."""
    module = block.get_submodule(name)
    return cast("OnlineRotation | RangeCut", module[0]) if isinstance(module, nn.Sequential) else None


def _assign(layer: nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
    """New values; a bias where there was none before makes one."""
    layer.weight.data = weight.to(layer.weight.dtype)
    if bias is not None:
        value = bias.to(layer.weight.dtype)
        if layer.bias is None:
            layer.bias = nn.Parameter(value, requires_grad=False)
        else:
            layer.bias.data = value


def _wide(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().double()


# -- norms ---------------------------------------------------------------------------------------------------------


def fold_norm(norm: nn.Module, readers: Sequence[nn.Linear]) -> nn.Module:
    """Move a norm's gain and bias into the layers that read it; LayerNorm becomes RMSNorm, which it equals when its
    input has mean 0 (`centre_outputs`).

    Returns:
        The norm to use from now on, with gain 1.
    """
    gain = cast(Tensor, norm.weight).detach().double()
    bias = _wide(cast("Tensor | None", getattr(norm, "bias", None)))
    for layer in readers:
        weight = layer.weight.detach().double()
        shift = _wide(layer.bias)
        if bias is not None:
            shift = weight @ bias if shift is None else shift + weight @ bias
        _assign(layer, weight * gain, shift)
    if isinstance(norm, nn.LayerNorm):
        return rms_norm(norm)
    cast(Tensor, norm.weight).data.fill_(1.0)
    return norm


def rms_norm(norm: nn.LayerNorm) -> nn.RMSNorm:
    """The RMSNorm with gain 1 that stands in for a LayerNorm whose input has mean 0."""
    weight = norm.weight
    made = nn.RMSNorm(list(norm.normalized_shape), eps=norm.eps, device=weight.device, dtype=weight.dtype)
    return made.requires_grad_(False).train(norm.training)


def centre_outputs(layer: nn.Linear) -> None:
    """Let the outputs of a layer that writes into the residual stream have mean 0 over features."""
    weight, bias = layer.weight.detach().double(), _wide(layer.bias)
    _assign(layer, weight - weight.mean(0), None if bias is None else bias - bias.mean())


def centred_rows(table: Tensor) -> Tensor:
    """An embedding table whose rows have mean 0."""
    wide = table.double()
    return (wide - wide.mean(-1, keepdim=True)).to(table.dtype)


def fold_norms(block: nn.Module, family: Family) -> None:
    """`fold_norm` for both norms of a block, and centring of what it writes where norms subtract the mean."""
    for name, readers in family.norms:
        norm = fold_norm(block.get_submodule(name), [linear_of(block, reader) for reader in readers])
        block.set_submodule(name, norm)
    if family.centred:
        for writer in family.writers:
            centre_outputs(linear_of(block, writer))


# -- rotations -----------------------------------------------------------------------------------------------------


def rotate_residual(block: nn.Module, family: Family, rotation: Tensor) -> None:
    """Let a block read and write a rotated residual stream. Its norms must have been folded.

    Args:
        block: one decoder block.
        family: its relations.
        rotation: R `[D, D]`, the same for all blocks.
    """
    for _, readers in family.norms:
        for name in readers:
            layer = linear_of(block, name)
            _assign(layer, rotate_inputs(layer.weight.detach().double(), rotation), None)
    for name in family.writers:
        layer = linear_of(block, name)
        _assign(layer, *rotate_outputs(layer.weight.detach().double(), _wide(layer.bias), rotation))


def _value_rows(block: nn.Module, family: Family, widths: Widths) -> tuple[nn.Linear, slice]:
    layer = linear_of(block, family.value)
    return layer, slice(-widths.kv_heads * widths.head, None) if family.fused else slice(None)


def rotate_heads(block: nn.Module, family: Family, widths: Widths, rotations: Tensor) -> None:
    """Let each value head come out rotated, and the output layer read it so.

    Args:
        block: one decoder block.
        family: its relations.
        widths: its sizes.
        rotations: `[kv heads, K, K]`.
    """
    values, rows = _value_rows(block, family, widths)
    weight, bias = values.weight.detach().double(), _wide(values.bias)
    turned, shift = rotate_outputs(weight[rows], None if bias is None else bias[rows], rotations)
    weight[rows] = turned
    if bias is not None and shift is not None:
        bias[rows] = shift
    _assign(values, weight, bias)
    output = linear_of(block, family.output)
    heads = per_head(rotations, widths.heads)
    _assign(output, rotate_inputs(output.weight.detach().double(), heads), None)


def permute_hidden(block: nn.Module, family: Family, order: Tensor) -> None:
    """Put the hidden features of the MLP in another order, `[inner]`; exact for every activation."""
    for name in family.mlp_inputs:
        layer = linear_of(block, name)
        _assign(layer, layer.weight.detach()[order], None if layer.bias is None else layer.bias.detach()[order])
    down = linear_of(block, family.down)
    _assign(down, down.weight.detach()[:, order], None)


def rotate_online(block: nn.Module, name: str, rotation: OnlineRotation) -> None:
    """Put a rotation before a layer and undo it in the layer's weight."""
    layer = linear_of(block, name)
    _assign(layer, block_rotation(layer.weight.detach().double(), rotation.blocks, rotation.signs), None)
    block.set_submodule(name, nn.Sequential(rotation, layer))


# -- scales --------------------------------------------------------------------------------------------------------


def scale_norm(norm: nn.Module, readers: Sequence[nn.Linear], scale: Tensor) -> None:
    """Divide what a norm gives out by `scale` `[D]`, and multiply it into the layers that read it."""
    for part in (norm.weight, getattr(norm, "bias", None)):
        if isinstance(part, Tensor):
            part.data = (part.detach().double() / scale).to(part.dtype)
    for layer in readers:
        _assign(layer, layer.weight.detach().double() * scale, None)


def scale_values(block: nn.Module, family: Family, widths: Widths, scale: Tensor) -> None:
    """Divide value features by `scale` `[heads · K]`, made one per value head here, and undo it in the output layer."""
    shared = shared_among_heads(scale, widths.heads, widths.kv_heads)
    values, rows = _value_rows(block, family, widths)
    weight, bias = values.weight.detach().double(), _wide(values.bias)
    weight[rows] /= shared.unsqueeze(1)
    if bias is not None:
        bias[rows] /= shared
    _assign(values, weight, bias)
    output = linear_of(block, family.output)
    spread = spread_to_heads(shared, widths.heads, widths.kv_heads)
    _assign(output, output.weight.detach().double() * spread, None)


def scale_hidden(block: nn.Module, family: Family, scale: Tensor) -> None:
    """Divide hidden features by `scale` `[inner]` and multiply it into the last layer; only where that is exact."""
    if family.scaled_by is None:
        raise ValueError(f"the activation of {family.name} does not pass scales on")
    up, down = linear_of(block, family.scaled_by), linear_of(block, family.down)
    bias = _wide(up.bias)
    _assign(up, up.weight.detach().double() / scale.unsqueeze(1), None if bias is None else bias / scale)
    _assign(down, down.weight.detach().double() * scale, None)


# -- what surrounds the blocks -------------------------------------------------------------------------------------


def folded_table(table: Tensor, family: Family, rotation: Tensor) -> Tensor:
    """An embedding table that writes into the rotated residual stream."""
    return _by_rows(table, lambda rows: (centred_rows(rows) if family.centred else rows) @ rotation)


def folded_head(head: Tensor, gain: Tensor, bias: Tensor | None, rotation: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the head that reads the rotated stream behind a final norm whose gain and bias are folded.

    Args:
        head: `[V, D]`.
        gain: `[D]` of the final norm.
        bias: `[D]` of the final norm, None where it has none.
        rotation: R `[D, D]`.
    """
    wide_gain, wide_bias = gain.double(), _wide(bias)
    weight = _by_rows(head, lambda rows: rotate_inputs(rows * wide_gain, rotation))
    return weight, None if wide_bias is None else _by_rows(head, lambda rows: rows @ wide_bias)


def _by_rows(table: Tensor, fold: Callable[[Tensor], Tensor]) -> Tensor:
    """`fold` of a table with a row a token, in the table's dtype; the wide numbers of a few rows exist at a time."""
    first = fold(table[:ROWS].double()).to(table.dtype)
    made = first.new_empty(len(table), *first.shape[1:])  # filled in place: parts to be joined would lie here twice
    made[:ROWS] = first
    for start in range(ROWS, len(table), ROWS):
        made[start : start + ROWS] = fold(table[start : start + ROWS].double())
    return made
