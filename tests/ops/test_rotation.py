"""The library's mixing of features against the definition: values, gradients, one token like many."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from darkit_nb.errors import ShapeError
from darkit_nb.functional import rotation as law
from darkit_nb.ops.native_build import LEVELS, probe_native
from darkit_nb.ops.rotation import block_rotation, range_cut
from tests.ops.native import need_library, poisoned, use_level, without_library

BLOCKS = [(1,), (7,), (16,), (512,), (3, 1, 60), (64, 448), (24, 168), (43 * 8, 2), (1, 1, 129)]


@pytest.fixture(autouse=True)
def _library() -> None:
    need_library()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("blocks", BLOCKS)
def test_it_is_the_definition_for_any_number_of_tokens(level: str, blocks: tuple[int, ...]):
    signs = law.random_signs(sum(blocks), 3)
    x = torch.randn(2, 37, sum(blocks))
    expected = law.block_rotation(x.double(), blocks, signs)
    with use_level(level), poisoned():
        for rows in (1, 3, 5, 16, 37):
            y = block_rotation(x[:, :rows], blocks, signs)
            torch.testing.assert_close(y.double(), expected[:, :rows], atol=2e-6, rtol=1e-5)
        plain = law.block_rotation(x.double(), blocks)
        torch.testing.assert_close(block_rotation(x, blocks).double(), plain, atol=2e-6, rtol=1e-5)


def test_a_token_comes_out_the_same_alone_and_on_every_instruction_set():
    signs, x = law.random_signs(200, 0), torch.randn(33, 200)
    best = list(LEVELS).index(probe_native().level or "baseline")
    found = []
    for level in list(LEVELS)[: best + 1]:
        with use_level(level):
            found.append(block_rotation(x, (24, 176), signs))
            assert torch.equal(found[-1], torch.stack([block_rotation(row, (24, 176), signs) for row in x]))
    assert all(torch.equal(each, found[0]) for each in found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_mixed_in_float32_and_rounded_once(dtype: torch.dtype):
    signs, x = law.random_signs(56, 1), torch.randn(21, 56).to(dtype)
    expected = block_rotation(x.float(), (56,), signs).to(dtype)
    assert torch.equal(block_rotation(x, (56,), signs), expected)


@pytest.mark.parametrize("level", LEVELS)
def test_the_range_of_the_last_block_is_cut_as_by_the_definition(level: str):
    signs, x = law.random_signs(40, 5), torch.randn(21, 40)
    x[7, 20], x[9, 3] = torch.nan, torch.inf
    with use_level(level), poisoned():
        mixed = block_rotation(x, (8, 32), signs)
        expected = torch.cat([mixed[:, :8], law.narrow_range(mixed[:, 8:], 0.85)], -1)
        found = block_rotation(x, (8, 32), signs, keep=0.85)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
        assert torch.equal(block_rotation(x[:1], (8, 32), signs, keep=0.85), found[:1])
    leaf = x[:5].clone().requires_grad_()
    torch.testing.assert_close(block_rotation(leaf, (8, 32), signs, keep=0.85).detach(), found[:5])


@pytest.mark.parametrize("level", LEVELS)
def test_a_cut_without_any_mixing_is_the_definition_bit_for_bit(level: str):
    for begin, width in ((0, 7), (0, 40), (8, 40), (39, 40), (24, 193)):
        x = torch.randn(2, 37, width)
        x[0, 7, width - 1], x[1, 9, 0] = torch.nan, torch.inf
        expected = torch.cat([x[..., :begin], law.narrow_range(x[..., begin:], 0.85)], -1)
        with use_level(level), poisoned():
            for rows in (1, 3, 16, 37):
                found = range_cut(x[:, :rows], begin, 0.85)
                torch.testing.assert_close(found, expected[:, :rows], rtol=0, atol=0, equal_nan=True)
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.randn(21, 56).to(dtype)
        with use_level(level):
            assert torch.equal(range_cut(x, 0, 0.85), law.narrow_range(x, 0.85))
    leaf = torch.randn(3, 12, requires_grad=True)
    range_cut(leaf, 4, 0.5).sum().backward()
    assert torch.equal(range_cut(leaf, 4, 1.0), leaf)
    assert leaf.grad is not None


def test_its_gradients_are_those_of_the_definition():
    signs, weight = law.random_signs(40, 2), torch.randn(6, 40)
    gradients = []
    for mix in (block_rotation, law.block_rotation):
        x = torch.arange(240.0).view(6, 40).sin().requires_grad_()
        y = (mix(x, (16, 24), signs) * weight).sin().sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        gradients.append((first.detach(), second))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_rows_apart_and_columns_apart_are_read_where_they_lie():
    x = torch.randn(9, 80)
    for view in (x[:, 20:60], x.t()[:, :8], x[::2, ::2]):
        blocks = (view.shape[1],)
        assert torch.equal(block_rotation(view, blocks), block_rotation(view.clone(), blocks))


def test_nothing_and_what_is_no_number():
    assert block_rotation(torch.empty(0, 12), (12,)).shape == (0, 12)
    x = torch.ones(20, 12)
    x[3, 4] = torch.nan
    y = block_rotation(x, (4, 8))
    assert y[3, 4:].isnan().all()
    assert y[3, :4].isfinite().all()
    assert y[[0, 4]].isfinite().all()


def test_blocks_that_do_not_make_up_the_features():
    with pytest.raises(ShapeError, match="do not make up the features"):
        block_rotation(torch.ones(2, 5), (2, 2))


def test_without_the_library_and_in_double_it_is_the_definition(monkeypatch: pytest.MonkeyPatch):
    signs, x = law.random_signs(24, 4), torch.randn(3, 24)
    assert torch.equal(block_rotation(x.double(), (24,), signs), law.block_rotation(x.double(), (24,), signs))
    without_library(monkeypatch)
    assert torch.equal(block_rotation(x, (24,), signs), law.block_rotation(x, (24,), signs))


def test_whoever_watches_the_operations_sees_them():
    x = torch.randn(3, 24)
    with FlopCounterMode(display=False) as seen:
        block_rotation(x, (8, 16))
    assert seen.get_total_flops() > 0
