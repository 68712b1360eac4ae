"""Cache blocks give the counts, scales, values and gradients of the definition, bit for bit where it says so."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkit_nb.errors import BackendError, ConfigError, ShapeError
from darkit_nb.functional import gif as reference
from darkit_nb.ops import _gif_blocked, native_build
from darkit_nb.ops import gif as gif_ops
from darkit_nb.ops.gif import clip_gradient, encode_rows, gif_encode, gif_quantise
from tests.ops.native import need_library, poisoned, without_library

LAWS = [
    {"num_levels": levels, "num_steps": steps, "coding": coding, "ranges": ranges, "signed": signed}
    for levels, steps, coding in (
        (16, 2, "rate"),
        (2, 4, "rate"),
        (256, 2, "radix"),
        (16, 3, "radix"),
        (16, 2, "paper"),
    )
    for ranges in ("shared", "own")
    for signed in (False, True)
    if not (signed and coding == "paper")
]
SPECIALS = (0.0, math.nan, math.inf, -math.inf, 1e-40, 3e38)


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Tokens of any awkward shape, with ties, broken values and one-sided ranges, and a mask or none."""
    rows, features = draw(st.sampled_from([1, 7, 40])), draw(st.sampled_from([1, 2, 63, 129]))
    random = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    x = torch.randn(rows, features, generator=random)
    kind = torch.randint(0, 8, (rows, 1), generator=random)
    x = torch.where(kind == 0, x.abs(), torch.where(kind == 1, -x.abs(), x))
    x = torch.where(kind == 2, (x * 4).round() / 2, x)
    x = torch.where(kind == 3, x.clamp(-0.5, 0.5), x)
    x[draw(st.integers(0, rows - 1)), draw(st.integers(0, features - 1))] = draw(st.sampled_from(SPECIALS))
    share = draw(st.sampled_from([None, 0.0, 0.2, 1.0]))
    salient = None if share is None else torch.rand(features, generator=random) < share
    return x, salient


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gif_blocked, "BLOCK_ELEMENTS", 300)
    without_library(monkeypatch)


def same(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_codes_and_values_are_bit_equal(law: dict, dtype: torch.dtype, case) -> None:
    x, salient = case[0].to(dtype), case[1]
    ours, theirs = gif_encode(x, salient=salient, **law), reference.gif_encode(x, salient=salient, **law)
    same(ours.counts, theirs.counts)
    same(ours.scale, theirs.scale)
    same(ours.zero_point, theirs.zero_point)
    same(gif_quantise(x, salient=salient, **law), reference.gif_quantise(x, salient=salient, **law))
    blocked = encode_rows(x, salient=salient, **law)[3]
    plain = encode_rows(x, salient=salient, backend="reference", **law)[3]
    nothing = torch.zeros(x.shape, dtype=torch.bool)
    same(nothing if blocked is None else blocked, nothing if plain is None else plain)


@pytest.mark.parametrize("gradient", ["clipped", "range"])
@pytest.mark.parametrize("law", LAWS, ids=str)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_gradients_follow_autograd_of_the_definition(law: dict, gradient: str, case) -> None:
    x, salient = case
    x = torch.where(x.isfinite() & (x.abs() < 1e30), x, 1.0)
    grad = torch.randn(x.shape)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    gif_quantise(ours, salient=salient, gradient=gradient, **law).backward(grad)
    reference.gif_quantise(theirs, salient=salient, gradient=gradient, **law).backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5 * x.shape[-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_strides_and_batch_axes(dtype: torch.dtype) -> None:
    x = torch.randn(3, 33, 5, 2).to(dtype).permute(0, 3, 2, 1)
    salient = torch.rand(33) < 0.3
    ours = gif_encode(x, num_levels=16, num_steps=2, salient=salient)
    theirs = reference.gif_encode(x, num_levels=16, num_steps=2, salient=salient)
    same(ours.counts, theirs.counts)
    assert ours.scale.shape == theirs.scale.shape == (3, 2, 5, 2)
    same(gif_quantise(x, num_levels=16), reference.gif_quantise(x, num_levels=16))


HEADS = [((2, 4, 5, 16), (4, 1, 16)), ((3, 2, 40, 63), (2, 1, 63)), ((1, 2, 1, 129), (2, 1, 129))]
OTHERS = [((2, 5, 7), (5, 7)), ((2, 3, 5, 7), (2, 1, 5, 7)), ((6, 7), (6, 7)), ((0, 3, 7), (3, 7))]


@pytest.mark.parametrize("backend", ["native", "blocked"])
@pytest.mark.parametrize("law", LAWS[::3], ids=str)
@pytest.mark.parametrize(("shape", "mask"), HEADS + OTHERS, ids=str)
def test_masks_that_differ_between_heads(monkeypatch: pytest.MonkeyPatch, shape, mask, law, backend) -> None:
    """Keys and values have a mask a head; masks that differ between tokens come along."""
    if backend == "native":
        monkeypatch.undo()
        need_library()
    monkeypatch.setattr(gif_ops, "LEAST_BLOCK", 1)
    random = torch.Generator().manual_seed(0)
    x, salient = torch.randn(shape, generator=random), torch.rand(mask, generator=random) < 0.3
    x[..., ::2, :] = (x[..., ::2, :] * 4).round() / 2  # ties, which clamp
    if len(shape) == 4:  # as attention has them
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    with poisoned():
        for dtype in (torch.float32, torch.bfloat16):
            ours = gif_encode(x.to(dtype), salient=salient, backend=backend, **law)
            theirs = reference.gif_encode(x.to(dtype), salient=salient, **law)
            same(ours.counts, theirs.counts)
            same(ours.scale, theirs.scale)
            same(ours.zero_point, theirs.zero_point)
        for gradient in ("clipped", "range"):
            grad, results = torch.randn(shape, generator=random), []
            for quantise, more in ((gif_quantise, {"backend": backend}), (reference.gif_quantise, {})):
                leaf = x.clone().requires_grad_()
                values = quantise(leaf, salient=salient, gradient=gradient, **law, **more)
                values.backward(grad)
                results.append((values.detach(), leaf.grad))
            same(results[0][0], results[1][0])
            torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-5 * shape[-1])


@pytest.mark.parametrize("backend", ["native", "blocked", "reference"])
def test_rows_take_turns_with_masks(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    if backend == "native":
        monkeypatch.undo()
        need_library()
    monkeypatch.setattr(gif_ops, "LEAST_BLOCK", 1)
    x, salient = torch.randn(12, 9), torch.arange(9).expand(3, 9) == torch.tensor([[3], [4], [0]])
    x[5] = torch.tensor([7.5, -7.5, *[1.0] * 7])  # clamped, for one mask only
    law = {"num_levels": 16, "num_steps": 2}
    every = salient.repeat_interleave(4, 0)
    expected = encode_rows(x, salient=every, backend="reference", **law)
    found = encode_rows(x, salient=salient, backend=backend, **law)
    assert expected[3] is not None
    for got, wanted in zip(found, expected, strict=True):
        same(got, wanted)
    with pytest.raises(ShapeError, match="share"):
        encode_rows(x, salient=salient[:, :9].repeat(2, 1)[:5], backend=backend, **law)


def test_no_head_takes_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the tests above ran a fast path."""
    monkeypatch.setattr(gif_ops, "LEAST_BLOCK", 4096)
    monkeypatch.setattr(gif_ops, "_encode_reference", None)
    monkeypatch.setattr(gif_ops.reference, "gif_quantise", None)
    x, salient = torch.randn(2, 4, 64, 64), torch.rand(4, 1, 64) < 0.3
    for backend in ("blocked", "native"):
        if backend == "native":
            need_library()
        monkeypatch.setattr("darkit_nb.ops.backend.probe_native", native_build.probe_native)
        gif_encode(x, num_levels=16, num_steps=2, salient=salient, backend=backend)
        gif_quantise(x, num_levels=16, num_steps=2, salient=salient, backend=backend)


def test_clamped_codes_pass_no_gradient() -> None:
    # ±7.5 levels round away from zero on both sides: 16 of 15.
    x = torch.tensor([[7.5, -7.5, 1.0]], requires_grad=True)
    assert encode_rows(x.detach(), num_levels=16)[3] is not None
    gif_quantise(x, num_levels=16).backward(torch.ones(1, 3))
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 1.0, 1.0]]
    mask = torch.tensor([[True, False]])
    assert clip_gradient(torch.ones(1, 2), mask).tolist() == [[0.0, 1.0]]


def test_the_usual_token_saves_nothing_for_the_backward() -> None:
    torch.manual_seed(0)
    held: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):
        gif_quantise(torch.randn(64, 128, requires_grad=True), num_levels=16)
    assert held == []


def test_autocast_changes_nothing() -> None:
    x, salient = torch.randn(40, 63), torch.rand(63) < 0.2
    for gradient in ("clipped", "range"):
        results = []
        for enabled in (False, True):
            leaf = x.clone().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                values = gif_quantise(leaf, num_levels=16, num_steps=2, salient=salient, gradient=gradient)
                values.square().sum().backward()
            results.append((values.detach(), leaf.grad))
        torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_double_runs_the_definition() -> None:
    x = torch.randn(2, 5, dtype=torch.float64)
    same(gif_quantise(x, num_levels=16), reference.gif_quantise(x, num_levels=16))


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(ShapeError):
        encode_rows(torch.zeros(2, 3, dtype=torch.int64), num_levels=16)
    with pytest.raises(ShapeError):
        gif_quantise(torch.zeros(2, 3), num_levels=16, salient=torch.zeros(4, dtype=torch.bool))
    with pytest.raises(BackendError, match="cupy"):
        gif_encode(torch.zeros(2, 3), num_levels=16, backend="cupy")


@pytest.mark.parametrize("function", [gif_encode, gif_quantise, reference.gif_encode, reference.gif_quantise])
def test_codes_that_float32_does_not_carry_are_refused(function) -> None:
    x = torch.randn(3, 8)
    salient = torch.arange(8) < 2
    for steps in (6, 200):
        with pytest.raises(ConfigError, match="too large"):
            function(x, num_levels=16, num_steps=steps, coding="radix", salient=salient)
    function(x, num_levels=16, num_steps=5, coding="radix", salient=salient)
    function(x, num_levels=16, num_steps=6, coding="radix")  # no feature gets more than one step
