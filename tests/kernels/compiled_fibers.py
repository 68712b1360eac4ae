"""`python -m tests.kernels.compiled_fibers FOLDER`: graphs whose operators run the CUDA kernels, on fibers.

Tensors lie on the CPU and are taken for a GPU's: the backend is cupy, the operators have their CUDA implementations,
and launches go to fibers. So what torch.compile makes of the operators is executed, forward and backward.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darkit_nb.functional import gif as gif_law
from darkit_nb.functional import neuron as neuron_law
from darkit_nb.functional import spike_linear as product_law
from darkit_nb.functional.packed import pack_codes
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops import _cupy, _gif_operators, _neuron_operators, _packed_kernel, _product_kernel, gif, neuron_scan
from darkit_nb.ops._packed_kernel import matvec, pack_weight
from darkit_nb.ops._product_kernel import product_kernel
from tests.kernels.cases import same
from tests.kernels.shim import ShimLauncher

SETTINGS: dict[str, Any] = {"num_levels": 16, "num_steps": 2}
LAW = (16, 2, "rate", "shared", False)


def as_on_a_gpu(shim: ShimLauncher) -> None:
    """CPU tensors are what CUDA tensors would be."""
    _cupy.CupyLauncher.launch = lambda _, plan: shim.launch(plan)
    _gif_operators.by_kernels = lambda _: True
    gif.backend_name = neuron_scan.backend_name = lambda *_: "cupy"
    for module, names in (
        (_gif_operators, ("encode", "centred", "clip", "quantise", "backward")),
        (_neuron_operators, ("scan", "scan_backward")),
    ):
        for name in names:
            getattr(module, f"_{name}_op").register_kernel("cpu", getattr(module, f"_{name}_cuda"))
    for operator in (_packed_kernel._matvec_op, _product_kernel._product_op):
        operator.register_kernel("cpu", operator._init_fn)


def compiled(function: Callable[..., Any], **more: Any) -> Callable[..., Any]:
    torch._dynamo.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True, **more)


def both(function: Callable[..., Any], definition: Callable[..., Any], *inputs: Tensor, exact: bool = True) -> None:
    """Outputs and all gradients of the compiled function are those of the definition."""
    results = []
    for each in (compiled(function), definition):
        leaves = [value.clone().requires_grad_(value.is_floating_point()) for value in inputs]
        found = each(*leaves)
        ends = [end for end in (found if isinstance(found, tuple) else (found,)) if end.requires_grad]
        grads = [torch.randn(end.shape, generator=torch.Generator().manual_seed(5)).to(end.dtype) for end in ends]
        torch.autograd.backward(ends, grads)
        results.append([*ends, *(leaf.grad for leaf in leaves)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def tokens(width: int) -> None:
    x, salient = torch.randn(5, width), torch.arange(width) < 6
    x[1] = (x[1] * 4).round() / 2  # ties, which clamp
    for coding in ("rate", "radix"):
        encode = lambda x, c=coding: gif.encode_rows(x, salient=salient, coding=c, **SETTINGS)  # noqa: E731
        expected = gif_law.gif_encode(x, salient=salient, coding=coding, **SETTINGS)
        for dynamic in (False, True):
            counts, scale, zero, clamped = compiled(encode, dynamic=dynamic)(x)
            same(counts, expected.counts)
            same(scale, expected.scale)
            same(zero, expected.zero_point)
            same(clamped, encode(x)[3])
    packed = compiled(lambda x: gif.encode_rows(x, num_levels=16, packed=True, mask=False)[0])(x)
    same(packed, pack_codes(gif_law.gif_encode(x, num_levels=16).counts, 4))
    for gradient in ("clipped", "range"):
        more = {"salient": salient, "gradient": gradient, **SETTINGS}
        both(
            lambda x, more=more: gif.gif_quantise(x * 2, **more),
            lambda x, more=more: gif_law.gif_quantise(x * 2, **more),
            x,
        )
    for mask in (None, salient):
        torch.library.opcheck(torch.ops.darkit.gif_encode.default, (x, mask, *LAW, False, True))
        torch.library.opcheck(torch.ops.darkit.gif_encode.default, (x, mask, *LAW, False, False))
        torch.library.opcheck(torch.ops.darkit.gif_centred.default, (x, mask, *LAW))
        for follow in (False, True):
            leaf = x.clone().requires_grad_()
            torch.library.opcheck(torch.ops.darkit.gif_quantise.default, (leaf, mask, *LAW, follow))
            scale, zero = torch.ops.darkit.gif_quantise(x, mask, *LAW, follow)[1:3]
            torch.library.opcheck(torch.ops.darkit.gif_backward.default, (x, x, scale, zero, mask, *LAW, follow))
    torch.library.opcheck(torch.ops.darkit.gif_clip.default, (x, pack_codes((x > 1).to(torch.uint8), 1)))


def neurons(width: int) -> None:
    x, state = torch.randn(5, 2, width), torch.randn(2, width)
    for theta in (torch.tensor(0.8), torch.rand(width) + 0.5):
        for more in ({}, {"reset": "hard", "surrogate": "sigmoid"}, {"max_count": 4}):
            both(
                lambda x, v, theta, more=more: neuron_scan.neuron_scan(x * 2, v, decay=0.5, threshold=theta, **more),
                lambda x, v, theta, more=more: neuron_law.neuron_scan(x * 2, v, decay=0.5, threshold=theta, **more),
                x,
                state,
                theta,
            )
    for packed in (False, True):
        scan = lambda x, p=packed: neuron_scan.neuron_scan(x, spike_dtype=torch.uint8, packed=p)  # noqa: E731
        expected = neuron_law.neuron_scan(x, spike_dtype=torch.uint8, packed=packed)
        if width % 8 == 0:  # elsewhere bits are packed by PyTorch, inside the operator
            torch.testing.assert_close(compiled(scan, dynamic=True)(x), expected, rtol=0, atol=0)
        torch.testing.assert_close(compiled(scan)(x), expected, rtol=0, atol=0)
    settings = ("soft", None, None, None, False, torch.float32, False)
    leaves = [each.requires_grad_() for each in (x, state, torch.tensor(0.5), torch.tensor(1.0))]
    torch.library.opcheck(torch.ops.darkit.neuron_scan.default, (*leaves, *settings))
    torch.library.opcheck(torch.ops.darkit.neuron_scan.default, (leaves[0], None, *leaves[2:], *settings))


def products(width: int) -> None:
    x, salient, bias = torch.randn(2, width), torch.arange(width) < 6, torch.randn(9)
    weight = weight_encode(torch.randn(9, width), 4)
    packed = pack_weight(weight, salient)
    expected = product_law.spike_product(gif_law.gif_encode(x, salient=salient, **SETTINGS), weight, bias)
    fire = lambda x: gif.gif_encode(x, salient=salient, **SETTINGS)  # noqa: E731
    same(compiled(lambda x: matvec(fire(x), packed, bias, _cupy.CupyLauncher()))(x), expected)
    same(compiled(lambda x: product_kernel(fire(x), weight, bias, _cupy.CupyLauncher()))(x), expected)


def main(folder: str) -> None:
    torch.manual_seed(0)
    shim = ShimLauncher(Path(folder))
    as_on_a_gpu(shim)
    tokens(63)
    neurons(64)
    products(129)
    print(f"the same, {len({plan.function for plan in shim.launches})} kernels")


if __name__ == "__main__":
    main(sys.argv[1])
