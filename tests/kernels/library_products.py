"""The library's products of spikes, of float tokens and of training, and its rotations, against the definitions."""

from __future__ import annotations

from typing import Any

import torch

from darkit_nb.functional.gif import gif_encode as encode_by_definition
from darkit_nb.functional.rotation import block_rotation as rotation_by_definition
from darkit_nb.functional.rotation import narrow_range, random_signs
from darkit_nb.functional.spike_linear import spike_product
from darkit_nb.functional.weight import QuantisedWeight, weight_encode
from darkit_nb.ops import _training_native
from darkit_nb.ops import spike_product as products
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops.gif import gif_encode
from darkit_nb.ops.rotation import block_rotation
from darkit_nb.ops.weight_only import prepare_float_products
from tests.kernels.cases import same
from tests.ops import test_spike_product as product_cases
from tests.ops.native import guarded, poisoned, use_level


def multiply_floats(rows: int, features: int, outputs: int) -> None:
    """Float tokens, which no codes meet: weights of every kind, alone and as parts whose features lie anywhere."""
    x, w, bias = torch.randn(rows, features), torch.randn(outputs, features), torch.randn(outputs)
    halves = torch.randperm(features).tensor_split(2)
    ascending = [half.sort().values for half in halves]  # both reach over the whole row
    front = torch.arange(features).tensor_split([features // 8])
    in_parts = [
        QuantisedWeight(
            tuple((part, weight_encode(w[:, part], bits)) for part, bits in zip(parts, widths, strict=True)),
            (outputs, features),
        )
        for parts, widths in ((halves, (8, 2)), (ascending, (2, 8)), (front[::-1], (4, 3)))
    ]
    whole = (weight_encode(w, 4), weight_encode(w, 8), weight_encode(w, 3, group_size=50))
    for weight in (*whole, *in_parts):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            tokens = guarded(x.to(dtype))
            values, least = weight.dequantise(), torch.finfo(dtype).eps
            for added in (bias, None):
                floats = prepare_float_products(weight, added)
                assert floats is not None
                expected = tokens.double() @ values.double().T + (0 if added is None else added.double())
                reach = tokens.double().abs().sum(-1, keepdim=True) * values.abs().amax(-1) + 1
                assert float(((floats.linear(tokens) - expected).abs() / reach).max()) <= 4 * least


def chosen_floats() -> None:
    """Tokens of a few, of a tile and of several bundles; features of several runs; outputs of several panels."""
    for rows, features, outputs in ((1, 129, 33), (9, 63, 5), (40, 70, 30), (300, 1100, 300)):
        multiply_floats(rows, features, outputs)


def chosen_products(levels: list[str]) -> None:
    """Every way of multiplying, weights of every kind, tokens that fill tiles and that do not."""
    for level, most in product_cases.WAYS:
        if level not in levels:
            continue
        with product_cases.way(level, most), poisoned():
            for rows, features, outputs in ((1, 129, 33), (9, 63, 5), (140, 130, 50)):
                multiply(rows, features, outputs)
                multiply_neighbours(rows, features, outputs)
                train(rows, features, outputs)
            chosen_floats()
    for level in levels:
        with use_level(level), poisoned():
            for rows, blocks in ((1, (3, 130)), (9, (7, 24, 64)), (70, (43, 172)), (16, (512,))):
                rotate(rows, blocks)


def multiply_neighbours(rows: int, features: int, outputs: int) -> None:
    """Salient features side by side, with weights of their own: they are copied, not gathered."""
    x, w, front = torch.randn(rows, features), torch.randn(outputs, features), torch.arange(features) < features // 8
    places = [part.nonzero().squeeze(1) for part in (~front, front)]
    weight = QuantisedWeight(tuple((part, weight_encode(w[:, part], 4)) for part in places), (outputs, features))
    law: dict[str, Any] = {"num_levels": 16, "num_steps": 2, "ranges": "own"}
    prepared = products.prepare_products(weight, None, GifLaw(**law), front, backend="native")
    same(prepared.linear(x, torch.float32), spike_product(encode_by_definition(x, salient=front, **law), weight))


def train(rows: int, features: int, outputs: int) -> None:
    """The forward of a layer in training: a float weight the other way round, and one that is clamped."""
    x, w, bias = torch.randn(rows, features), torch.randn(features, outputs).t(), torch.randn(outputs)
    w[0, :4] = torch.tensor([7.5, -7.5, 1.0, 3.0])
    mask = torch.rand(features) < 0.2
    for law, salient in ((GifLaw(16), None), (GifLaw(16, 2), mask), (GifLaw(2, 3, signed=True), mask)):
        for bits in (2, 4, 7):
            kept = _training_native.forward(x, w, bias, bits, law, salient)
            assert kept is not None
            code, weight = encode_by_definition(x, salient=salient, **vars(law)), weight_encode(w, bits)
            same(kept.y, spike_product(code, weight, bias))
            same(kept.values, weight.dequantise())
            same(_training_native.decode(kept.centred, kept.scale, salient), code.dequantise())


def rotate(rows: int, blocks: tuple[int, ...]) -> None:
    """Mixing and its gradient, which mixes the other way."""
    x, signs = torch.randn(rows, sum(blocks)).requires_grad_(), random_signs(sum(blocks), 1)
    ours, theirs = block_rotation(x, blocks, signs), rotation_by_definition(x.double(), blocks, signs)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
    (found,), (wanted,) = (torch.autograd.grad(each.cos().sum(), x) for each in (ours, theirs))
    torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-5)
    block_rotation(x.detach().bfloat16(), blocks, signs)
    cut = torch.cat([ours[:, : -blocks[-1]], narrow_range(ours[:, -blocks[-1] :], 0.8)], -1).detach()
    same(block_rotation(x.detach(), blocks, signs, keep=0.8), cut)


def multiply(rows: int, features: int, outputs: int) -> None:
    x, w = torch.randn(rows, features), torch.randn(outputs, features)
    x[0, 0] = torch.nan if rows == 9 else x[0, 0]
    x[-1, :2] = torch.tensor([7.5, -7.5])  # ties at both ends of a range of 15, which clamp
    mask, bias = torch.rand(features) < 0.2, torch.randn(outputs)
    parts = torch.randperm(features).tensor_split(2)
    mixed = tuple((part, weight_encode(w[:, part], bits)) for part, bits in zip(parts, (8, 2), strict=True))
    weights = (weight_encode(w, 4), weight_encode(w, 8), weight_encode(w, 3, group_size=50))
    laws: list[dict[str, Any]] = [
        {"num_levels": 16},
        {"num_levels": 16, "num_steps": 2},
        {"num_levels": 16, "num_steps": 2, "ranges": "own"},
        {"num_levels": 256},
        {"num_levels": 2, "num_steps": 3, "signed": True},
    ]
    for weight in (*weights, QuantisedWeight(mixed, (outputs, features))):
        for law in laws:
            salient = mask if law.get("num_steps", 1) > 1 else None
            code = gif_encode(x, salient=salient, **law)
            prepared = products.prepare_products(weight, bias, GifLaw(**law), salient, backend="native")
            expected = spike_product(code, weight, bias)
            same(prepared.linear(guarded(x), torch.float32), expected)
            same(prepared.product(code), expected)
            half = guarded(x.bfloat16())
            same(prepared.linear(half, torch.float16), prepared.linear(half.float(), torch.float16))
