"""How a run shows itself in a notebook."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.plugins import registry
from darkit_nb.runs import Run, RunDirectory
from darkit_nb.widgets.dashboard import RunDashboard, show_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that this process has finished."""
    directory = RunDirectory.create(RunConfig(runs_dir=str(tmp_path), name="shown"), command="darkit-nb train")
    directory.begin_attempt()
    for step in range(1, 21):
        directory.append_metrics({"kind": "train", "step": step, "loss": 3 / step, "tokens_per_s": 100.0})
    directory.write_status(state="finished", step=20, total_steps=20)
    return Run(directory)


def test_the_installed_entry_point_shows_a_run(run: Run):
    shown = registry("display").get("run").load()(run)
    assert isinstance(shown, RunDashboard)
    assert (shown.run, shown.charts.run) == (run, run)
    assert show_run(Run(run.root)) is shown
    shown.close()
    again = show_run(run)
    assert again is not shown
    again.close()


def test_text_and_picture_hold_panel_and_charts(run: Run):
    dashboard = RunDashboard(run)
    assert "step 20 of 20" in dashboard.text()
    picture = dashboard.snapshot()
    assert "shown" in picture
    assert "data:image/svg+xml" in picture
    assert dashboard._snapshot_id == dashboard.panel._snapshot_id
    dashboard.close()


def test_it_may_be_given_another_run(run: Run, tmp_path: Path):
    other = Run(RunDirectory.create(RunConfig(runs_dir=str(tmp_path), name="other"), command="x"))
    dashboard = RunDashboard(run)
    dashboard.run = other
    assert (dashboard.panel.run, dashboard.charts.run) == (other, other)
    dashboard.close()
