"""The C++ library gives the counts, scales, values and masks of the definition bit for bit, and its gradients."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkit_nb.errors import ConfigError
from darkit_nb.functional import gif as reference
from darkit_nb.ops.gif import encode_centred, encode_rows, gif_encode, gif_quantise
from darkit_nb.ops.native_build import LEVELS
from tests.ops.native import need_library, poisoned, use_level

SPECIALS = (0.0, -0.0, math.nan, math.inf, -math.inf, 1e-40, 3e38, -3e38)
QUIET = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def _library() -> Iterator[None]:
    need_library()
    with poisoned():
        yield


@st.composite
def laws(draw: st.DrawFn) -> dict:
    levels, steps, coding = draw(
        st.sampled_from(
            [
                *(
                    (16, 1, "rate"),
                    (16, 2, "rate"),
                    (2, 4, "rate"),
                    (3, 64, "rate"),
                    (256, 2, "rate"),
                    (256, 200, "rate"),
                ),
                *(
                    (2, 8, "radix"),
                    (16, 2, "radix"),
                    (16, 3, "radix"),
                    (256, 2, "radix"),
                    (16, 2, "paper"),
                    (4, 4, "paper"),
                ),
            ]
        )
    )
    ranges = draw(st.sampled_from(["shared", "own"]))
    signed = coding != "paper" and draw(st.booleans())
    return {"num_levels": levels, "num_steps": steps, "coding": coding, "ranges": ranges, "signed": signed}


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Tokens of an awkward shape and layout, with ties at half levels, one sign, broken values, and a mask or none."""
    rows, features = (
        draw(st.sampled_from([0, 1, 3, 40])),
        draw(st.sampled_from([1, 2, 15, 16, 63, 64, 65, 129, 257, 4097])),
    )
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    x = torch.randn(rows, features, generator=random) * draw(st.sampled_from([1e-3, 1.0, 100.0]))
    kind = torch.randint(0, 8, (rows, 1), generator=random)
    x = torch.where(kind == 0, x.abs(), torch.where(kind == 1, -x.abs(), x))
    x = torch.where(kind == 2, (x * 4).round() / 2, x)
    x = torch.where(kind == 3, x.clamp(-0.5, 0.5), x)
    if rows and draw(st.booleans()):
        x[draw(st.integers(0, rows - 1)), draw(st.integers(0, features - 1))] = draw(st.sampled_from(SPECIALS))
    layout = draw(st.sampled_from(["contiguous", "transposed", "slice", "expanded"]))
    if layout == "transposed":
        x = x.T.contiguous().T
    elif layout == "slice":
        x = torch.cat([x, x], -1)[:, :features]
    elif layout == "expanded" and rows:
        x = x[:1].expand(rows, features)
    share = draw(st.sampled_from([None, 0.0, 0.2, 1.0]))
    return x, None if share is None else torch.rand(features, generator=random) < share


def same(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


def check_codes(x: torch.Tensor, salient: torch.Tensor | None, law: dict) -> None:
    ours = gif_encode(x, salient=salient, backend="native", **law)
    theirs = reference.gif_encode(x, salient=salient, **law)
    same(ours.counts, theirs.counts)
    same(ours.scale, theirs.scale)
    same(ours.zero_point, theirs.zero_point)
    same(gif_quantise(x, salient=salient, backend="native", **law), reference.gif_quantise(x, salient=salient, **law))
    if not theirs.signed and theirs.cap <= 15:
        packed = encode_rows(x, salient=salient, backend="native", packed=True, **law)
        same(packed[0], reference.pack_counts(theirs))
        same(packed[1], theirs.scale)
    masks = [encode_rows(x, salient=salient, backend=hand, **law)[3] for hand in ("native", "reference")]
    assert (masks[0] is None) == (masks[1] is None)
    if masks[0] is not None and masks[1] is not None:
        same(masks[0], masks[1])
    values, centred, scale, _ = encode_centred(x, salient=salient, backend="native", **law)
    assert torch.equal(centred.long(), theirs.counts.long() - theirs.per_feature(theirs.zero_point).long())
    same(scale, theirs.scale)
    same(values, theirs.dequantise())


def check_gradients(x: torch.Tensor, salient: torch.Tensor | None, law: dict, gradient: str) -> None:
    # The gradient of a broken token means nothing, and that of a huge one overflows in the definition.
    x = torch.where(x.isfinite() & (x.abs() < 1e30), x, 1.0)
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    gif_quantise(ours, salient=salient, gradient=gradient, backend="native", **law).backward(grad)
    reference.gif_quantise(theirs, salient=salient, gradient=gradient, **law).backward(grad)
    assert ours.grad is not None
    assert theirs.grad is not None
    size = 1 + float(theirs.grad.abs().max()) if theirs.grad.numel() else 1.0
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6 * size * x.shape[-1])


ANY = {"case": cases(), "law": laws(), "dtype": st.sampled_from(DTYPES), "level": st.sampled_from(list(LEVELS))}


@settings(max_examples=150, **QUIET)
@given(**ANY)
def test_it_is_the_definition(case, law: dict, dtype: torch.dtype, level: str) -> None:
    with use_level(level):
        check_codes(case[0].to(dtype), case[1], law)


@settings(max_examples=80, **QUIET)
@given(**ANY, gradient=st.sampled_from(["clipped", "range"]))
def test_gradients_follow_autograd_of_the_definition(case, law: dict, dtype, level: str, gradient: str) -> None:
    with use_level(level):
        check_gradients(*case, law, gradient)


@pytest.mark.slow
@settings(max_examples=2500, **QUIET)
@given(**ANY, gradient=st.sampled_from(["clipped", "range"]))
def test_both_often(case, law: dict, dtype: torch.dtype, level: str, gradient: str) -> None:
    with use_level(level):
        check_codes(case[0].to(dtype), case[1], law)
        check_gradients(*case, law, gradient)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gradients_are_rounded_once(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, salient, grad = torch.randn(5, 129).to(dtype), torch.rand(129) < 0.2, torch.randn(5, 129).to(dtype)
    law = {"num_levels": 16, "num_steps": 2, "salient": salient, "gradient": "range"}
    ours, wide = x.clone().requires_grad_(), x.float().requires_grad_()
    gif_quantise(ours, backend="native", **law).backward(grad)
    reference.gif_quantise(wide, **law).backward(grad.float())
    assert ours.grad is not None
    assert wide.grad is not None
    torch.testing.assert_close(ours.grad, wide.grad.to(dtype), rtol=2**-7, atol=2**-9)


def test_threads_share_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    torch.manual_seed(0)
    x, salient = torch.randn(1001, 1025), torch.rand(1025) < 0.2
    check_codes(x, salient, {"num_levels": 16, "num_steps": 2})
    check_gradients(x, salient, {"num_levels": 16, "num_steps": 2}, "range")


def test_the_usual_token_saves_nothing_for_the_backward() -> None:
    held: list[int] = []
    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):
        gif_quantise(torch.randn(64, 128, requires_grad=True), num_levels=16, backend="native")
    assert held == []


def test_clamped_codes_pass_no_gradient() -> None:
    # ±7.5 levels round away from zero on both sides: 16 of 15.
    for gradient in ("clipped", "range"):
        x = torch.tensor([[7.5, -7.5, 1.0]], requires_grad=True)
        theirs = x.detach().clone().requires_grad_()
        gif_quantise(x, num_levels=16, gradient=gradient, backend="native").sum().backward()
        reference.gif_quantise(theirs, num_levels=16, gradient=gradient).sum().backward()
        torch.testing.assert_close(x.grad, theirs.grad)


COMPILED = """
import torch
from darkit_nb.functional.spike_linear import spike_linear as reference
from darkit_nb.ops.spike_linear import spike_linear
from darkit_nb.records.spike_spec import SpikeSpec

for gradient in ("clipped", "range"):
    spec, salient = SpikeSpec(gradient=gradient, backend="native"), torch.arange(63) < 6
    layer = lambda x, weight: spike_linear(x * 2, weight, None, spec, salient).relu()
    definition = lambda x, weight: reference(x * 2, weight, None, spec, salient).relu()
    torch.manual_seed(0)
    x, weight = torch.randn(3, 5, 63), torch.randn(8, 63)
    results = []
    for function in (torch.compile(layer, fullgraph=True, backend="aot_eager"), layer, definition):
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        y = function(*leaves)
        y.square().sum().backward()
        results.append([y, *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(results[0], results[2], rtol=1e-4, atol=1e-2)
print("one graph")
"""


def test_a_spiking_layer_compiles_into_one_graph() -> None:
    """In a process of its own: the checks of shapes that tests put around the definitions cannot be compiled."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=400)
    assert done.stdout.strip() == "one graph", done.stderr[-3000:]


def test_the_operators_keep_the_rules_of_torch_library() -> None:
    x, law = torch.randn(5, 63), (16, 2, "rate", "shared", False)
    salient = torch.arange(63) < 6
    for mask in (None, salient):
        torch.library.opcheck(torch.ops.darkit.gif_encode.default, (x, mask, *law, False, True))
        torch.library.opcheck(torch.ops.darkit.gif_centred.default, (x, mask, *law))
        for follow_range in (False, True):
            leaf = x.clone().requires_grad_()
            torch.library.opcheck(torch.ops.darkit.gif_quantise.default, (leaf, mask, *law, follow_range))


def test_counts_that_half_a_byte_does_not_hold_are_refused() -> None:
    for law in ({"num_levels": 17}, {"num_levels": 4, "signed": True}):
        with pytest.raises(ConfigError, match="4 bits"):
            encode_rows(torch.zeros(2, 8), packed=True, **law)


@settings(max_examples=60, **QUIET)
@given(
    seed=st.integers(0, 2**20),
    cap=st.sampled_from([1, 15, 30, 255, 510]),
    level=st.sampled_from(list(LEVELS)),
    size=st.sampled_from([1e-30, 1e-20, 1.0, 1e20, 1e34]),
)
def test_quotients_next_to_a_half_round_as_the_definition(seed: int, cap: int, level: str, size: float) -> None:
    """Values within some units in the last place of the boundary between two codes, where a product may not decide."""
    random = torch.Generator().manual_seed(seed)
    scale = torch.rand(7, 1, generator=random) * size + size / 2
    x = (torch.randint(0, cap, (7, 1024), generator=random) + 0.5) * scale
    x = (x.view(torch.int32) + torch.randint(-3, 4, x.shape, generator=random).to(torch.int32)).view(torch.float32)
    x[:, 0], x[:, 1] = 0.0, scale[:, 0] * cap
    law = {"num_levels": cap + 1}
    with use_level(level):
        same(gif_encode(x, backend="native", **law).counts, reference.gif_encode(x, **law).counts)


@pytest.mark.slow
def test_more_elements_than_32_bits_count() -> None:
    """2.2e9 counts of one token read again and again, 2 GB; and rows 4 GB apart, of which only the ends are touched."""
    torch.use_deterministic_algorithms(False)
    row = torch.linspace(-1, 2, 2**21)
    counts = encode_rows(row.expand(1030, -1), num_levels=16, backend="native")[0]
    assert counts.numel() > 2**31
    assert torch.equal(counts[-1], reference.gif_encode(row, num_levels=16).counts)
    x = torch.empty(2**31 + 4096, dtype=torch.bfloat16)
    x[:4096], x[-4096:] = torch.linspace(-2, 3, 4096), torch.linspace(3, -1, 4096)
    far = x.as_strided((2, 4096), (2**31, 1))
    check_codes(far, None, {"num_levels": 16, "num_steps": 1, "coding": "rate", "ranges": "shared", "signed": False})
