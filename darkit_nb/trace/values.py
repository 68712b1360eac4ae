"""The tensors in whatever a module takes or returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from darkit_nb.records.trace_node import TensorSpec

MOST = 64
"""Tensors that are looked at in one value; a cache of many layers has more and tells no more."""


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested tuples, lists, mappings and dataclasses, with the name it is found under."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from tensors_in(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple | list):
        for key, each in zip(getattr(value, "_fields", range(len(value))), value, strict=True):
            yield from tensors_in(each, f"{name}.{key}" if name else str(key))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for info in dataclasses.fields(value):
            yield from tensors_in(getattr(value, info.name), f"{name}.{info.name}" if name else info.name)


def specs_of(value: Any) -> tuple[TensorSpec, ...]:
    """Name, shape and dtype of the first tensors in a value."""
    found = []
    for name, tensor in tensors_in(value):
        if len(found) == MOST:
            break
        dtype = str(tensor.dtype).removeprefix("torch.")
        found.append(TensorSpec(" ".join(name.split()), tuple(map(int, tensor.shape)), dtype))
    return tuple(found)


def named_arguments(names: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call by the names the forward gives them."""
    own = {names[place] if place < len(names) else f"arg{place}": value for place, value in enumerate(args)}
    return {**own, **kwargs}
