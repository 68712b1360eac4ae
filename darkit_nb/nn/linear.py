"""Linear layers whose input spikes: `SpikeLinear`, with float master weights to be trained.

In evaluation without gradients the product is one of integers: weights are coded once and kept so until they change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from darkit_nb.errors import ShapeError
from darkit_nb.functional.gif import check_gif_input
from darkit_nb.functional.spike_linear import neuron_settings
from darkit_nb.functional.weight import weight_encode
from darkit_nb.nn.gif import GIF
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops.memory_state import State, same_state, state_of
from darkit_nb.ops.spike_linear import product_dtype, spike_linear
from darkit_nb.ops.spike_product import Products, prepare_products
from darkit_nb.records.spike_spec import SpikeSpec


class SpikingLinear(GIF):
    """GIF neuron with a product behind it: what every spiking linear layer is, however it holds its weight.

    Attributes:
        in_features: D.
        out_features: O.
    """

    in_features: int
    out_features: int
    _constant = False
    """Whether nobody writes to the weight."""

    def __init__(self, in_features: int, out_features: int, spec: SpikeSpec, device: Any = None) -> None:
        super().__init__((in_features,), spec, device=device)
        self.in_features, self.out_features = in_features, out_features
        self._ready: tuple[SpikeSpec, State, Products] | None = None
        self._checked: tuple[Any, ...] | None = None

    def multiply(self, x: Tensor) -> Tensor | None:
        """Exact integer product of the spikes of `x`; None where the float definition is wanted instead.

        It is wanted where a gradient flows, values cannot be had, somebody watches the operations, in double, and for
        the plain definition of `backend="reference"`.
        """
        held = self._held()
        if self.spec.backend == "reference" or x.dtype == torch.float64 or watched(x, held):
            return None
        products = self._products(held, x)
        if products is None:
            return None
        self.check(x, products)
        return products.linear(x, product_dtype(x))

    def check(self, x: Tensor, products: Products) -> None:
        """Refuse what cannot be encoded, once for each kind of tokens: features and mask are as they were.

        Raises:
            ShapeError: another number of features, or what `check_gif_input` refuses.
        """
        kind = (products, x.dtype, x.shape[-1], x.is_cpu or x.device)
        if kind != self._checked:
            check_gif_input(x, self.mask)
            if x.shape[-1] != self.in_features:
                raise not_of_this_layer(x, self.in_features)
            self._checked = kind

    def _products(self, held: list[Tensor], x: Tensor) -> Products | None:
        """The weight laid out for products with such tokens as `x`; None if it hides.

        It is made again when anything it was made from has changed.
        """
        state = state_of(held, constant=self._constant)
        if state is None:
            return None
        ready, spec = self._ready, self.spec
        if ready is None or not (ready[0] is spec or ready[0] == spec) or not same_state(ready[1], state):
            check_gif_input(x, self.mask)
            ready = self._ready = (spec, state, self._prepare(GifLaw(**neuron_settings(spec))))
        return ready[2]

    def _prepare(self, law: GifLaw) -> Products:
        raise NotImplementedError

    def _held(self) -> list[Tensor]:
        """Every tensor the products are made from."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> SpikingLinear:
        """In training there is no use for the coded weight; it is let go."""
        if mode:
            self._ready = self._checked = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Copies make their own products: the library's hold addresses."""
        return {**self.__dict__, "_ready": None, "_checked": None}


def not_of_this_layer(x: Tensor, features: int) -> ShapeError:
    """What to say of tokens with another number of features."""
    return ShapeError(
        "These tokens do not belong to this layer.",
        expected=f"[*B, L, {features}]",
        received=str(list(x.shape)),
        cause="the output of another layer, or of a model of another width",
    )


def watched(x: Tensor, parts: Sequence[Tensor]) -> bool:
    """Whether operations have to be PyTorch's own: without values, with a gradient, or under somebody's eyes."""
    return (
        x.is_meta
        or not x.numel()
        or torch.compiler.is_compiling()
        or is_in_torch_dispatch_mode()
        or (torch.is_grad_enabled() and (x.requires_grad or any(part.requires_grad for part in parts)))
    )


class SpikeLinear(SpikingLinear):
    """GIF neuron, then a product with quantised weights: `y = gif(x) · quantised(W)ᵀ + b`.

    It holds the very parameters of the layer it replaces, under the same names and in the same layout, so optimizers,
    tied weights and checkpoints see no difference.

    Args:
        original: an `nn.Linear`, or a transformers `Conv1D` (weight stored `[in, out]`).
        spec: how to encode activations and weights.

    Shape: `[*B, L, in_features] → [*B, L, out_features]`.

    Numerics: in evaluation without gradients spikes and weight codes are multiplied as integers, exactly; else their
        values are, in the dtype of the input. Both agree to the rounding of that dtype.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, original: nn.Module, spec: SpikeSpec) -> None:
        weight = cast(nn.Parameter, original.weight)
        transposed = not isinstance(original, nn.Linear)
        rows, columns = weight.shape
        self_in, self_out = (rows, columns) if transposed else (columns, rows)
        super().__init__(self_in, self_out, spec, device=weight.device)
        self.transposed = transposed
        self.weight = weight
        self.register_parameter("bias", cast("nn.Parameter | None", original.bias))
        # Not a submodule: `unspikify` hands the very same object back.
        object.__setattr__(self, "_original", original)
        self.train(original.training)
        self.choose_without_data()

    @property
    def matrix(self) -> Tensor:
        """The master weight as `[out_features, in_features]`, a view."""
        return self.weight.t() if self.transposed else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Encode `x`, multiply, add the bias."""
        self.watch(x)
        self.listen(x)
        exact = None if self.training or self.spec.weight_bits >= 16 else self.multiply(x)
        return spike_linear(x, self.matrix, self.bias, self.spec, self.mask) if exact is None else exact

    def _prepare(self, law: GifLaw) -> Products:
        code = weight_encode(self.matrix.detach(), self.spec.weight_bits)
        return prepare_products(code, self.bias, law, self.mask, backend=self.spec.backend)

    def _held(self) -> list[Tensor]:
        return [part for part in (self.weight, self.bias, self.mask) if part is not None]

    def saliency_weight(self) -> Tensor | None:
        """The weight behind the neuron."""
        return self.matrix

    def restore(self) -> nn.Module:
        """The layer this one replaced, holding the parameters as they are now."""
        original = cast(nn.Module, self._original)
        original.register_parameter("weight", self.weight)
        original.register_parameter("bias", self.bias)
        return original.train(self.training)

    def extra_repr(self) -> str:
        """Shape, weights and neuron, for `print(model)`."""
        bits = "float" if self.spec.weight_bits >= 16 else f"{self.spec.weight_bits}-bit"
        shape = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return f"{shape}, {bits} weights, {super().extra_repr().split(', ', 1)[1]}"
