"""Linear layers that hold nothing but packed codes: what a conversion leaves of a layer.

`PackedLinear` multiplies floats with low-bit weights, `PackedSpikeLinear` spikes. Neither has a parameter: what is
packed is not trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from darkit_nb.errors import ShapeError
from darkit_nb.functional.packed import pack_codes, packed_bytes, unpack_codes
from darkit_nb.functional.spike_linear import neuron_settings
from darkit_nb.functional.weight import QuantisedWeight, WeightCode
from darkit_nb.nn.linear import SpikingLinear, watched
from darkit_nb.nn.shared_input import SharedInput
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops.gif import gif_quantise
from darkit_nb.ops.memory_state import State, same_state, state_of
from darkit_nb.ops.spike_product import Products, prepare_products
from darkit_nb.ops.weight_only import FloatProducts, prepare_float_products
from darkit_nb.records.spike_spec import SpikeSpec

BLOCK_ELEMENTS = 2**20
"""Weights whose values exist at a time where PyTorch alone multiplies float tokens."""


@dataclass(frozen=True)
class PackedPart:
    """Shape of one part of a packed weight: all there is to know before its tensors are loaded.

    Attributes:
        columns: how many features it holds, named one by one; None is all features as they lie.
        bits: 1 … 8, of a stored code.
        group_size: features that share a scale; None is one scale an output.
        spacing: distance between neighbouring codes (`functional.weight.WeightCode`).
    """

    columns: int | None
    bits: int
    group_size: int | None = None
    spacing: int = 1


@cache
def _names(index: int) -> tuple[str, ...]:
    """Of the tensors of a part."""
    return tuple(f"{name}_{index}" for name in ("packed", "scale", "zero", "columns"))


class _Packed(nn.Module):
    """Buffers of a packed weight: `packed_i`, `scale_i`, `zero_i` of part i; `columns_i` where columns are named."""

    parts: tuple[PackedPart, ...]
    in_features: int
    out_features: int
    bias: Tensor | None
    rotation: nn.Module | None

    def _add_buffers(self, parts: Sequence[PackedPart], bias: bool, rotation: nn.Module | None, device: Any) -> None:
        self.parts = tuple(parts)
        outputs = self.out_features

        def add(name: str, *shape: int, dtype: torch.dtype) -> None:
            self.register_buffer(name, torch.zeros(shape, dtype=dtype, device=device))

        for index, part in enumerate(self.parts):
            width = self.in_features if part.columns is None else part.columns
            groups = -(-width // part.group_size) if part.group_size else 1
            add(f"packed_{index}", outputs, packed_bytes(width, part.bits), dtype=torch.uint8)
            add(f"scale_{index}", outputs, groups, dtype=torch.float32)
            add(f"zero_{index}", outputs, groups, dtype=torch.uint8)
            if part.columns is not None:
                add(f"columns_{index}", part.columns, dtype=torch.int32)
        # float32 by name: a model that is built in half precision would make it in that.
        self.register_buffer("bias", torch.zeros(outputs, dtype=torch.float32, device=device) if bias else None)
        self.rotation = rotation

    @torch.no_grad()
    def _fill(self, weight: QuantisedWeight, bias: Tensor | None) -> None:
        for index, (columns, code) in enumerate(weight.parts):
            values = {"packed": pack_codes(code.unsigned(), code.bits), "scale": code.scale, "zero": _bytes(code)}
            if columns is not None:
                values["columns"] = columns
            for name, value in values.items():
                getattr(self, f"{name}_{index}").copy_(value)
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)

    def _part_tensors(self, index: int) -> list[Tensor]:
        return [self._buffers[name] for name in _names(index) if name in self._buffers]  # pyright: ignore[reportReturnType]

    def codes(self, outputs: slice = slice(None)) -> QuantisedWeight:
        """The weight of these outputs as integer codes, unpacked."""
        parts = tuple(self._code(index, outputs) for index in range(len(self.parts)))
        return QuantisedWeight(parts, (parts[0][1].codes.shape[0], self.in_features))

    def _code(self, index: int, outputs: slice) -> tuple[Tensor | None, WeightCode]:
        part = self.parts[index]
        packed, scale, zero, *columns = self._part_tensors(index)
        packed, scale, zero = packed[outputs], scale[outputs], zero[outputs]
        width = self.in_features if part.columns is None else part.columns
        unsigned = unpack_codes(packed, part.bits, width).to(torch.int16)
        empty = WeightCode(unsigned, scale, part.bits, part.group_size, zero.to(torch.int16), part.spacing)
        centred = unsigned * part.spacing - empty.spread(zero.to(torch.int16))
        code = WeightCode(centred, scale, part.bits, part.group_size, zero.to(torch.int16), part.spacing)
        return (columns[0].to(torch.int64) if columns else None), code

    @property
    def weight(self) -> Tensor:
        """The values of the weight, `[O, D]`, computed now."""
        return self.codes().dequantise()

    @property
    def storage_bits(self) -> float:
        """Bits a weight takes as saved: all tensors but the bias, so codes, scales, zero points, places and masks of
        features, and what turns the input."""
        held = sum(part.nbytes for name, part in self.state_dict().items() if name != "bias")
        return 8 * held / (self.out_features * self.in_features)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Scales and bias move with the model and stay float32: half precision would move every weight."""
        kept = {name: part for name, part in self._buffers.items() if name.startswith(("scale_", "bias"))}
        super()._apply(fn, recurse)
        for name, before in kept.items():
            after = self._buffers[name]
            if before is not None and after is not None and after.dtype != before.dtype:
                self._buffers[name] = before.to(after.device)
        return self

    def describe(self) -> dict[str, Any]:
        """What `empty` of the class makes the same layer from, without its tensors, as plain data."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "parts": [asdict(part) for part in self.parts],
            "bias": self.bias is not None,
        }

    def _weight_repr(self) -> str:
        kinds = [f"{'all' if part.columns is None else part.columns} in {part.bits} bits" for part in self.parts]
        groups = {part.group_size for part in self.parts} - {None}
        grouped = f", groups of {', '.join(map(str, sorted(groups)))}" if groups else ""  # pyright: ignore[reportArgumentType]
        shape = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return f"{shape}, weights {' + '.join(kinds)}{grouped}"


def _bytes(code: WeightCode) -> Tensor:
    zero = code.zero
    if zero is None or (not zero.is_meta and zero.numel() and (int(zero.min()) < 0 or int(zero.max()) > 255)):
        raise ShapeError(
            "These weights cannot be packed.",
            expected="a zero point of 0 … 255 for every group",
            received="none" if zero is None else f"{int(zero.min())} … {int(zero.max())}",
        )
    return zero.to(torch.uint8)


def _parts_of(weight: QuantisedWeight) -> tuple[PackedPart, ...]:
    return tuple(
        PackedPart(None if columns is None else columns.numel(), code.bits, code.group_size, code.spacing)
        for columns, code in weight.parts
    )


class PackedLinear(_Packed):
    """Floats times packed low-bit weights: `y = rotation(x) · Wᵀ + b`.

    Args:
        in_features, out_features: D and O.
        parts: shapes of what is packed.
        bias: whether there is one.
        rotation: mixes the input before the product, or None.
        device: of the buffers, which are zeros until they are loaded or filled.

    Shape: `[*B, L, in_features] → [*B, L, out_features]`.

    Numerics: the values of the weight are exact; sums are rounded in the order of the product in use.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        parts: Sequence[PackedPart],
        *,
        bias: bool,
        rotation: nn.Module | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self._add_buffers(parts, bias, rotation, device)
        self._ready: tuple[State, FloatProducts | None] | None = None

    @classmethod
    def from_weight(
        cls, weight: QuantisedWeight, bias: Tensor | None, rotation: nn.Module | None = None
    ) -> PackedLinear:
        """A layer with this weight."""
        first = weight.parts[0][1].codes
        outputs, features = weight.shape
        layer = cls(features, outputs, _parts_of(weight), bias=bias is not None, rotation=rotation, device=first.device)
        layer._fill(weight, bias)
        return layer

    @classmethod
    def empty(
        cls, description: Mapping[str, Any], *, rotation: nn.Module | None = None, device: Any = None
    ) -> PackedLinear:
        """The layer `describe` described, to be loaded."""
        sizes = {name: description[name] for name in ("in_features", "out_features", "bias")}
        parts = [PackedPart(**part) for part in description["parts"]]
        return cls(parts=parts, rotation=rotation, device=device, **sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Mix `x`, multiply, add the bias."""
        x = x if self.rotation is None else self.rotation(x)
        if watched(x, ()):
            return linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))
        rows = x.detach().reshape(-1, self.in_features)
        products = None if x.dtype == torch.float64 else self._float_products()
        y = self._by_blocks(rows) if products is None else products.linear(rows)
        return y.view(*x.shape[:-1], self.out_features)

    def _by_blocks(self, rows: Tensor) -> Tensor:
        """Values of the weight exist for a few outputs at a time."""
        y = rows.new_empty(len(rows), self.out_features)
        each = max(1, BLOCK_ELEMENTS // self.in_features)
        for begin in range(0, self.out_features, each):
            chosen = slice(begin, begin + each)
            bias = None if self.bias is None else self.bias[chosen].to(rows.dtype)
            y[:, chosen] = linear(rows, self.codes(chosen).dequantise().to(rows.dtype), bias)
        return y

    def _float_products(self) -> FloatProducts | None:
        held = [part for part in self._buffers.values() if part is not None]
        state = state_of(held, constant=True)
        if state is None:
            return None
        if self._ready is None or not same_state(self._ready[0], state):
            self._ready = (state, prepare_float_products(self.codes(), self.bias))
        return self._ready[1]

    def __getstate__(self) -> dict[str, Any]:
        """Copies make their own products: the library's hold addresses."""
        return {**self.__dict__, "_ready": None}

    def extra_repr(self) -> str:
        """Shape and weights, for `print(model)`."""
        return self._weight_repr()


class PackedSpikeLinear(_Packed, SpikingLinear):
    """Spikes times packed low-bit weights: `y = gif(rotation(x)) · Wᵀ + b`, as one exact product of integers.

    Args:
        in_features, out_features: D and O.
        parts: shapes of what is packed.
        bias: whether there is one.
        spec: how to encode activations.
        rotation: mixes the input before it spikes, or None.
        device: of the buffers, which are zeros until they are loaded or filled.

    Shape: `[*B, L, in_features] → [*B, L, out_features]`.

    Numerics: integer sums are exact; where a gradient flows to the input, values are multiplied in its dtype.
    """

    _constant = True
    shared_input: SharedInput | None = None
    """Encodes the input for this layer and others that read the same (`share_input`)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        parts: Sequence[PackedPart],
        spec: SpikeSpec,
        *,
        bias: bool,
        rotation: nn.Module | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        SpikingLinear.__init__(self, in_features, out_features, spec, device)
        for name in ("statistic", "forwards"):  # of training; what is packed is not trained
            self.register_buffer(name, None)
        self._add_buffers(parts, bias, rotation, device)

    @classmethod
    def from_weight(
        cls,
        weight: QuantisedWeight,
        bias: Tensor | None,
        spec: SpikeSpec | None,
        salient: Tensor | None = None,
        rotation: nn.Module | None = None,
    ) -> PackedSpikeLinear | PackedLinear:
        """A layer with this weight and these salient features, bool `[D]`; without a spec one that takes floats."""
        if spec is None:
            return PackedLinear.from_weight(weight, bias, rotation)
        first = weight.parts[0][1].codes
        outputs, features = weight.shape
        layer = cls(
            features, outputs, _parts_of(weight), spec, bias=bias is not None, rotation=rotation, device=first.device
        )
        layer._fill(weight, bias)
        if salient is not None:
            layer.salient.copy_(salient)
        return layer

    @classmethod
    def empty(
        cls,
        description: Mapping[str, Any],
        spec: SpikeSpec | None,
        *,
        rotation: nn.Module | None = None,
        device: Any = None,
    ) -> PackedSpikeLinear | PackedLinear:
        """The layer `describe` described, to be loaded; without a spec one that takes floats."""
        if spec is None:
            return PackedLinear.empty(description, rotation=rotation, device=device)
        sizes = {name: description[name] for name in ("in_features", "out_features", "bias")}
        parts = [PackedPart(**part) for part in description["parts"]]
        return cls(parts=parts, spec=spec, rotation=rotation, device=device, **sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Mix and encode `x`, multiply, add the bias."""
        shared = None if self.shared_input is None else self.shared_input.take(self, x)
        if shared is not None:
            return shared
        x = x if self.rotation is None else self.rotation(x)
        self.listen(x)
        exact = self.multiply(x)
        if exact is not None:
            return exact
        spikes = gif_quantise(x, salient=self.mask, gradient=self.spec.gradient, backend=self.spec.backend, **self._law)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return linear(spikes, self.weight.to(x.dtype), bias)

    def ready(self, x: Tensor) -> Products | None:
        """The weight laid out for products; None where this layer has to see `x` itself, or somebody its spikes."""
        held = self._held()
        alone = self.spike_listener is not None or self.spec.backend == "reference" or x.dtype == torch.float64
        return None if alone or watched(x, held) else self._products(held)

    def __getstate__(self) -> dict[str, Any]:
        """Copies share their input with nobody."""
        return {**super().__getstate__(), "shared_input": None}

    @property
    def _law(self) -> dict[str, Any]:
        return neuron_settings(self.spec)

    def watch(self, x: Tensor) -> None:
        """Nothing: salient features were chosen when the weight was packed."""

    def saliency_weight(self) -> Tensor | None:
        """The weight behind the neuron."""
        return self.weight

    def _prepare(self, law: GifLaw) -> Products:
        return prepare_products(self.codes(), self.bias, law, self.mask, backend=self.spec.backend)

    def _held(self) -> list[Tensor]:
        held = [part for index in range(len(self.parts)) for part in self._part_tensors(index)]
        return held + [part for part in (self.bias, self.mask) if part is not None]

    def extra_repr(self) -> str:
        """Shape, weights and neuron, for `print(model)`."""
        return f"{self._weight_repr()}, {SpikingLinear.extra_repr(self).split(', ', 1)[1]}"
