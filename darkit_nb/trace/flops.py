"""Floating point operations while a model runs: PyTorch's counter, and formulas for what it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from darkit_nb.errors import ModelError

Shape = torch.Size | tuple[int, ...]


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _product(a: Shape, b: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Integer product `[M, K] · [K, N]`."""
    return 2 * prod(a) * b[-1]


def _matrix_vector(a: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * prod(a)


def _bias_matrix_vector(bias: Shape, a: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * prod(a)


def _packed_linear(x: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """A quantised linear layer, whose weight is packed and shows no shape."""
    return 2 * prod(x) * out_shape[-1]


def _lstm_layer(x: Shape, from_input: Shape, from_state: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """One direction of one layer: `[steps, batch, features]` through `[4H, features]` and `[4H, H]`."""
    return 2 * x[0] * x[1] * (prod(from_input) + prod(from_state))


def _formulas() -> dict[Any, Any]:
    aten = torch.ops.aten
    known = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_fused_attention_overrideable: _attention,
        aten._int_mm: _product,
        aten.mv: _matrix_vector,
        aten.addmv: _bias_matrix_vector,
        aten.mkldnn_rnn_layer: _lstm_layer,
    }
    for name in ("linear", "linear_relu", "linear_dynamic", "linear_relu_dynamic"):
        if hasattr(torch.ops.quantized, name):
            known[getattr(torch.ops.quantized, name)] = _packed_linear
    return known


class MetaAnswers(TorchDispatchMode):
    """On the meta device a tensor has no value. Where a model asks for a yes or no, the answer is yes."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            if args[0].dtype is not torch.bool:
                raise ModelError(
                    "This forward needs the value of a tensor, and the meta device has none.",
                    expected="a forward that depends on shapes only",
                    received=f"a number of type {args[0].dtype} that Python asked for",
                    fix="trace the model on the CPU; a smaller configuration of the same family shows the same tree",
                )
            self.answers += 1
            return True
        return func(*args, **(kwargs or {}))


class FlopMeter:
    """What was counted so far. Looking on may pause, for work whose operations are known and are told instead."""

    def __init__(self, counter: FlopCounterMode, meta: MetaAnswers) -> None:
        self._counter, self._meta = counter, meta
        self._told = 0
        self._paused = False

    @property
    def total(self) -> int:
        """Floating point operations, two for a multiply-accumulate."""
        return self._counter.get_total_flops() + self._told

    def tell(self, flops: int) -> None:
        """Count operations that were not looked at."""
        self._told += flops

    def pause(self, paused: bool) -> bool:
        """Stop looking at operations, or go on; whether it looks away now. Under a mode of somebody else it goes on."""
        counting: Any = self._counter.mode
        modes = (self._meta, counting)
        if paused and not self._paused and _get_current_dispatch_mode() is counting:
            for mode in reversed(modes):
                mode.__exit__(None, None, None)
            self._paused = True
        elif self._paused and not paused:
            for mode in modes:
                mode.__enter__()
            self._paused = False
        return self._paused

    @property
    def answers(self) -> int:
        """Questions for a value on the meta device that were answered yes."""
        return self._meta.answers


class _NoModules(nullcontext[None]):
    """Takes the place of PyTorch's own tracker of modules, which forbids `autograd.grad` inside a forward."""

    parents = frozenset({"Global"})


@contextmanager
def counting_flops() -> Iterator[FlopMeter]:
    """Count the products of everything that runs inside."""
    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    counter.mod_tracker = _NoModules()  # pyright: ignore[reportAttributeAccessIssue]
    with MetaAnswers() as meta, counter:
        meter = FlopMeter(counter, meta)
        try:
            yield meter
        finally:
            meter.pause(False)
