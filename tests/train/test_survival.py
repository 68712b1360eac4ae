"""Real processes, real kill -9, a real full disk, two real gloo processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from darkit_nb.config import RunConfig, dump_yaml
from darkit_nb.runs import RunDirectory, list_runs
from darkit_nb.train.launch import train

SECONDS_TO_START = 400  # a machine may be many times slower than usual


def launch(*arguments: str, log: Path, launcher: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", *(launcher or ()), *(("-m",) if launcher else ()), "darkit_nb", *arguments]
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)


def only_run(config: RunConfig) -> RunDirectory:
    (run,) = list_runs(config.runs_dir)
    return run


def wait_until(condition, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while not condition():
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def check_readable(run: RunDirectory) -> None:
    """Every step once and without a gap in the reader's view; every listed checkpoint whole."""
    steps = [line["step"] for line in run.read_metrics() if line["kind"] == "train"]
    assert steps == list(range(1, len(steps) + 1))
    for checkpoint in run.checkpoints():
        with safe_open(checkpoint.path / "model.safetensors", framework="pt") as file:
            assert all(file.get_tensor(name) is not None for name in file.keys())  # noqa: SIM118


def survive(config: RunConfig, tmp_path: Path, kills: int) -> None:
    """Kill a training `kills` times at random moments, resume it every time, and compare with one left in peace."""
    whole = train(config.replace({"runs_dir": str(tmp_path / "whole")}), progress=False)
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    log, moments = tmp_path / "log.txt", random.Random(20261122)
    process = launch("train", str(tmp_path / "config.yaml"), log=log)
    wait_until(lambda: list_runs(config.runs_dir) and only_run(config).checkpoints(), process, log)
    run, killed = only_run(config), 0
    while killed < kills:
        time.sleep(moments.uniform(0.0, 0.3))
        assert process.poll() is None, "the training was over before it could be killed; give it more steps"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed += 1
        check_readable(run)
        assert run.read_status().state == "lost"
        size = run.metrics_path.stat().st_size
        process = launch("resume", str(run.root), log=log)
        wait_until(lambda: run.metrics_path.stat().st_size > size, process, log)  # noqa: B023 - called at once
    assert process.wait(SECONDS_TO_START) == 0, log.read_text()[-2000:]
    check_readable(run)
    assert run.read_status().state == "finished"
    assert run.read_status().attempt == kills + 1
    view = [(line["step"], line["loss"]) for line in run.read_metrics() if line["kind"] == "train"]
    assert view == [(line["step"], line["loss"]) for line in whole.read_metrics() if line["kind"] == "train"]


def test_kill_minus_nine_twice(tiny: RunConfig, tmp_path: Path):
    survive(tiny.replace({"train.steps": 300}), tmp_path, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_minus_nine_at_twenty_random_moments(tiny: RunConfig, tmp_path: Path):
    survive(tiny.replace({"train.steps": 1500}), tmp_path, kills=20)


def test_ctrl_c_ends_with_a_checkpoint(tiny: RunConfig, tmp_path: Path):
    config = tiny.replace({"train.steps": 100_000, "checkpoint.every": 0})
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    log = tmp_path / "log.txt"
    process = launch("train", str(tmp_path / "config.yaml"), log=log)
    wait_until(lambda: list_runs(config.runs_dir) and only_run(config).metrics_path.exists(), process, log)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS_TO_START) == 0, log.read_text()[-2000:]
    run = only_run(config)
    assert run.read_status().state == "stopped"
    assert run.latest_checkpoint().step == run.read_status().step > 0
    assert "Traceback" not in log.read_text()


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 2 MB, unmounted afterwards."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mount.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {mount.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_gives_a_clear_message_and_keeps_the_checkpoint_before(
    tiny: RunConfig, tmp_path: Path, small_disk: Path
):
    config = tiny.replace({"runs_dir": str(small_disk / "runs"), "train.steps": 60, "checkpoint.keep": 30})
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    log = tmp_path / "log.txt"
    assert launch("train", str(tmp_path / "config.yaml"), log=log).wait(SECONDS_TO_START) == 2
    text = log.read_text()
    assert "disk is full" in text
    assert "Traceback" not in text
    run = only_run(config)
    before = run.checkpoints()
    assert before
    assert run.read_status().state in ("failed", "lost")
    check_readable(run)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert launch("resume", str(run.root), log=log).wait(SECONDS_TO_START) == 0, log.read_text()[-2000:]
    assert run.read_status().state == "finished"
    assert [checkpoint.step for checkpoint in run.checkpoints()] == list(range(5, 61, 5))


# accelerate starts several processes only under --multi_gpu; train.device=cpu makes them gloo processes.
TWO_PROCESSES = (
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
)


def test_two_processes_stop_at_the_same_step(tiny: RunConfig, tmp_path: Path):
    config = tiny.replace({"train.steps": 100_000, "train.max_seconds": 1.0, "train.device": "cpu"})
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    log = tmp_path / "log.txt"
    process = launch("train", str(tmp_path / "config.yaml"), log=log, launcher=TWO_PROCESSES)
    assert process.wait(SECONDS_TO_START) == 0, log.read_text()[-3000:]
    run = only_run(config)
    assert run.read_status().state == "stopped"
    assert run.latest_checkpoint().step == run.read_status().step > 0
    assert (run.latest_checkpoint().path / "rng_state_1.pth").is_file()
    assert log.read_text().count("stopped") == 1  # one process speaks for both


def test_two_gloo_processes_match_one_with_the_doubled_batch(tiny: RunConfig, tmp_path: Path):
    config = tiny.replace({"spike.reselect_every": 5, "train.steps": 12, "train.device": "cpu"})
    one = train(config.replace({"train.batch_size": 8, "runs_dir": str(tmp_path / "one")}), progress=False)
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    log = tmp_path / "log.txt"
    process = launch("train", str(tmp_path / "config.yaml"), log=log, launcher=TWO_PROCESSES)
    assert process.wait(SECONDS_TO_START) == 0, log.read_text()[-3000:]
    two = only_run(config)
    assert two.read_status().state == "finished"
    for kind in ("train", "evaluation"):
        single = [line["loss"] for line in one.read_metrics() if line["kind"] == kind]
        double = [line["loss"] for line in two.read_metrics() if line["kind"] == kind]
        assert len(single) == len(double) > 0
        assert max(abs(a - b) for a, b in zip(single, double, strict=True)) < 1e-4
