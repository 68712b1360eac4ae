"""A run in one row."""

from __future__ import annotations

from pathlib import Path

from darkit_nb.config import RunConfig
from darkit_nb.runs import RunDirectory
from darkit_nb.runs.summary import RunSummarizer, summarize


def make(runs_dir: Path, name: str) -> RunDirectory:
    return RunDirectory.create(RunConfig(runs_dir=str(runs_dir), name=name), command="x")


def measured(run: RunDirectory, loss: float) -> RunDirectory:
    run.begin_attempt()
    for step in (1, 2):
        run.append_metrics(
            {"kind": "train", "step": step, "loss": loss / step, "tokens_per_s": 100.0, "step_seconds": 0.5}
        )
    run.append_metrics({"kind": "evaluation", "step": 2, "loss": loss, "bits_per_byte": 2 * loss})
    readings = [{"key": "float16", "total_pj": 9.0}, {"key": "unary", "total_pj": 3.0}]
    run.append_metrics({"kind": "spikes", "step": 2, "firing_rate": 0.25, "energy": {"readings": readings}})
    run.write_status(step=2, total_steps=4)
    return run


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
