"""The command a form shows is the run its button starts: the same settings, and the same weights to the last bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from darkit_nb.config import RunConfig, load_config
from darkit_nb.errors import ConfigError
from darkit_nb.runs import RunDirectory, list_runs
from darkit_nb.runs.run import Run
from darkit_nb.widgets.config_form import ConfigForm
from tests.config.test_files import configurations
from tests.config.test_recipes import arguments_in_bash
from tests.train.conftest import TINY

SEED = 20261122
CHOICES: dict[str, tuple[Any, ...]] = {
    "seed": (0, 1, 2**32 - 1),
    "name": (None, "a-name", "no", "1e3"),
    "data.seq_len": (16, 32, 40),
    "data.tokenizer": ("bytes", "bpe:320"),
    "data.split_seed": (0, 3),
    "train.steps": (2, 3, 4),
    "train.batch_size": (1, 3, 4),
    "train.gradient_accumulation": (1, 2),
    "train.learning_rate": (1e-05, 0.00123456789, 1e-2),
    "train.schedule": ("cosine", "linear", "constant"),
    "train.weight_decay": (0.0, 0.1, 1 / 3),
    "train.clip_norm": (0.0, 0.5, 1.0),
    "train.precision": ("float32", "bfloat16"),
    "train.warmup_steps": (0, 2, 50),
    "monitor.spikes_every": (0, 2),
    "spike.num_levels": (2, 3, 16),
    "spike.num_steps": (1, 2, 3),
    "spike.salient_fraction": (0.0, 0.1, 1 / 3, 1.0),
    "spike.coding": ("rate", "radix", "paper"),
    "spike.ranges": ("shared", "own"),
    "spike.signed": (False, True),
    "spike.weight_bits": (2, 4, 8, 16),
    "spike.saliency": ("energy", "error", "absmax", "random"),
    "spike.reselect_every": (0, 2, 100),
    "spike.gradient": ("clipped", "range"),
    "spike.attention": (False, True),
    "spike.exclude": (["lm_head", "*embed*"], ["lm_head", "*embed*", "*.down_proj"]),
}


def random_configs(count: int) -> list[RunConfig]:
    """Different valid trainings of a tiny model, with one float model among them."""
    random, found = Random(SEED), list[RunConfig]()
    while len(found) < count:
        changes = {**TINY, "checkpoint.every": 0, "train.device": "cpu"}
        changes |= {key: random.choice(values) for key, values in CHOICES.items()}
        if len(found) == count - 1:
            changes = {key: value for key, value in changes.items() if not key.startswith("spike.")} | {"spike": None}
        try:
            config = RunConfig().replace(changes)
        except ConfigError:
            continue
        if config not in found:
            found.append(config)
    return found


def shown_command(form: ConfigForm) -> str:
    """What stands in the tab of the training command."""
    return next(each["text"] for each in form.state["recipes"] if each["name"] == "Train")


@given(configurations())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_the_shown_command_holds_every_setting(config: RunConfig) -> None:
    form = ConfigForm(config)
    if form.config is None:  # it names something nobody has registered: no command is shown
        assert form.state["recipes"] == []
        return
    command, *overrides = arguments_in_bash(shown_command(form))
    assert command == "train"
    assert load_config(None, overrides) == config == form.config


def test_the_program_itself_reads_the_command_as_the_form_means_it(tmp_path: Path) -> None:
    for config in random_configs(3):
        form = ConfigForm(config)
        printed = in_terminal(f"{shown_command(form)} --print-config", tmp_path)
        (tmp_path / "printed.yaml").write_text(printed)
        assert load_config(tmp_path / "printed.yaml") == config


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("config", random_configs(10), ids=range(10))
def test_command_and_button_give_the_same_weights(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook, terminal = tmp_path / "notebook", tmp_path / "terminal"
    for folder in (notebook, terminal):
        folder.mkdir()
    monkeypatch.chdir(notebook)
    form = ConfigForm(config)
    command = shown_command(form)
    form._receive(form, {"do": "start", "click": "a"}, [])
    assert form.problem is None
    pressed = Run(form.run_id).wait(timeout_s=300).directory
    in_terminal(command, terminal)
    (pasted,) = list_runs(terminal / "runs")
    assert pasted.read_config() == pressed.read_config() == config
    assert weights(pasted) == weights(pressed)
    assert losses(pasted) == losses(pressed)


def in_terminal(command: str, folder: Path) -> str:
    """Paste a line into a shell in which this package is installed."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def weights(run: RunDirectory) -> bytes:
    """The file of the last checkpoint's weights."""
    return (run.require_checkpoint().path / "model.safetensors").read_bytes()


def losses(run: RunDirectory) -> list[float]:
    """Every training loss and validation loss."""
    return [record["loss"] for record in run.read_metrics() if record["kind"] in ("train", "evaluation")]
