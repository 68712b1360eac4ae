"""Box and raster with a real run: tokens arrive, Stop ends them, wrong settings and long texts are explained."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.runs.control import Cancellation, send
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.run import Run, train
from darkit_nb.widgets import ConvertPanel, GenerateBox, SpikeRaster
from tests.train.conftest import TINY
from tests.widgets.conversions import written


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of twenty steps, finished."""
    from darkit_nb.train.launch import train

    folder = tmp_path_factory.mktemp("runs")
    config = RunConfig(runs_dir=str(folder)).replace(
        {**TINY, "data.seq_len": 512, "train.batch_size": 1, "train.steps": 3, "evaluation.windows": 1}
    )
    return Run(train(config, progress=False))


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


def test_a_finished_run_writes_and_reads(run: Run):
    box = GenerateBox(run)
    assert (box.prompt, box.run_name) == ("def ", run.name)
    box._receive(None, {"do": "generate", "prompt": "x = ", "settings": box._settings() | {"max_new_tokens": 6}}, [])
    assert box.progress == "waiting"
    until(lambda: not box.progress)
    assert box.problem is None
    assert 1 <= len(box.tokens) <= 6
    assert box.said["prompt"] == "x = "
    assert np.frombuffer(box.said["firing_rate"]).tolist() == [token["firing_rate"] for token in box.tokens]
    assert all(0 < token["firing_rate"] <= 1 and token["energy_pj"] > 0 for token in box.tokens)
    assert "per token (simulated)" in box.text()
    assert "<span title=" in box.snapshot()

    raster = SpikeRaster(run)
    assert raster.sentence == "def hello(name):"
    raster._receive(None, {"do": "probe", "text": "x = é"}, [])
    until(lambda: not raster.progress)
    assert raster.problem is None
    assert raster.tokens == ["x", "␣", "=", "␣", "⋯", "é"]
    assert raster.step == 3
    assert raster.source.layer(raster.layer).tokens == 6

    raster.probe("x" * 10_000)
    until(lambda: not raster.progress)
    assert "10,000 tokens" in raster.problem["message"]
    assert raster.problem["fix"]
    assert len(raster.tokens) == 6  # what was seen before stays

    box.set_trait("max_new_tokens", 400)
    box.set_trait("temperature", 0.0)  # drawn tokens may end the text before it can be stopped
    request = box.generate("y = ")
    until(lambda: len(box.tokens) >= 2)
    box._receive(None, {"do": "stop"}, [])
    assert box.stopping
    until(lambda: not box.progress)
    assert request.state == "done"
    assert not box.stopping
    assert len(box.tokens) < 400
    (end,) = [
        event
        for event in run.directory.read_events()
        if event["kind"] == "ack" and event.get("command_id") == request.id
    ]
    assert (end["ok"], end["cancelled"], end["tokens"]) == (True, True, len(box.tokens))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is out of range"),
        ({"max_new_tokens": 1_000_000}, "max_new_tokens is out of range"),
        ({"temperature": -1}, "temperature is out of range"),
        ({"top_p": 0}, "top_p is out of range"),
        ({"top_k": None}, "top_k is not a number"),
        ({"seed": 1.5}, "seed is not a number"),
    ],
)
def test_wrong_settings_are_explained_in_the_widget(run: Run, settings: dict, words: str):
    box = GenerateBox(run)
    box._receive(None, {"do": "generate", "prompt": "x", "settings": box._settings() | settings}, [])
    assert words in box.problem["message"]
    assert box.problem["fix"]
    assert (box.progress, box.last_fault) == ("", None)


def test_another_run_starts_with_an_empty_page(run: Run):
    box = GenerateBox(run)
    box._writing.tokens, box.said = [{"text": "a"}], {"prompt": ""}
    box.run = None
    assert (box.run_name, box.tokens, box.said) == ("", [], None)
    with pytest.raises(RunError, match="no run"):
        box.generate("x")
    assert "no run yet" in box.text()
    raster = SpikeRaster(run)
    raster.run = None
    assert raster.run_name == ""


def test_a_cancellation_is_of_one_request(tmp_path: Path):
    run = RunDirectory.create(RunConfig(runs_dir=str(tmp_path)), command="darkit-nb train")
    mine, other = send(run, "generate", {"prompt": "a"}), send(run, "generate", {"prompt": "b"})
    asked = Cancellation(run, mine.id)
    assert not asked.asked()
    send(run, "cancel", {"request": other.id})
    assert not asked.asked()
    send(run, "cancel", {"request": mine.id})
    assert asked.asked()
    assert asked.asked()
    assert Cancellation(run, mine.id).asked()


def test_a_training_run_answers_between_its_steps(tmp_path: Path):
    config = RunConfig(runs_dir=str(tmp_path / "runs")).replace({**TINY, "train.steps": 100_000, "checkpoint.every": 0})
    run = train(config)
    try:
        box, raster = GenerateBox(run), SpikeRaster(run)
        box.set_trait("max_new_tokens", 4)
        raster.probe("def f")
        box.generate("def f")
        until(lambda: not (raster.progress or box.progress), 120)
        assert (box.problem, raster.problem) == (None, None)
        assert len(box.tokens) == 4
        assert len(raster.tokens) == 5
        assert run.latest_checkpoint() is None  # it was the live model that answered
        assert run.state == "running"
    finally:
        run.stop(wait_s=60)


def test_a_converted_model_writes_and_spikes_like_a_run(run: Run, tmp_path: Path):
    conversion = written(tmp_path / "converted", "rtn")
    box = GenerateBox(conversion)
    assert (box.prompt, box.run_name) == ("def ", "rtn W4A4")
    box.generate("x")
    until(lambda: not box.progress)
    assert "made no model yet" in box.problem["message"]
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    shutil.copytree(checkpoint.path, conversion.out)  # what a conversion would have made
    box.generate("x = ")
    until(lambda: not box.progress)
    assert box.problem is None
    assert box.tokens
    raster = SpikeRaster(conversion.probe("def f(x):"))
    assert raster.run == conversion
    until(lambda: raster.source is not None)
    assert raster.step is None

    desk = ConvertPanel(folder=tmp_path / "converted").desk
    desk.do_write_on(conversion.id, "def ")
    assert [text["state"] for text in desk.samples["texts"]] == ["waiting", "waiting"]
    until(lambda: desk.samples["stage"] != "writing")
    assert (desk.samples["stage"], desk.samples["problem"]) == ("done", None)
    floats, converted = desk.samples["texts"]
    assert (floats["name"], converted["name"]) == ("stdlib-llama (float)", "rtn W4A4")
    assert floats["firing_rate"] is None
    assert 0 < converted["firing_rate"] <= 1
    assert floats["tokens"] > 1
    assert floats["text"]
    desk.do_write_on(conversion.id, "x")
    desk.do_stop_writing()
    desk.do_stop_writing()
    until(lambda: desk.samples["stage"] == "done")
    assert not desk.samples["stopping"]
    events = [event for event in conversion.directory.read_events() if event["kind"] == "ack"]
    assert [event["cancelled"] for event in events[-2:]] == [True, True]
