"""A run in one row."""

from __future__ import annotations

from pathlib import Path

from darkit_nb.runs.summary import RunSummarizer, summarize
from tests.runs.measured import make, measured


def test_a_summary_follows_what_is_written(tmp_path: Path) -> None:
    run = make(tmp_path, "followed")
    reader = RunSummarizer(run.root)
    assert (reader.read().state, reader.read().loss) == ("created", None)
    measured(run, 2.0)
    row = reader.read()
    assert (row.loss, row.bits_per_byte, row.firing_rate, row.energy_pj) == (1.0, 4.0, 0.25, 3.0)
    assert (row.step, row.total_steps, row.tokens_per_s, row.eta_s) == (2, 4, 100.0, 1.0)
    run.append_metrics({"kind": "train", "step": 3, "loss": 0.5})
    assert (reader.read().step, reader.read().loss, reader.read().eta_s) == (3, 0.5, 0.5)
    run.metrics_path.write_text('{"schema": 1, "kind": "train", "step": 1, "loss": 9.0}\n')
    assert reader.read().loss == 9.0
    assert reader.read().bits_per_byte is None


def test_a_summary_of_damaged_files_is_a_row_not_an_error(tmp_path: Path) -> None:
    run = make(tmp_path, "damaged")
    run.status_path.write_text('{"schema": 9}')
    run.metrics_path.write_bytes(
        b'\xff\n{"kind": "train", "step": 1, "loss": "x"}\n{"kind": "spikes", "step": 1, "energy": 3}\n'
    )
    row = summarize(run.root)
    assert (row.state, row.loss, row.energy_pj) == ("lost", None, None)
    assert "newer darkit-nb" in str(row.reason)
