"""Training in process: what a run writes, and that going on equals never having stopped."""

from __future__ import annotations

import json
import math

import pytest
import torch

from darkit_nb.config import RunConfig
from darkit_nb.errors import ConfigError, DarkitError, ModelError, RunError, TrainingError
from darkit_nb.runs import RunDirectory, list_runs
from darkit_nb.spikify import load_model, spiking_modules
from darkit_nb.train.generate import Sampling, generate
from darkit_nb.train.launch import resume, train
from darkit_nb.train.trainer import RunTrainer


def curve(run: RunDirectory) -> list[tuple[int, float, float]]:
    return [(m["step"], m["loss"], m["grad_norm"]) for m in run.read_metrics() if m["kind"] == "train"]


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    return load_model(run.latest_checkpoint().path).state_dict()


def test_a_run_writes_what_it_promises(tiny: RunConfig):
    run = train(tiny, progress=False)
    lines = run.read_metrics()
    steps = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in steps] == list(range(1, 21))
    for line in steps:
        assert all(math.isfinite(line[key]) for key in ("loss", "learning_rate", "grad_norm", "step_seconds"))
        assert line["tokens_per_s"] > 0
        assert line["memory_bytes"] > 10**8
    scores = [line for line in lines if line["kind"] == "evaluation"]
    assert [line["step"] for line in scores] == [0, 10, 20]
    assert scores[-1]["bits_per_byte"] < scores[0]["bits_per_byte"]
    assert scores[0]["perplexity"] == pytest.approx(math.exp(scores[0]["loss"]))
    spikes = [line for line in lines if line["kind"] == "spikes"]
    assert [line["step"] for line in spikes] == [1, 10, 20]
    assert len(spikes[-1]["layers"]) == 14
    assert 0 < spikes[-1]["firing_rate"] < 1
    assert spikes[-1]["energy"]["readings"]
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [10, 15, 20]  # three are kept
    assert run.read_status().state == "finished"
    (backend,) = [event for event in run.read_events() if event["kind"] == "backend"]
    assert backend["name"]
    assert backend["reason"]
    assert run.read_config() == tiny
    assert (run.root / "command.txt").read_text().startswith("darkit-nb train")
    assert not list(run.root.rglob("*.bin"))
    model = load_model(run.latest_checkpoint().path)
    assert spiking_modules(model)
    assert all(int(module.forwards) == 20 for module in spiking_modules(model).values())


def test_the_same_configuration_gives_the_same_run(tiny: RunConfig):
    torch.manual_seed(123)
    one = train(tiny, progress=False)
    torch.rand(7)
    two = train(tiny, progress=False)
    assert curve(one) == curve(two)
    assert all(torch.equal(tensor, weights(two)[name]) for name, tensor in weights(one).items())


@pytest.mark.parametrize(
    "changes",
    [
        {"spike.reselect_every": 7, "spike.attention": True},
        {"spike": None},
        {"data.max_train_tokens": 1000},  # 31 windows: step 10 lies within the second epoch of seven steps
        {"model.overrides.attention_dropout": 0.3, "spike.gradient": "range"},
        {"data.streaming": True, "data.max_train_tokens": 1000},  # the stream begins again
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tiny: RunConfig, changes: dict):
    config = tiny.replace(changes)
    whole = train(config, progress=False)
    broken = train(config, progress=False)
    for checkpoint in broken.checkpoints():
        if checkpoint.step > 10:  # as if it had been killed after step 10
            (checkpoint.path / "complete.json").unlink()
    resume(broken, progress=False)
    assert curve(broken) == curve(whole)
    assert all(torch.equal(tensor, weights(broken)[name]) for name, tensor in weights(whole).items())
    assert {line["attempt"] for line in broken.read_metrics()} == {1, 2}
    assert broken.read_status().attempt == 2


def test_a_time_limit_ends_in_order_and_the_run_goes_on_later(tiny: RunConfig):
    run = train(tiny.replace({"train.steps": 100_000, "train.max_seconds": 1.0}), progress=False)
    status = run.read_status()
    assert status.state == "stopped"
    assert "max_seconds" in status.message
    stopped_at = run.latest_checkpoint().step
    assert stopped_at == status.step > 0
    resume(run, [f"train.steps={stopped_at + 3}", "train.max_seconds=null"], progress=False)
    assert run.read_status().state == "finished"
    assert [step for step, *_ in curve(run)] == list(range(1, stopped_at + 4))


def test_gradient_accumulation_sees_the_same_tokens_as_one_large_batch(tiny: RunConfig):
    tiny = tiny.replace({"spike.salient_fraction": 0.0, "train.steps": 6})  # the choice of features counts forwards
    large = train(tiny.replace({"train.batch_size": 8}), progress=False)
    small = train(tiny.replace({"train.batch_size": 4, "train.gradient_accumulation": 2}), progress=False)
    for (_, one, _), (_, two, _) in zip(curve(large), curve(small), strict=True):
        assert one == pytest.approx(two, abs=2e-3)


def test_generation_continues_a_prompt_and_is_reproducible(tiny: RunConfig):
    run = train(tiny, progress=False)
    one = "".join(generate(run, "def ", Sampling(max_new_tokens=20, seed=3)))
    assert one == "".join(generate(run.root, "def ", Sampling(max_new_tokens=20, seed=3)))
    assert one != "".join(generate(run, "def ", Sampling(max_new_tokens=20, seed=4)))
    long = "".join(generate(run, "x" * 500, Sampling(max_new_tokens=20, temperature=0)))
    assert len(long.encode()) <= 4  # a prompt longer than the context keeps its end and leaves one token


def test_a_nan_stops_the_run_before_weights_change_and_keeps_the_last_checkpoint(tiny: RunConfig, monkeypatch):
    original = RunTrainer.compute_loss

    def poisoned(self, model, inputs, *args, **kwargs):
        loss = original(self, model, inputs, *args, **kwargs)
        return loss * float("nan") if model.training and self.state.global_step == 7 else loss

    monkeypatch.setattr(RunTrainer, "compute_loss", poisoned)
    with pytest.raises(TrainingError, match=r"(?s)loss became nan in step 8.*checkpoint of step 5 is intact") as caught:
        train(tiny, progress=False)
    assert "learning_rate" in str(caught.value)
    (run,) = list_runs(tiny.runs_dir)
    assert run.read_status().state == "failed"
    assert "nan" in run.read_status().message
    assert run.latest_checkpoint().step == 5
    monkeypatch.undo()
    resume(run, progress=False)
    assert run.read_status().state == "finished"


def test_resume_refuses_another_architecture(tiny: RunConfig):
    run = train(tiny.replace({"train.steps": 5}), progress=False)
    text = run.config_path.read_text().replace("hidden_size: 32", "hidden_size: 64")
    run.config_path.write_text(text.replace("steps: 5", "steps: 9"))
    with pytest.raises(RunError, match="another architecture"):
        resume(run, progress=False)
    assert run.latest_checkpoint().step == 5


@pytest.mark.parametrize("override", ["model.preset=spike-gpt2-nano", "spike.num_levels=2", "data.tokenizer=bpe:300"])
def test_resume_refuses_overrides_that_make_another_training(tiny: RunConfig, override: str):
    run = train(tiny.replace({"train.steps": 5}), progress=False)
    with pytest.raises(ConfigError, match="cannot change when a run is resumed"):
        resume(run, [override], progress=False)


def test_resume_of_a_finished_run_says_how_to_go_on(tiny: RunConfig):
    run = train(tiny.replace({"train.steps": 5}), progress=False)
    with pytest.raises(RunError, match=r"train\.steps=10"):
        resume(run, progress=False)


def test_resume_without_optimizer_state_says_how_to_train_from_the_weights(tiny: RunConfig):
    run = train(tiny.replace({"train.steps": 5}), progress=False)
    folder = run.latest_checkpoint().path
    (folder / "optimizer.pt").unlink()
    seal = json.loads((folder / "complete.json").read_text())
    del seal["files"]["optimizer.pt"]
    (folder / "complete.json").write_text(json.dumps(seal))
    with pytest.raises(RunError, match=r"darkit-nb train model\.path="):
        resume(run, ["train.steps=9"], progress=False)
    further = train(tiny.replace({"model.path": str(folder), "train.steps": 2}), progress=False)
    assert curve(further)[0][1] < curve(run)[0][1]


def test_resume_without_a_checkpoint_starts_from_the_beginning(tiny: RunConfig):
    tiny = tiny.replace({"train.steps": 3})
    run = RunDirectory.create(tiny, command="darkit-nb train")
    resume(run, progress=False)
    assert curve(run) == curve(train(tiny, progress=False))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model.overrides": {"vocab_size": 100}}, ModelError, "tokenizer knows more tokens"),
        ({"model.overrides": {"max_position_embeddings": 16}}, ConfigError, "fewer positions"),
        ({"model.preset": "spike-lama-nano"}, DarkitError, "spike-llama-nano"),
        ({"model.preset": "spike-llama-7b", "model.overrides": {"num_hidden_layers": 4000}}, DarkitError, "memory"),
        ({"plugins": ["no_such_module_anywhere"]}, DarkitError, "no_such_module_anywhere"),
        ({"data.dataset": "text:/nowhere/at/all.txt"}, DarkitError, "nowhere"),
        ({"train.device": "cuda"}, TrainingError, "torch sees no GPU"),
    ],
)
def test_what_cannot_work_is_refused_before_a_run_exists(tiny: RunConfig, changes: dict, error, words: str):
    if "train.device" in changes and torch.cuda.is_available():
        pytest.skip("this machine has the GPU that the message is about")
    with pytest.raises(error, match=words):
        train(tiny.replace(changes), progress=False)
    assert not list_runs(tiny.runs_dir)


def test_a_plugin_that_raises_at_import_is_named(tiny: RunConfig, tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text("raise ValueError('boom at import')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DarkitError, match="boom at import"):
        train(tiny.replace({"plugins": ["broken_plugin"]}), progress=False)


def test_metrics_lines_are_flat_json_that_other_tools_read(tiny: RunConfig):
    run = train(tiny.replace({"train.steps": 3}), progress=False)
    for line in run.metrics_path.read_text().splitlines():
        record = json.loads(line)
        assert {"schema", "attempt", "time", "kind", "step"} <= record.keys()


def test_watching_does_not_change_the_training(tiny: RunConfig):
    often = train(
        tiny.replace({"monitor.spikes_every": 3, "evaluation.every": 4, "checkpoint.every": 2}), progress=False
    )
    never = train(
        tiny.replace({"monitor.spikes_every": 0, "evaluation.every": 0, "checkpoint.every": 0}), progress=False
    )
    assert curve(often) == curve(never)
    assert all(torch.equal(tensor, weights(never)[name]) for name, tensor in weights(often).items())
