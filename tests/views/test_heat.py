"""A heat map keeps every layer in the order of its role and depth, and stays small."""

from __future__ import annotations

import numpy as np
import pytest

from darkit_nb.views.heat import MAX_CELLS, MAX_ROWS, layer_heat


def layers(depth: int, roles: tuple[str, ...] = ("attn.q_proj", "mlp.up_proj")) -> tuple[str, ...]:
    return tuple(f"model.layers.{block}.{role}" for block in range(depth) for role in roles)


def test_rows_are_ordered_by_role_and_then_by_depth() -> None:
    names = layers(3)
    heat = layer_heat(names, np.array([1, 10]), np.arange(12, dtype=np.float32).reshape(2, 6) / 100)
    assert heat.rows == (names[0], names[2], names[4], names[1], names[3], names[5])
    assert heat.groups == (("attn.q_proj", 0, 3), ("mlp.up_proj", 3, 3))
    np.testing.assert_allclose(heat.z[:, 0], [0, 2, 4, 1, 3, 5], atol=1e-5)
    assert heat.x.tolist() == [1, 10]


@pytest.mark.parametrize(("depth", "measurements"), [(80, 20_000), (14, 3), (4, 5_000), (200, 1)])
def test_however_deep_and_long_it_stays_small_and_means_are_means(depth: int, measurements: int) -> None:
    names = layers(depth, ("q", "k", "v", "o", "gate", "up", "down"))
    shares = np.random.default_rng(0).random((measurements, len(names))).astype(np.float32)
    heat = layer_heat(names, np.arange(measurements), shares)
    assert heat.z.size <= MAX_CELLS
    assert len(heat.rows) <= MAX_ROWS
    assert heat.z.shape == (len(heat.rows), len(heat.x))
    if measurements * len(names) <= MAX_CELLS and len(names) <= MAX_ROWS:
        assert sorted(heat.z.ravel()) == sorted(100 * shares.ravel())
    first_role = shares[:, :: len(names) // depth]
    name, top, rows = heat.groups[0]
    assert name == "q"
    if depth % rows == 0 and measurements % len(heat.x) == 0:
        assert heat.z[top : top + rows].mean() == pytest.approx(100 * first_role.mean(), rel=1e-3)


def test_what_was_not_measured_is_left_open() -> None:
    shares = np.array([[0.5, np.nan], [np.nan, np.nan]], np.float32)
    heat = layer_heat(layers(1), np.array([1, 2]), shares)
    np.testing.assert_array_equal(heat.z, [[50, np.nan], [np.nan, np.nan]])
    assert heat.limits == (50.0, 51.0)
    assert layer_heat((), np.empty(0, np.int64), np.empty((0, 0), np.float32)).limits == (0.0, 100.0)
