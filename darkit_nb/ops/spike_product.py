"""Integer product of spike counts and weight codes: the law of `functional/spike_linear.py`, fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from darkit_nb.errors import ShapeError
from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.spike_linear import parts_of
from darkit_nb.functional.weight import QuantisedWeight, WeightCode
from darkit_nb.ops import _product_native
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._product_cuda import CudaProducts
from darkit_nb.ops._product_kernel import product_kernel
from darkit_nb.ops._product_torch import TorchProducts, int8_products_are_exact
from darkit_nb.ops.backend import resolve_backend
from darkit_nb.ops.memory_state import State, same_state, state_of
from darkit_nb.ops.weight_layout import WeightLayout
from darkit_nb.records.spike_spec import Backend


class Products(Protocol):
    """Products of spikes with one weight, one bias and one choice of salient features, laid out once for many."""

    @property
    def nbytes(self) -> int:
        """Memory the codes take."""
        ...

    def product(self, code: SpikeCode) -> Tensor:
        """Outputs of spikes, `[*B, L, O]` float32."""
        ...

    def linear(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Encode tokens `[*B, D]` and multiply: `[*B, O]` in `dtype`."""
        ...


@torch.no_grad()
def prepare_products(
    weight: WeightCode | QuantisedWeight,
    bias: Tensor | None,
    law: GifLaw,
    salient: Tensor | None = None,
    *,
    backend: Backend = "auto",
) -> Products:
    """Lay a weight out for exact integer products.

    Args:
        weight: codes of `[O, D]`, of one kind or in parts.
        bias: `[O]` or None.
        law: of the neuron in front.
        salient: bool `[D]` or None.
        backend: implementation.

    Raises:
        BackendError: the backend cannot be had for this device.
    """
    first = parts_of(weight)[0][1].codes
    layout = WeightLayout(weight, bias, law, salient)
    name = resolve_backend(backend, first.device).name
    if name == "native" and _product_native.fits(layout):
        return _product_native.NativeProducts(layout)
    products = TorchProducts(layout, backend)
    return CudaProducts.of(weight, products, CupyLauncher()) if name == "cupy" else products


def products_together(products: Sequence[Products]) -> Callable[[Tensor, torch.dtype], list[Tensor]] | None:
    """What multiplies the same tokens with several weights, encoding them once; None where that cannot be.

    Args:
        products: of weights that read the same input, laid out by `prepare_products`.

    Returns:
        A function of tokens `[*B, D]` and a dtype, which gives `Products.linear` of each, bit for bit.
    """
    first, *others = products
    alike = isinstance(first, _product_native.NativeProducts) and all(
        isinstance(other, _product_native.NativeProducts) and first.reads_as(other) for other in others
    )
    return partial(first.linear_with, others) if alike else None  # pyright: ignore[reportAttributeAccessIssue]


@torch.no_grad()
def spike_product(
    code: SpikeCode,
    weight: WeightCode | QuantisedWeight,
    bias: Tensor | None = None,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """`functional.spike_linear.spike_product` on the chosen backend, without gradient.

    The layout of the weight is kept for its next product with the same salient features and bias.

    Args:
        code: spikes of `[*B, L, D]` features, with a salient mask `[D]` or none.
        weight: codes `[O, D]`, of one kind or in parts.
        bias: `[O]` or None.
        backend: implementation.

    Returns:
        `[*B, L, O]` float32.

    Raises:
        ShapeError: the spikes and the weights have another number of features.
        BackendError: the backend cannot be had for this device.

    Numerics: exact integer sums, then float32: bit-equal to the reference.
    """
    features = sum(part.codes.shape[1] for _, part in parts_of(weight))
    if code.counts.shape[-1] != features:
        raise ShapeError(
            "These spikes do not belong to these weights.",
            expected=f"{features} features",
            received=f"{code.counts.shape[-1]} features",
        )
    name = resolve_backend(backend, code.counts.device).name
    salient = None if code.salient is None else code.salient.reshape(-1)
    per_token = salient is not None and salient.numel() not in (1, features)
    if name == "reference" or per_token or code.scale.dtype != torch.float32 or not code.counts.numel():
        return reference.spike_product(code, weight, bias)
    if (
        name == "cupy"
        and isinstance(weight, WeightCode)
        and weight.group_size is None
        and not int8_products_are_exact("cuda")
    ):
        return product_kernel(code, weight, bias, CupyLauncher())
    law = GifLaw(code.num_levels, code.num_steps, code.coding, code.ranges, code.signed)
    flags = None if salient is None else salient.expand(features)
    return _kept_products(weight, bias, law, code.salient, flags, backend).product(code)


_kept: WeakKeyDictionary[Any, tuple[tuple[Any, ...], State, Products]] = WeakKeyDictionary()
"""The last layout of every weight there is."""


def _kept_products(
    weight: WeightCode | QuantisedWeight,
    bias: Tensor | None,
    law: GifLaw,
    salient: Tensor | None,
    flags: Tensor | None,
    backend: Backend,
) -> Products:
    tensors = [tensor for _, part in parts_of(weight) for tensor in (part.codes, part.scale)]
    state = state_of([*tensors, *(part for part in (bias, salient) if part is not None)])
    name = resolve_backend(backend, parts_of(weight)[0][1].codes.device).name
    settings, kept = (law, name, bias is None, salient is None), _kept.get(weight)
    if kept is not None and state is not None and kept[0] == settings and same_state(kept[1], state):
        return kept[2]
    products = prepare_products(weight, bias, law, flags, backend=backend)
    if state is not None:
        _kept[weight] = (settings, state, products)
    return products
