"""What a module that was built again keeps of its former life."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any
from weakref import ReferenceType

import torch
from torch import Tensor, nn

STORES = ("_parameters", "_buffers", "_modules")


def carry_over(old: Mapping[str, Any], reference: nn.Module, fresh: nn.Module) -> dict[str, set[str]]:
    """Put into `fresh` what still fits of a module's old attributes, the same objects.

    Args:
        old: `vars` of the living module before.
        reference: what the class built before the edit. What `old` has beyond it came after construction and stays;
            where `fresh` differs from it, the edit wants so.
        fresh: what the edited class built.

    Returns:
        Names that were kept, by store; plain ones under "attributes".
    """
    built, new = vars(reference), vars(fresh)
    kept = {store: set[str]() for store in STORES}
    for store, fits in (("_parameters", _same_place), ("_buffers", _same_state), ("_modules", _same_module)):
        for name, value in old[store].items():
            if name not in new[store]:
                stays = name not in built[store] and name not in new
            else:
                stays = fits(value, built[store].get(name), new[store][name])
            if stays:
                new[store][name] = value
                kept[store].add(name)
            elif store == "_modules" and name in new[store] and value is not None and new[store][name] is not None:
                _carry_inside(value, built[store].get(name), new[store][name])
    later = {name for name in old["_non_persistent_buffers_set"] if name not in built["_buffers"]}
    new["_non_persistent_buffers_set"] |= later & set(new["_buffers"])
    kept["attributes"] = _carry_attributes(old, built, new)
    if isinstance(fresh, nn.RNNBase):
        fresh._init_flat_weights()  # it holds its weights a second time
    for name in set(new["_modules"]) - kept["_modules"]:
        if new["_modules"][name] is not None:
            new["_modules"][name].train(new["training"])
    return kept


def _carry_inside(value: nn.Module, built: nn.Module | None, fresh: nn.Module) -> None:
    """The same, for a submodule that the edit builds differently."""
    if built is not None and type(built) is type(value):
        carry_over(vars(value), built, fresh)
        return
    for name, parameter in fresh._parameters.items():  # a layer of another kind: weights that fit move in
        if parameter is not None and _same_place(value._parameters.get(name), None, parameter):
            fresh._parameters[name] = value._parameters[name]


def _same_place(old: Tensor | None, built: Tensor | None, new: Tensor | None) -> bool:
    if old is None or new is None:
        return old is None and new is None
    return old.shape == new.shape


def _same_state(old: Tensor | None, built: Tensor | None, new: Tensor | None) -> bool:
    if old is None or new is None or old.shape != new.shape or old.dtype != new.dtype:
        return old is None and new is None
    return built is None or alike(built, new)


def _same_module(old: nn.Module | None, built: nn.Module | None, new: nn.Module | None) -> bool:
    if old is None or new is None:
        return old is None and new is None
    return built is not None and alike(built, new)


def _carry_attributes(old: Mapping[str, Any], built: Mapping[str, Any], new: dict[str, Any]) -> set[str]:
    """Attributes and hooks whose value the edit does not change, or that came after construction."""
    kept = set[str]()
    for name, value in old.items():
        if name in STORES or name == "_non_persistent_buffers_set" or any(name in new[store] for store in STORES):
            continue
        if name in new and name in built:
            stays = alike(built[name], new[name])
        else:
            stays = name not in new and name not in built
        if stays:
            new[name] = value
            kept.add(name)
    return kept


def alike(one: Any, other: Any, seen: set[tuple[int, int]] | None = None) -> bool:
    """Whether two values, as two runs of a constructor give them, mean the same."""
    seen = set() if seen is None else seen
    if one is other or (id(one), id(other)) in seen:
        return True
    if type(one) is not type(other):
        return False
    seen.add((id(one), id(other)))
    if isinstance(one, Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype
        return same and (isinstance(one, nn.Parameter) or one.is_meta or torch.equal(one, other))
    parts = _parts(one)
    if parts is not None:
        return _alike_all(parts, _parts(other) or (), seen)
    if type(one).__eq__ is not object.__eq__:
        with suppress(Exception):
            return bool(one == other)
    return False


def _parts(value: Any) -> tuple[Any, ...] | None:
    """What a value is made of, where that says what it means; None for a value that has to be compared itself."""
    if isinstance(value, Mapping):
        return (list(value), *value.values())
    if isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(value, FunctionType):  # the same text may be compiled twice
        code = value.__code__
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return code.co_code, code.co_names, repr(code.co_consts), value.__defaults__, cells
    if isinstance(value, MethodType):
        return (value.__func__,)
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if isinstance(value, ReferenceType):
        return (value(),)
    whole = isinstance(value, nn.Module) or type(value).__eq__ is object.__eq__
    return (vars(value),) if whole and hasattr(value, "__dict__") and not isinstance(value, type | ModuleType) else None


def _alike_all(ones: tuple[Any, ...], others: tuple[Any, ...], seen: set[tuple[int, int]]) -> bool:
    return len(ones) == len(others) and all(alike(one, other, seen) for one, other in zip(ones, others, strict=True))
