"""The C++ library gives the spikes and membranes of the definition bit for bit, and its gradients.

`make setup` builds the library; where there is no compiler these tests say so and are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkit_nb.errors import ConfigError
from darkit_nb.functional import neuron as reference
from darkit_nb.functional.packed import unpack_codes
from darkit_nb.functional.surrogate import SURROGATES
from darkit_nb.ops import _native
from darkit_nb.ops.native_build import LEVELS
from darkit_nb.ops.neuron_scan import neuron_scan
from tests.ops.native import need_library, poisoned, use_level

SPECIALS = (0.0, -0.0, math.nan, math.inf, -math.inf, 1e-40, 3e38, 65520.0)
QUIET = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


@pytest.fixture(autouse=True)
def _library() -> Iterator[None]:
    need_library()
    with poisoned():
        yield


@st.composite
def laws(draw: st.DrawFn) -> dict:
    if draw(st.booleans()):
        chosen = {
            "surrogate": draw(st.sampled_from(sorted(SURROGATES))),
            "reset": draw(st.sampled_from(["soft", "hard"])),
        }
        if draw(st.booleans()):
            chosen["alpha"] = draw(st.sampled_from([0.5, 1.0, 3.0]))
    else:
        chosen = {"max_count": draw(st.sampled_from([1, 4, 255, 256]))}
    return {**chosen, "detach_reset": draw(st.booleans())}


@st.composite
def cases(draw: st.DrawFn) -> dict:
    """Currents of an awkward shape and layout, ties at the threshold, constants of every form, a membrane or none."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    steps = draw(st.sampled_from([1, 2, 4, 9, 17, 64]))
    shape = draw(st.sampled_from([(1,), (3,), (63,), (64,), (129,), (4097,), (3, 129), (2, 0), (5, 4, 7)]))
    x = torch.randn(steps, *shape, generator=random) * draw(st.sampled_from([0.3, 2.0, 40.0]))
    if draw(st.booleans()):
        x = (x * 4).round() / 4  # sums that meet the threshold exactly
    layout = draw(st.sampled_from(["contiguous", "strided", "every second", "expanded"]))
    if layout == "strided":
        x = x.movedim(0, -1).contiguous().movedim(-1, 0)
    elif layout == "every second":
        x = torch.stack([x, x + 1], 1)[:, 0]
    elif layout == "expanded":
        x = x[:1].expand(x.shape)
    constants = []
    for low in (0.0, 0.5):
        form = draw(st.sampled_from(["number", "scalar", "last axis", "all"]))
        size = {"number": (), "scalar": (), "last axis": shape[-1:], "all": shape}[form]
        value = (torch.rand(size, generator=random) * 4).round() / 4 * (1 - low) + low
        constants.append(float(value) if form == "number" else value)
    state = torch.randn(shape, generator=random) if draw(st.booleans()) else None
    return {"x": x, "state": state, "decay": constants[0], "threshold": constants[1], "random": random}


def run(scan, case: dict, law: dict, **more) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
    """Spikes and last membrane; gradients of every input that can have one."""
    leaves = {
        name: value.detach().clone().requires_grad_() if isinstance(value, torch.Tensor) else value
        for name, value in case.items()
        if name not in ("random", "x")
    }
    x = case["x"].detach().requires_grad_()
    spikes, last = scan(x, leaves.pop("state"), **leaves, **law, **more)
    random = torch.Generator().manual_seed(7)
    grads = torch.randn(spikes.shape, generator=random).to(spikes.dtype), torch.randn(last.shape, generator=random)
    inputs = [x, *(value for value in leaves.values() if isinstance(value, torch.Tensor))]
    return [spikes, last], list(torch.autograd.grad((spikes, last), inputs, grads, allow_unused=True))


def check_equal(case: dict, law: dict, dtype: torch.dtype, level: str) -> None:
    x = case["x"]
    case = {**case, "x": x.to(dtype)} if x.dtype != dtype else case
    with use_level(level):
        ours, our_grads = run(neuron_scan, case, law, backend="native")
        bytes_ = (
            neuron_scan(
                case["x"],
                case["state"],
                decay=case["decay"],
                threshold=case["threshold"],
                spike_dtype=torch.uint8,
                backend="native",
                **law,
            )[0]
            if law.get("max_count") != 256
            else None
        )
    theirs, their_grads = run(reference.neuron_scan, case, law)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    if "max_count" not in law and case["x"].dim() > 1:
        fixed = {name: case[name] for name in ("state", "decay", "threshold")}
        with use_level(level):
            bits = neuron_scan(case["x"], packed=True, backend="native", **fixed, **law)[0]
        expected = reference.neuron_scan(case["x"], packed=True, **fixed, **law)[0]
        torch.testing.assert_close(bits, expected, rtol=0, atol=0)
    if bytes_ is not None:
        assert bytes_.dtype == torch.uint8
        torch.testing.assert_close(bytes_, theirs[0].nan_to_num(0.0).to(torch.uint8), rtol=0, atol=0)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]
    for got, expected in zip(our_grads, their_grads, strict=True):
        assert (got is None) == (expected is None)
        if got is not None and expected is not None and expected.numel():
            size = 1 + float(expected.detach().float().abs().amax())
            if not math.isfinite(size):
                continue  # straight through a hard reset it grows with every step, in the definition beyond float32
            summed = max(1.0, case["x"][0].numel() / expected.numel())  # neurons that share a constant
            room = tolerance * size * case["x"].shape[0] * summed**0.5
            torch.testing.assert_close(got, expected, rtol=tolerance, atol=room)


DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@settings(max_examples=150, **QUIET)
@given(case=cases(), law=laws(), dtype=st.sampled_from(DTYPES), level=st.sampled_from(list(LEVELS)))
def test_it_is_the_definition(case: dict, law: dict, dtype: torch.dtype, level: str) -> None:
    check_equal(case, law, dtype, level)


@pytest.mark.slow
@settings(max_examples=1500, **QUIET)
@given(case=cases(), law=laws(), dtype=st.sampled_from(DTYPES), level=st.sampled_from(list(LEVELS)))
def test_it_is_the_definition_often(case: dict, law: dict, dtype: torch.dtype, level: str) -> None:
    check_equal(case, law, dtype, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("law", [{}, {"reset": "hard"}, {"max_count": 4}], ids=str)
def test_broken_currents_stay_as_visible_as_in_the_definition(level: str, law: dict) -> None:
    x = torch.tensor(SPECIALS).repeat(3, 9)
    with use_level(level):
        ours = neuron_scan(x, decay=0.5, backend="native", **law)
    theirs = reference.neuron_scan(x, decay=0.5, **law)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_number_of_half_precision_is_read_and_written_exactly(level: str, dtype: torch.dtype) -> None:
    """A neuron that never fires hands its input to the membrane and its membrane's gradient to the input."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)[None].requires_grad_()
    law = {"decay": torch.tensor(0.0), "threshold": torch.tensor(torch.inf), "surrogate": "rectangle"}
    with use_level(level):
        spikes, last = neuron_scan(x, reset="hard", detach_reset=True, backend="native", **law)
        finite = x[0].isfinite()
        torch.testing.assert_close(last[finite], x[0, finite].float().detach(), rtol=0, atol=0)
        # Neighbours of every representable value, their midpoints (ties) among them, small, large and infinite.
        grad = last.detach().nan_to_num() * torch.tensor([1.0, 1 + 2**-11, 1 + 2**-9, 1 + 2**-8 + 2**-20]).repeat(2**14)
        torch.autograd.backward((spikes, last), (torch.zeros_like(spikes), grad))
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0], grad.to(dtype), rtol=0, atol=0)


def test_threads_share_the_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    """More threads than there are processors, and parts that do not divide: the same spikes."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    torch.manual_seed(0)
    case = {
        "x": torch.randn(8, 270001),
        "state": None,
        "decay": torch.tensor(0.5),
        "threshold": torch.rand(270001) + 0.5,
    }
    ours, our_grads = run(neuron_scan, case, {}, backend="native")
    theirs, their_grads = run(reference.neuron_scan, case, {})
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.testing.assert_close(our_grads, their_grads, rtol=1e-4, atol=1e-4)


def test_nothing_is_saved_but_the_input() -> None:
    x = torch.randn(16, 1000, requires_grad=True)
    held: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):
        neuron_scan(x, decay=0.5, backend="native")
    assert sum(held) == x.numel()


def test_bytes_carry_no_gradient_but_the_membrane_does() -> None:
    x = torch.randn(4, 63, requires_grad=True)
    for backend in ("native", "blocked", "reference"):
        spikes, last = neuron_scan(x, decay=0.5, spike_dtype=torch.uint8, backend=backend)
        assert not spikes.requires_grad
        (found,) = torch.autograd.grad(last.sum(), x)
        (expected,) = torch.autograd.grad(reference.neuron_scan(x, decay=0.5)[1].sum(), x)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(2, 1), (3, 63), (4, 64), (2, 1000), (3, 5, 16), (2, 3, 7)], ids=str)
@pytest.mark.parametrize("backend", ["native", "blocked", "reference"])
def test_bits_are_the_spikes(shape: tuple[int, ...], backend: str) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 2
    bits, last = neuron_scan(x, decay=0.5, packed=True, backend=backend)
    spikes, expected = reference.neuron_scan(x, decay=0.5)
    assert bits.shape == (*shape[:-1], -(-shape[-1] // 8))
    assert torch.equal(unpack_codes(bits, 1, shape[-1]), spikes.to(torch.uint8))
    assert torch.equal(last, expected)


def test_bits_are_refused_for_counts() -> None:
    for x, more in ((torch.zeros(2, 8), {"max_count": 4}), (torch.zeros(2), {})):
        with pytest.raises(ConfigError, match="packed"):
            neuron_scan(x, packed=True, **more)


@pytest.mark.slow
def test_more_elements_than_32_bits_count() -> None:
    """Input of 4 GB that is never touched but at its ends, and 2 GB of spikes. Needs about 3 GB."""
    torch.use_deterministic_algorithms(False)
    x = torch.empty(2**31 + 4096, dtype=torch.bfloat16)
    x[:4096], x[-4096:] = torch.linspace(-2, 3, 4096), torch.linspace(3, -1, 4096)
    far = x.as_strided((2, 4096), (2**31, 1))
    for more in ({}, {"spike_dtype": torch.uint8}, {"packed": True}):
        ours, theirs = (scan(far, decay=0.5, **more) for scan in (neuron_scan, reference.neuron_scan))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    many = torch.linspace(-1, 2, 2**26, dtype=torch.bfloat16).expand(33, -1)  # 2.2e9 spikes of 2^26 numbers
    spikes, last = neuron_scan(many, decay=0.5, spike_dtype=torch.uint8)
    assert spikes.numel() > 2**31
    expected = reference.neuron_scan(many[:, -5000:], decay=0.5, spike_dtype=torch.uint8)
    torch.testing.assert_close((spikes[:, -5000:], last[-5000:]), expected, rtol=0, atol=0)


def test_counts_that_a_byte_does_not_hold_are_refused() -> None:
    for more in ({"spike_dtype": torch.uint8, "max_count": 256}, {"spike_dtype": torch.int8}):
        with pytest.raises(ConfigError, match="cannot be emitted"):
            neuron_scan(torch.zeros(2, 3), backend="native", **more)


@pytest.mark.parametrize("law", [{"decay": 0.5}, {"max_count": 4}, {"spike_dtype": torch.uint8}], ids=str)
def test_compiles_into_one_graph(law: dict) -> None:
    def layer(x: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spikes, last = neuron_scan(x * 2, threshold=theta.exp(), backend="native", **law)
        return spikes + 1, last

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, layer):
        x, theta = torch.linspace(-2, 3, 252).view(4, 63).requires_grad_(), torch.zeros((), requires_grad=True)
        spikes, last = function(x, theta)
        outputs = [out for out in (spikes, last) if out.requires_grad]
        torch.autograd.backward(outputs, [torch.ones_like(out) for out in outputs])
        results.append([spikes, last, x.grad, theta.grad])
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_the_operators_keep_the_rules_of_torch_library() -> None:
    x, theta = torch.randn(4, 63, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    settings_ = ("soft", None, None, None, False, torch.float32, False)
    operator = torch.ops.darkit.neuron_scan.default
    for state in (None, torch.zeros(63, requires_grad=True)):
        torch.library.opcheck(operator, (x, state, torch.tensor(0.5), theta, *settings_))


def test_without_the_library_the_call_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from darkit_nb.errors import BackendError
    from darkit_nb.ops.native_build import NativeState

    monkeypatch.setattr(_native, "probe_native", lambda: NativeState(False, "the CPU library is not built", "build it"))
    with pytest.raises(BackendError, match="not built"):
        _native.call("dk_scan_forward", "")
