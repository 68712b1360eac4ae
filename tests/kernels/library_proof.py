"""The C++ library against the definitions: cases chosen for what may go wrong, and as many generated ones as one likes.

`python -m tests.kernels.library_proof LIBRARY PART …` runs on a library built anywhere. A part is `neurons`,
`products`, `attention`, `conversion` or `memory`, or a number of generated cases; behind `alone` the library starts
threads of its own in place of torch's. What passed is printed, and `clean` at the end.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from darkit_nb.functional import gif as gif_law
from darkit_nb.functional import neuron as neuron_law
from darkit_nb.functional.gif import gif_encode as encode_by_definition
from darkit_nb.functional.spike_linear import spike_product
from darkit_nb.ops import _native, _neuron_native, native_build
from darkit_nb.ops import spike_product as products
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops.gif import encode_centred, encode_rows, gif_encode, gif_quantise
from darkit_nb.ops.neuron_scan import neuron_scan
from tests.kernels.cases import same
from tests.kernels.library_conversion import chosen_conversion
from tests.kernels.library_products import chosen_products
from tests.ops import test_gif_native as gif_cases
from tests.ops import test_neuron_native as neuron_cases
from tests.ops import test_spike_attention as attention_cases
from tests.ops import test_spike_product as product_cases
from tests.ops.native import poisoned, use_level

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Shares of the generated cases.
SHARES = {"gif": 0.5, "neuron": 0.3, "product": 0.2}


def levels() -> list[str]:
    """The instruction sets this processor has."""
    best = native_build.probe_native().level
    assert best is not None
    return list(native_build.LEVELS)[: list(native_build.LEVELS).index(best) + 1]


def tokens_of(features: int, dtype: torch.dtype) -> None:
    """Codes of every kind and both gradients, in rows that end anywhere in a vector."""
    x = torch.randn(19, features).to(dtype)
    found = encode_rows(x, num_levels=16, backend="native", packed=True)
    same(found[0], gif_law.pack_counts(encode_by_definition(x, num_levels=16)))
    x, salient = torch.randn(19, features).to(dtype), torch.rand(features) < 0.3
    x[3, 0] = torch.nan
    x[4] = (x[4] * 4).round() / 2  # ties, which clamp
    every = torch.rand(19, features) < 0.3  # a mask a row
    for mask, ranges in ((None, "shared"), (salient, "shared"), (salient, "own"), (every, "own")):
        law: dict[str, Any] = {"num_levels": 16, "num_steps": 2, "ranges": ranges, "salient": mask}
        same(gif_encode(x, backend="native", **law).counts, encode_by_definition(x, **law).counts)
        encode_rows(x, backend="native", **law)
        encode_centred(x, backend="native", **law)
        whole = torch.where(x.isnan(), 1.0, x)
        for gradient in ("clipped", "range"):
            ours, theirs = whole.clone().requires_grad_(), whole.float().clone().requires_grad_()
            weights = torch.randn(19, features)
            gif_quantise(ours, gradient=gradient, backend="native", **law).backward(weights.to(dtype))
            gif_law.gif_quantise(theirs, gradient=gradient, **law).backward(weights.to(dtype).float())
            assert ours.grad is not None
            assert theirs.grad is not None
            room = (1e-5 if dtype == torch.float32 else 1e-2) * (1 + float(theirs.grad.abs().max()))
            torch.testing.assert_close(ours.grad.float(), theirs.grad, rtol=room, atol=room)


def currents_of(steps: int, neurons: int, dtype: torch.dtype) -> None:
    """Spikes in every form, and a backward, of neurons that several threads share."""
    laws: tuple[dict[str, Any], ...] = ({}, {"reset": "hard", "surrogate": "gaussian"}, {"max_count": 4})
    for law in laws:
        x = torch.randn(steps, neurons).to(dtype).requires_grad_()
        decay, theta = torch.rand(neurons, requires_grad=True), torch.rand((), requires_grad=True)
        spikes, last = neuron_scan(x, decay=decay, threshold=theta, backend="native", **law)
        same(spikes, neuron_law.neuron_scan(x, decay=decay, threshold=theta, **law)[0])
        torch.autograd.backward((spikes, last), (torch.ones_like(spikes), torch.ones_like(last)))
        neuron_scan(x.detach(), decay=0.5, spike_dtype=torch.uint8, backend="native", **law)
        if "max_count" not in law:
            bits = neuron_scan(x.detach(), decay=0.5, packed=True, backend="native", **law)[0]
            same(bits, neuron_law.neuron_scan(x.detach(), decay=0.5, packed=True, **law)[0])


def chosen_neurons() -> None:
    for level in levels():
        with use_level(level), poisoned():
            for dtype in DTYPES:
                for features in (1, 63, 129, 4097):
                    tokens_of(features, dtype)
                for steps, neurons in ((1, 1), (4, 63), (9, 90001)):
                    currents_of(steps, neurons, dtype)


def chosen_attention() -> None:
    for level in levels():
        for code in attention_cases.CODES:
            for shape in (*attention_cases.SHAPES, (3, 2, 130, 40, 6)):
                attention_cases.check(code, shape, level)


def memory() -> None:
    """Memory that results left is used again, by several threads at once, past the caches, and given back."""
    _native.STREAMED_BYTES = _neuron_native.STREAMED_BYTES = 0
    x = torch.randn(5, 90001)
    expected, failed = neuron_law.neuron_scan(x, decay=0.5), []

    def often() -> None:
        try:
            for _ in range(20):
                for got, wanted in zip(neuron_scan(x, decay=0.5, backend="native"), expected, strict=True):
                    same(got, wanted)
        except AssertionError as error:
            failed.append(error)

    runners = [threading.Thread(target=often) for _ in range(3)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert failed == [], failed
    assert _native.idle_bytes() > 0
    assert _native.idle_bytes(0) == 0


def generated(examples: int) -> None:
    """Cases of the strategies that the tests of `ops` use; counts bit for bit, all gradients to their tolerance."""
    done, level, dtype = Counter[str](), st.sampled_from(levels()), st.sampled_from(DTYPES)
    ways = st.sampled_from([way for way in product_cases.WAYS if way[0] in levels()])

    def some(kind: str) -> Any:
        count: int = max(1, round(examples * SHARES[kind]))
        checks: list[Any] = list(HealthCheck)
        return settings(
            max_examples=count, deadline=None, database=None, suppress_health_check=checks, phases=[Phase.generate]
        )

    @some("gif")
    @given(gif_cases.cases(), gif_cases.laws(), dtype, level, st.sampled_from(["clipped", "range"]))
    def prove_gif(case: Any, law: dict[str, Any], dtype: torch.dtype, level: str, gradient: str) -> None:
        done["gif"] += 1
        with use_level(level), poisoned():
            gif_cases.check_codes(case[0].to(dtype), case[1], law)
            gif_cases.check_gradients(case[0], case[1], law, gradient)

    @some("neuron")
    @given(neuron_cases.cases(), neuron_cases.laws(), dtype, level)
    def prove_neuron(case: dict[str, Any], law: dict[str, Any], dtype: torch.dtype, level: str) -> None:
        done["neuron"] += 1
        with poisoned():
            neuron_cases.check_equal(case, law, dtype, level)

    @some("product")
    @given(ways, st.fixed_dictionaries(product_cases.SHAPES))
    def prove_product(way: tuple[str, int], shape: dict[str, Any]) -> None:
        done["product"] += 1
        x, code, weight, bias = product_cases.case(**shape)
        with product_cases.way(*way), poisoned():
            prepared = products.prepare_products(weight, bias, GifLaw(**shape["law"]), code.salient, backend="native")
            same(prepared.linear(x, torch.float32), spike_product(code, weight, bias))

    for prove in (prove_gif, prove_neuron, prove_product):
        prove()
        print(dict(done), flush=True)
    print(f"{sum(done.values())} generated cases", flush=True)


def alone() -> None:
    """Threads that the library starts itself: the sanitiser of threads knows how they begin and end."""
    _native.torch_threads = lambda: (None, None)


PARTS = {
    "alone": alone,
    "neurons": chosen_neurons,
    "products": lambda: chosen_products(levels()),
    "attention": chosen_attention,
    "conversion": lambda: chosen_conversion(levels()),
    "memory": memory,
}


def main(library: str, *parts: str) -> None:
    native_build.find_library = lambda: Path(library)
    torch.get_num_threads = lambda: 3  # as many as there are only where a machine has them
    torch.manual_seed(0)
    for part in parts:
        generated(int(part)) if part.isdigit() else PARTS[part]()
    print("clean")


if __name__ == "__main__":
    main(*sys.argv[1:])
