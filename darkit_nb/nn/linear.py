"""`SpikeLinear`: a linear layer whose input spikes and whose weights are low-bit."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from darkit_nb.nn.gif import GIF
from darkit_nb.ops.spike_linear import spike_linear
from darkit_nb.records.spike_spec import SpikeSpec


class SpikeLinear(GIF):
    """GIF neuron, then a product with quantised weights: `y = gif(x) · quantised(W)ᵀ + b`.

    It holds the very parameters of the layer it replaces, under the same names and in the same layout, so optimizers,
    tied weights and checkpoints see no difference.

    Args:
        original: an `nn.Linear`, or a transformers `Conv1D` (weight stored `[in, out]`).
        spec: how to encode activations and weights.

    Shape: `[*B, L, in_features] → [*B, L, out_features]`.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, original: nn.Module, spec: SpikeSpec) -> None:
        weight = cast(nn.Parameter, original.weight)
        transposed = not isinstance(original, nn.Linear)
        rows, columns = weight.shape
        self_in, self_out = (rows, columns) if transposed else (columns, rows)
        super().__init__((self_in,), spec, device=weight.device)
        self.in_features, self.out_features, self.transposed = self_in, self_out, transposed
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
        return spike_linear(x, self.matrix, self.bias, self.spec, self.mask)

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
