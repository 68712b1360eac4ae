"""Probes and generations: of the live trainer, without a trace in its training, and of a finished run by a worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from darkit_nb.cli.app import run as command
from darkit_nb.config import RunConfig
from darkit_nb.errors import ConfigError, RunError
from darkit_nb.runs import Request, Run, RunDirectory, identity
from darkit_nb.runs.control import send
from darkit_nb.runs.files import from_json
from darkit_nb.runs.requests import WORKER_FILE, WORKER_LOG, ask, worker_alive
from darkit_nb.train.launch import train
from darkit_nb.train.probe_worker import ProbeWorker
from darkit_nb.train.recorder import RunRecorder

SECONDS = 400.0  # a machine may be many times slower than usual


def curve(run: RunDirectory) -> list[tuple[int, float, float]]:
    return [(m["step"], m["loss"], m["grad_norm"]) for m in run.read_metrics() if m["kind"] == "train"]


@pytest.fixture
def trained(tiny: RunConfig) -> RunDirectory:
    return train(tiny.replace({"train.steps": 2, "evaluation.every": 0}), progress=False)


def end_worker(run: RunDirectory) -> int:
    """Kill a run's worker with SIGKILL, and wait until it is gone."""
    pid = from_json((run.root / WORKER_FILE).read_bytes())["pid"]
    os.kill(pid, signal.SIGKILL)
    while identity.process_started(pid) is not None:
        time.sleep(0.02)
    return pid


def test_a_training_with_probes_is_bit_for_bit_one_without(tiny: RunConfig, monkeypatch: pytest.MonkeyPatch):
    """Asked at every second step, and during evaluations; dropout makes each step draw random numbers."""
    config = tiny.replace({"model.overrides.attention_dropout": 0.3, "spike.reselect_every": 4})
    alone = train(config, progress=False)
    asked: list[Request] = []
    begin = RunRecorder.on_step_begin

    def ask_first(self: RunRecorder, args, state, control, **rest):
        if state.global_step % 2 == 0 and len(asked) < 16:
            asked.append(ask(self.run, "probe", {"text": "def spam(eggs):"}))
            asked.append(ask(self.run, "generate", {"prompt": "class ", "max_new_tokens": 6, "seed": 1}))
            asked.append(ask(self.run, "probe", {"text": "x" * 10_000}))
            asked.append(ask(self.run, "trace", {"text": "def spam(eggs):", "timing": True, "memory": True}))
            while len(self.control.requests) < 4:
                time.sleep(0.01)  # until the control thread has read them
        return begin(self, args, state, control, **rest)

    monkeypatch.setattr(RunRecorder, "on_step_begin", ask_first)
    probed = train(config, progress=False)
    assert curve(probed) == curve(alone)
    assert [request.refresh() for request in asked] == ["done", "done", "failed", "done"] * 4
    assert [request.step for request in asked[::4]] == [1, 3, 5, 7]
    snapshot = asked[0].snapshot()
    assert "".join(snapshot.tokens) == "def spam(eggs):"
    assert 0 < snapshot.firing_rate < 1
    tokens = asked[1].tokens()
    assert [token["index"] for token in tokens] == list(range(6))
    assert all(0 < token["firing_rate"] <= 1 and token["energy_pj"] > 0 for token in tokens)
    problem = asked[2].problem
    assert problem is not None
    assert (problem["expected"], problem["received"]) == ("at most 32 tokens", "10,000 tokens")
    assert problem["fix"]
    trace = asked[3].trace()
    assert (trace.problem, trace.tokens) == (None, 15)
    assert trace.root.seconds is not None
    assert trace.root.memory_bytes
    # The same weights read the same text, so the same spikes were counted.
    rates = [trace.firing_rate(trace.index[layer.name]) for layer in snapshot.layers]
    assert [layer.firing_rate for layer in snapshot.layers] == rates


def test_a_finished_run_answers_through_one_worker(trained: RunDirectory, capsys: pytest.CaptureFixture[str]):
    run = Run(trained)
    first, second = run.probe("def f():", layers=["*.mlp.*"]), run.generate("def ", max_new_tokens=4, seed=3)
    first.wait(SECONDS)
    second.wait(SECONDS)
    assert worker_alive(run.root)
    assert set(first.snapshot().names) == {name for name in first.snapshot().names if ".mlp." in name}
    assert (first.step, second.step, len(second.tokens())) == (2, 2, 4)
    again = run.generate("def ", max_new_tokens=4, seed=3).wait(SECONDS)
    assert [token["id"] for token in again.tokens()] == [token["id"] for token in second.tokens()]
    with pytest.raises(RunError, match="No spiking layer has this name"):
        run.probe("x", layers=["no.such.layer"]).wait(SECONDS)
    with pytest.raises(RunError, match="no spikes to show"):
        second.snapshot()
    trace = run.trace().wait(SECONDS).trace()
    assert (trace.tokens, trace.problem) == (32, None)  # the sentence of ours, as far as this model can attend
    assert trace.root.seconds is None
    assert command(["tree", str(run.root), "--live", "--spikes", "class A:"]) == 0
    assert "LlamaForCausalLM on cpu · 8 tokens" in capsys.readouterr().out
    with pytest.raises(RunError, match="no trace to show"):
        second.trace()
    end_worker(run.directory)


def test_a_worker_that_dies_fails_the_request_and_the_next_one_is_answered(trained: RunDirectory):
    run = Run(trained)
    request = run.probe("def f():")
    end_worker(trained)
    with pytest.raises(RunError, match="ended without an answer"):
        request.wait(SECONDS)
    assert request.problem is not None
    assert WORKER_LOG in request.problem["fix"]
    run.probe("def g():").wait(SECONDS)
    end_worker(trained)


def test_a_worker_ends_itself_and_leaves_no_request_behind(trained: RunDirectory):
    request = Request(trained, send(trained, "generate", {"prompt": "a", "max_new_tokens": 2}))
    ProbeWorker(trained, idle_seconds=0.5).serve()
    assert request.refresh() == "done"
    assert not (trained.root / WORKER_FILE).exists()


def test_a_worker_gives_way_to_a_trainer(trained: RunDirectory):
    trained.begin_attempt()
    start = time.monotonic()
    ProbeWorker(trained, idle_seconds=2 * SECONDS).serve()
    assert time.monotonic() - start < SECONDS


def test_what_killed_one_process_is_not_tried_again(trained: RunDirectory):
    request = Request(trained, send(trained, "probe", {"text": "poison"}))
    trained.append_event("request", command_id=request.id, command="probe", state="running")
    ProbeWorker(trained, idle_seconds=0.2).serve()
    assert request.refresh() == "failed"
    assert request.problem is not None
    assert "before it was done" in request.problem["message"]


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("probe", {"text": ""}, "no text"),
        ("probe", {"text": "x", "layers": 3}, "layers must be names"),
        ("trace", {"text": ""}, "no text"),
        ("trace", {"text": "x" * 1000}, "too long"),
        ("trace", {"text": 3}, "text must be text"),
        ("generate", {"prompt": "x", "temperature": -1}, "temperature is out of range"),
        ("generate", {"prompt": "x", "max_new_tokens": 10**6}, "too much text"),
        ("generate", {"prompt": "x", "top_k": "all"}, "top_k must be a number"),
        ("generate", {"prompt": ["x"]}, "prompt must be text"),
    ],
)
def test_a_request_that_makes_no_sense_is_told_what_would(trained: RunDirectory, kind, arguments: dict, words: str):
    request = Request(trained, send(trained, kind, arguments))
    ProbeWorker(trained, idle_seconds=0.1).serve()
    assert request.refresh() == "failed"
    assert request.problem is not None
    assert words in request.problem["message"]


def test_a_run_without_a_checkpoint_says_so_at_once(tmp_path: Path):
    run = RunDirectory.create(RunConfig(runs_dir=str(tmp_path / "runs")), command="x")
    with pytest.raises(RunError, match="no complete checkpoint"):
        Run(run).probe("x").wait(SECONDS)
    end_worker(run)


def test_a_text_beyond_all_reason_is_not_even_written(trained: RunDirectory):
    with pytest.raises(ConfigError, match="far too long"):
        Run(trained).probe("x" * 200_000)
    assert not trained.control_path.exists()
