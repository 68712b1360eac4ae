"""What a layer multiplies with on a GPU, its kernel on fibers: a few tokens and many give what the definition gives."""

from __future__ import annotations

import pytest
import torch

from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.spike_linear import spike_product
from darkit_nb.functional.weight import QuantisedWeight, weight_encode
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._product_cuda import CudaProducts
from darkit_nb.ops._product_kernel import product_kernel
from darkit_nb.ops._product_torch import TorchProducts, int8_products_are_exact
from darkit_nb.ops.weight_layout import WeightLayout
from tests.kernels.shim import ShimLauncher


@pytest.mark.parametrize("ranges", ["shared", "own"])
@pytest.mark.parametrize(("kind", "has_kernel"), [("whole", True), ("3 bits", False), ("columns", False)])
@pytest.mark.parametrize("rows", [1, 16, 17])
def test_tokens_few_and_many_meet_the_same_weight(
    shim: ShimLauncher, ranges: str, kind: str, has_kernel: bool, rows: int
) -> None:
    random = torch.Generator().manual_seed(rows)
    x, w, bias = (torch.randn(*shape, generator=random) for shape in ((rows, 129), (9, 129), (9,)))
    salient = torch.rand(129, generator=random) < 0.1
    half = QuantisedWeight(((torch.arange(129).flip(0), weight_encode(w, 4)),), (9, 129))
    whole = QuantisedWeight(((None, weight_encode(w, 4)),), (9, 129))
    weight = {"whole": whole, "3 bits": weight_encode(w, 3), "columns": half}[kind]
    law = GifLaw(16, 2, "rate", ranges)
    many = TorchProducts(WeightLayout(weight, bias, law, salient), "reference")
    products = CudaProducts.of(weight, many, shim)
    assert (products.few is not None) is has_kernel
    assert products.nbytes > many.nbytes or not has_kernel
    code = gif_encode(x, salient=salient, **vars(law))
    before = len(shim.launches)
    torch.testing.assert_close(products.product(code), spike_product(code, weight, bias), rtol=0, atol=0)
    torch.testing.assert_close(products.linear(x, torch.float32), spike_product(code, weight, bias), rtol=0, atol=0)
    one_product = ranges == "shared" and int8_products_are_exact("cpu")
    functions = {"packed_matvec"} if has_kernel and rows <= 16 else {"spike_epilogue"} if one_product else set()
    assert {plan.function for plan in shim.launches[before:]} == functions


def test_no_token_gives_no_output(shim: ShimLauncher) -> None:
    weight = weight_encode(torch.randn(9, 64), 4)
    many = TorchProducts(WeightLayout(weight, None, GifLaw(16), None), "reference")
    products = CudaProducts.of(weight, many, shim)
    assert products.linear(torch.empty(0, 64), torch.bfloat16).shape == (0, 9)
    assert product_kernel(gif_encode(torch.empty(0, 64), num_levels=16), weight, None, shim).shape == (0, 9)
    assert not shim.launches
