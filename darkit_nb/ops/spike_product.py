"""Integer product of spike counts and weight codes: the law of `functional/spike_linear.py`, fast."""

from __future__ import annotations

import torch
from torch import Tensor

from darkit_nb.errors import ShapeError
from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.weight import WeightCode
from darkit_nb.ops import _product_cpu
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._product_kernel import product_kernel
from darkit_nb.ops.backend import resolve_backend
from darkit_nb.records.spike_spec import Backend


@torch.no_grad()
def spike_product(
    code: SpikeCode, weight: WeightCode, bias: Tensor | None = None, *, backend: Backend = "auto"
) -> Tensor:
    """`functional.spike_linear.spike_product` on the chosen backend, without gradient.

    Args:
        code: spikes of `[*B, L, D]` features, with a salient mask `[D]` or none.
        weight: codes `[O, D]`.
        bias: `[O]` or None.
        backend: implementation; blocked and native share one on the CPU.

    Returns:
        `[*B, L, O]` float32.

    Raises:
        ShapeError: the spikes and the weights have another number of features.
        BackendError: the backend cannot be had for this device.

    Numerics: exact integer sums, then float32: bit-equal to the reference.
    """
    if code.counts.shape[-1] != weight.codes.shape[-1]:
        raise ShapeError(
            "These spikes do not belong to these weights.",
            expected=f"{weight.codes.shape[-1]} features",
            received=f"{code.counts.shape[-1]} features",
        )
    name = resolve_backend(backend, code.counts.device).name
    if name == "cupy" and code.scale.dtype == torch.float32 and code.counts.numel():
        return product_kernel(code, weight, bias, CupyLauncher())
    if name in ("blocked", "native") and code.scale.dtype == torch.float32 and code.counts.numel():
        found = _product_cpu.product(code, weight, bias)
        if found is not None:
            return found
    return reference.spike_product(code, weight, bias)
