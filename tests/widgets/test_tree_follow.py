"""A tree bound to a run: its tree when it is there, then its firing rates, calmly and to the end."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkit_nb.errors import ModelError, RunError
from darkit_nb.records.trace import ModelTrace
from darkit_nb.runs import Run, RunDirectory
from darkit_nb.runs.control import Command, CommandReader, acknowledge
from darkit_nb.runs.files import write_atomic
from darkit_nb.widgets import ModelTree, base
from tests.records.snapshots import layer, snapshot
from tests.records.traces import large_trace, small_trace
from tests.runs.measured import make
from tests.widgets.test_attendance import Clock, clock

__all__ = ["clock"]  # a fixture


class Trainer:
    """The process at work on a run, played by this one: it answers and measures when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.directory: RunDirectory = make(folder, "watched")
        self.directory.begin_attempt()
        self.directory.write_status(state="running", step=0, total_steps=40)
        self._asked = CommandReader(self.directory, kinds=("trace", "probe"))
        self.run = Run(self.directory)

    def asked(self) -> Command:
        return next(iter(wait(self._asked.read)))

    def answer(self, trace: ModelTrace | None = None, error: Exception | None = None) -> None:
        command = self.asked()
        if trace is not None:
            self.directory.spikes_path.mkdir(exist_ok=True)
            write_atomic(self.directory.spikes_path / f"{command.id}.trace.json", trace.to_json())
        acknowledge(self.directory, command, step=3, error=error)

    def measure(self, step: int, rates: dict[str, float]) -> None:
        layers = [{"name": name, "firing_rate": rate} for name, rate in rates.items()]
        self.directory.append_metrics({"kind": "spikes", "step": step, "firing_rate": 0.5, "layers": layers})


def wait(look: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What `look` finds, as soon as it is something."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)
    return found


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path)


@pytest.fixture
def tree(trainer: Trainer) -> Iterator[ModelTree]:
    made = ModelTree(trainer.run)
    yield made
    made.close()


def rates_of(tree: ModelTree) -> list[float]:
    return np.frombuffer(tree.rates, np.float32).tolist()


def test_the_tree_comes_from_the_run_and_its_rows_fire_as_measured(trainer: Trainer, tree: ModelTree):
    assert tree.pulse["waiting"] == "waiting"
    assert "not here yet" in tree.text()
    trainer.measure(2, {"body.up": 0.25, "body.down": 0.5, "elsewhere": 1.0})  # before the tree is there
    trainer.answer(small_trace())
    wait(lambda: tree.trace is not None)
    assert tree.trace == small_trace()
    assert tree.about["live"] == []
    assert tree.about["probes"]
    assert wait(lambda: rates_of(tree)) == [0.25, 0.5]
    trainer.measure(4, {"body.up": 0.75})
    wait(lambda: tree.pulse["measured"] == 4)
    assert rates_of(tree)[0] == 0.75
    assert np.isnan(rates_of(tree)[1])
    assert (tree.pulse["step"], tree.pulse["total_steps"], tree.pulse["waiting"]) == (4, 40, "")
    assert "body" in tree.snapshot()


def test_the_chosen_module_has_its_course_weighed_by_slots(trainer: Trainer, tree: ModelTree):
    trainer.answer(small_trace())
    wait(lambda: tree.trace is not None)
    tree.selected = "body"
    assert tree.course is None
    for step in range(1, 501):
        trainer.measure(step, {"body.up": 0.25, "body.down": 1.0 if step > 250 else 0.5})
    course = wait(lambda: tree.pulse["measured"] == 500 and tree.course)
    steps, rates = np.frombuffer(course["steps"], np.int32), np.frombuffer(course["rates"], np.float32)
    assert len(steps) == len(rates) <= 200
    assert steps[-1] == 500
    assert rates[0] == pytest.approx((10 * 0.25 + 20 * 0.5) / 30)
    assert rates[-1] == pytest.approx((10 * 0.25 + 20 * 1.0) / 30)
    tree.selected = "head"
    assert tree.course is None


def test_the_end_of_a_run_leaves_its_last_rates(trainer: Trainer, tree: ModelTree):
    trainer.answer(small_trace())
    trainer.measure(40, {"body.up": 0.25, "body.down": 0.5})
    trainer.directory.write_status(state="finished", step=40, total_steps=40)
    wait(lambda: tree.pulse["state"] == "finished" and tree.rates)
    assert rates_of(tree) == [0.25, 0.5]
    assert tree.problem is None


def test_a_run_that_disappears_is_named_and_its_tree_stays(trainer: Trainer, tree: ModelTree):
    trainer.answer(small_trace())
    wait(lambda: tree.trace is not None)
    shutil.rmtree(trainer.directory.root)
    wait(lambda: tree.problem is not None)
    assert "gone" in tree.problem["message"]
    assert "tree.follow" in tree.problem["fix"]
    assert tree.pulse["state"] == "gone"
    assert tree.trace is not None
    with pytest.raises(RunError):
        ModelTree(trainer.run)


def test_a_refusal_is_shown_and_asked_again_when_the_run_goes_on(trainer: Trainer, tree: ModelTree):
    trainer.directory.write_status(state="starting")
    wait(lambda: tree.pulse["state"] == "starting")
    trainer.answer(error=ModelError("There is no checkpoint yet.", fix="wait"))
    wait(lambda: tree.problem is not None)
    assert tree.problem["message"] == "There is no checkpoint yet."
    trainer.directory.write_status(state="running", step=1, total_steps=40)
    trainer.answer(small_trace())
    wait(lambda: tree.trace is not None)
    assert tree.problem is None


def test_an_edit_of_the_running_model_brings_its_new_tree(trainer: Trainer, tree: ModelTree):
    trainer.answer(small_trace())
    wait(lambda: tree.trace is not None)
    trainer.measure(1, {"body.up": 0.5})
    wait(lambda: tree.pulse["measured"] == 1)
    trainer.directory.append_event("patch", step=2, patch="abc")
    trainer.answer(large_trace(13))
    wait(lambda: tree.trace is not None and tree.trace.model == "Large")


def test_another_tree_forgets_the_run(trainer: Trainer, tree: ModelTree):
    trainer.answer(small_trace())
    trainer.measure(1, {"body.up": 0.5})
    wait(lambda: tree.rates)
    tree.show(large_trace(13))
    assert (tree.pulse, tree.rates, tree.about["probes"]) == (None, b"", False)
    trainer.measure(2, {"body.up": 0.75})
    time.sleep(0.6)
    assert (tree.pulse, tree.rates) == (None, b"")
    tree.follow(trainer.run)
    assert tree.trace is None
    tree.follow(None)
    assert tree.pulse is None


def test_the_spikes_of_a_module_are_asked_of_the_run(trainer: Trainer, tree: ModelTree):
    trainer.answer(small_trace())
    wait(lambda: tree.trace is not None)
    tree._receive(None, {"do": "raster", "path": "body.up", "side": "after"}, [])
    asked = trainer.asked()
    assert asked.arguments["layers"] == ["body.up"]
    shot = snapshot(layer("body.up"))
    shot.save(trainer.directory.spikes_path / f"{asked.id}.safetensors")
    acknowledge(trainer.directory, asked, step=7)
    wait(lambda: tree.raster)
    assert (tree.raster["path"], tree.raster["step"], tree.raster["picture"]["name"]) == (
        "body.up",
        shot.step,
        "body.up",
    )
    tree._receive(None, {"do": "raster", "path": "body", "side": "after"}, [])
    acknowledge(trainer.directory, trainer.asked(), step=8, error=ModelError("No layer is called body."))
    wait(lambda: tree.raster["path"] == "body")
    assert tree.raster["problem"]["message"] == "No layer is called body."
    tree._receive(None, {"do": "parameters", "path": "body.up"}, [])
    assert "only its trace" in tree.parameters["problem"]["message"]


def test_four_hundred_layers_cost_little(trainer: Trainer, tree: ModelTree):
    trace = large_trace(447)
    trainer.answer(trace)
    wait(lambda: tree.trace is not None)
    names = [node.path for node in trace.nodes if node.spikes is not None]
    assert len(names) == 400
    trainer.measure(3, dict.fromkeys(names, 0.125))
    wait(lambda: tree.rates)
    assert len(tree.rates) == 4 * 400
    assert len(json.dumps(tree.pulse)) < 300


class HeardTree(ModelTree):
    """A tree whose messages to the page are caught at the comm."""

    def __init__(self, run: Run) -> None:
        self.sent: list[dict[str, Any]] = []
        super().__init__(run)

    def _send(self, msg: dict[str, Any], buffers: Any = None) -> None:
        self.sent.append(msg)


def test_nothing_is_sent_while_nobody_looks_and_the_newest_when_somebody_does(
    trainer: Trainer,
    clock: Clock,
):
    tree = HeardTree(trainer.run)
    trainer.answer(small_trace())
    wait(lambda: tree.trace is not None)
    base.attendance.beat()
    clock.now = 100.0
    tree.sent.clear()
    for step in (5, 6):
        trainer.measure(step, {"body.up": step / 8, "body.down": 0.5})
        wait(lambda step=step: tree.pulse["measured"] == step)
    assert tree.sent == []
    base.attendance.beat()
    [message] = [each for each in tree.sent if each["method"] == "update"]
    assert message["state"]["pulse"]["measured"] == 6
    tree.close()
