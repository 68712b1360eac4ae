"""Compare what a module returned before an edit and after it: structure, shapes, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darkit_nb.trace.values import tensors_in


@dataclass(frozen=True)
class Difference:
    """The first thing that is not as before.

    Attributes:
        check: "shape", "dtype", "device" or "output".
        where: place in the output, as `output[0]`.
        expected, received: in words.
    """

    check: str
    where: str
    expected: str
    received: str


def difference(before: Any, after: Any, where: str = "the output") -> Difference | None:
    """What the callers of a module would stumble over, if anything."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return _tensors(before, after, where)
    pairs = _pairs(before, after)
    if pairs is None:
        same = type(before) is type(after) or (isinstance(before, int | float) and isinstance(after, int | float))
        return None if same else Difference("output", where, told(before), told(after))
    if isinstance(pairs, str):
        return Difference("output", where, told(before), pairs)
    found = (difference(one, other, f"{where}{place}") for place, one, other in pairs)
    return next((each for each in found if each is not None), None)


def told(value: Any) -> str:
    """A value in a few words: shapes and dtypes of its tensors."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {_dtype(value)}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}: {', '.join(map(told, value))}"
    return "nothing (None)" if value is None else type(value).__name__


def finite(value: Any) -> bool:
    """Whether no number in it is infinite or NaN."""
    return all(bool(tensor.isfinite().all()) for _, tensor in tensors_in(value) if tensor.is_floating_point())


def has_nan(value: Any) -> bool:
    """Whether a number in it is NaN."""
    return any(bool(tensor.isnan().any()) for _, tensor in tensors_in(value) if tensor.is_floating_point())


def has_infinity(value: Any) -> bool:
    """Whether a number in it is infinite."""
    return any(bool(tensor.isinf().any()) for _, tensor in tensors_in(value) if tensor.is_floating_point())


def summed(value: Any) -> Tensor | None:
    """A scalar that depends on every number a gradient can flow from; None where none can.

    Fixed random weights, so that nothing cancels: the sum of a layer norm's output has no gradient.
    """
    generator = torch.Generator().manual_seed(0)
    total = None
    for _, tensor in tensors_in(value):
        if tensor.requires_grad and tensor.is_floating_point():
            part = (tensor.float() * torch.randn(tensor.shape, generator=generator)).sum()
            total = part if total is None else total + part
    return total


def _tensors(before: Tensor, after: Tensor, where: str) -> Difference | None:
    if before.shape != after.shape:
        return Difference("shape", where, str(list(before.shape)), str(list(after.shape)))
    if before.dtype != after.dtype:
        return Difference("dtype", where, _dtype(before), _dtype(after))
    if before.device.type != after.device.type:
        return Difference("device", where, before.device.type, after.device.type)
    return None


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _pairs(before: Any, after: Any) -> list[tuple[str, Any, Any]] | str | None:
    """Parts to compare one by one; words for what came instead where they cannot be; None where there are no parts."""
    if isinstance(before, Mapping):
        if not isinstance(after, Mapping) or list(before) != list(after):
            return told(after)
        return [(f"[{key!r}]", before[key], after[key]) for key in before]
    if isinstance(before, tuple | list):
        if not isinstance(after, tuple | list) or len(before) != len(after):
            return told(after)
        return [(f"[{place}]", one, other) for place, (one, other) in enumerate(zip(before, after, strict=True))]
    return None
