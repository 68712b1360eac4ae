"""`kernels/spike_linear.cu` through the host code that CuPy gets, on fibers, against the definition."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkit_nb.functional import spike_linear as reference
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.weight import WeightCode, weight_encode
from darkit_nb.ops import _product_kernel
from darkit_nb.ops._product_kernel import product_kernel
from tests.kernels.shim import ShimLauncher

few = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])

LAWS = [
    {"num_levels": 16, "num_steps": 2},
    {"num_levels": 16, "num_steps": 2, "ranges": "own"},
    {"num_levels": 2, "signed": True},
    {"num_levels": 16, "num_steps": 3, "coding": "radix"},
    {"num_levels": 32, "num_steps": 4, "coding": "radix"},
]


def case(
    law: dict, bits: int, rows: int, features: int, outputs: int, seed: int, share: float | None
) -> tuple[SpikeCode, WeightCode, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    salient = None if share is None else torch.rand(features, generator=random) < share
    code = gif_encode(torch.randn(rows, features, generator=random), salient=salient, **law)
    weight = weight_encode(torch.randn(outputs, features, generator=random), bits)
    return code, weight, torch.randn(outputs, generator=random)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("law", LAWS, ids=str)
@few
@given(
    rows=st.sampled_from([1, 16, 17]),
    features=st.sampled_from([1, 33, 63, 129]),
    outputs=st.sampled_from([1, 15, 33]),
    seed=st.integers(0, 99),
    share=st.sampled_from([None, 0.0, 0.2, 1.0]),
    biased=st.booleans(),
)
def test_products_are_bit_equal(
    shim: ShimLauncher,
    law: dict,
    bits: int,
    rows: int,
    features: int,
    outputs: int,
    seed: int,
    share: float | None,
    biased: bool,
) -> None:
    code, weight, bias = case(law, bits, rows, features, outputs, seed, share)
    got = product_kernel(code, weight, bias if biased else None, shim)
    expected = reference.spike_product(code, weight, bias if biased else None)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_sums_beyond_32_bits(shim: ShimLauncher) -> None:
    code, weight, _ = case({"num_levels": 32, "num_steps": 4, "coding": "radix"}, 8, 1, 4096, 1, 0, 1.0)
    code.counts.fill_(32**4 - 1)
    weight.codes.fill_(255)
    got = product_kernel(code, weight, None, shim)
    assert ("DK_WIDE", 1) in shim.launches[-1].defines
    torch.testing.assert_close(got, reference.spike_product(code, weight), rtol=0, atol=0)


def test_a_launch_covers_more_tiles_than_blocks(shim: ShimLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_product_kernel, "MAX_BLOCKS", 1)
    code, weight, bias = case({"num_levels": 16}, 4, 40, 33, 35, 0, None)
    got = product_kernel(code, weight, bias, shim)
    assert shim.launches[-1].grid == (1, 1)
    torch.testing.assert_close(got, reference.spike_product(code, weight, bias), rtol=0, atol=0)


@pytest.mark.parametrize("barrier", [0, 1])
def test_a_missing_barrier_is_caught(shim_folder: Path, barrier: int) -> None:
    """The proof that these tests can fail, for either barrier around the shared tiles."""
    code, weight, _ = case({"num_levels": 16}, 4, 17, 129, 33, 0, None)
    expected = reference.spike_product(code, weight)

    def without(source: str) -> str:
        parts = source.split("__syncthreads();")
        parts[barrier : barrier + 2] = [parts[barrier] + parts[barrier + 1]]
        return "__syncthreads();".join(parts)

    wrong = []
    for descending in (False, True):
        broken = ShimLauncher(shim_folder, without)
        broken.descending = descending
        wrong.append(int((product_kernel(code, weight, None, broken) != expected).sum()))
    assert max(wrong) > 0
