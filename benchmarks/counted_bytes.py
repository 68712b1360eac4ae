"""Bytes each operation has to move at least: every input read once, every result written once.

These are the formulas of `kernels/README.md`; a row's fraction of the limit is the time a copy takes for so many bytes,
divided by the time measured. `x` is the size of one element of the input in bytes.

Axes: `S` steps, `N` neurons, `R` rows (tokens), `D` features, `G` range groups (1, or 2 with salient features).
"""

from __future__ import annotations

from math import ceil


def copy(elements: int, x: int) -> int:
    """A copy of the input: read and written."""
    return 2 * elements * x


def neuron_forward(steps: int, neurons: int, x: int, *, spike_bits: int) -> int:
    """Read S·N inputs, write S·N spikes (8·x bits in the dtype of the input, 8 as bytes, 1 as bits) and N membranes."""
    return steps * neurons * x + steps * ceil(neurons * spike_bits / 8) + 4 * neurons


def neuron_backward(steps: int, neurons: int, x: int) -> int:
    """Read S·N inputs and gradients of spikes, write S·N gradients; the membrane is computed again."""
    return 3 * steps * neurons * x


def token_bytes(rows: int, groups: int) -> int:
    """Scale (float32) and zero point (int32) of every token and group."""
    return 8 * rows * groups


def quantise_forward(rows: int, features: int, x: int, *, count_bits: int, groups: int = 1) -> int:
    """Read the tokens once, write counts, scales and zero points."""
    return rows * features * x + rows * ceil(features * count_bits / 8) + token_bytes(rows, groups)


def quantise_backward_clipped(rows: int, features: int, x: int) -> int:
    """Read the gradient and one bit a feature, write the gradient."""
    return 2 * rows * features * x + rows * ceil(features / 8)


def quantise_backward_range(rows: int, features: int, x: int, *, groups: int = 1) -> int:
    """Read gradient and tokens, write the gradient; scale and zero point of every token."""
    return 3 * rows * features * x + token_bytes(rows, groups)


def product_epilogue(rows: int, outputs: int, y: int) -> int:
    """Read the sums (int32), write the outputs; what belongs to an output or a token alone is not counted."""
    return rows * outputs * (4 + y)


def linear_weights(outputs: int, features: int, *, weight_bits: int, group_size: int | None = None) -> int:
    """Codes and scales (float32) of a weight: what decoding one token reads."""
    return outputs * ceil(features * weight_bits / 8) + 4 * outputs * (ceil(features / group_size) if group_size else 1)


def attention_codes(tokens: int, heads: int, width: int, *, count_bits: int, salient: int = 0, groups: int = 1) -> int:
    """Keys and values of a cache of codes: low bits, a byte a salient feature, one scale, zero points in bytes."""
    return 2 * tokens * (heads * (ceil(width * count_bits / 8) + 4 + groups) + salient)
