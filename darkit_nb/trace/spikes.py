"""Count the spikes of a running model, exactly and from the spikes' own metadata."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

import torch
from torch import Tensor, nn

from darkit_nb.errors import ModelError
from darkit_nb.functional.spike_code import SpikeCode, popcount
from darkit_nb.nn.gif import GIF, SpikeListener
from darkit_nb.nn.linear import SpikingLinear
from darkit_nb.records.activity import LayerActivity, LayerKind, SpikeReport
from darkit_nb.records.spike_spec import Coding
from darkit_nb.spikify import spiking_modules
from darkit_nb.spikify.attention import KEYS, VALUES
from darkit_nb.trace.attention import attending_queries, attention_window, sharing_heads

HISTOGRAM_BINS = 64
"""Most bins a record keeps; codes up to 63 have a bin each."""


@dataclass
class _Tally:
    """Running totals of one layer; `occurred` and `products` have one place for every count there can be."""

    code: SpikeCode
    occurred: Tensor  # how often each count was sent
    products: Tensor  # how many products each count took part in
    fired: Tensor  # bool, which features ever sent one
    slots: Tensor
    step_macs: Tensor
    tokens: int = 0

    @staticmethod
    def empty(code: SpikeCode, fired: Tensor) -> _Tally:
        """Nothing counted yet."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=code.counts.device)

        counts = code.cap + 1 + (code.cap if code.signed else 0)
        return _Tally(code, zeros(counts), zeros(counts), torch.zeros_like(fired), zeros(), zeros())


class SpikeRecorder:
    """Context manager that listens to every spiking module of a model.

        with SpikeRecorder(model) as recorder:
            model(input_ids)
        report = recorder.report()

    Listeners that were there before still hear every spike, and are alone again on exit. Every forward counts, also
    in training. For spiking keys and values the products counted are those of the forward that encoded them: each
    token with itself and every later token of its sequence, within the sliding window if there is one.

    Args:
        model: a spiking model.
        newest: every forward is of one new token of one text, behind those in the key/value cache. Then only the
            spikes of its own key and value count, and the products are those of its query with all keys in sight.

    Raises:
        ModelError: the model has no spiking module.
    """

    def __init__(self, model: nn.Module, *, newest: bool = False) -> None:
        self._newest = newest
        self._modules = spiking_modules(model)
        if not self._modules:
            raise ModelError(
                "This model has no spiking module, so there is nothing to count.",
                expected="a model made by spikify(model)",
                received=type(model).__name__,
                fix="call spikify(model, SpikeSpec()) first",
            )
        self._names = {id(module): name for name, module in self._modules.items()}
        self._attention = {
            name: (sharing_heads(model, name), attention_window(model, name))
            for name, module in self._modules.items()
            if layer_kind(module, name) in ("attention_key", "attention_value")
        }
        self._tallies: dict[str, _Tally] = {}
        self._before: dict[str, SpikeListener | None] = {}
        self._window = 0

    def __enter__(self) -> SpikeRecorder:
        for name, module in self._modules.items():
            self._before[name] = module.spike_listener
            module.spike_listener = self._hear
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, listener in self._before.items():
            self._modules[name].spike_listener = listener
        self._before.clear()

    def _hear(self, module: GIF, code: SpikeCode) -> None:
        name = self._names[id(module)]
        earlier = self._before.get(name)
        if earlier is not None:
            earlier(module, code)
        if code.counts.numel():
            self._count(name, module, code)

    @torch.no_grad()
    def _count(self, name: str, module: GIF, code: SpikeCode) -> None:
        lowest = -code.cap if code.signed else 0
        places = code.counts.to(torch.int64) - lowest
        fan_out = self._fan_out(name, module, places)
        steps = torch.as_tensor(code.steps_per_feature, device=places.device).expand(places.shape)
        # [*B, L, D] of a linear layer, [B, H, L, K] of keys and values
        sent, slots = (places[..., -1:, :], steps[..., -1:, :]) if self._newest else (places, steps)
        spiked = sent != -lowest
        fired = spiked.view(-1, places.shape[-1]).any(0) if fan_out.dim() == 1 else spiked.any(2).any(0).flatten()
        tally = self._tallies.setdefault(name, _Tally.empty(code, fired))
        tally.code = code
        tally.tokens += sent.numel() // fired.numel()
        occurred = torch.bincount(sent.flatten(), minlength=len(tally.occurred))
        tally.occurred += occurred
        if fan_out.dim() == 1:
            tally.products += occurred * fan_out
        else:
            # Weighted counts are summed in double, which is exact for integers below 2^53.
            weights = fan_out.expand(places.shape).flatten().double()
            tally.products += torch.bincount(places.flatten(), weights, minlength=len(occurred)).to(torch.int64)
        tally.fired |= fired
        tally.slots += slots.sum()
        tally.step_macs += (steps * fan_out).sum()
        self._window = max(self._window, places.shape[-2] if places.dim() > 1 else 1)

    def _fan_out(self, name: str, module: GIF, places: Tensor) -> Tensor:
        """Products each feature takes part in: `[1]` for a linear layer or a lone neuron, `[L, 1]` for keys, values."""
        if name not in self._attention:
            outputs = module.out_features if isinstance(module, SpikingLinear) else 0
            return torch.full((1,), outputs, device=places.device)
        sharing, window = self._attention[name]
        if self._newest:
            back = torch.arange(places.shape[-2] - 1, -1, -1, device=places.device)
            return (back < (window or len(back))).to(torch.int64).view(-1, 1) * sharing
        return attending_queries(places.shape[-2], window, places.device).view(-1, 1) * sharing

    def report(self) -> SpikeReport:
        """Everything counted so far."""
        layers = tuple(
            self._activity(name, self._modules[name], self._tallies[name])
            for name in self._modules
            if name in self._tallies
        )
        return SpikeReport(layers, max((layer.tokens for layer in layers), default=0), self._window)

    def _activity(self, name: str, module: GIF, tally: _Tally) -> LayerActivity:
        code, kind = tally.code, layer_kind(module, name)
        worth = _worth_of_counts(code)
        features = tally.fired.numel()
        sharing = self._attention[name][0] if name in self._attention else 0
        out_features = module.out_features if isinstance(module, SpikingLinear) else sharing
        lowest = -code.cap if code.signed else 0
        histogram, width = _binned(tally.occurred)
        return LayerActivity(
            name=name,
            kind=kind,
            in_features=features,
            out_features=out_features,
            heads=module.features[0] if name in self._attention else 1,
            tokens=tally.tokens,
            num_levels=code.num_levels,
            num_steps=code.num_steps if code.salient is not None else 1,
            coding=code.coding,
            ranges=code.ranges,
            signed=code.signed,
            salient_fraction=code.salient_fraction,
            weight_bits=module.spec.weight_bits if kind == "linear" else 16,
            spike_length_bits=code.spike_length_bits,
            code_bits=code.code_bits,
            slots=int(tally.slots),
            active_slots=_spent(worth.active, tally.occurred),
            active_by_step=tuple(_spent(step, tally.occurred) for step in worth.active_by_step),
            silent=int(tally.occurred[-lowest]),
            dead_features=int((~tally.fired).sum()),
            unary_events=_spent(worth.unary, tally.occurred),
            bitwise_events=_spent(worth.bitwise, tally.occurred),
            lost_counts=_spent(worth.lost, tally.occurred),
            histogram=histogram,
            histogram_start=lowest,
            histogram_width=width,
            dense_macs=int(tally.products.sum()),
            step_macs=int(tally.step_macs),
            effective_macs=_spent(worth.active, tally.products),
            ac_unary=_spent(worth.unary, tally.products),
            ac_bitwise=_spent(worth.bitwise, tally.products),
            weight_scales=_weight_scales(module),
            weight_columns=any(part.columns is not None for part in getattr(module, "parts", ())),
        )


def _weight_scales(module: GIF) -> int:
    """Scales of weights that one output of a layer has; 1 for a neuron, and for weights with one scale an output."""
    widths = [(part.columns or module.in_features, part.group_size) for part in getattr(module, "parts", ())]
    return sum(math.ceil(width / group) if group else 1 for width, group in widths) or 1


@dataclass(frozen=True)
class _Worth:
    """What every possible count costs, int64 `[counts]` each; `active_by_step` is `[S, counts]`."""

    active: Tensor
    active_by_step: Tensor
    unary: Tensor
    bitwise: Tensor
    lost: Tensor


def _worth_of_counts(code: SpikeCode) -> _Worth:
    steps = None if code.salient is None else code.num_steps
    return _worth(code.num_levels, steps, code.coding, code.signed, code.cap, code.counts.device)


@lru_cache(maxsize=64)
def _worth(num_levels: int, steps: int | None, coding: Coding, signed: bool, cap: int, device: torch.device) -> _Worth:
    """Encode every possible count once and read its spikes: `SpikeCode.planes` is the only law used."""
    lowest = -cap if signed else 0
    counts = torch.arange(lowest, cap + 1, dtype=torch.int32, device=device)
    every = SpikeCode(
        counts,
        torch.ones(1, device=device),
        torch.zeros(1, dtype=torch.int32, device=device),
        num_levels,
        steps or 1,
        coding,
        signed=signed,
        salient=None if steps is None else torch.ones_like(counts, dtype=torch.bool),
    )
    planes = every.planes().to(torch.int64)
    carried = sum(weight * plane for weight, plane in zip(every.plane_weights(), planes, strict=True))
    return _Worth(
        active=(planes != 0).sum(0),
        active_by_step=(planes != 0).to(torch.int64),
        unary=planes.abs().sum(0),
        bitwise=popcount(planes).sum(0, dtype=torch.int64),
        lost=(counts - carried).abs(),
    )


def _spent(worth: Tensor, times: Tensor) -> int:
    return int((worth * times).sum())


def _binned(occurred: Tensor) -> tuple[tuple[int, ...], int]:
    """At most `HISTOGRAM_BINS` equal bins of a power-of-two width, and that width."""
    width = 1
    while -(-occurred.numel() // width) > HISTOGRAM_BINS:
        width *= 2
    padded = torch.nn.functional.pad(occurred, (0, -occurred.numel() % width))
    return tuple(padded.view(-1, width).sum(1).tolist()), width


def layer_kind(module: GIF, name: str) -> LayerKind:
    """Whether a spiking module feeds a linear layer, is the key or value side of attention, or stands by itself."""
    if isinstance(module, SpikingLinear):
        return "linear"
    if name.endswith(KEYS):
        return "attention_key"
    return "attention_value" if name.endswith(VALUES) else "neuron"
