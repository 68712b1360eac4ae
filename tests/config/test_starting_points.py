"""The starting points are valid, and change what they say."""

from __future__ import annotations

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.config.draft import Draft
from darkit_nb.config.starting_points import STARTING_POINTS, starting_point
from darkit_nb.errors import ConfigError

MINE = RunConfig(name="mine", runs_dir="elsewhere").replace({"train.steps": 7, "spike.num_levels": 5})


@pytest.mark.parametrize("point", STARTING_POINTS, ids=lambda point: point.name)
def test_every_one_makes_a_valid_run(point) -> None:
    config = point.apply(MINE)
    assert Draft(config).check().config == config
    assert (config.name, config.runs_dir) == ("mine", "elsewhere")
    if point.scope == "spike":
        assert config.train == MINE.train
        assert config.spike != MINE.spike
    else:
        assert config.train != MINE.train
        assert config == point.apply(RunConfig(name="mine", runs_dir="elsewhere"))


def test_they_differ() -> None:
    assert len({point.name for point in STARTING_POINTS}) == len(STARTING_POINTS)
    made = [point.apply(MINE) for point in STARTING_POINTS]
    assert all(made.count(config) == 1 for config in made)


def test_neurons_are_what_they_are_called() -> None:
    ternary = starting_point("ternary").apply(MINE).spike
    assert ternary is not None
    assert (ternary.num_levels, ternary.num_steps, ternary.signed, ternary.weight_bits) == (2, 1, True, 4)
    assert starting_point("float").apply(MINE).spike is None
    assert starting_point("w4a4").apply(starting_point("float").apply(MINE)).spike == RunConfig().spike
    with pytest.raises(ConfigError, match="no starting point"):
        starting_point("none")
