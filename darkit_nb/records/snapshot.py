"""The spikes of one text, layer by layer: what a raster draws. NumPy only, so a notebook without torch can read it.

Axes: `L` tokens, `D` features, `S` spike steps, `H` heads (1 for a linear layer), `G` range groups (1, or 2 = normal,
salient).
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from darkit_nb.errors import RunError
from darkit_nb.records.activity import LayerKind
from darkit_nb.records.spike_spec import Coding, Ranges, code_cap

SCHEMA = 1
_KEY = "darkit_spikes"
_PLAIN = ("name", "kind", "num_levels", "num_steps", "coding", "ranges", "signed")
_ARRAYS = ("counts", "scale", "zero_point", "membrane")

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerSpikes:
    """What one layer received for every token of a text, as spikes.

    Attributes:
        name: dotted name of the layer in the model.
        kind: "linear", or the key or value side of the attention product.
        counts: `[L, D]` integers, spikes a feature sent for a token; heads one after another.
        num_levels: Q, levels of one spike.
        num_steps: S, steps of a salient feature.
        coding: rate, radix or paper.
        ranges: shared or own range of salient features.
        signed: whether spikes carry a sign.
        salient: bool `[D]`, the features with all S steps; None where none has more than one.
        scale: float32 `[L, H, G]`, the membrane potential that one count stands for: the threshold.
        zero_point: int32 `[L, H, G]`, the count of a membrane at 0.
        membrane: float16 `[L, D]`, the input the neuron received, clipped to what float16 holds.
    """

    name: str
    kind: LayerKind
    counts: Array
    num_levels: int
    num_steps: int
    coding: Coding
    ranges: Ranges
    signed: bool
    salient: Array | None
    scale: Array
    zero_point: Array
    membrane: Array

    @property
    def tokens(self) -> int:
        """L, tokens of the text."""
        return self.counts.shape[0]

    @property
    def features(self) -> int:
        """D, features of all heads together."""
        return self.counts.shape[1]

    @property
    def heads(self) -> int:
        """H, heads with a range of their own; 1 for a linear layer."""
        return self.scale.shape[1]

    @property
    def steps(self) -> int:
        """Spike steps that can be drawn: S, or 1 where no feature has more."""
        return self.num_steps if self.salient is not None else 1

    @property
    def cap(self) -> int:
        """Largest count of a feature that gets all steps."""
        return code_cap(self.num_levels, self.steps, self.coding)

    @property
    def steps_per_feature(self) -> Array:
        """Slots each feature has for a token, `[D]`: S where it is salient, else 1."""
        if self.salient is None:
            return np.ones(self.features, dtype=np.int64)
        return np.where(self.salient, self.num_steps, 1)

    def per_feature(self, grouped: Array) -> Array:
        """Spread a `[L, H, G]` value over features, `[L, D]`."""
        width = self.features // self.heads
        normal = np.repeat(grouped[..., 0], width, axis=1)
        return normal if self.salient is None else np.where(self.salient, np.repeat(grouped[..., 1], width, 1), normal)

    def charge(self) -> Array:
        """membrane / scale + zero point, float32 `[L, D]`: the neuron's input in units of its threshold.

        Rounded and clamped this is the count, up to the float16 of the stored membrane.
        """
        return self.membrane.astype(np.float32) / self.per_feature(self.scale) + self.per_feature(self.zero_point)

    def planes(self) -> Array:
        """Spikes step by step, `[S, L, D]`: the same integers as `SpikeCode.planes`, whose docstring has the law."""
        magnitude = np.abs(self.counts.astype(np.int32))
        step = np.arange(self.steps, dtype=np.int32)[:, None, None]
        top = self.num_levels - 1
        if self.coding == "radix":
            spikes = magnitude // self.num_levels ** (self.steps - 1 - step) % self.num_levels
        else:
            spikes = np.clip(magnitude - step * top, 0, top)
        if not self.signed:
            return spikes.astype(np.uint8)
        return (spikes * np.sign(self.counts)).astype(np.int8 if top <= 127 else np.int16)

    @cached_property
    def _active(self) -> Array:
        return (self.planes() != 0).sum(0, dtype=np.int64)

    @property
    def firing_rate(self) -> float:
        """Share of (token, feature, step) slots that hold a spike."""
        return float(self._active.sum() / (self.tokens * self.steps_per_feature.sum()))

    def token_rates(self) -> Array:
        """The firing rate of each token, float64 `[L]`."""
        return self._active.sum(1) / self.steps_per_feature.sum()


@dataclass(frozen=True, eq=False)
class SpikeSnapshot:
    """A text seen through a spiking model.

    Attributes:
        text: what was given to the model.
        tokens: text of each token, L of them; "" where a character only ends in a later token.
        step: training step of the weights, or None where it is not known.
        layers: the layers, in the order of the model.
    """

    text: str
    tokens: tuple[str, ...]
    step: int | None
    layers: tuple[LayerSpikes, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(layer.name for layer in self.layers)

    def layer(self, name: str) -> LayerSpikes:
        """The layer of that name.

        Raises:
            RunError: there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        near = difflib.get_close_matches(name, self.names, 1) or list(self.names[:1])
        raise RunError(
            "This snapshot has no such layer.",
            expected=f"one of its {len(self.layers)} layers" + (f", as {near[0]}" if near else ""),
            received=name,
            fix="choose a name from snapshot.names, or probe again with that layer",
        )

    @property
    def firing_rate(self) -> float:
        """Share of the slots of all layers that hold a spike; 0 without layers."""
        active = sum(int(layer._active.sum()) for layer in self.layers)
        slots = sum(layer.tokens * int(layer.steps_per_feature.sum()) for layer in self.layers)
        return active / max(1, slots)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file; readers see it whole or not at all.

        Raises:
            RunError: the file cannot be written.
        """
        path = Path(path)
        arrays: dict[str, Array] = {}
        for index, layer in enumerate(self.layers):
            for name in _ARRAYS:
                arrays[f"{index}.{name}"] = np.ascontiguousarray(getattr(layer, name))
            if layer.salient is not None:
                arrays[f"{index}.salient"] = np.ascontiguousarray(layer.salient)
        described = [{name: getattr(layer, name) for name in _PLAIN} for layer in self.layers]
        facts = {"schema": SCHEMA, "text": self.text, "tokens": self.tokens, "step": self.step, "layers": described}
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            save_file(arrays, draft, metadata={_KEY: json.dumps(facts)})
            draft.replace(path)
        except (OSError, SafetensorError) as error:
            draft.unlink(missing_ok=True)
            raise RunError(
                f"The spikes could not be written to {path}.",
                expected="a folder this user may write to, with free space",
                received=str(error),
                fix="free some space, or choose another folder",
            ) from error

    @classmethod
    def load(cls, path: str | Path) -> SpikeSnapshot:
        """Read what `save` wrote.

        Raises:
            RunError: no such file, a damaged one, one of a newer version, or not a snapshot.
        """
        path = Path(path)
        try:
            # Read as bytes that are ours: a file that is replaced meanwhile must not change under a mapped array.
            with safe_open(path, framework="np") as file:
                facts = json.loads((file.metadata() or {}).get(_KEY, "null"))
                _check_schema(path, facts)
                arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            layers = tuple(_layer(index, plain, arrays) for index, plain in enumerate(facts["layers"]))
            snapshot = cls(facts["text"], tuple(facts["tokens"]), facts["step"], layers)
            _check_shapes(snapshot)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path.name} is not a readable spike snapshot.",
                expected="a file written by SpikeSnapshot.save",
                received=f"{type(error).__name__}: {error}",
                cause="it is missing, was cut off while copying, or is another safetensors file",
                fix="probe the text again",
            ) from error
        return snapshot


def _check_schema(path: Path, facts: Any) -> None:
    if not isinstance(facts, dict):
        raise ValueError("a safetensors file without spikes in its metadata")
    if facts["schema"] > SCHEMA:
        raise RunError(
            f"{path.name} was written by a newer version of this package.",
            expected=f"schema {SCHEMA} or older",
            received=f"schema {facts['schema']}",
            fix="upgrade: pip install -U darkit-nb; or probe the text again with this version",
        )


def _layer(index: int, plain: Mapping[str, Any], arrays: Mapping[str, Array]) -> LayerSpikes:
    own: dict[str, Any] = {name: plain[name] for name in _PLAIN}
    own |= {name: arrays[f"{index}.{name}"] for name in _ARRAYS}
    return LayerSpikes(**own, salient=arrays.get(f"{index}.salient"))


def _check_shapes(snapshot: SpikeSnapshot) -> None:
    for layer in snapshot.layers:
        shape = (len(snapshot.tokens), layer.counts.shape[-1])
        groups = (shape[0], layer.scale.shape[1], 1 if layer.salient is None else 2)
        found = (layer.counts.shape, layer.membrane.shape, layer.scale.shape, layer.zero_point.shape)
        if found != (shape, shape, groups, groups) or shape[1] % groups[1]:
            raise ValueError(f"{layer.name}: arrays of the shapes {found} for {shape[0]} tokens")
        if layer.salient is not None and layer.salient.shape != shape[1:]:
            raise ValueError(f"{layer.name}: a salient mask of {layer.salient.shape} for {shape[1]} features")
