"""`kernels/spike_epilogue.cu` through the host code that CuPy gets, on fibers, against the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops import _epilogue_kernel, _product_torch
from darkit_nb.ops._epilogue_kernel import scaled_sums
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._product_torch import TorchProducts
from darkit_nb.ops.weight_layout import WeightLayout
from tests.kernels.shim import ShimLauncher

few = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
LAWS = [GifLaw(16), GifLaw(16, 2), GifLaw(16, 2, "radix"), GifLaw(2, 4, "radix"), GifLaw(8, 2, signed=True)]


@pytest.fixture(autouse=True)
def _integers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of any processor, with rows further apart than they are long, as products on a GPU give them."""

    def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        found = (left.long() @ right.long().T).int()
        return torch.nn.functional.pad(found, (0, -found.shape[1] % 8, 0, 3))[: found.shape[0], : found.shape[1]]

    monkeypatch.setattr(_product_torch, "_int8", product)
    monkeypatch.setattr(_product_torch, "int8_products_are_exact", lambda device: True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("law", LAWS, ids=str)
@few
@given(
    rows=st.sampled_from([1, 9, 17]),
    outputs=st.sampled_from([1, 8, 33, 64]),
    share=st.sampled_from([None, 0.0, 0.2, 1.0]),
    seed=st.integers(0, 99),
)
def test_outputs_are_bit_equal(
    shim: ShimLauncher, law: GifLaw, dtype: torch.dtype, rows: int, outputs: int, share: float | None, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    salient = None if share is None else torch.rand(63, generator=random) < share
    code = gif_encode(torch.randn(rows, 63, generator=random), salient=salient, **vars(law))
    weight = weight_encode(torch.randn(outputs, 63, generator=random), 4)
    bias = torch.randn(outputs, generator=random) if seed % 2 else None
    layout = WeightLayout(weight, bias, law, salient)
    found = TorchProducts(layout, "reference").byte_sums(code)
    assert found is not None
    y = scaled_sums(*found, code, layout, shim, dtype)
    torch.testing.assert_close(y, reference.spike_product(code, weight, bias).to(dtype), rtol=0, atol=0)
    assert dict(shim.launches[-1].defines)["DK_ALIGNED"] == int(outputs % (16 // y.element_size()) == 0)


def test_a_launch_covers_more_rows_than_blocks(shim: ShimLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_epilogue_kernel, "MAX_BLOCKS", 1)
    code, weight = gif_encode(torch.randn(40, 63), num_levels=16), weight_encode(torch.randn(600, 63), 4)
    layout = WeightLayout(weight, None, GifLaw(16), None)
    found = TorchProducts(layout, "reference").byte_sums(code)
    assert found is not None
    y = scaled_sums(*found, code, layout, shim, torch.float32)
    assert shim.launches[-1].grid == (2, 1)
    torch.testing.assert_close(y, reference.spike_product(code, weight), rtol=0, atol=0)


def test_what_takes_more_than_one_product_is_left_to_pytorch() -> None:
    salient = torch.arange(63) < 6
    cases = {
        "8-bit weights": (GifLaw(16), 8, None, None),
        "groups": (GifLaw(16), 4, 32, None),
        "own range": (GifLaw(16, 2, "rate", "own"), 4, None, salient),
        "codes of 16 bits": (GifLaw(16, 3, "radix"), 4, None, salient),
    }
    for name, (law, bits, group_size, mask) in cases.items():
        weight = weight_encode(torch.randn(9, 63), bits, group_size=group_size)
        products = TorchProducts(WeightLayout(weight, None, law, mask), "reference")
        assert products.byte_sums(gif_encode(torch.randn(2, 63), salient=mask, **vars(law))) is None, name
