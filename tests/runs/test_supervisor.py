"""The supervisor of a trainer that ends at once: what it records, and what it does about a folder that goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.runs import Run, RunDirectory, identity
from darkit_nb.runs.launch_record import read_launch
from darkit_nb.runs.launcher import launch_record, start_supervisor
from darkit_nb.runs.processes import detached, working_folder

SECONDS = 400.0  # a machine may be many times slower than usual


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(RunConfig(runs_dir=str(tmp_path / "runs")), command="x")


def watch(run: RunDirectory, attempt: int, **environment: str) -> int:
    command = [sys.executable, "-m", "darkit_nb.runs.supervisor", str(run.root), str(attempt)]
    return subprocess.run(command, timeout=SECONDS, env=os.environ | environment, check=False).returncode


def test_a_trainer_that_says_why_it_failed_is_believed(run: RunDirectory) -> None:
    run.config_path.write_text("train: {stepz: 3}\n")
    assert watch(run, 1) == 2
    status, launch = run.read_status(), read_launch(run.root)
    assert status.state == "failed"
    assert status.problem is not None
    assert status.problem["message"] == "There is no setting 'train.stepz'."
    assert status.problem["fix"] == "did you mean 'train.steps'?"
    assert launch is not None
    assert (launch.attempt, launch.exit, launch.problem) == (1, {"code": 2, "signal": None}, None)
    assert launch.ended is not None
    assert launch.trainer is not None
    assert "There is no setting" in Run(run).log()


def test_a_trainer_that_dies_before_its_first_word_is_spoken_for(run: RunDirectory, tmp_path: Path) -> None:
    run.log_path.write_text("of an earlier start\n")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'darkit_nb.train.worker' in sys.orig_argv:\n"
        "    print('no libcuda', flush=True)\n    os._exit(9)\n"
    )
    assert watch(run, 1, PYTHONPATH=str(tmp_path)) == 9
    status = run.read_status()
    assert (status.state, status.attempt) == ("failed", 1)
    assert status.problem is not None
    assert status.problem["message"] == "The training process ended with exit code 9."
    assert (status.problem["received"], status.problem["log"]) == ("no libcuda", ["no libcuda"])


def test_a_supervisor_leaves_the_record_of_a_later_start_alone(run: RunDirectory) -> None:
    run.config_path.write_text("train: {stepz: 3}\n")
    later = launch_record(os.getpid(), 7)
    later.write(run.root)
    watch(run, 6)
    assert read_launch(run.root) == later


def test_a_folder_that_is_gone_ends_it(run: RunDirectory, tmp_path: Path) -> None:
    run.root.rename(tmp_path / "elsewhere")
    assert watch(run, 1) == 2
    assert not run.root.exists()


def test_starting_does_not_wait_for_the_trainer_and_twice_is_refused(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.config_path.write_text("train: {stepz: 3}\n")
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib, sys, time\nwhile 'darkit_nb.train.worker' in sys.orig_argv and not "
        f"pathlib.Path({str(tmp_path / 'go')!r}).exists():\n    time.sleep(0.02)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    start_supervisor(run)
    assert run.read_status().state == "starting"
    with pytest.raises(RunError, match="is starting already"):
        start_supervisor(RunDirectory(run.root))
    (tmp_path / "go").touch()
    with pytest.raises(RunError, match=r"train\.stepz"):
        Run(run).wait(SECONDS)
    supervisor = read_launch(run.root)
    assert supervisor is not None
    while identity.process_started(supervisor.pid) is not None:
        time.sleep(0.02)
    start_supervisor(run)
    with pytest.raises(RunError, match=r"train\.stepz"):
        Run(run).wait(SECONDS)
    assert run.read_status().attempt == 2


def test_a_detached_process_has_no_input_no_terminal_and_no_open_files(tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(
        "import json, os, sys\n"
        "print(json.dumps([os.getsid(0), os.listdir('/proc/self/fd'), sys.argv[1:], sys.stdin.read(), os.getcwd()]))\n"
    )
    with (tmp_path / "secret").open("w") as stream:
        os.set_inheritable(stream.fileno(), True)
        process = detached("look", ["a b", "$(id)"], log=tmp_path / "log.txt", cwd=tmp_path)
        assert process.wait(SECONDS) == 0
        session, files, arguments, read, cwd = json.loads((tmp_path / "log.txt").read_text())
        assert session == process.pid
        assert str(stream.fileno()) not in files
    assert (arguments, read, cwd) == (["a b", "$(id)"], "", str(tmp_path))


def test_relative_paths_start_where_the_run_was_made(run: RunDirectory, tmp_path: Path) -> None:
    assert working_folder(run.root) == Path.cwd()
    environment = json.loads((run.root / "env.json").read_text())
    (run.root / "env.json").write_text(json.dumps(environment | {"cwd": str(tmp_path)}))
    assert working_folder(run.root) == tmp_path
    (run.root / "env.json").write_text(json.dumps(environment | {"cwd": "/nowhere/at/all"}))
    assert working_folder(run.root) == Path.cwd()
    (run.root / "env.json").unlink()
    assert working_folder(run.root) == Path.cwd()
