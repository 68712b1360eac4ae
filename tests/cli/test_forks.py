"""Forks from the terminal: listed, shown, trusted, and the start of a training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkit_nb.cli.app import run
from darkit_nb.cli.settings import config_of
from darkit_nb.config import RunConfig
from darkit_nb.edit.fork import Fork
from darkit_nb.errors import ConfigError, PatchError, TrustError
from darkit_nb.records.patch import Patch
from darkit_nb.runs import Run, RunDirectory
from darkit_nb.runs.patch_history import ScheduledAction

BASE = "class A:\n    x = 1\n"
PATCH = Patch(kind="code", targets=("a",), module="m", class_name="A", base=BASE, source=BASE.replace("1", "2"))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DARKIT_CONFIG", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def elsewhere(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setenv("DARKIT_CONFIG", str(place / "another"))


def saved(name: str = "gated", **settings: object) -> Fork:
    config = {**RunConfig().replace(settings).to_dict(), "name": "old", "runs_dir": "/somewhere/else"}
    return Fork(name=name, patches=(PATCH,), schedule=(ScheduledAction(0, "patch", 1),), config=config).save()


def test_a_fork_is_where_a_training_starts(place: Path):
    saved(**{"train.steps": 7, "seed": 3})
    config = config_of(["seed=4"], fork="gated")
    assert (config.train.steps, config.seed, config.model.fork, config.name) == (7, 4, "gated", None)
    assert config.runs_dir == "runs"
    (place / "my.yaml").write_text("train: {steps: 9}\n")
    filed = config_of(["my.yaml", "model.fork_replay=true"], fork="gated")
    assert (filed.train.steps, filed.seed, filed.model.fork, filed.model.fork_replay) == (9, 0, "gated", True)
    with pytest.raises(PatchError, match="no fork"):
        config_of([f"runs_dir={place / 'x' / 'runs'}"], fork="gated")
    with pytest.raises(ConfigError, match="cannot be called"):
        config_of([], fork="../gated")


def test_code_from_elsewhere_is_shown_before_a_training(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    saved()
    elsewhere(monkeypatch, place)
    assert run(["train", "--fork", "gated", "--print-config"]) == 2
    assert "+    x = 2" in capsys.readouterr().err
    assert run(["train", "--fork", "gated", "--trust", "--print-config"]) == 0
    assert run(["train", "--fork", "gated", "--print-config"]) == 0
    assert "fork: gated" in capsys.readouterr().out


def test_listed_shown_and_trusted(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(["fork", "list"]) == 0
    assert "no forks" in capsys.readouterr().out
    fork = saved()
    elsewhere(monkeypatch, place)
    assert run(["fork"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[0] == "gated"
    assert line.split()[-1] == "no"
    assert run(["fork", "show", "gated"]) == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("not trusted", "+    x = 2", fork.digest))
    assert run(["fork", "trust", "gated"]) == 2  # nobody there to answer
    with pytest.raises(TrustError):
        Fork.load("gated")
    assert run(["fork", "trust", "gated", "--yes"]) == 0
    assert Fork.load("gated") == fork
    assert run(["fork", "trust", "gated"]) == 0
    assert "trusted already" in capsys.readouterr().out


def test_a_saved_model_is_trusted_in_the_same_way(place: Path, capsys: pytest.CaptureFixture[str]):
    folder = place / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"quantization_config": {"patches": [PATCH.to_dict()]}}))
    assert run(["fork", "trust", "model", "--yes"]) == 0
    assert "+    x = 2" in capsys.readouterr().out
    assert run(["fork", "show", "./model"]) == 0
    assert "The model './model', trusted here" in capsys.readouterr().out
    (folder / "config.json").write_text("{}")
    assert run(["fork", "trust", "model"]) == 2


def edited_run(name: str = "mine") -> Run:
    directory = RunDirectory.create(RunConfig(name=name), command="x")
    directory.begin_attempt()
    found = Run(directory)
    found.patch(PATCH, wait_s=0)
    directory.append_event("patch", step=5, number=1, label=PATCH.label)
    directory.write_status(state="finished")
    return found


def test_a_run_s_edits_become_a_fork_only_where_they_are_trusted(capsys: pytest.CaptureFixture[str]):
    mine = edited_run()
    assert run(["fork", "save", "mine", "five"]) == 2
    assert "has agreed to run" in capsys.readouterr().err
    assert run(["fork", "trust", mine.id, "--yes"]) == 0
    assert run(["fork", "save", "mine", "five", "--note", "a gate"]) == 0
    assert "after step 5" in capsys.readouterr().out
    fork = Fork.load("five")
    assert (fork.origin, fork.note, fork.in_effect) == (mine.id, "a gate", (PATCH,))
    assert fork.config is not None
    assert fork.config["model"]["fork"] is None
    assert run(["fork", "save", "mine", "five"]) == 2
    assert run(["fork", "save", "mine", "five", "--overwrite"]) == 0
    assert run(["fork", "save", "mine", "../five"]) == 2


def test_a_run_without_edits_or_without_their_files_makes_no_fork(capsys: pytest.CaptureFixture[str]):
    RunDirectory.create(RunConfig(name="plain"), command="x")
    assert run(["fork", "save", "plain", "none"]) == 2
    assert "nothing to make a fork of" in capsys.readouterr().err
    mine = edited_run()
    next((mine.root / "patches").glob("*.json")).unlink()
    assert run(["fork", "save", "mine", "none"]) == 2
    assert "no file of the edits 1" in capsys.readouterr().err
