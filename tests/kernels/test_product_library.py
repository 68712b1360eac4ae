"""The library's products under sanitisers, and proof that a bound, a zero point or a sum taken away is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernels import test_cpu_library
from tests.kernels.test_cpu_library import SANITISERS, run

RUN = """
import dataclasses
import torch
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.rotation import block_rotation as law_of_rotation, random_signs
from darkit_nb.functional.spike_linear import spike_product
from darkit_nb.functional.weight import QuantisedWeight, weight_encode
from darkit_nb.ops import _native, _product_native, native_build
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops.rotation import block_rotation
from darkit_nb.ops.spike_product import prepare_products
from darkit_nb.ops.weight_only import prepare_float_products

state = native_build.probe_native()
best = list(native_build.LEVELS).index(state.level)
torch.use_deterministic_algorithms(True)
torch.manual_seed(0)
torch.get_num_threads = lambda: 3
same = lambda one, other: torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
laws = [
    {"num_levels": 16},
    {"num_levels": 16, "num_steps": 2},
    {"num_levels": 16, "num_steps": 2, "ranges": "own"},
    {"num_levels": 256},
    {"num_levels": 2, "num_steps": 3, "signed": True},
]
for level in list(native_build.LEVELS)[: best + 1]:
    _native.probe_native = lambda: dataclasses.replace(state, level=level)
    for most in (0, 1, 2) if level == "avx512" else (0,):
        _product_native.FASTEST = most
        for rows, features, outputs in ((1, 129, 33), (9, 63, 5), (140, 130, 50)):
            x, w = torch.randn(rows, features), torch.randn(outputs, features)
            x[0, 0] = torch.nan if rows == 9 else x[0, 0]
            mask, bias, order = torch.rand(features) < 0.2, torch.randn(outputs), torch.randperm(features)
            mixed = tuple((part, weight_encode(w[:, part], bits)) for part, bits in zip(order.tensor_split(2), (8, 2)))
            front = torch.arange(features) < features // 8
            split = tuple((part.nonzero().squeeze(1), weight_encode(w[:, part], 4)) for part in (~front, front))
            code = gif_encode(x, salient=front, **laws[2])
            if features > 64:
                products = prepare_products(QuantisedWeight(split, w.shape), bias, GifLaw(**laws[2]), front)
                same(products.linear(x, torch.float32), spike_product(code, QuantisedWeight(split, w.shape), bias))
            for weight in (
                weight_encode(w, 4), weight_encode(w, 8), weight_encode(w, 3, group_size=50),
                QuantisedWeight(mixed, (outputs, features)),
            ):
                for law in laws:
                    salient = mask if law.get("num_steps", 1) > 1 else None
                    code = gif_encode(x, salient=salient, **law)
                    products = prepare_products(weight, bias, GifLaw(**law), salient, backend="native")
                    expected = spike_product(code, weight, bias)
                    same(products.linear(x, torch.float32), expected)
                    same(products.product(code), expected)
                    half = x.bfloat16()
                    same(products.linear(half, torch.float16), products.linear(half.float(), torch.float16))
                floats = prepare_float_products(weight, bias)
                if rows < 9:
                    torch.testing.assert_close(floats.linear(x), x @ weight.dequantise().T + bias, rtol=1e-4, atol=1e-4)
    for rows, blocks in ((1, (3, 130)), (9, (7, 24, 64)), (70, (43, 172)), (16, (512,))):
        x, signs = torch.randn(rows, sum(blocks)), random_signs(sum(blocks), 1)
        x.requires_grad_()
        y, expected = block_rotation(x, blocks, signs), law_of_rotation(x.double(), blocks, signs)
        torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
        (found,), (wanted,) = (torch.autograd.grad(each.cos().sum(), x) for each in (y, expected))
        torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-5)
        block_rotation(x.detach().bfloat16(), blocks, signs)
print("clean")
"""
MUTATIONS = {
    "the zero point of salient features": ("product.h", "if (segment.high) sum -= high * tokens[i].zero[1];", ""),
    "the zero of stored codes": ("product.h", "same_bits<Bytes>(codes) - zero", "same_bits<Bytes>(codes)"),
    "the zero of a few tokens": ("product.h", "if (operand_sums) sum -= zero * operand_sums[i * sums_stride];", ""),
    "codes beyond their ends": ("operand.h", "if (groups.sound) encode_line<true>", "if (true) encode_line<true>"),
    "the units that lie as they are": ("operand.h", "if (unit >= plan.plain) {", "if (unit > plan.plain) {"),
    "where neighbours begin": ("operand.h", "copy_places(line + order[0], run, out)", "copy_places(line, run, out)"),
    "zeros behind neighbours": ("operand.h", "memset(out + count, 0, (size_t)(UNIT - count));", ""),
    "half of a vector's smallest": ("gif_law.h", "other < one ? other : one", "one"),
    "the signs of a row": (
        "rotation.cpp",
        "scaled(load<float>(call.x, call.x_type, from + j), call.before, j)",
        "load<float>(call.x, call.x_type, from + j)",
    ),
    "the signs behind a rotation": ("rotation.cpp", "scaled(part[i], call.after, j)", "part[i]"),
    "the third level of butterflies": (
        "rotation.cpp",
        "half * 4 == end) butterflies<2>",
        "half * 4 == end) butterflies<1>",
    ),
    "a sum kept apart": ("dot.h", "for (i64 a = 1; a < apart; ++a) total += sum[a][i][v];", ""),
    "the second tile": ("amx.h", "_tile_dpbusd(2, 5, 6);", "_tile_dpbusd(2, 4, 6);"),
}


@pytest.fixture(autouse=True)
def _products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_cpu_library, "RUN", RUN)


@pytest.mark.slow
def test_no_access_out_of_bounds_and_nothing_undefined(tmp_path: Path) -> None:
    done = run(tmp_path, SANITISERS)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == "clean"


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_what_is_taken_away_is_noticed(tmp_path: Path, name: str) -> None:
    done = run(tmp_path, (), MUTATIONS[name])
    assert done.returncode != 0
    assert "AssertionError" in done.stderr, done.stderr[-2000:]
