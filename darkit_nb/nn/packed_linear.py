"""Linear layers that hold nothing but packed codes (`nn/packed_weight.py`): what a conversion leaves of a layer.

`PackedLinear` multiplies floats with low-bit weights, `PackedSpikeLinear` spikes. Neither has a parameter: what is
packed is not trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from darkit_nb.functional.spike_linear import neuron_settings
from darkit_nb.functional.weight import QuantisedWeight
from darkit_nb.nn.linear import SpikingLinear, not_of_this_layer, watched
from darkit_nb.nn.packed_weight import PackedPart, PackedWeight, packed_parts
from darkit_nb.nn.shared_input import Multiply, SharedInput
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops.gif import gif_quantise
from darkit_nb.ops.memory_state import State, same_state, state_of
from darkit_nb.ops.spike_linear import product_dtype
from darkit_nb.ops.spike_product import Products, prepare_products, products_together
from darkit_nb.ops.weight_only import FloatProducts, prepare_float_products
from darkit_nb.records.spike_spec import SpikeSpec

BLOCK_ELEMENTS = 2**20
"""Weights whose values exist at a time where PyTorch alone multiplies float tokens."""


class PackedLinear(PackedWeight):
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
        layer = cls(
            features, outputs, packed_parts(weight), bias=bias is not None, rotation=rotation, device=first.device
        )
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
        """Mix `x`, multiply, add the bias.

        Raises:
            ShapeError: it has another number of features.
        """
        x = x if self.rotation is None else self.rotation(x)
        if watched(x, ()):
            return linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))
        if x.shape[-1] != self.in_features:
            raise not_of_this_layer(x, self.in_features)
        products = None if x.dtype == torch.float64 else self._float_products()
        if products is not None:
            return products.linear(x)
        return self._by_blocks(x.detach().reshape(-1, self.in_features)).view(*x.shape[:-1], self.out_features)

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
        state = state_of(self._held(), constant=True)
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


class PackedSpikeLinear(PackedWeight, SpikingLinear):
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
            features, outputs, packed_parts(weight), spec, bias=bias is not None, rotation=rotation, device=first.device
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
        return None if alone or watched(x, held) else self._products(held, x)

    def together(self, products: Sequence[Products]) -> Multiply | None:
        """What multiplies the same tokens by several weights that are `ready`; None where that cannot be."""
        return products_together(products)

    def mixed(self, x: Tensor, products: Products) -> Tensor:
        """`x` as it is encoded.

        Raises:
            ShapeError: it is not what this layer encodes.
        """
        x = x if self.rotation is None else self.rotation(x)
        self.check(x, products)
        return x

    def output_dtype(self, x: Tensor) -> torch.dtype:
        """Of what the layer gives for `x`."""
        return product_dtype(x)

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

    def extra_repr(self) -> str:
        """Shape, weights and neuron, for `print(model)`."""
        return f"{self._weight_repr()}, {SpikingLinear.extra_repr(self).split(', ', 1)[1]}"
