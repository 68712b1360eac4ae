"""What the form shows is what a shell and Python understand."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import darkit_nb as dk
from darkit_nb.config import RunConfig, load_config
from darkit_nb.config.recipes import distributed_command, inference_command, python_code, training_command
from tests.config.test_files import configurations

# A function in place of the program: it prints its arguments as the shell passed them.
PRINT_ARGUMENTS = "darkit-nb() { printf '%s\\0' \"$@\"; }\n"


def arguments_in_bash(command: str) -> list[str]:
    """What a program called by this line receives, according to a real shell."""
    done = subprocess.run(["bash", "-c", PRINT_ARGUMENTS + command], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@given(configurations())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_the_line_means_the_same_in_a_real_shell(config: RunConfig) -> None:
    command, *overrides = arguments_in_bash(training_command(config))
    assert command == "train"
    assert load_config(None, overrides) == config


@given(configurations())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_the_python_makes_the_same_configuration(config: RunConfig) -> None:
    program, rest = python_code(config).split("run = ", 1)
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102 - what a person would paste into a cell
    assert names["config"] == config
    assert names["dk"] is dk
    compile("run = " + rest, "cell", "exec")


def test_several_processes() -> None:
    config = RunConfig().replace({"train.steps": 20})
    line = "accelerate launch --multi_gpu --num_processes 4 -m darkit_nb train train.steps=20"
    assert distributed_command(config, 4) == line
    on_cpu = distributed_command(config.replace({"train.device": "cpu"}))
    assert on_cpu.startswith("accelerate launch --multi_gpu --num_processes 2 ")  # with --cpu it would start one
    assert "train.device=cpu" in on_cpu


def test_using_the_run() -> None:
    assert inference_command(RunConfig()).splitlines() == [
        "darkit-nb generate latest --prompt 'def '",
        "darkit-nb evaluate latest",
    ]
    assert "--runs-dir=/some/where" in inference_command(RunConfig(runs_dir="/some/where"))
    assert arguments_in_bash(inference_command(RunConfig(), "-my runs"))[1] == "./-my runs"
    assert "generate runs/2026-x " in inference_command(RunConfig(), "runs/2026-x")


@pytest.mark.parametrize("folder", ["it's here", "-x", "$HOME", "a b"])
def test_odd_folders_stay_one_word(folder: str) -> None:
    words = arguments_in_bash(inference_command(RunConfig(runs_dir=folder)))
    assert f"--runs-dir={folder}" in words
