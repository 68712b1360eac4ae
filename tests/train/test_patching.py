"""A model is edited while it trains: between two steps, marked, revertible, and again bit for bit."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainerControl

from darkit_nb.config import RunConfig
from darkit_nb.edit.apply import apply, history, make_patch
from darkit_nb.edit.fork import Fork, forks_beside
from darkit_nb.edit.source import module_source
from darkit_nb.errors import PatchError, RunError, TrustError
from darkit_nb.models.build import build_model
from darkit_nb.records.patch import Patch
from darkit_nb.runs import PatchRefusedError, Run, RunDirectory, list_runs
from darkit_nb.runs import train as start
from darkit_nb.runs.control import CommandReader
from darkit_nb.runs.patch_history import ScheduledAction
from darkit_nb.spikify import load_model, spikify
from darkit_nb.train.attempt import Attempt
from darkit_nb.train.edits import RunEdits
from darkit_nb.train.launch import resume, train
from darkit_nb.train.patching import Patching
from darkit_nb.views.edit_marks import edit_marks

MLP, OTHER = "model.layers.0.mlp", "model.layers.1.mlp"
SECONDS = 400.0  # a machine may be many times slower than usual


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKIT_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def long(tiny: RunConfig) -> RunConfig:
    """So long that it is stopped; its learning rate does not depend on how long it is."""
    once = {"checkpoint.every": 0, "evaluation.every": 0, "monitor.spikes_every": 0}
    return tiny.replace({"train.steps": 100_000, "train.warmup_steps": 0, "train.schedule": "constant", **once})


def model_of(config: RunConfig) -> Any:
    model = build_model(config.model.preset, vocab_size=259, seq_len=32, overrides=config.model.overrides)
    return model if config.spike is None else spikify(model, config.spike)


def edit(config: RunConfig, change: Callable[[str], str], path: str = MLP, **more: Any) -> Patch:
    """The patch that a change of a module's text makes."""
    model = model_of(config)
    text = module_source(model, path).text
    assert change(text) != text
    return make_patch(model, path, change(text), **more)


def scaled(factor: str) -> Callable[[str], str]:
    return lambda text: text.replace("return down_proj", f"return down_proj * {factor}")


def gated(text: str) -> str:
    """A new parameter, so that the module is built again and the optimizer gets one more."""
    text = text.replace(
        "self.act_fn = ", "self.gate = torch.nn.Parameter(torch.ones(config.hidden_size))\n        self.act_fn = "
    )
    return text.replace("return down_proj", "return down_proj * self.gate")


def spoilt(what: str) -> Callable[[str], str]:
    """An edit that passes its checks, which are done on two windows, and goes wrong on a whole batch."""
    return lambda text: text.replace(
        "return down_proj", f"if x.shape[0] == 4:\n            {what}\n        return down_proj"
    )


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    found = run.latest_checkpoint()
    assert found is not None
    return load_model(found.path).state_dict()


def same(one: RunDirectory, other: RunDirectory) -> bool:
    left, right = weights(one), weights(other)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def curve(run: RunDirectory) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in run.read_metrics() if line["kind"] == "train"]


def events(run: RunDirectory, *kinds: str) -> list[dict[str, Any]]:
    return [event for event in run.read_events() if event["kind"] in kinds]


def wait_until(condition: Callable[[], Any], run: Run) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"not in time: {run!r}\n{run.log(30)}"
        time.sleep(0.02)


class Notebook:
    """Somebody who edits the run that is trained in this process, from a thread."""

    def __init__(self, config: RunConfig, act: Callable[[Run], None], known: int = 0) -> None:
        self.config, self.act, self.known = config, act, known
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._edit)

    def _edit(self) -> None:
        try:
            end = time.monotonic() + SECONDS
            while len(found := list_runs(self.config.runs_dir)) <= self.known or not curve(found[-1]):
                assert time.monotonic() < end
                time.sleep(0.02)
            run = Run(found[-1])
            try:
                self.act(run)
            finally:
                run.stop()
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            self.error = error

    def __enter__(self) -> Notebook:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        if self.error is not None:
            raise self.error


def trained(config: RunConfig, act: Callable[[Run], None], known: int = 0) -> RunDirectory:
    with Notebook(config, act, known):
        return train(config, progress=False)


def test_edited_three_times_taken_back_once_and_repeated_from_its_fork_bit_for_bit(long: RunConfig):
    def act(run: Run) -> None:
        tried = run.patch(edit(long, gated, OTHER), wait_s=SECONDS, dry_run=True)
        assert (tried.ok, tried.new, tried.dropped) == (True, (f"{OTHER}.gate",), ())
        assert f"{OTHER}.up_proj.weight" in tried.kept
        wrong = run.patch(edit(long, scaled("no_such_name")), wait_s=SECONDS, dry_run=True)
        assert not wrong.ok
        assert (wrong.problems[0].check, wrong.problems[0].line) == ("names", 14)
        nowhere = dataclasses.replace(edit(long, gated), targets=("model.layers.9.mlp",))
        with pytest.raises(PatchRefusedError, match="no module"):
            run.patch(nowhere, wait_s=SECONDS, dry_run=True)
        assert (run.patches, run.checkpoints()) == ((), []), "nothing was asked of the model"
        one = run.patch(edit(long, scaled("0.5"), note="half"), wait_s=SECONDS)
        assert (one.number, one.state) == (1, "applied")
        assert run.patch(edit(long, gated, OTHER), wait_s=SECONDS).state == "applied"
        assert [each.state for each in run.revert(wait_s=SECONDS)] == ["applied", "reverted"]
        with pytest.raises(PatchRefusedError, match=r"The loss became nan in step \d+"):
            run.patch(edit(long, spoilt("down_proj = down_proj * float('nan')"), OTHER), wait_s=SECONDS)
        assert run.patch(edit(long, gated, OTHER, note="again"), wait_s=SECONDS).number == 4

    run = trained(long, act)
    told = events(run, "patch", "revert")
    assert [(event["kind"], event["number"]) for event in told] == [
        ("patch", 1), ("patch", 2), ("revert", 2), ("patch", 3), ("revert", 3), ("patch", 4)
    ]  # fmt: skip
    assert told[3]["step"] == told[4]["step"], "it spoilt its first step, and was taken out by itself"
    steps = [event["step"] for event in told]
    assert len(set(steps)) == 5, "one step boundary for each"
    assert "nan" in told[4]["problem"]["message"]
    assert told[1]["new"] == [f"{OTHER}.gate"]
    assert {event["who"].partition("@")[1] for event in told} == {"@"}
    marks = edit_marks(run.read_events())
    assert [mark.label for mark in marks] == ["edit 1", "edit 2", "edit 2 out", "", "edit 3 out", "edit 4"]
    assert [mark.step for mark in marks] == steps
    saved = weights(run)
    assert not torch.equal(saved[f"{OTHER}.gate"], torch.ones(32)), "the new parameter is trained"
    assert not torch.equal(model_of(long).state_dict()[f"{MLP}.up_proj.weight"], saved[f"{MLP}.up_proj.weight"])

    fork = Run(run).save_fork("thrice", note="for a colleague")
    assert [each.action for each in fork.schedule] == ["patch", "patch", "revert", "patch"]
    last = run.read_status().step
    config = RunConfig.model_validate(fork.config).replace({"runs_dir": long.runs_dir, "train.steps": last})
    again = train(config.replace({"model.fork": "thrice", "model.fork_replay": True}), progress=False)
    assert curve(again) == curve(run)
    assert same(again, run)
    assert [event["reason"] for event in events(again, "patch", "revert")] == ["replay"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 3])
def test_an_edit_that_spoils_a_step_is_taken_out_and_the_run_equals_one_that_never_saw_it(
    long: RunConfig, accumulation: int
):
    long = long.replace({"train.gradient_accumulation": accumulation, "model.overrides.attention_dropout": 0.1})
    ways = {
        "down_proj = down_proj * float('nan')": "The loss became nan",
        "down_proj = down_proj + 0 * (down_proj - down_proj).sqrt()": "gradient norm became nan",
        "self.act_fn.no_such_thing": r"line 1\d: AttributeError",
        "exit()": r"line 1\d: SystemExit",
    }

    bad = edit(long, scaled("no_such_name"))
    # Made before: a model that is built draws random numbers, and here that would be those of the training's process.
    edits = {problem: edit(long, spoilt(what)) for what, problem in ways.items()}
    fine = edit(long, gated)

    def act(run: Run) -> None:
        assert run.patch(fine, wait_s=SECONDS, dry_run=True).ok
        for problem, each in edits.items():
            with pytest.raises(PatchRefusedError, match=problem) as caught:
                run.patch(each, wait_s=SECONDS)
            assert caught.value.problems[0]["check"] == "training"
            assert run.patches[-1].state == "reverted"
        with pytest.raises(PatchRefusedError, match="line"):
            run.patch(bad, wait_s=SECONDS)
        assert [each.state for each in run.patches] == ["reverted"] * 4 + ["refused"]

    run = trained(long, act)
    assert [event["reason"] for event in events(run, "revert")] == ["failed"] * 4
    last = run.read_status().step
    assert last is not None
    never = train(long.replace({"train.steps": last}), progress=False)
    assert curve(never) == curve(run)
    assert same(never, run)


@pytest.mark.slow
def test_a_patched_run_goes_on_from_its_checkpoint_as_if_never_stopped(long: RunConfig):
    def act(run: Run) -> None:
        run.patch(edit(long, gated), wait_s=SECONDS)
        run.patch(edit(long, scaled("0.5"), OTHER), wait_s=SECONDS)

    run = trained(long, act)
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    assert [each.patch.label for each in history(load_model(checkpoint.path))] == [
        f"LlamaMLP in {MLP}", f"LlamaMLP in {OTHER}"
    ]  # fmt: skip
    Run(run).save_fork("two")
    more = checkpoint.step + 5
    resume(run, [f"train.steps={more}"], progress=False)
    replayed = long.replace({"model.fork": "two", "model.fork_replay": True, "train.steps": more})
    whole = train(replayed, progress=False)
    assert curve(run) == curve(whole)
    assert same(run, whole)
    (left,) = events(run, "patches")
    assert left["in_effect"] == [1, 2]


def test_a_fork_begins_a_run_and_the_run_keeps_its_own_copy(tiny: RunConfig):
    model = model_of(tiny)
    text = module_source(model, MLP).text
    apply(model, make_patch(model, MLP, gated(text)))
    forks = forks_beside(tiny.runs_dir)
    Fork.create("gate", model).save(forks)
    config = tiny.replace({"model.fork": "gate", "train.steps": 4})
    run = train(config, progress=False)
    assert f"{MLP}.gate" in weights(run)
    assert [(each.number, each.state, each.step) for each in Run(run).patches] == [(1, "applied", 0)]
    shutil.rmtree(forks)
    resume(run, ["train.steps=6"], progress=False)
    assert run.read_status().state == "finished"
    with pytest.raises(PatchError, match="no fork"):
        train(config, progress=False)


def test_a_training_that_is_not_edited_writes_nothing_of_edits(tiny: RunConfig):
    run = train(tiny.replace({"train.steps": 3}), progress=False)
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    assert not (checkpoint.path / "edits.json").exists()
    assert not (run.root / "patches").exists()
    assert not events(run, "patch", "revert", "patches")


def alive_trainer(run: Run) -> int:
    pid = run.status.pid
    assert pid is not None
    return pid


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_between_writing_and_applying_it_is_there_whole_or_not_at_all(long: RunConfig):
    patch = edit(long, gated)
    run = start(long.replace({"checkpoint.every": 20}))
    try:
        states = set()
        for delay in (0.0, 0.3, 1.0, 4.0, 7.0):
            wait_until(lambda: run.state == "running" and run.latest_checkpoint(), run)
            if any(each.state == "applied" for each in run.patches):
                run.revert(wait_s=SECONDS)
            run.patch(patch, wait_s=0)
            time.sleep(delay)
            os.kill(alive_trainer(run), signal.SIGKILL)
            wait_until(lambda: run.state in ("failed", "lost"), run)
            checkpoint = run.latest_checkpoint()
            assert checkpoint is not None
            loaded = load_model(checkpoint.path)
            carried = [each.patch.id for each in history(loaded)]
            assert (f"{MLP}.gate" in loaded.state_dict()) == (carried == [patch.id])
            assert carried in ([], [patch.id])
            run.resume()
            wait_until(lambda: run.state == "running", run)
            wait_until(lambda: run.directory.read_metrics()[-1]["attempt"] == run.status.attempt, run)
            now = [each.id for each in run.patches if each.in_model]
            assert now == carried
            states.add(bool(carried))
        assert False in states
    finally:
        run.stop(wait_s=SECONDS)
    assert run.state == "stopped"


@pytest.mark.slow
def test_a_fork_goes_round_the_terminal(long: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Edited here, saved, carried to a colleague's folder, trusted, trained and evaluated there."""

    def act(run: Run) -> None:
        run.patch(edit(long, gated), wait_s=SECONDS)

    run = trained(long, act)
    Run(run).save_fork("gate")
    theirs, text = tmp_path / "colleague", tmp_path / "text.txt"
    text.write_text("It was a bright cold day in April, and the clocks were striking thirteen.\n" * 20)
    shutil.copytree(forks_beside(long.runs_dir), theirs / "forks")
    settings = {**os.environ, "DARKIT_CONFIG": str(tmp_path / "their-config"), "OMP_NUM_THREADS": "1"}

    def darkit(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "darkit_nb", *words]
        done = subprocess.run(command, cwd=theirs, env=settings, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "self.gate" in darkit("train", "--fork", "gate", code=2)
    darkit("fork", "trust", "gate", "--yes")
    darkit("train", "--fork", "gate", "train.steps=6", "checkpoint.every=2", "-q")
    (found,) = list_runs(theirs / "runs")
    assert "perplexity" in darkit("evaluate", "latest", "--text", str(text))
    darkit("generate", "latest", "--prompt", "def ", "--max-new-tokens", "4")
    assert "darkit_patch_LlamaMLP" in darkit("tree", "latest", "--meta", "--format", "json")
    monkeypatch.setenv("DARKIT_CONFIG", settings["DARKIT_CONFIG"])
    assert f"{MLP}.gate" in weights(found)
    monkeypatch.setenv("DARKIT_CONFIG", str(tmp_path / "a-third"))
    with pytest.raises(TrustError, match=r"self\.gate"):
        weights(found)


@pytest.mark.slow
def test_an_edit_that_fails_only_in_an_evaluation_is_taken_out_too(long: RunConfig):
    long = long.replace({"evaluation.every": 10})
    way = 'if not self.training and x.shape[0] == 4:\n            raise ValueError("only here")'
    only_here = edit(long, lambda text: text.replace("return down_proj", f"{way}\n        return down_proj"))

    def act(run: Run) -> None:
        assert run.patch(only_here, wait_s=SECONDS).state in ("applied", "reverted")
        wait_until(lambda: run.patches[0].state == "reverted", run)
        problem = run.patches[0].problem
        assert problem is not None
        assert "ValueError: only here" in problem["message"]
        assert problem["message"].startswith("line 1")
        wait_until(lambda: done_again(run.directory), run)  # the stop that follows would leave the evaluation

    def done_again(run: RunDirectory) -> bool:
        step = events(run, "revert")[0]["step"]
        assert step % 10 == 0
        return step in [line["step"] for line in run.read_metrics() if line["kind"] == "evaluation"]

    run = trained(long, act)
    assert run.read_status().state == "stopped"


def test_a_run_in_several_processes_refuses(long: RunConfig):
    run = RunDirectory.create(long, command="x")
    run.begin_attempt()
    attempt = Attempt(run)
    patching = Patching(attempt, RunEdits(replay=(ScheduledAction(5, "patch", 1),)))
    with pytest.raises(RunError, match="several processes"):
        patching.begin(0, world_size=2)
    sent = Run(run).patch(edit(long, scaled("0.5")), wait_s=0)
    attempt.control.edits.extend(CommandReader(run, attempt=1).read())
    control = TrainerControl()
    patching.on_step_end(SimpleNamespace(world_size=2), SimpleNamespace(global_step=3), control)
    assert not control.should_save, "the other processes would wait for ever"
    (known,) = Run(run).patches
    assert (known.number, known.state) == (sent.number, "refused")
    assert known.problem is not None
    assert "model.fork" in known.problem["fix"]
