"""Trainings that outlive what started them: real processes, real kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.config import RunConfig, dump_yaml
from darkit_nb.errors import RunError
from darkit_nb.runs import Run, identity, list_runs, resume, train
from darkit_nb.runs.queue import queued_runs, set_slots
from darkit_nb.train import launch

SECONDS = 400.0  # a machine may be many times slower than usual


def until(condition: Callable[[], Any], run: Run | None = None) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"not in time: {run!r}\n{run.log(30) if run else ''}"
        time.sleep(0.02)


def curve(run: Run) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in run.directory.read_metrics() if line["kind"] == "train"]


def alive(pid: int) -> bool:
    """Whether it does anything yet; a zombie does not."""
    return identity.process_started(pid) is not None


def supervisor_pid(run: Run) -> int:
    launched = run.status.launch
    assert launched is not None
    return launched.pid


def trainer_pid(run: Run) -> int:
    pid = run.status.pid
    assert pid is not None
    return pid


@pytest.fixture(autouse=True)
def _nothing_is_left(tiny: RunConfig) -> Iterator[None]:
    """Whatever a test started is ended, also when it failed."""
    yield
    for directory in list_runs(tiny.runs_dir):
        status = directory.read_status()
        for pid in (status.pid, status.launch.pid if status.launch else None):
            if pid and status.state in ("starting", "running", "lost") and alive(pid) and pid != os.getpid():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def endless(tiny: RunConfig) -> RunConfig:
    return tiny.replace({"train.steps": 100_000, "checkpoint.every": 0, "evaluation.every": 0})


NOTEBOOK = """
import sys, time
import darkit_nb as dk
run = dk.train(dk.load_config('config.yaml'))
print(run.root, flush=True)
assert not {'torch', 'transformers', 'pandas', 'ipywidgets'} & set(sys.modules)
time.sleep(600)
"""


def test_a_killed_notebook_leaves_its_training_and_relative_paths_mean_the_same(tiny: RunConfig, tmp_path: Path):
    (tmp_path / "novel.txt").write_text(
        "It was a bright cold day in April, and the clocks were striking thirteen.\n" * 900
    )
    config = tiny.replace({"runs_dir": "runs", "data.dataset": "text:novel.txt", "data.validation_fraction": 0.1})
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    notebook = subprocess.Popen(
        [sys.executable, "-c", NOTEBOOK], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert notebook.stdout is not None
    run = Run(notebook.stdout.readline().strip())
    until(lambda: run.state == "starting" and run.status.pid, run)
    trainer = trainer_pid(run)
    assert os.getsid(trainer) not in (os.getsid(notebook.pid), os.getsid(supervisor_pid(run)))
    assert str(Path(f"/proc/{trainer}/fd/0").readlink()) == os.devnull
    assert Path(f"/proc/{trainer}/fd/1").readlink() == run.directory.log_path
    notebook.kill()
    notebook.wait()
    run.wait(SECONDS)
    assert run.state == "finished"
    assert [step for step, _ in curve(run)] == list(range(1, 21))
    assert list(run.metrics.index)[-1] == 20
    assert run.metrics.loc[20, ["loss", "evaluation_loss", "spikes_firing_rate"]].notna().all()


def test_a_killed_supervisor_leaves_an_orphan_and_resume_goes_on_exactly(tiny: RunConfig, tmp_path: Path):
    whole = launch.train(tiny.replace({"runs_dir": str(tmp_path / "whole"), "train.steps": 150}), progress=False)
    run = train(tiny.replace({"train.steps": 150, "checkpoint.every": 50}))
    until(lambda: len(curve(run)) > 20, run)
    os.kill(supervisor_pid(run), signal.SIGKILL)
    until(lambda: run.state == "lost", run)
    pid = run.status.orphan_pid
    assert pid == trainer_pid(run)
    assert f"goes on without it, as process {pid}" in str(run.status.reason)
    with pytest.raises(RunError, match="supervisor"):
        launch.resume(run.directory, progress=False)
    run.resume()
    assert not alive(pid)
    run.wait(SECONDS)
    assert run.status.attempt == 2
    assert curve(run) == curve(Run(whole))


def test_a_killed_trainer_is_a_failed_run_that_names_the_signal(endless: RunConfig):
    run = train(endless)
    until(lambda: run.state == "running" and curve(run), run)
    os.kill(trainer_pid(run), signal.SIGKILL)
    until(lambda: run.state == "failed", run)
    problem = run.status.problem
    assert problem is not None
    assert problem["message"] == "The training process was ended by SIGKILL."
    assert "memory" in problem["cause"]
    assert problem["log"]
    assert run.status.launch is not None
    assert run.status.launch.exit == {"code": -9, "signal": "SIGKILL"}
    with pytest.raises(RunError, match="SIGKILL"):
        run.wait()


@pytest.mark.parametrize(
    ("changes", "words", "fix"),
    [
        ({"data.dataset": "text:/nowhere/at/all.txt"}, "nowhere", None),
        ({"plugins": ["no_such_module_anywhere"]}, "no_such_module_anywhere", "import"),
    ],
)
def test_what_goes_wrong_at_the_start_is_told_with_its_fix(tiny: RunConfig, changes: dict, words: str, fix: str | None):
    run = train(tiny.replace(changes))
    with pytest.raises(RunError, match=words):
        run.wait(SECONDS)
    problem = run.status.problem
    assert problem is not None
    assert problem["expected"]
    assert fix is None or fix in problem["fix"]
    assert "Traceback" not in run.log()


def test_a_stop_takes_effect_at_the_next_step_and_the_run_can_go_on(endless: RunConfig):
    run = train(endless)
    with pytest.raises(RunError, match="already"):
        run.resume()
    until(lambda: len(curve(run)) > 3, run)
    with pytest.raises(RunError, match="is running already"):
        resume(Run(run.root))
    os.kill(trainer_pid(run), signal.SIGSTOP)  # so that both are asked for before it reads the first
    before = curve(run)[-1][0]
    first, second = run.stop(), Run(run.root).stop()
    os.kill(trainer_pid(run), signal.SIGCONT)
    run.wait(SECONDS)
    assert run.state == "stopped"
    last = run.latest_checkpoint()
    assert last is not None
    assert last.step <= before + 100, "a second's worth of 100 000 steps"
    assert last.step == run.status.step == curve(run)[-1][0]
    acks = {event["command_id"]: event for event in run.directory.read_events() if event["kind"] == "ack"}
    assert acks[first]["ok"]
    assert second in acks
    assert run.stop() == ""
    run.resume([f"train.steps={last.step + 3}"])
    run.wait(SECONDS)
    assert [step for step, _ in curve(run)] == list(range(1, last.step + 4))


def test_a_stop_while_data_is_prepared_interrupts_it(tiny: RunConfig, tmp_path: Path, monkeypatch):
    (tmp_path / "slow_plugin.py").write_text("import time\nprint('asleep', flush=True)\ntime.sleep(600)\n")
    monkeypatch.chdir(tmp_path)
    run = train(tiny.replace({"plugins": ["slow_plugin"]}))
    until(lambda: "asleep" in run.log(), run)
    run.stop(wait_s=SECONDS)  # it would sleep for longer
    assert run.state == "stopped"
    assert run.latest_checkpoint() is None
    (tmp_path / "slow_plugin.py").write_text("")
    run.resume().wait(SECONDS)
    assert run.state == "finished"


def test_a_preparation_that_cannot_be_interrupted_is_ended(tiny: RunConfig, tmp_path: Path, monkeypatch):
    (tmp_path / "deaf_plugin.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\ntime.sleep(600)\n"
    )
    monkeypatch.chdir(tmp_path)
    run = train(tiny.replace({"plugins": ["deaf_plugin"]}))
    until(lambda: "deaf" in run.log(), run)
    run.stop(wait_s=SECONDS)
    assert run.state == "stopped"


def test_a_stop_during_an_evaluation_does_not_wait_for_its_end(endless: RunConfig):
    run = train(
        endless.replace(
            {"evaluation.every": 1, "evaluation.windows": 0, "data.max_validation_tokens": None, "train.batch_size": 1}
        )
    )
    until(lambda: run.state == "running", run)  # and evaluates 3 MB before its first step
    run.stop(wait_s=SECONDS)
    assert run.state == "stopped"
    assert run.latest_checkpoint() is not None
    assert not [line for line in run.directory.read_metrics() if line["kind"] == "evaluation"]


def test_a_deleted_run_ends_its_training(endless: RunConfig, tmp_path: Path):
    run = train(endless)
    until(lambda: run.state == "running" and curve(run), run)
    trainer, supervisor = trainer_pid(run), supervisor_pid(run)
    run.root.rename(tmp_path / "gone")
    until(lambda: not alive(trainer) and not alive(supervisor))


def test_a_queue_trains_one_after_the_other(tiny: RunConfig):
    one, two, three = (train(tiny.replace({"name": name, "train.steps": 3}), queue=True) for name in "abc")
    assert one.state == "starting"
    assert (two.state, three.state) == ("queued", "queued")
    assert queued_runs(tiny.runs_dir) == [two.directory, three.directory]
    assert three.stop() == ""
    assert three.state == "created"
    two.wait(SECONDS)
    first, second = one.status, two.status
    assert first.state == "finished"
    assert second.launch is not None
    assert first.ended is not None
    assert second.launch.started > first.ended
    assert three.state == "created"
    set_slots(tiny.runs_dir, 2)
    three.queue().wait(SECONDS)
    assert three.state == "finished"
