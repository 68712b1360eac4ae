"""A key/value cache of transformers that holds codes: packed spike counts, a scale and a zero point a token and head.

`SpikeCodeLayer` and `SpikeCodeSlidingLayer` are cache layers of transformers that encode what they are given and hand
out `CodedStates`, tensors that are codes inside: the spiking attention function reads the codes, and anybody else sees
the values they stand for. A hook of every attention module with spiking keys puts such a layer into the cache it is
given, as long as that place is empty: `generate`, a forward with `use_cache=True` and a `DynamicCache()` of your own
all get it. Caches that are filled already, static ones and those a gradient goes through keep float states, which are
encoded at every use: the same result, more memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    EncoderDecoderCache,
)

from darkit_nb.errors import ModelError
from darkit_nb.functional.packed_spikes import PackedSpikes, SpikeLayout, pack_spikes
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.spike_linear import neuron_settings
from darkit_nb.nn.gif import GIF
from darkit_nb.ops.gif import gif_encode

_aten = torch.ops.aten
_ALONG_TOKENS = {_aten.slice.Tensor, _aten.index_select.default, _aten.clone.default, _aten.detach.default}
"""Operations that leave heads and features as they are, as long as their axis is 0 or 2."""


class CodedStates(Tensor):
    """Keys or values `[B, H, L, K]` held as packed spikes.

    Concatenating, slicing and selecting batches or tokens, and moving to another device, give `CodedStates` again. Any
    other operation computes with the values the codes stand for.

    Attributes:
        packed: the codes.
    """

    packed: PackedSpikes

    @staticmethod
    def __new__(cls, packed: PackedSpikes, dtype: torch.dtype) -> CodedStates:
        """`dtype` is that of the values."""
        made = torch.Tensor._make_wrapper_subclass(cls, packed.shape, dtype=dtype, device=packed.low.device)
        made.packed = packed
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Codes where the operation allows it, values otherwise."""
        kwargs = kwargs or {}
        found = _on_codes(func, args, kwargs)
        if found is not None:
            return found
        return func(*_as_values(args), **{name: _as_values(value) for name, value in kwargs.items()})

    def code(self) -> SpikeCode:
        """The spikes, unpacked."""
        return self.packed.unpack()

    def decoded(self) -> Tensor:
        """What the spikes stand for, a usual tensor."""
        return self.code().dequantise().to(self.dtype)

    def __repr__(self, *, tensor_contents: object = None) -> str:
        """Shape and bytes; the values would be a computation."""
        return f"CodedStates({list(self.shape)}, {self.dtype}, {self.packed.nbytes} bytes)"


def _as_values(value: Any) -> Any:
    if isinstance(value, CodedStates):
        return value.decoded()
    return type(value)(_as_values(each) for each in value) if isinstance(value, list | tuple) else value


def _on_codes(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> CodedStates | None:
    """The result as codes, or None where it cannot be one."""
    if func is _aten.cat.default:
        return _joined(args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0))
    states = args[0] if args else None
    if not isinstance(states, CodedStates):
        return None
    if func is _aten._to_copy.default:
        device, dtype = kwargs.get("device"), kwargs.get("dtype") or states.dtype
        blocking = not kwargs.get("non_blocking", False)
        moved = states.packed.each(lambda part: part.to(device or part.device, non_blocking=not blocking, copy=True))
        return CodedStates(moved, dtype)
    axis = args[1] if len(args) > 1 and isinstance(args[1], int) else kwargs.get("dim", 0)
    if func not in _ALONG_TOKENS or axis % 2:
        return None
    return CodedStates(states.packed.each(lambda part: func(part, *args[1:], **kwargs)), states.dtype)


def _joined(pieces: Sequence[Any], axis: int) -> CodedStates | None:
    if not all(isinstance(piece, CodedStates) for piece in pieces) or axis % 2:
        return None
    first = pieces[0]
    columns = zip(*(piece.packed.parts for piece in pieces), strict=True)
    low, high, scale, zero = (None if column[0] is None else torch.cat(column, axis) for column in columns)
    packed = PackedSpikes(cast(Tensor, low), high, cast(Tensor, scale), zero, first.packed.layout)
    return CodedStates(packed, first.dtype)


class _Coded:
    """What both kinds of layers share: they encode what comes in. The rest is the work of `CodedStates`."""

    def _take(self, keys: GIF, values: GIF) -> None:
        self.neurons = (keys, values)
        self._layouts: list[SpikeLayout | None] = [None, None]
        self._masks = [None if neuron.mask is None else neuron.mask.clone() for neuron in self.neurons]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Begin with no token."""
        super().lazy_initialization(key_states, value_states)  # pyright: ignore[reportAttributeAccessIssue]
        self.keys, self.values = (
            self._encoded(index, states[..., :0, :]) for index, states in enumerate((key_states, value_states))
        )

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Encode new tokens `[B, H, L, K]`; all tokens in sight, as `CodedStates`.

        Raises:
            ModelError: a gradient is to go through them.
        """
        if torch.is_grad_enabled() and (key_states.requires_grad or value_states.requires_grad):
            raise ModelError(
                "A cache of codes carries no gradient.",
                expected="no gradients while tokens are added to a cache that was filled without",
                received="keys or values that require one",
                fix="run under torch.no_grad(), or begin a new cache where gradients are on",
            )
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        states = (self._encoded(index, each) for index, each in enumerate((key_states, value_states)))
        return super().update(*states, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    @torch.no_grad()
    def _encoded(self, index: int, states: Tensor) -> CodedStates:
        # The mask is that of the first token: a choice of salient features made meanwhile is for the next cache.
        neuron = self.neurons[index]
        settings = {"salient": self._masks[index], "backend": neuron.spec.backend, **neuron_settings(neuron.spec)}
        code = gif_encode(neuron.turned(states.detach()), **settings)
        packed = pack_spikes(code, self._layouts[index])
        self._layouts[index] = packed.layout
        return CodedStates(packed, states.dtype)

    def reset(self) -> None:
        """Forget all tokens."""
        self.keys = self.values = None
        self.is_initialized = False
        self._take(*self.neurons)
        if hasattr(self, "cumulative_length"):
            self.cumulative_length = 0

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every sequence `repeats` times."""
        if self.get_seq_length() > 0:  # pyright: ignore[reportAttributeAccessIssue]
            sequences = torch.arange(self.keys.shape[0], device=self.keys.device)  # pyright: ignore[reportOptionalMemberAccess]
            self.batch_select_indices(sequences.repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only these sequences, in this order."""
        for name in ("keys", "values"):
            states = getattr(self, name)
            if states is not None:
                wanted = torch.arange(states.shape[0], device=states.device)[indices]
                setattr(self, name, states.index_select(0, wanted))


class SpikeCodeLayer(_Coded, DynamicLayer):
    """A growing cache layer that holds packed codes.

    Args:
        keys: the neuron of the keys.
        values: the neuron of the values.
    """

    def __init__(self, keys: GIF, values: GIF) -> None:
        super().__init__()
        self._take(keys, values)


class SpikeCodeSlidingLayer(_Coded, DynamicSlidingWindowLayer):
    """The same, of which the tokens of a sliding window stay.

    Args:
        keys: the neuron of the keys.
        values: the neuron of the values.
        sliding_window: in tokens.
    """

    def __init__(self, keys: GIF, values: GIF, sliding_window: int) -> None:
        super().__init__(sliding_window=sliding_window)
        self._take(keys, values)


def hold_codes(keys: GIF, values: GIF, cache: Any, index: int) -> None:
    """Let the layer `index` of a cache hold codes from now on, if it is a growing one that holds nothing yet."""
    if isinstance(cache, EncoderDecoderCache):
        cache = cache.self_attention_cache
    if type(cache) is not DynamicCache or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return
    if cache.layer_class_to_replicate is DynamicLayer:
        while len(cache.layers) <= index:
            cache.layers.append(DynamicLayer())
    if index >= len(cache.layers):
        return
    layer = cache.layers[index]
    if getattr(layer, "is_initialized", True):
        return
    if type(layer) is DynamicLayer:
        cache.layers[index] = SpikeCodeLayer(keys, values)
    elif type(layer) is DynamicSlidingWindowLayer:
        made = SpikeCodeSlidingLayer(keys, values, layer.sliding_window)
        if hasattr(layer, "record_past"):  # not in the oldest transformers we take
            made.record_past = layer.record_past
        cache.layers[index] = made


def cache_bytes(cache: Cache) -> int:
    """Bytes of all keys and values a cache holds."""
    total = 0
    for layer in cache.layers:
        for states in (getattr(layer, "keys", None), getattr(layer, "values", None)):
            if isinstance(states, CodedStates):
                total += states.packed.nbytes
            elif isinstance(states, Tensor):
                total += states.numel() * states.element_size()
    return total
