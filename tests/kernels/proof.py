"""The kernels on fibers against every other hand of the law, on as many generated cases as one likes.

`python -m tests.kernels.proof FOLDER EXAMPLES [FLAGS …]` compiles with the flags given (sanitisers, with their runtime
preloaded) and prints how many cases there were. Fibers run in both orders. Fresh memory is poisoned.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from darkit_nb.functional import gif as gif_law
from darkit_nb.functional import neuron as neuron_law
from darkit_nb.functional import spike_linear as product_law
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.packed import pack_codes
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops import _gif_kernel, gif, neuron_scan
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._neuron_blocked import NeuronLaw
from darkit_nb.ops._neuron_kernel import BITS, BYTES, INPUT, ScanKernel, scan_forward
from darkit_nb.ops._packed_kernel import fits, matvec, pack_weight
from darkit_nb.ops._product_kernel import product_kernel
from darkit_nb.ops.native_build import probe_native
from tests.kernels.cases import LAWS, mask, same, tokens
from tests.kernels.shim import ShimLauncher

DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
FEATURES = st.sampled_from([1, 7, 63, 64, 129, 256, 520, 4097])
# Shares of the cases; the products are slow and few settings of theirs differ.
SHARES = {"gif": 0.4, "gradient": 0.15, "neuron": 0.25, "product": 0.2}
NEURONS = [
    NeuronLaw(),
    NeuronLaw("hard", surrogate="sigmoid"),
    NeuronLaw("hard", detach_reset=True),
    NeuronLaw(surrogate="gaussian", detach_reset=True),
    NeuronLaw(max_count=4),
]


class Proof:
    """The cases of one launcher, counted."""

    def __init__(self, shim: ShimLauncher, examples: int) -> None:
        self.shim, self.examples, self.done = shim, examples, Counter[str]()
        self.backends = ("blocked", "native") if probe_native().works else ("blocked",)

    def start(self, kind: str, descending: bool) -> None:
        self.done[kind] += 1
        self.shim.descending = descending

    def gif(self, x: torch.Tensor, law: GifLaw, salient: torch.Tensor | None, packed: bool) -> None:
        """Counts, scales and zero points of reference, cache blocks, C++ and kernel; what else a launch writes."""
        packed = packed and not law.signed and (law.cap_hi if salient is not None else law.cap_lo) <= 15
        counts, scale, zero, clamped = _gif_kernel.encode(x, law, salient, self.shim, packed=packed)
        expected = gif_law.gif_encode(x, salient=salient, **vars(law))
        same(counts, pack_codes(expected.counts, 4) if packed else expected.counts)
        for backend in self.backends:
            found = gif.encode_rows(x, salient=salient, backend=backend, **vars(law))
            same(found[0], expected.counts)
        same(scale, expected.scale)
        same(zero, expected.zero_point)
        _, _, _, flags = gif.encode_rows(x, salient=salient, backend="reference", **vars(law))
        flags = torch.zeros(x.shape, dtype=torch.uint8) if flags is None else flags.to(torch.uint8)
        assert clamped is not None
        same(clamped, pack_codes(flags, 1))
        values, centred, _, _ = _gif_kernel.encode_centred(x, law, salient, self.shim)
        same(values, gif_law.gif_quantise(x, salient=salient, **vars(law)))
        same(centred.int(), expected.counts.int() - expected.per_feature(zero))

    def gradient(self, x: torch.Tensor, law: GifLaw, salient: torch.Tensor | None, follow: bool) -> None:
        # The gradient of a broken token means nothing, and that of a huge one overflows in the reference.
        whole = x.float().isfinite().all(-1, keepdim=True) & (x.float().abs().amax(-1, keepdim=True) < 1e30)
        x = torch.where(whole, x, torch.ones_like(x))
        grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
        ours, theirs = x.clone().requires_grad_(), x.float().requires_grad_()
        _gif_kernel.QuantiseKernel.apply(ours, law, salient, follow, self.shim).backward(grad)
        gradient = "range" if follow else "clipped"
        gif_law.gif_quantise(theirs, salient=salient, gradient=gradient, **vars(law)).backward(grad.float())
        assert ours.grad is not None
        assert theirs.grad is not None
        room = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[x.dtype]
        size = 1 + float(theirs.grad.abs().max())
        torch.testing.assert_close(ours.grad.float(), theirs.grad, rtol=room, atol=room * size * x.shape[1] ** 0.5)

    def neuron(self, x: torch.Tensor, law: NeuronLaw, constants: tuple[torch.Tensor, torch.Tensor]) -> None:
        beta, theta = constants
        v = torch.randn(x.shape[1], generator=torch.Generator().manual_seed(2))
        spikes, last = neuron_law.neuron_scan(x, v, decay=beta, threshold=theta, **vars(law))
        for emit in (INPUT, BYTES, BITS) if law.max_count is None else (INPUT, BYTES):
            found, membrane = scan_forward(x, v, beta, theta, law, self.shim, emit)
            expected = spikes if emit == INPUT else spikes.to(torch.uint8)
            same(found, pack_codes(expected, 1) if emit == BITS else expected)
            same(membrane, last)
        for backend in self.backends:
            found = neuron_scan.neuron_scan(x, v, decay=beta, threshold=theta, backend=backend, **vars(law))
            same(found[0], spikes)
        inputs = [x.clone(), v, beta, theta]
        ours, theirs = ([each.clone().requires_grad_() for each in inputs] for _ in range(2))
        grads = torch.randn(x.shape).to(x.dtype), torch.randn(v.shape)
        torch.autograd.backward(ScanKernel.apply(*ours, law, self.shim), grads)
        scan = neuron_law.neuron_scan(theirs[0], theirs[1], decay=theirs[2], threshold=theirs[3], **vars(law))
        torch.autograd.backward(scan, grads)
        room = 1e-4 if x.dtype == torch.float32 else 2e-2
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.grad is not None
            assert other.grad is not None
            size = 1 + float(other.grad.abs().max())
            torch.testing.assert_close(mine.grad.float(), other.grad.float(), rtol=room, atol=room * size)

    def product(self, seed: int, rows: int, features: int, outputs: int, bits: int, law: dict[str, Any]) -> None:
        torch.manual_seed(seed)
        salient = mask(features, seed) if law.get("num_steps", 1) > 1 else None
        code = gif_encode(torch.randn(rows, features), salient=salient, **law)
        weight, bias = weight_encode(torch.randn(outputs, features), bits), torch.randn(outputs)
        expected = product_law.spike_product(code, weight, bias)
        same(product_kernel(code, weight, bias, self.shim), expected)
        if fits(weight, code.cap, signed=code.signed):
            same(matvec(code, pack_weight(weight, salient), bias, self.shim), expected)

    def run(self) -> Counter[str]:
        """All of them."""

        def some(kind: str) -> Any:
            count = max(1, round(self.examples * SHARES[kind]))
            checks = list(HealthCheck)
            return settings(
                max_examples=count, deadline=None, database=None, suppress_health_check=checks, phases=[Phase.generate]
            )

        @some("gif")
        @given(st.integers(1, 4), FEATURES, st.integers(0, 10**6), DTYPES, st.sampled_from(LAWS), st.booleans())
        def prove_gif(rows: int, features: int, seed: int, dtype: torch.dtype, law: GifLaw, packed: bool) -> None:
            self.start("gif", seed % 2 == 1)
            self.gif(tokens(rows, features, seed).to(dtype), law, mask(features, seed), packed)

        @some("gradient")
        @given(st.integers(1, 3), FEATURES, st.integers(0, 10**6), DTYPES, st.sampled_from(LAWS), st.booleans())
        def prove_gradient(rows: int, features: int, seed: int, dtype: torch.dtype, law: GifLaw, follow: bool) -> None:
            self.start("gradient", seed % 2 == 1)
            self.gradient(tokens(rows, features, seed).to(dtype), law, mask(features, seed), follow)

        steps, neurons = st.sampled_from([1, 3, 4, 5, 8, 17, 64, 80]), st.sampled_from([1, 8, 63, 128, 1200])

        @some("neuron")
        @given(steps, neurons, st.integers(0, 10**6), DTYPES, st.sampled_from(NEURONS), st.booleans())
        def prove_neuron(
            steps: int, neurons: int, seed: int, dtype: torch.dtype, law: NeuronLaw, learned: bool
        ) -> None:
            self.start("neuron", seed % 2 == 1)
            torch.manual_seed(seed)
            shape = (neurons,) if learned else ()
            self.neuron(torch.randn(steps, neurons).to(dtype), law, (torch.rand(shape), torch.rand(shape) + 0.5))

        laws = st.sampled_from(
            [{"num_levels": 16}, {"num_levels": 16, "num_steps": 2}, {"num_levels": 2, "signed": True},
             {"num_levels": 16, "num_steps": 2, "ranges": "own"}, {"num_levels": 16, "num_steps": 3, "coding": "radix"}]
        )  # fmt: skip
        sizes = st.sampled_from([1, 33, 64, 129, 256]), st.sampled_from([1, 9, 17]), st.sampled_from([2, 4, 8])

        @some("product")
        @given(st.integers(0, 10**6), st.sampled_from([1, 2, 17]), *sizes, laws)
        def prove_product(seed: int, rows: int, features: int, outputs: int, bits: int, law: dict[str, Any]) -> None:
            self.start("product", seed % 2 == 1)
            self.product(seed, rows, features, outputs, bits, law)

        for prove in (prove_gif, prove_gradient, prove_neuron, prove_product):
            prove()
            print(dict(self.done), flush=True)
        return self.done


def main(folder: str, examples: str, *flags: str) -> None:
    """Prove, and say how much."""
    torch.use_deterministic_algorithms(True)
    proof = Proof(ShimLauncher(Path(folder), flags=flags), int(examples))
    done = proof.run()
    print(f"{sum(done.values())} cases against {', '.join(('reference', *proof.backends))}: {dict(done)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
