"""Codes of a block of features by the library against the definition, bit for bit, and what the definition promises."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from darkit_nb.functional import weight_sweep as law
from darkit_nb.ops import weight_sweep as ops
from darkit_nb.ops.native_build import LEVELS
from tests.ops.native import need_library, poisoned, use_level, without_library

SHAPES = [(1, 1, 1), (5, 9, 1), (17, 64, 3), (128, 150, 2), (128, 331, 128)]
"""Features, outputs, groups."""


@pytest.fixture(autouse=True)
def _library() -> None:
    need_library()


def block(features: int, outputs: int, groups: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(features)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = draw(3 * features, features) @ draw(features, features)
    matrix = x.T @ x / len(x) + 0.1 * torch.eye(features, dtype=torch.float64)
    low = torch.randint(-9, 0, (groups, outputs), generator=generator)
    group = torch.randint(0, groups, (features,), generator=generator)
    given = {
        "matrix": matrix,
        "upper": torch.linalg.cholesky(torch.linalg.inv(matrix), upper=True),
        "left": draw(features, outputs + 3)[:, :outputs],
        "scale": draw(groups, outputs).abs() / 5 + 0.05,
        "low": low,
        "high": low + 15,
        "codes": torch.randint(-3, 4, (features, outputs), generator=generator).to(torch.int16),
    }
    kept = {"codes": given.pop("codes"), "group": group}
    return {name: part.to(dtype) for name, part in given.items()} | kept


def parts(given: dict[str, Tensor], *names: str) -> list[Tensor]:
    """What a call takes; what it may use up as a copy that keeps the distance of its rows."""
    left = torch.empty(given["left"].shape[0], given["left"].shape[1] + 3, dtype=given["left"].dtype)
    left = left[:, :-3].copy_(given["left"])
    return [left, *(given[name] for name in (*names, "scale", "low", "high", "group"))]


def broken(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with what goes wrong, in outputs of their own: no numbers, huge and tiny ones, ties."""
    left, scale = given["left"].clone(), given["scale"].clone()
    for output, value in enumerate((math.nan, math.inf, -math.inf, 1e-40, 3e38)):
        left[len(left) // 2, output::9] = value
    scale[:, 5::9], scale[:, 6::9] = 1e-40, 2.0**101
    # Halves of a scale, some of which only the quotient tells from what lies beside them.
    places = slice(7, None, 9), slice(8, None, 9)
    for place in places:
        halves = torch.arange(left[:, place].numel()).view(left[:, place].shape) % 5 - 2.5
        left[:, place] = halves * scale[given["group"]][:, place]
    return {**given, "left": left, "scale": scale}


def assert_alike(found: Iterable[Tensor], wanted: Iterable[Tensor]) -> None:
    """Bit for bit; where what is missed is no number, its code says nothing."""
    (codes, missed, *cost), (other_codes, other_missed, *other_cost) = found, wanted
    tensors = zip((missed, *cost), (other_missed, *other_cost), strict=True)
    for one, other in tensors:
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(codes[missed.isfinite()], other_codes[missed.isfinite()])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_definition_bit_for_bit(level: str, shape: tuple[int, int, int]):
    given = block(*shape)
    swept, again = law.compensate(*parts(given, "upper")), law.descend(*parts(given, "codes", "matrix"))
    assert swept[0].unique().numel() > 3 or shape[0] == 1
    with use_level(level), poisoned():
        for one, other in zip(swept, ops.compensate(*parts(given, "upper")), strict=True):
            assert torch.equal(one, other)
        for one, other in zip(again, ops.descend(*parts(given, "codes", "matrix")), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("level", LEVELS)
def test_what_goes_wrong_stays_in_its_output_and_ties_go_to_even(level: str):
    given = broken(block(17, 150, 3))
    swept, again = law.compensate(*parts(given, "upper")), law.descend(*parts(given, "codes", "matrix"))
    assert not swept[1].isfinite().all()
    assert swept[1].isfinite().all(0).sum() >= 50
    with use_level(level), poisoned():
        assert_alike(ops.compensate(*parts(given, "upper")), swept)
        assert_alike(ops.descend(*parts(given, "codes", "matrix")), again)


def test_any_number_of_threads_gives_the_same_bits():
    given, threads = block(128, 1000, 2), torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append((*ops.compensate(*parts(given, "upper")), *ops.descend(*parts(given, "codes", "matrix"))))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_errors_add_up_to_that_of_the_outputs():
    given = block(40, 7, 2, torch.float64)
    codes, _, cost = law.compensate(*parts(given, "upper"))
    missed = (given["left"] - codes * given["scale"][given["group"]]).T
    torch.testing.assert_close(cost, ((missed @ given["matrix"]) * missed).sum(1))


def test_every_code_is_the_best_given_all_others():
    given = block(12, 5, 1, torch.float64)

    def cost(codes: Tensor) -> Tensor:
        missed = (given["left"] - codes * given["scale"]).T
        return ((missed @ given["matrix"]) * missed).sum(1)

    alike, ranges = torch.zeros(12, dtype=torch.int64), (given["scale"], given["low"], given["high"])
    codes = given["codes"].clamp(given["low"], given["high"]).to(torch.int16)
    for _ in range(20):
        pull = given["matrix"] @ (given["left"] - codes * given["scale"])
        before = codes
        codes, moved = law.descend(pull, codes, given["matrix"], *ranges, alike)
        torch.testing.assert_close(moved, (codes - before) * given["scale"])
        assert (cost(codes) <= cost(before) * (1 + 1e-12)).all()
    for j in range(12):
        for step in (-1, 1):
            other = codes.clone()
            other[j] += step
            inside = (other[j] >= given["low"][0]) & (other[j] <= given["high"][0])
            assert (cost(other) >= cost(codes) * (1 - 1e-12))[inside].all()


def test_without_the_library_and_in_double_it_is_the_definition(monkeypatch: pytest.MonkeyPatch):
    wide = block(20, 30, 2, torch.float64)
    assert torch.equal(ops.compensate(*parts(wide, "upper"))[1], law.compensate(*parts(wide, "upper"))[1])
    given = block(20, 30, 2)
    without_library(monkeypatch)
    assert torch.equal(ops.compensate(*parts(given, "upper"))[1], law.compensate(*parts(given, "upper"))[1])
    found, expected = (side.descend(*parts(given, "codes", "matrix")) for side in (ops, law))
    assert torch.equal(found[0], expected[0])
