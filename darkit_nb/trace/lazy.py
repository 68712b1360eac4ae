"""Modules that learn their shapes from the first input they see."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, is_lazy

from darkit_nb.trace.inputs import Arguments, fresh
from darkit_nb.trace.untouched import untouched


def is_waiting(model: nn.Module) -> bool:
    """Whether a parameter or buffer has no shape yet."""
    return any(map(is_lazy, (*model.parameters(), *model.buffers())))


def shaped(model: nn.Module, arguments: Arguments) -> nn.Module:
    """The model; or, where it waits for its first input, a copy that has seen it."""
    if not is_waiting(model):
        return model
    # deepcopy knows how to copy a parameter without a shape, and not a buffer
    waiting = {id(each): each for each in model.buffers() if isinstance(each, UninitializedBuffer)}
    make: Any = UninitializedBuffer
    copies = {key: make(device=each.device, dtype=each.dtype) for key, each in waiting.items()}
    own = copy.deepcopy(model, copies).eval()
    args, kwargs = fresh(arguments)
    # A first forward turns lazy modules into ordinary ones for good; what it may raise, the trace will raise again.
    with untouched(nn.Module()), torch.no_grad(), contextlib.suppress(Exception):
        own(*args, **kwargs)
    return own
