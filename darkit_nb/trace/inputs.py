"""From what a person hands over to the arguments of a forward."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection, Iterator, Mapping
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
        ShapeError: no tensor in it, a text without a tokenizer, or tensors without values for a model with weights.
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
    if "use_cache" in _accepted(model):
        kwargs.setdefault("use_cache", False)
    device = device_of(model)
    return tuple(_moved(each, device) for each in args), {name: _moved(each, device) for name, each in kwargs.items()}


def fresh(arguments: Arguments) -> Arguments:
    """The same for one more forward, which may write into it: tensors, caches and the like are copies."""
    known: dict[int, Any] = {}
    return _copied(arguments[0], known), _copied(arguments[1], known)


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


def _accepted(model: nn.Module) -> Collection[str]:
    """Names of the arguments of a forward; none where it does not tell."""
    try:
        return inspect.signature(model.forward).parameters
    except (TypeError, ValueError):
        return ()


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        if value.is_meta and device.type != "meta":
            raise ShapeError(
                "The inputs lie on the meta device and have no values, the model has weights.",
                expected=f"tensors with values, for a model on {device}",
                received=f"a tensor of shape {tuple(value.shape)} on meta",
                fix='make the inputs on the CPU; or move the model too, model.to("meta"), to see shapes only',
            )
        return value.to(device)
    if type(value) in (tuple, list):
        return type(value)(_moved(each, device) for each in value)
    if type(value) is dict:
        return {key: _moved(each, device) for key, each in value.items()}
    return value


def _copied(value: Any, known: dict[int, Any]) -> Any:
    """A copy; what was the same object before is the same one after."""
    if id(value) not in known:
        known[id(value)] = _copy(value, known)
    return known[id(value)]


def _copy(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, Tensor):
        copied = value.detach().clone()
        return copied.requires_grad_() if value.requires_grad else copied
    if type(value) in (tuple, list):
        return type(value)(_copied(each, known) for each in value)
    if type(value) is dict:
        return {key: _copied(each, known) for key, each in value.items()}
    if isinstance(value, nn.Module) or callable(value):
        return value
    # deepcopy refuses tensors that autograd made, as in a cache that was filled with gradients on.
    tensors = {id(tensor): _copied(tensor, known) for tensor in _within(value, set())}
    try:
        return copy.deepcopy(value, tensors)
    except Exception:  # noqa: BLE001 - what cannot be copied is handed over as it is
        return value


def _within(value: Any, met: set[int]) -> Iterator[Tensor]:
    """Every tensor that an object holds, however deep."""
    if isinstance(value, Tensor):
        yield value
    elif id(value) not in met and not isinstance(value, type | nn.Module):
        met.add(id(value))
        inside = list(value.values()) if isinstance(value, Mapping) else []
        inside += value if isinstance(value, list | tuple | set) else []
        for each in (*inside, *getattr(value, "__dict__", {}).values()):
            yield from _within(each, met)
