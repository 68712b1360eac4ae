"""Runs that are deleted, whole or not at all, and answers that are kept within bounds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.config.conversions import preset
from darkit_nb.errors import RunError
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.runs import RunDirectory, list_runs
from darkit_nb.runs.conversion import Conversion, list_conversions
from darkit_nb.runs.removal import delete_run, prune_answers

KILLED = """
import os, signal, sys
from darkit_nb.runs.removal import delete_run
runs_dir, name, event, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
seen = 0
def watch(what, arguments):
    global seen
    seen += what == event
    if what == event and seen == count:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
delete_run(name, runs_dir)
"""


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def make(runs_dir: Path, name: str) -> RunDirectory:
    run = RunDirectory.create(RunConfig(runs_dir=str(runs_dir), name=name), command="x")
    with run.new_checkpoint(5) as folder:
        (folder / "model.safetensors").write_text("weights")
    return run


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_deleted_run_is_gone_and_the_others_stay(runs_dir: Path) -> None:
    gone, kept = make(runs_dir, "gone"), make(runs_dir, "kept")
    before = everything(kept.root)
    assert delete_run("gone", runs_dir) == gone.root.resolve()
    assert list_runs(runs_dir) == [kept]
    assert everything(kept.root) == before
    assert {path.name for path in runs_dir.iterdir()} == {".lock", kept.root.name}


def test_what_is_at_work_is_not_deleted(runs_dir: Path) -> None:
    run = make(runs_dir, "busy")
    run.begin_attempt()
    with pytest.raises(RunError, match="is running already"):
        delete_run("busy", runs_dir)
    run.write_status(state="finished")
    with run.lock(), pytest.raises(RunError, match="is being written"):
        delete_run("busy", runs_dir)
    assert run.read_config().name == "busy"
    delete_run("busy", runs_dir)
    assert list_runs(runs_dir) == []


def test_nothing_outside_the_folder_of_runs_is_touched(runs_dir: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "others", "precious")
    make(runs_dir, "mine")
    for path in (str(other.root), "../others/" + other.id, "..", "."):
        with pytest.raises(RunError, match="no name of a run"):
            delete_run(path, runs_dir)
    (runs_dir / "20260101-000000-link-abcd").symlink_to(other.root)
    with pytest.raises(RunError, match="does not lie in"):
        delete_run("link", runs_dir)
    with pytest.raises(RunError, match="no run"):
        delete_run("precious", runs_dir)


def test_a_run_in_the_working_folder_is_not_taken_for_one_of_the_folder_of_runs(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make(tmp_path / "others", "precious")
    runs_dir.mkdir()
    monkeypatch.chdir(other.root.parent)
    with pytest.raises(RunError, match="does not lie in"):
        delete_run(other.id, runs_dir)


def test_links_inside_a_run_are_not_followed(runs_dir: Path, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "thesis.txt").write_text("years")
    run = make(runs_dir, "linked")
    (run.root / "checkpoints" / "elsewhere").symlink_to(treasure, target_is_directory=True)
    delete_run("linked", runs_dir)
    assert (treasure / "thesis.txt").read_text() == "years"


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@pytest.mark.parametrize(
    ("event", "count", "there"), [("os.rename", 1, True), ("os.remove", 1, False), ("os.remove", 4, False)]
)
def test_killed_in_the_middle_there_is_a_whole_run_or_none(
    runs_dir: Path, event: str, count: int, *, there: bool
) -> None:
    run = make(runs_dir, "victim")
    before = everything(run.root)
    done = subprocess.run([sys.executable, "-c", KILLED, str(runs_dir), "victim", event, str(count)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list_runs(runs_dir) == ([run] if there else [])
    if there:
        assert everything(run.root) >= before
    else:
        assert len(list(runs_dir.glob(".deleted-*"))) == 1
    make(runs_dir, "next")
    assert not list(runs_dir.glob(".deleted-*"))


def test_the_oldest_answers_go_and_the_newest_stays(tmp_path: Path) -> None:
    for age in range(8):
        path = tmp_path / f"{age:012x}.jsonl"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1e9 - age, 1e9 - age))
    draft, torn = tmp_path / ".fresh.safetensors", tmp_path / ".torn.safetensors"
    for path in (draft, torn):
        path.write_text("x")
    os.utime(torn, (1e9, 1e9))
    removed = prune_answers(tmp_path, keep=5, most_bytes=350)
    assert {path.name for path in removed} == {torn.name, *(f"{age:012x}.jsonl" for age in range(3, 8))}
    assert draft.exists()
    assert not prune_answers(tmp_path, keep=5, most_bytes=350)
    prune_answers(tmp_path, keep=5, most_bytes=1)
    assert {path.name for path in tmp_path.iterdir()} == {draft.name, f"{0:012x}.jsonl"}
    assert prune_answers(tmp_path / "absent") == []


# -- conversions ---------------------------------------------------------------------------------------------------

KILLED_CONVERSION = KILLED.replace("import delete_run", "import delete_conversion as delete_run").replace(
    "delete_run(name, runs_dir)", "from pathlib import Path; delete_run(Path(runs_dir, name))"
)


def made_request(out: Path) -> ConversionRequest:
    return ConversionRequest(source="stdlib-llama", out=str(out), spec=preset("rtn"))


def converted(folder: Path, name: str = "m") -> Conversion:
    """A conversion with a model, and with blocks that lie beside it still."""
    made = Conversion.create(made_request(folder / name))
    for path in (folder / name / "conversion.json", folder / f"{name}.conversion" / "block-0000.json"):
        path.parent.mkdir()
        path.write_text("{}")
    return made


def test_a_deleted_conversion_takes_its_model_and_blocks_along_and_nothing_else(tmp_path: Path) -> None:
    made, kept = converted(tmp_path), converted(tmp_path, "m2")
    before = everything(tmp_path / "m2") | everything(kept.root)
    assert made.delete() == tuple(tmp_path / name for name in ("m.run", "m", "m.conversion"))
    assert list_conversions(tmp_path) == [kept]
    assert {path.name for path in tmp_path.iterdir()} == {"m2", "m2.run", "m2.conversion"}
    assert everything(tmp_path / "m2") | everything(kept.root) == before
    assert Conversion.create(made_request(tmp_path / "m")).state == "created"


def test_a_conversion_at_work_and_links_are_not_deleted_and_foreign_files_stay(tmp_path: Path) -> None:
    made = converted(tmp_path)
    made.directory.begin_attempt()
    with pytest.raises(RunError, match="is running already"):
        made.delete()
    made.directory.write_status(state="stopped")
    with made.directory.lock(), pytest.raises(RunError, match="is being written"):
        made.delete()
    (tmp_path / "m").rename(tmp_path / "elsewhere")
    (tmp_path / "m").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is a link"):
        made.delete()
    assert made.root.is_dir()
    (tmp_path / "m").unlink()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.txt").write_text("years")
    made.delete()
    assert everything(tmp_path) == {"m", "m/thesis.txt", "elsewhere", "elsewhere/conversion.json"}


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@pytest.mark.parametrize(("event", "count", "there"), [("os.rename", 2, True), ("os.rename", 3, False)])
def test_a_conversion_whose_removal_was_killed_is_whole_or_gone(
    tmp_path: Path, event: str, count: int, *, there: bool
) -> None:
    made = converted(tmp_path)
    before = everything(tmp_path)
    command = [sys.executable, "-c", KILLED_CONVERSION, str(tmp_path), "m.run", event, str(count)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert list_conversions(tmp_path) == ([made] if there else [])
    if there:
        assert everything(tmp_path) >= before
        made.delete()
    else:
        (tmp_path / "m.conversion").rename(tmp_path / "mine")
        (tmp_path / "m.conversion").mkdir()  # made since by somebody else
        Conversion.create(made_request(tmp_path / "next")).delete()
        assert everything(tmp_path) == {"mine", "mine/block-0000.json", "m.conversion"}
