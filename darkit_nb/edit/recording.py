"""What the modules of a model are called with: kept to try an edited module alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from darkit_nb.edit.source import find_module, plain_module
from darkit_nb.errors import DarkitError, PatchError
from darkit_nb.trace.inputs import arguments_of, device_of
from darkit_nb.trace.untouched import untouched
from darkit_nb.trace.values import tensors_in

MOST_CALLS = 2
"""Calls of a module that are kept in one forward; a neuron in a loop over steps is called more often."""

MOST_BYTES = 2**28
MOST_TOKENS = 64
"""Tokens of a sequence, and `MOST_SEQUENCES` of them: a trial on a CPU has to be quick for a large model, too."""

MOST_SEQUENCES = 2
SAMPLE_TOKENS = 16


@dataclass(frozen=True)
class RecordedCall:
    """Arguments of one call, copied and detached."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """A module to try an edit on, alone.

    Attributes:
        module: as it is.
        calls: what it was called with.
        path: dotted path in its model.
        config: of its model, if it has one.
        arguments: of its constructor, where they are known: an edit may change `__init__`.
    """

    module: nn.Module
    calls: tuple[RecordedCall, ...]
    path: str = ""
    config: Any = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """Calls of modules in one forward of their model, by dotted path. A module that did not run has none."""

    calls: Mapping[str, tuple[RecordedCall, ...]]


def record_inputs(
    model: nn.Module,
    paths: str | Sequence[str],
    inputs: Any = None,
    *,
    tokenizer: Any = None,
    most_calls: int = MOST_CALLS,
    most_bytes: int = MOST_BYTES,
) -> Recording:
    """Run `model` once and keep what the modules at `paths` are called with. The model is left as it was.

    Neurons that keep their membrane begin at rest, and are given back the membrane they had.

    Args:
        model: whose modules they are.
        paths: dotted paths; "" is the model itself.
        inputs: as for `trace_model`; a few tokens where none are given. A batch of token ids is shortened.
        tokenizer: for a text.
        most_calls: calls kept of each module.
        most_bytes: what may be kept in all.

    Raises:
        PatchError: no such module, the model fails on the inputs by itself, or they are too large to be kept.
        ShapeError: no usable inputs.
    """
    model = plain_module(model)
    wanted = {path: find_module(model, path) for path in ([paths] if isinstance(paths, str) else paths)}
    args, kwargs = _shortened(*arguments_of(model, sample_inputs(model) if inputs is None else inputs, tokenizer))
    calls: dict[str, list[RecordedCall]] = {path: [] for path in wanted}
    with untouched(model):
        reset_neurons(model)
        with _listening(wanted, calls, most_calls, most_bytes):
            _run(model, args, kwargs)
    return Recording({path: tuple(each) for path, each in calls.items()})


def sample_inputs(model: nn.Module) -> Tensor:
    """Two sequences of a few tokens, for a model with a vocabulary.

    Raises:
        PatchError: it has none, so what it takes is not known.
    """
    config = getattr(model, "config", None)
    config = config.get_text_config() if isinstance(config, PretrainedConfig) else config
    vocabulary = getattr(config, "vocab_size", 0)
    if not vocabulary:
        raise PatchError(
            "The edit cannot be tried without inputs for the model.",
            expected="inputs=…, a tensor or a mapping of them",
            received=f"{type(model).__name__}, which has no vocabulary to take tokens from",
            fix="pass what the model's forward takes",
        )
    return torch.arange(2 * SAMPLE_TOKENS).remainder(vocabulary).view(2, SAMPLE_TOKENS)


def _shortened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A smaller batch, where it is one of token ids: these, and all that goes along with them."""
    ids = kwargs.get("input_ids", args[0] if args else None)
    if not isinstance(ids, Tensor) or ids.dtype != torch.long or ids.dim() != 2:
        return args, kwargs

    def cut(tensor: Tensor) -> Tensor:
        return tensor[:MOST_SEQUENCES, :MOST_TOKENS] if tensor.shape[:2] == ids.shape else tensor

    return mapped(args, cut), mapped(kwargs, cut)


def reset_neurons(model: nn.Module) -> None:
    """Put membranes to rest, in the neurons of the libraries that keep them inside the module."""
    for module in model.modules():
        for name in ("reset", "reset_mem"):
            # SpikingJelly keeps membranes under `_memories`, snnTorch says that it initialises them itself.
            keeps = hasattr(module, "_memories") or getattr(module, "init_hidden", False)
            if keeps and callable(getattr(module, name, None)):
                getattr(module, name)()
                break


def copied(value: Any) -> Any:
    """Nested containers again, with copies of their tensors."""
    return mapped(value, lambda tensor: tensor.detach().clone())


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Nested tuples, lists, mappings and dataclasses again, with every tensor changed. Other objects stay."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        inside = [mapped(each, change) for each in value]
        return type(value)(*inside) if hasattr(value, "_fields") else tuple(inside)
    if isinstance(value, list):
        return [mapped(each, change) for each in value]
    if type(value) is dict:
        return {key: mapped(each, change) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [info.name for info in dataclasses.fields(value) if info.init]
        return dataclasses.replace(value, **{name: mapped(getattr(value, name), change) for name in names})
    return value


def bytes_in(value: Any) -> int:
    """Size of the tensors in a value."""
    return sum(tensor.numel() * tensor.element_size() for _, tensor in tensors_in(value))


@contextmanager
def _listening(
    wanted: Mapping[str, nn.Module], calls: dict[str, list[RecordedCall]], most_calls: int, most_bytes: int
) -> Iterator[None]:
    left = most_bytes

    def before(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal left
            if len(calls[path]) == most_calls:
                return
            left -= bytes_in([args, kwargs])
            if left < 0:
                raise PatchError(
                    "The inputs of the modules to edit are too large to be kept.",
                    expected=f"at most {most_bytes / 2**20:,.0f} MB",
                    received=f"more than that at {path or 'the model'}",
                    fix="try the edit with a smaller batch or a shorter text",
                )
            calls[path].append(RecordedCall(copied(args), copied(kwargs)))

        return hook

    handles = [module.register_forward_pre_hook(before(path), with_kwargs=True) for path, module in wanted.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _run(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        model(*args, **kwargs)
    except DarkitError:
        raise
    except Exception as error:
        raise PatchError(
            "The model fails on these inputs as it is, before any edit.",
            expected=f"inputs that {type(model).__name__} takes, on {device_of(model)}",
            received=f"{type(error).__name__}: {str(error).strip()}",
            fix="give other inputs, or revert the last edit",
        ) from error
