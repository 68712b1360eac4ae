"""The handle: equal by folder, plain as text, refusing before any process starts, and light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkit_nb import plugins
from darkit_nb.config import RunConfig
from darkit_nb.errors import ConfigError, DarkitError, RunError
from darkit_nb.runs import Run, RunDirectory, list_runs, open_run, resume, train
from darkit_nb.runs.queue import enqueue


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = RunConfig(runs_dir=str(tmp_path / "runs"), name="known", seed=3)
    return Run(RunDirectory.create(config, command="x"))


def test_handles_of_one_folder_are_equal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.root.parent)
    other = Run(run.id)
    assert other == run
    assert hash(other) == hash(run)
    assert len({run, other, Run(run.directory)}) == 1
    assert run != run.directory
    monkeypatch.chdir("/")
    assert other.root.is_dir(), "a handle does not follow the working directory"


def test_a_run_is_opened_by_what_people_type(run: Run) -> None:
    for typed in (run.id, "known", "latest", run.root, run, run.directory):
        assert open_run(typed, run.root.parent) == run
    assert os.fspath(run) == str(run.root)
    with pytest.raises(RunError, match="There is no run"):
        open_run("unknown", run.root.parent)


def test_as_text_it_says_what_it_does(run: Run) -> None:
    assert repr(run) == f"Run {run.id}: created"
    run.directory.begin_attempt()
    run.directory.write_status(step=4, total_steps=9)
    assert repr(run) == f"Run {run.id}: running, step 4 of 9"
    run.directory.write_status(state="failed", message="out of luck\nand more")
    assert repr(run) == f"Run {run.id}: failed, step 4 of 9, out of luck"
    assert not hasattr(run, "_repr_html_")


def test_without_a_display_a_notebook_shows_the_text(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("darkit_nb.runs.run.registry", lambda kind: plugins.Registry(kind))
    run._ipython_display_()
    assert capsys.readouterr().out == f"{run!r}\n"


def test_a_registered_display_shows_the_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_display.py").write_text("def show(run): print('shown', run.name)\n")
    monkeypatch.syspath_prepend(tmp_path)
    displays = plugins.Registry("display")
    displays.add(plugins.Entry("run", "A line.", "my_display:show"))
    monkeypatch.setattr("darkit_nb.runs.run.registry", lambda kind: displays)
    run._ipython_display_()
    assert capsys.readouterr().out == "shown known\n"


def test_a_clone_is_the_same_training_without_the_name(run: Run) -> None:
    assert run.clone() == run.config.replace({"name": None})
    assert run.clone({"train.steps": 7, "name": "other"}).train.steps == 7
    with pytest.raises(ConfigError):
        run.clone({"train.stepz": 7})


def test_waiting_tells_what_it_waited_for_in_vain(run: Run) -> None:
    with pytest.raises(RunError, match="never started"):
        run.wait()
    run.directory.begin_attempt()
    with pytest.raises(RunError, match=r"not done after 0\.1 seconds"):
        run.wait(0.1)
    run.directory.write_status(state="finished")
    assert run.wait() is run
    problem = {"message": "no data", "expected": "a file", "received": None, "cause": None, "fix": "make one"}
    run.directory.write_status(state="failed", message="no data", problem=problem)
    with pytest.raises(RunError, match="failed: no data") as caught:
        run.wait()
    assert (caught.value.expected, caught.value.fix) == ("a file", "make one")
    run.directory.write_status(state="running", host="elsewhere", heartbeat=0.0)
    with pytest.raises(RunError, match="is lost") as caught:
        run.wait()
    assert caught.value.fix == "run.resume() starts it from its beginning"


def test_what_is_not_training_takes_no_checkpoint_and_needs_no_stop(run: Run) -> None:
    assert run.stop() == ""
    with pytest.raises(RunError, match="is not training"):
        run.checkpoint()
    assert not run.end_orphan()
    assert not run.directory.control_path.exists()


def test_stopping_a_queued_run_takes_it_out(run: Run) -> None:
    busy = RunDirectory.create(RunConfig(runs_dir=str(run.root.parent), name="busy"), command="x")
    busy.begin_attempt()
    enqueue(run.directory)
    assert run.state == "queued"
    run.stop()
    assert run.state == "created"


def test_a_running_run_is_not_started_again(run: Run) -> None:
    run.directory.begin_attempt()
    for start in (run.resume, run.queue, lambda: resume(run.id, runs_dir=run.root.parent)):
        with pytest.raises(RunError, match="is running already") as caught:
            start()
        assert f"process {os.getpid()}" in str(caught.value)
    assert not (run.root / "supervisor.json").exists()


def test_what_cannot_be_resumed_is_told_before_a_process_starts(run: Run) -> None:
    with pytest.raises(ConfigError, match="cannot change when a run is resumed"):
        run.resume(["spike.num_levels=2"])
    with run.directory.new_checkpoint(run.config.train.steps) as folder:
        (folder / "optimizer.pt").write_bytes(b"")
    with pytest.raises(RunError, match="has done all its 1000 steps"):
        run.resume()
    assert not (run.root / "supervisor.json").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "known"}, "already a run called"),
        ({"model.preset": "spike-lama-nano"}, "spike-llama-nano"),
        ({"train.device": "cpu", "train.batch_size": 60_000, "data.seq_len": 8192}, "does not fit in memory"),
        ({"runs_dir": "/proc/version/runs"}, "cannot be written"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(run: Run, changes: dict, words: str) -> None:
    config = RunConfig(runs_dir=str(run.root.parent)).replace(changes)
    with pytest.raises(DarkitError, match=words):
        train(config)
    assert list_runs(run.root.parent) == [run.directory]


def test_metrics_are_a_table(run: Run) -> None:
    assert run.metrics.empty
    run.directory.append_metrics({"kind": "train", "step": 1, "loss": 2.0, "learning_rate": 0.1})
    run.directory.append_metrics({"kind": "train", "step": 2, "loss": 1.0, "learning_rate": 0.1})
    run.directory.append_metrics({"kind": "evaluation", "step": 2, "loss": 1.5, "bits_per_byte": 2.25})
    run.directory.append_metrics({"kind": "spikes", "step": 2, "firing_rate": 0.5, "layers": [{"name": "a"}]})
    table = run.metrics
    assert table.index.tolist() == [1, 2]
    assert table["loss"].tolist() == [2.0, 1.0]
    assert table.loc[2, ["evaluation_loss", "evaluation_bits_per_byte", "spikes_firing_rate"]].tolist() == [
        1.5,
        2.25,
        0.5,
    ]
    assert "spikes_layers" not in table


def test_watching_loads_neither_torch_nor_pandas(run: Run) -> None:
    code = (
        "import sys\nfrom darkit_nb.runs import Run, RunMonitor\nrun = Run(sys.argv[1])\nprint(repr(run), run.log())\n"
        "heard = []\nRunMonitor.shared().watch(run.directory, heard.append)\n"
        "import time\nwhile not heard: time.sleep(0.01)\n"
        "sys.exit(str({'torch', 'transformers', 'pandas', 'IPython', 'ipywidgets', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run.root)], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"
