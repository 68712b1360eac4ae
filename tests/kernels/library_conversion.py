"""What the library does under a conversion, against the definitions: odd shapes, groups, numbers that are none.

Each runs with three threads and with one, to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from darkit_nb.functional import clipping as clipping_law
from darkit_nb.functional import kronecker as kronecker_law
from darkit_nb.functional import weight_range as range_law
from darkit_nb.functional import weight_sweep as sweep_law
from darkit_nb.ops import _clipping_native, clipping, weight_range, weight_sweep
from darkit_nb.ops._clipping_blocked import Clipped
from darkit_nb.ops.kronecker import kronecker_mix
from tests.kernels.cases import same
from tests.ops import test_clipping as clipping_cases
from tests.ops import test_weight_range as range_cases
from tests.ops import test_weight_sweep as sweep_cases
from tests.ops.native import poisoned, use_level

SWEEPS = [*sweep_cases.SHAPES, (40, 333, 5), (7, 0, 1)]
RANGES = [*range_cases.SHAPES, (40, 515, 3), (0, 9, 1)]
# Outputs, features, group, scales and bits: threads share the last ones, whose sums over outputs are those of chunks.
CLIPPED = [
    (1, 1, 1, "rw", 2),
    (33, 30, 30, "", 4),
    (70, 61, 25, "r", 3),
    (130, 577, 577, "rw", 8),
    (97, 1030, 100, "r", 4),
]
MIXED = [(1, 1, 1), (5, 1, 7), (9, 3, 4), (40, 12, 16), (70, 7, 43), (130, 24, 24)]


def with_any_threads(results: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The results, which are the same of one thread."""
    several, threads = results(), torch.get_num_threads
    torch.get_num_threads = lambda: 1
    try:
        for one, other in zip(several, results(), strict=True):
            same(one, other)
    finally:
        torch.get_num_threads = threads
    return several


def sweep(given: dict[str, Tensor]) -> None:
    """Both ways of setting codes, bit for bit; a code of what is no number says nothing."""
    ours, again = (
        with_any_threads(lambda: weight_sweep.compensate(*sweep_cases.parts(given, "upper"))),
        with_any_threads(lambda: weight_sweep.descend(*sweep_cases.parts(given, "codes", "matrix"))),
    )
    theirs = sweep_law.compensate(*sweep_cases.parts(given, "upper"))
    sweep_cases.assert_alike(ours, theirs)
    sweep_cases.assert_alike(again, sweep_law.descend(*sweep_cases.parts(given, "codes", "matrix")))


def search(given: list[Tensor]) -> None:
    """No grid errs less than the one that is chosen; where a weight is no number none does, and the first one is."""
    (found,) = with_any_threads(lambda: (weight_range.best_range(*given),))
    sound = given[0].isfinite().all(1)
    every = range_cases.errors(given)[:, sound]
    torch.testing.assert_close(every.gather(0, found[sound].unsqueeze(0))[0], every.amin(0), rtol=1e-5, atol=0)
    same(found[~sound], range_law.best_range(*given)[~sound])


def clip(outputs: int, features: int, group: int, scales: str, bits: int) -> None:
    """Values bit for bit, whatever the weights; gradients of the outputs that are numbers."""
    weight, shares = clipping_cases.weights_of(outputs, features), torch.randn(2, outputs, -(-features // group)) * 2
    reads = torch.rand(features) + 0.5 if "r" in scales else None
    writes = torch.rand(outputs) + 0.5 if "w" in scales else None
    given = torch.randn(outputs, features)

    def ours(weight: Tensor) -> tuple[Tensor, ...]:
        source = Clipped(weight, reads, writes, *(share.sigmoid() for share in shares), bits, group)
        values, ends = _clipping_native.encode(source)
        found = _clipping_native.differentiate(source, ends, given.clone())
        same(found.values, values)
        columns = [part for part in (found.reads, found.writes) if part is not None]
        return values, found.scaled, found.lower, found.upper, *columns

    def theirs() -> tuple[Tensor, ...]:
        learned = [each.clone().requires_grad_() for each in (weight, *shares)]
        further = {
            name: value.clone().requires_grad_() for name, value in (("r", reads), ("w", writes)) if value is not None
        }
        scaled = clipping_law.scaled_weight(learned[0], further.get("r"), further.get("w"))
        scaled.retain_grad()
        y = clipping_law.clipped_quantise(scaled, learned[2], learned[1], bits=bits, group_size=group)
        y.backward(given)
        assert scaled.grad is not None
        lower, upper = (each.grad / (each.sigmoid() * (1 - each.sigmoid())) for each in learned[1:])
        return y.detach(), scaled.grad, lower.detach(), upper.detach(), *(each.grad for each in further.values())

    found, wanted = with_any_threads(lambda: ours(weight)), theirs()
    same(found[0], wanted[0])
    for one, other in zip(found[1:], wanted[1:], strict=True):
        assert (one - other).norm() <= 1e-5 * (1 + other.norm()), (outputs, features)
    broken = clipping_cases.broken(weight)
    scaled = clipping_law.scaled_weight(broken, reads, writes)
    whole = broken.isfinite().all(1)
    found = with_any_threads(lambda: ours(broken))
    same(found[0], clipping_law.clipped_quantise(scaled, shares[1], shares[0], bits=bits, group_size=group))
    for one, other in zip(found[1:4], ours(torch.where(whole.unsqueeze(1), broken, 1.0))[1:4], strict=True):
        same(one[whole], other[whole])


def multiply_clipped(outputs: int, features: int) -> None:
    """A layer behind such a weight, in blocks of outputs, of any number of tokens."""
    for rows in (0, 9):
        x, weight, shares = torch.randn(rows, features), torch.randn(outputs, features), torch.randn(2, outputs, 1)
        leaves = [each.clone().requires_grad_() for each in (x, weight, *shares)]
        y = clipping.clipped_linear(*leaves[:2], None, *leaves[2:], bits=4, backend="native")
        wanted = clipping_law.clipped_linear(*leaves[:2], None, *leaves[2:], bits=4)
        grad = torch.randn(rows, outputs)
        for one, other in zip(*(torch.autograd.grad(each, leaves, grad) for each in (y, wanted)), strict=True):
            assert (one - other).norm() <= 1e-5 * (1 + other.norm())


def mix(rows: int, p: int, q: int, dtype: torch.dtype) -> None:
    """Tokens by two matrices; a broken one leaves the others as they were."""
    left, right, x = torch.randn(p, p), torch.randn(q, q), torch.randn(rows, p * q).to(dtype)
    (found,) = with_any_threads(lambda: (kronecker_mix(x, left, right),))
    want, reach = (
        kronecker_law.kronecker_mix(*(part.double() for part in parts))
        for parts in ((x, left, right), (x.abs(), left.abs(), right.abs()))
    )
    assert float(((found.double() - want).abs() / (reach + 1e-30)).max()) <= 2 * torch.finfo(dtype).eps
    spoilt = x.clone()
    spoilt[0, 0], spoilt[rows // 2, -1] = torch.nan, torch.inf
    sound = spoilt.isfinite().all(1)
    same(kronecker_mix(spoilt, left, right)[sound], found[sound])


def chosen_conversion(levels: list[str]) -> None:
    """All of it, by every one of these instruction sets."""
    for level in levels:
        with use_level(level), poisoned():
            for shape in SWEEPS:
                sweep(sweep_cases.block(*shape))
                sweep(sweep_cases.broken(sweep_cases.block(*shape)))
            for shape in RANGES:
                search(range_cases.case(*shape))
                search(range_cases.broken(range_cases.case(*shape)))
            for shape in CLIPPED:
                clip(*shape)
            multiply_clipped(130, 90)
            for dtype in (torch.float32, torch.bfloat16, torch.float16):
                for shape in MIXED:
                    mix(*shape, dtype)
