"""Products with one weight on a GPU: a few tokens read packed codes, many are one product of bytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.spike_linear import parts_of
from darkit_nb.functional.weight import QuantisedWeight, WeightCode
from darkit_nb.ops._epilogue_kernel import scaled_sums
from darkit_nb.ops._launch import Launcher
from darkit_nb.ops._packed_kernel import MOST_ROWS, PackedWeight, fits, matvec, pack_weight
from darkit_nb.ops._product_torch import TorchProducts
from darkit_nb.ops.backend import wants_operators
from darkit_nb.ops.gif import gif_encode


@dataclass(frozen=True, eq=False)
class CudaProducts:
    """See `ops.spike_product.Products`.

    Attributes:
        many: products of many tokens.
        few: the packed weight for up to `MOST_ROWS` tokens, or None where there is no kernel for it.
        launcher: of kernels.
    """

    many: TorchProducts
    few: PackedWeight | None
    launcher: Launcher

    @staticmethod
    def of(weight: WeightCode | QuantisedWeight, many: TorchProducts, launcher: Launcher) -> CudaProducts:
        """Pack `weight`, of which `many` makes products already."""
        layout, parts = many.layout, parts_of(weight)
        columns, code = parts[0]
        one = len(parts) == 1 and columns is None and fits(code, layout.cap, signed=layout.law.signed)
        return CudaProducts(many, pack_weight(code, layout.salient) if one else None, launcher)

    @property
    def nbytes(self) -> int:
        """Memory of the codes."""
        return self.many.nbytes + (0 if self.few is None else self.few.nbytes)

    def product(self, code: SpikeCode) -> Tensor:
        """Outputs of spikes, `[*B, L, O]` float32."""
        return self._product(code, torch.float32)

    def linear(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Outputs of tokens `[*B, D]`, `[*B, O]` in `dtype`."""
        layout = self.many.layout
        return self._product(
            gif_encode(x, salient=layout.salient, backend=self.many.backend, **vars(layout.law)), dtype
        )

    def _product(self, code: SpikeCode, dtype: torch.dtype) -> Tensor:
        layout = self.many.layout
        if self.few is not None and code.counts.numel() <= MOST_ROWS * layout.features:
            return matvec(code, self.few, layout.bias, self.launcher, dtype)
        found = None if wants_operators() else self.many.byte_sums(code)
        if found is None:
            return self.many.product(code).to(dtype)
        y = scaled_sums(*found, code, layout, self.launcher, dtype)
        return y.view(*code.counts.shape[:-1], layout.outputs)
