"""Look at the numbers in a module's parameters without touching them, however large they are."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd, isinf
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from darkit_nb.nn.packed_linear import PackedLinear, PackedSpikeLinear
from darkit_nb.records.parameter_statistics import ParameterStatistics

MOST_VALUES = 2**20
"""Values that are counted; of larger tensors as many, spread evenly."""

BINS = 40
"""Bins of a histogram."""

_CHUNK = 2**24
_AS_THEY_ARE = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.int16)
_REDUCIBLE = {dtype: dtype for dtype in (*_AS_THEY_ARE, torch.int8, torch.uint8)}
_REDUCIBLE |= {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.float64}
"""The dtype a value is reduced in; others, of eight bits and less, in float32."""

_GOLDEN = 0.6180339887498949


@torch.no_grad()
def parameter_statistics(module: nn.Module) -> tuple[ParameterStatistics, ...]:
    """Statistics of the parameters and buffers that a module holds itself, without those of its submodules.

    Of a packed weight, whose bytes say little, the values it stands for come first. Nothing is changed and no random
    number is drawn.

    Args:
        module: any module; a container that holds none gives an empty tuple.
    """
    parameters = [_statistics(name, "parameter", each) for name, each in module.named_parameters(recurse=False)]
    buffers = [_statistics(name, "buffer", each) for name, each in module.named_buffers(recurse=False)]
    packed = isinstance(module, PackedLinear | PackedSpikeLinear)
    decoded = [_statistics("weight", "decoded", module.weight)] if packed else []
    return (*parameters, *decoded, *buffers)


def _statistics(name: str, role: Literal["parameter", "buffer", "decoded"], tensor: Tensor) -> ParameterStatistics:
    lazy = is_lazy(tensor)
    facts: dict[str, Any] = {
        "name": name,
        "role": role,
        "shape": () if lazy else tuple(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "device": str(tensor.device),
        "trainable": tensor.requires_grad,
    }
    reason = "its shape is decided by the first forward" if lazy else _no_values(tensor)
    if reason:
        return ParameterStatistics(**facts, reason=reason)
    try:
        figures = _figures(_plain(tensor.detach())) | _gradient(tensor)
    except (RuntimeError, NotImplementedError, TypeError) as error:  # a kind of tensor that torch cannot reduce
        reason = f"it cannot be read: {str(error).strip().splitlines()[0]}"
        return ParameterStatistics(**facts, reason=reason)
    return ParameterStatistics(**facts, **figures)


def _no_values(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "on the meta device there are no values"
    if not tensor.numel():
        return "it is empty"
    return "complex numbers have no order" if tensor.is_complex() else ""


def _plain(tensor: Tensor) -> Tensor:
    """The numbers a tensor stands for, in one that torch can reduce."""
    if tensor.is_quantized:
        return tensor.dequantize()
    if tensor.layout is not torch.strided:
        return tensor.to_dense()
    return tensor


def _figures(tensor: Tensor) -> dict[str, Any]:
    low, high, not_finite = _extremes(tensor)
    figures: dict[str, Any] = {"not_finite": not_finite}
    if low is None or high is None:
        return figures | {"reason": "none of its values is finite"}
    values = _spread(tensor).to(torch.float64)
    values = values[values.isfinite()]
    if not values.numel():
        return figures | {"reason": "none of the values looked at is finite", "minimum": low, "maximum": high}
    bins, edges = _bins(tensor, low, high)
    return figures | {
        "counted": values.numel(),
        "mean": _held(values.mean()),
        "std": _held(values.std(correction=0)),
        "minimum": low,
        "maximum": high,
        "zero_share": (values == 0).double().mean().item(),
        "histogram": tuple(int(count) for count in values.cpu().histc(bins, *edges).tolist()),
        "edges": edges,
    }


def _bins(tensor: Tensor, low: float, high: float) -> tuple[int, tuple[float, float]]:
    if not tensor.is_floating_point() and high - low < BINS:
        return int(high - low) + 1, (low - 0.5, high + 0.5)
    if low == high or isinf(high - low):
        return 1, (low - 0.5, high + 0.5)
    return BINS, (low, high)


def _held(value: Tensor) -> float | None:
    """A figure, unless it is beyond what a float holds."""
    return value.item() if value.isfinite() else None


def _extremes(tensor: Tensor) -> tuple[float | None, float | None, int]:
    """Least and greatest finite value, and how many values are not finite; of all of them."""
    lows, highs, not_finite = [], [], 0
    for chunk in _chunks(tensor):
        low, high = (value.double() for value in chunk.aminmax())
        if not (low.isfinite() and high.isfinite()):
            finite = chunk[chunk.isfinite()]
            not_finite += chunk.numel() - finite.numel()
            if not finite.numel():
                continue
            low, high = finite.aminmax()
        lows.append(low.item())
        highs.append(high.item())
    return (min(lows), max(highs), not_finite) if lows else (None, None, not_finite)


def _chunks(tensor: Tensor) -> Iterator[Tensor]:
    """Its values in pieces that bound the memory taken, in a dtype that can be reduced."""
    flat = tensor.flatten() if tensor.numel() <= _CHUNK or tensor.is_contiguous() else None
    rows = max(1, _CHUNK // max(1, tensor[0].numel())) if flat is None else _CHUNK
    for piece in (tensor if flat is None else flat).split(rows):
        yield piece.to(_REDUCIBLE.get(piece.dtype, torch.float32)).flatten()


def _spread(tensor: Tensor) -> Tensor:
    """At most `MOST_VALUES` values, evenly over all rows and columns; all of them where there are not more."""
    size = tensor.numel()
    if size <= MOST_VALUES:
        return tensor.flatten()
    # Steps of the golden ratio fall into no pattern with the sizes of the tensor, as equal steps would.
    step = int(size * _GOLDEN)
    while gcd(step, size) != 1:
        step += 1
    places = torch.arange(MOST_VALUES, device=tensor.device) * step % size
    return tensor.flatten()[places] if tensor.is_contiguous() else tensor[torch.unravel_index(places, tensor.shape)]


def _gradient(tensor: Tensor) -> dict[str, Any]:
    gradient = tensor.grad
    if gradient is None:
        return {}
    squares, not_finite = 0.0, 0
    for chunk in _chunks(_plain(gradient.detach())):
        norm = torch.linalg.vector_norm(chunk, dtype=torch.float64).item()
        if norm != norm or norm == float("inf"):
            finite = chunk[chunk.isfinite()]
            not_finite += chunk.numel() - finite.numel()
            norm = torch.linalg.vector_norm(finite, dtype=torch.float64).item()
        squares += norm**2
    return {"gradient_norm": squares**0.5, "gradient_not_finite": not_finite}
