"""From what a person hands over to the arguments of a forward."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.errors import ShapeError
from darkit_nb.trace.values import tensors_in

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def arguments_of(model: nn.Module, inputs: Any, tokenizer: Any = None) -> Arguments:
    """Positional and named arguments for one forward, on the model's device.

    Args:
        model: whose forward it will be.
        inputs: a tensor, a tuple of positional arguments, a mapping of named ones, a pair (tuple, mapping) of both, or
            a text for `tokenizer`.
        tokenizer: of transformers, for a text.

    Raises:
        ShapeError: no tensor in it, or a text without a tokenizer.
    """
    if isinstance(inputs, str):
        args, kwargs = (), dict[str, Any](input_ids=_encode(inputs, tokenizer))
    elif isinstance(inputs, Mapping):
        args, kwargs = (), dict(inputs)
    elif _is_pair(inputs):
        args, kwargs = tuple(inputs[0]), dict(inputs[1])
    else:
        args, kwargs = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), {}
    if not any(True for _ in tensors_in([*args, kwargs])):
        raise ShapeError(
            "There is no tensor to run the model on.",
            expected="a tensor, a tuple or mapping of tensors, or a text together with a tokenizer",
            received=type(inputs).__name__,
            fix="for a language model: torch.zeros(1, 8, dtype=torch.long)",
        )
    accepted = inspect.signature(model.forward).parameters
    if "use_cache" in accepted:
        kwargs.setdefault("use_cache", False)
    device = device_of(model)
    return tuple(_moved(each, device) for each in args), {name: _moved(each, device) for name, each in kwargs.items()}


def device_of(model: nn.Module) -> torch.device:
    """Where the first parameter or buffer of a model lies; the CPU for one that has none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def token_count(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Tokens of the first tensor of token ids, None where there is none."""
    for _, tensor in tensors_in([*args, kwargs]):
        if tensor.dtype in (torch.long, torch.int) and tensor.dim() <= 2:
            return tensor.numel()
    return None


def _is_pair(inputs: Any) -> bool:
    return (isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[0], tuple | list)) and isinstance(
        inputs[1], Mapping
    )


def _encode(text: str, tokenizer: Any) -> Tensor:
    if tokenizer is None:
        raise ShapeError(
            "A text needs a tokenizer to become tokens.",
            expected="trace_model(model, text, tokenizer=tokenizer)",
            received="no tokenizer",
        )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise ShapeError("There is no token to run the model on.", expected="a text", received=repr(text))
    return torch.tensor([ids])


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if type(value) in (tuple, list):
        return type(value)(_moved(each, device) for each in value)
    if type(value) is dict:
        return {key: _moved(each, device) for key, each in value.items()}
    return value
