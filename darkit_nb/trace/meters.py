"""Seconds and bytes of every module, each in a forward of its own so that nothing else is measured."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from darkit_nb.trace.hooks import listening

REPEATS = 3
"""Forwards that are timed; the fastest of each module counts."""


def measure_seconds(model: nn.Module, forward: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Seconds of all calls of each module in one forward, submodules included; the least of several forwards."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    best: dict[str, float] = {}
    for _ in range(REPEATS):
        spent: dict[str, float] = {}
        started: list[tuple[str, float]] = []

        def before(path: str, started: list[tuple[str, float]] = started) -> None:
            started.append((path, now()))

        def after(path: str, started: list[Any] = started, spent: dict[str, float] = spent) -> None:
            own, start = started.pop()
            spent[own] = spent.get(own, 0.0) + now() - start

        _hooked(model, forward, before, after)
        best = {path: min(seconds, best.get(path, seconds)) for path, seconds in spent.items()}
    return best


def measure_memory(model: nn.Module, forward: Callable[[], object]) -> dict[str, int]:
    """Most bytes of tensors alive during a call of each module beyond those at its start. Also on the meta device."""
    ledger = _Ledger()
    peaks: dict[str, int] = {}
    opened: list[tuple[str, int, int]] = []

    def before(path: str) -> None:
        opened.append((path, ledger.alive, ledger.peak))
        ledger.peak = ledger.alive

    def after(path: str) -> None:
        own, start, earlier = opened.pop()
        peaks[own] = max(peaks.get(own, 0), ledger.peak - start)
        ledger.peak = max(ledger.peak, earlier)

    with ledger:
        _hooked(model, forward, before, after)
    return peaks


class _Ledger(TorchDispatchMode):
    """Bytes of the storages that were made and still live."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0
        self.peak = 0
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {id(each.untyped_storage()) for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        for tensor in pytree.tree_leaves(out):
            if isinstance(tensor, Tensor) and id(tensor.untyped_storage()) not in given:
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.alive -= size


def _hooked(
    model: nn.Module, forward: Callable[[], object], before: Callable[[str], None], after: Callable[[str], None]
) -> None:
    with listening(model.named_modules(), lambda path, *_: before(path), lambda path, *_: after(path)):
        forward()
