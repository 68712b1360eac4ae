"""A run's folder: made whole, found by name, written by one process at a time."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig, TrainConfig
from darkit_nb.errors import ConfigError, RunError
from darkit_nb.runs import RunDirectory, list_runs


def make(runs_dir: Path, **fields) -> RunDirectory:
    return RunDirectory.create(RunConfig(runs_dir=str(runs_dir), **fields), command=["darkit-nb", "train", "a b=1"])


def test_a_new_run_holds_what_it_needs(tmp_path: Path) -> None:
    run = make(tmp_path / "deep" / "runs", name="first-try", train=TrainConfig(steps=7))
    assert re.fullmatch(r"\d{8}-\d{6}-first-try-[0-9a-f]{4}", run.id)
    assert run.name == "first-try"
    assert run.read_config().train.steps == 7
    assert shlex.split((run.root / "command.txt").read_text()) == ["darkit-nb", "train", "a b=1"]
    environment = json.loads((run.root / "env.json").read_text())
    assert environment["schema"] == 1
    assert environment["packages"]["numpy"]
    assert environment["python"].startswith(f"{sys.version_info.major}.")
    assert not list(run.root.glob(".*")), "no drafts are left"


def test_the_environment_holds_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "hf_secret" not in (make(tmp_path).root / "env.json").read_text()


def test_the_name_comes_from_the_model_where_none_is_given(tmp_path: Path) -> None:
    assert make(tmp_path).name == "spike-llama-nano"
    pretrained = RunConfig().replace({"runs_dir": str(tmp_path), "model.path": "../some where/Llama ü 3..2/"})
    assert RunDirectory.create(pretrained, command="x").name == "Llama-3.2"


def test_two_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    first = make(tmp_path, name="same")
    with pytest.raises(RunError, match="already a run called 'same'") as caught:
        make(tmp_path, name="same")
    assert first.id in str(caught.value.fix)
    assert len(list_runs(tmp_path)) == 1
    make(tmp_path, name="same-2")
    make(tmp_path)
    make(tmp_path)
    assert len(list_runs(tmp_path)) == 4


def test_two_processes_cannot_take_one_name(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom darkit_nb.config import RunConfig\nfrom darkit_nb.errors import RunError\n"
        "from darkit_nb.runs import RunDirectory\nsys.stdin.readline()\n"
        "try: RunDirectory.create(RunConfig(name='same', runs_dir=sys.argv[1]), command='x')\n"
        "except RunError: sys.exit(3)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        process.communicate(b"go\n")
    assert sorted(process.returncode for process in processes) == [0, 3, 3]


def test_path_parts_in_a_name_never_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        make(tmp_path, name="../../x")
    unchecked = RunConfig(runs_dir=str(tmp_path / "runs")).model_copy(update={"name": "../../x"})
    with pytest.raises(ConfigError, match="cannot be called"):
        RunDirectory.create(unchecked, command="x")
    assert [path.name for path in tmp_path.rglob("*") if path.is_dir()] == ["runs"]


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be written") as caught:
        make(tmp_path / "file" / "runs")
    assert caught.value.fix == "choose another folder with runs_dir=…"
    assert list_runs(tmp_path / "file" / "runs") == []


def test_runs_of_one_second_stand_in_the_order_they_were_made(tmp_path: Path) -> None:
    made = [make(tmp_path, name=name) for name in "zyxw"]
    assert [run.root for run in list_runs(tmp_path)] == [run.root for run in made]
    assert RunDirectory.open("latest", tmp_path).root == made[-1].root
    later = made[0].root.with_name("20990101-000000-b-0001")
    made[0].root.rename(later)
    made[1].root.rename(later.with_name("20990101-000000-a-fffe"))
    assert RunDirectory.open("latest", tmp_path).root.name == "20990101-000000-a-fffe"


@pytest.mark.parametrize("wanted", ["id", "name", "prefix", "suffix", "latest", "path", "string path"])
def test_a_run_is_found_by_what_people_type(tmp_path: Path, wanted: str) -> None:
    make(tmp_path, name="other")
    run = make(tmp_path, name="zz-wanted")
    renamed = run.root.with_name("20990101-000000-zz-wanted-beef")
    run.root.rename(renamed)
    typed = {
        "id": renamed.name, "name": "zz-wanted", "prefix": "20990101", "suffix": "beef", "latest": "latest",
        "path": renamed, "string path": f"{renamed}/",
    }[wanted]  # fmt: skip
    assert RunDirectory.open(typed, tmp_path) == RunDirectory(renamed)


def test_what_is_no_run_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "runs", name="alpha")
    make(tmp_path / "runs", name="alpine")
    for wanted in ("", "nothing", "../../x", "runs", "..", "2099", "/"):
        with pytest.raises(RunError, match="There is no run"):
            RunDirectory.open(wanted)
    with pytest.raises(RunError) as caught:
        RunDirectory.open("alhpa")
    assert "alpha" in str(caught.value.fix)
    with pytest.raises(RunError, match="may mean 2 runs"):
        RunDirectory.open("20")


def test_only_runs_are_listed(tmp_path: Path) -> None:
    run = make(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "config.yaml").write_text("")
    assert list_runs(tmp_path) == [run]
    assert list_runs(tmp_path / "absent") == []


def test_a_second_writer_is_refused_in_this_process_and_in_another(tmp_path: Path) -> None:
    run = make(tmp_path)
    code = (
        "import sys\nfrom darkit_nb.errors import RunError\nfrom darkit_nb.runs import RunDirectory\n"
        "try:\n    with RunDirectory(sys.argv[1]).lock(): pass\n"
        "except RunError as error: print(error); sys.exit(3)"
    )

    def other() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, str(run.root)], capture_output=True, text=True, check=False)

    with run.lock():
        with pytest.raises(RunError, match=f"being written by process {os.getpid()}"), RunDirectory(run.root).lock():
            pass
        refused = other()
        assert refused.returncode == 3
        assert f"process {os.getpid()}" in refused.stdout
        assert "one writer at a time" in refused.stdout
    assert other().returncode == 0
    with run.lock():
        pass


def test_a_killed_writer_frees_the_lock_although_its_worker_lives(tmp_path: Path) -> None:
    run = make(tmp_path)
    code = (
        "import os, sys, time\nfrom darkit_nb.runs import RunDirectory\n"
        "with RunDirectory(sys.argv[1]).lock():\n"
        "    if not os.fork(): print(os.getpid(), flush=True)\n"
        "    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(run.root)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    try:
        with pytest.raises(RunError), run.lock():
            pass
        process.kill()
        process.wait()
        os.kill(worker, 0)
        with run.lock():
            pass
    finally:
        process.kill()
        process.wait()
        os.kill(worker, 9)


def test_a_writer_on_another_machine_is_respected(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.write_status(state="running", host="elsewhere", boot_id="b", pid=1, process_started=1.0)
    with pytest.raises(RunError, match="being written on elsewhere"), run.lock():
        pass
    run.write_status(heartbeat=0.0)
    with run.lock():
        assert run.begin_attempt() == 1


def test_attempts_count_on_after_the_status_is_lost(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.begin_attempt()
    run.begin_attempt()
    run.status_path.write_text("{")
    assert RunDirectory(run.root).begin_attempt() == 3
    assert [event["attempt"] for event in run.read_events()] == [1, 2, 3]


def test_runs_compare_by_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path)
    monkeypatch.chdir(run.root)
    assert RunDirectory(".") == run
    assert RunDirectory(".").id == run.id
    assert len({RunDirectory("."), run}) == 1
