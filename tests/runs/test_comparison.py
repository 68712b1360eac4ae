"""Runs side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkit_nb.errors import ConfigError, RunError
from darkit_nb.runs import compare_runs
from tests.runs.measured import make, measured


def test_only_what_differs_is_listed_and_every_score(tmp_path: Path) -> None:
    one = measured(make(tmp_path, "one", seed=1, **{"model.overrides.hidden_size": 32}), 2.0)
    two = make(tmp_path, "two", seed=1, spike=None)
    found = compare_runs([one, "two"], tmp_path)
    assert found.runs == (one.id, two.id)
    assert set(found.settings) == {"spike", "model.overrides.hidden_size"}
    assert found.settings["model.overrides.hidden_size"] == (32, None)
    assert found.settings["spike"][1] is None
    assert found.scores["loss"] == (1.0, None)
    assert found.scores["bits_per_byte"] == (4.0, None)
    assert found.scores["energy_pj"] == (3.0, None)
    assert found.scores["state"] == ("running", "created")
    table = found.to_frame()
    assert table.index.tolist() == [one.id, two.id]
    assert table.loc[one.id, ["firing_rate", "step"]].tolist() == [0.25, 2]
    lines = str(found).splitlines()
    assert lines[0].split() == [one.id, two.id]
    assert "spike                        on" in str(found)
    assert all(line == line.rstrip() for line in lines)


def test_equal_settings_leave_only_scores(tmp_path: Path) -> None:
    assert compare_runs([make(tmp_path, "a"), make(tmp_path, "b")]).settings == {}


def test_nothing_and_nobody_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare_runs([])
    with pytest.raises(RunError, match="There is no run"):
        compare_runs(["absent"], tmp_path)
