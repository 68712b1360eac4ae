"""Each command: what it hands on, and what it prints."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from darkit_nb.cli.app import run
from darkit_nb.cli.settings import config_of
from darkit_nb.config import RunConfig, command_line, load_config
from darkit_nb.errors import ConfigError
from darkit_nb.runs import RunDirectory, list_runs


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Records what the commands ask of training; stands in for modules that load torch."""
    seen: list[Any] = []
    done = RunDirectory.create(RunConfig(runs_dir=str(tmp_path / "runs"), name="known"), command="x")
    done.write_status(state="stopped", message="asked to")

    def module(name: str, **functions: Any) -> None:
        stand_in = ModuleType(name)
        for key, value in functions.items():
            setattr(stand_in, key, value)
        monkeypatch.setitem(sys.modules, name, stand_in)

    def train(config: RunConfig, *, progress: bool) -> RunDirectory:
        seen.append(("train", config, progress))
        return done

    def resume(run: RunDirectory, overrides: tuple[str, ...], *, runs_dir: str, progress: bool) -> RunDirectory:
        seen.append(("resume", run, overrides, runs_dir, progress))
        return run

    def generate(model: str, prompt: str, sampling: dict[str, Any], *, runs_dir: str):
        seen.append(("generate", model, prompt, sampling, runs_dir))
        yield from ("one ", "two")

    def demo(**options: Any) -> None:
        seen.append(("demo", options))

    module("darkit_nb.train.launch", train=train, resume=resume)
    module("darkit_nb.train.generate", generate=generate, Sampling=dict)
    module("darkit_nb.cli.demo", demo=demo)
    monkeypatch.setitem(sys.modules, "darkit_nb.train", ModuleType("darkit_nb.train"))
    monkeypatch.chdir(tmp_path)
    return seen


def test_train_hands_on_the_configuration(calls: list[Any], tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("train: {steps: 7}\nseed: 3\n")
    assert run(["train", "my.yaml", "train.steps=9", "--preset", "spike-gpt2-nano", "-q"]) == 0
    (_, config, progress) = calls[0]
    assert (config.train.steps, config.seed, config.model.preset, progress) == (9, 3, "spike-gpt2-nano", False)
    assert run(["train"]) == 0
    assert calls[1] == ("train", RunConfig(), True)


def test_train_says_how_it_ended_and_where(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train"]) == 0
    assert len(calls) == 1
    (found,) = list_runs("runs")
    state, place = capsys.readouterr().out.strip().split(": ")
    assert state == "stopped (asked to)"
    assert RunDirectory(place) == found


def test_the_shown_command_is_the_configuration(calls: list[Any]) -> None:
    config = RunConfig(name="a", spike=None).replace({"data.dataset": "text:a b/*.txt", "model.overrides.x": -1})
    assert run(command_line(config)[1:]) == 0
    assert calls[0][1] == config


def test_print_config_can_be_trained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["train", "train.steps=5", "--print-config"]) == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert load_config(tmp_path / "c.yaml").train.steps == 5


def test_keys_lists_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--keys"]) == 0
    assert "spike.num_levels = 16\n    an integer ≥ 2 and ≤ 256. Levels Q" in capsys.readouterr().out


def test_resume_opens_the_run_first(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["resume", "known", "train.steps=2000"]) == 0
    (found,) = list_runs("runs")
    assert calls == [("resume", found, ("train.steps=2000",), "runs", True)]
    assert run(["resume", "unknown"]) == 2
    assert "There is no run 'unknown'" in capsys.readouterr().err


def test_generate_streams(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "known", "--prompt", "-- def ", "--top-k", "5", "--seed", "1", "--temperature", "0"]) == 0
    assert capsys.readouterr().out == "-- def one two\n"
    sampling = {"max_new_tokens": 200, "temperature": 0.0, "top_k": 5, "top_p": 0.95, "seed": 1}
    assert calls == [("generate", "known", "-- def ", sampling, "runs")]


def test_demo(calls: list[Any]) -> None:
    assert run(["demo", "--steps", "3"]) == 0
    assert calls == [("demo", {"runs_dir": "runs", "seed": 0, "steps": 3})]


def test_evaluate_prints_scores(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from darkit_nb.records.evaluation import EvaluationResult, PerplexityResult

    seen: list[Any] = []

    def evaluate_run(model: str, **options: Any) -> EvaluationResult:
        seen.append((model, options))
        scores = PerplexityResult(
            loss=1.0, perplexity=2.71828, bits_per_byte=1.4427, window=256, windows=10, scored_tokens=2550,
            dropped_tokens=7, bytes_per_token=1.0,
        )  # fmt: skip
        return EvaluationResult(
            model="m", text="t.txt", text_sha256="", text_bytes=2567, vocab_size=264, perplexity=scores, seconds=1.0
        )

    stand_in = ModuleType("darkit_nb.evaluate.run")
    monkeypatch.setattr(stand_in, "evaluate_run", evaluate_run, raising=False)
    monkeypatch.setitem(sys.modules, "darkit_nb.evaluate", ModuleType("darkit_nb.evaluate"))
    monkeypatch.setitem(sys.modules, "darkit_nb.evaluate.run", stand_in)
    assert run(["evaluate", "latest", "--text", "t.txt", "--window", "256"]) == 0
    options = {"text": "t.txt", "dataset": None, "protocol": None, "window": 256, "runs_dir": "runs"}
    assert seen == [("latest", options)]
    text = capsys.readouterr().out
    assert "perplexity     2.7183" in text
    assert "bits per byte  1.4427" in text
    assert "10 of 256 tokens, not overlapping" in text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["a.yaml", "b.yaml"], "More than one configuration file"),
        (["spike-gpt2-nano"], "neither a configuration file nor a setting"),
        (["absent.yaml"], "cannot be read"),
        (["train.steps", "=", "5"], "More than one configuration file"),
    ],
)
def test_words_that_are_no_settings(
    settings: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        config_of(settings)
    assert says in str(caught.value)


def test_a_file_name_may_hold_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1.yaml").write_text("seed: 4")
    assert config_of(["lr=1.yaml", "train.steps=3"]).seed == 4


def test_runs_are_listed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "runs")
    assert run(["runs", "--runs-dir", place]) == 0
    assert "There are no runs" in capsys.readouterr().out
    first = RunDirectory.create(RunConfig(runs_dir=place, name="first"), command=["darkit-nb", "train", "name=first"])
    first.begin_attempt()
    first.append_metrics({"kind": "train", "step": 5, "loss": 2.5})
    first.append_metrics({"kind": "evaluation", "step": 5, "loss": 2.0, "bits_per_byte": 3.25})
    first.write_status(step=5, total_steps=10)
    with first.new_checkpoint(5):
        pass
    newer = RunDirectory.create(RunConfig(runs_dir=place, name="newer"), command="x")
    newer.status_path.write_text('{"schema": 9}')
    assert run(["runs", "list", "--runs-dir", place]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if first.id in line)
    assert row.split()[1:] == ["running", "5/10", "2.500", "3.250"]
    assert "written by a newer" in next(line for line in lines if newer.id in line)

    first.write_status(state="failed", message="out of luck")
    assert run(["runs", "show", "first", "--runs-dir", place]) == 0
    shown = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    shown = {name.strip(): value.strip() for name, value in shown.items()}
    assert shown["state"] == "failed (out of luck)"
    assert shown["progress"] == "5 of 10 steps, attempt 1"
    assert shown["checkpoints"] == "5"
    assert shown["bits per byte"] == "3.2500"
    assert shown["command"] == "darkit-nb train name=first"


def test_import_takes_a_folder_in(tmp_path: Path, capsys: pytest.CaptureFixture[str], test_data: Path) -> None:
    place = str(tmp_path / "runs")
    source = test_data.parent / "models" / "novel-llama"
    assert run(["import", str(source), "--name", "borrowed", "--runs-dir", place]) == 0
    assert "imported as" in capsys.readouterr().out
    assert [found.name for found in list_runs(place)] == ["borrowed"]
    assert run(["import", str(tmp_path / "nothing"), "--runs-dir", place]) == 2
    assert "nothing at that path" in capsys.readouterr().err


def test_data_previews_a_corpus(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("It was a bright cold day in April. " * 200)
    assert (
        run(["data", f"text:{tmp_path}/a.txt", "data.seq_len=32", "data.validation_fraction=0.2", "--samples", "1"])
        == 0
    )
    text = capsys.readouterr().out
    assert "windows of 32" in text
    assert "bright cold day" in text
    assert run(["data", f"text:{tmp_path}/absent.txt"]) == 2
