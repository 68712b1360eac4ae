"""The folder of a conversion: claimed once, read at any moment, and nobody's files overwritten."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

import pytest

from darkit_nb.config.conversions import preset
from darkit_nb.errors import ConfigError, RunError
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.runs import identity
from darkit_nb.runs.conversion import Conversion, list_conversions
from darkit_nb.runs.conversion_files import write_rows
from darkit_nb.runs.launch_record import LaunchRecord
from tests.records.conversions import block, plan, rows


def request(out: Path, **changes: object) -> ConversionRequest:
    made = ConversionRequest(source="stdlib-llama", out=str(out), spec=preset("darkit", samples=8))
    return dataclasses.replace(made, **changes)


def test_the_same_request_finds_its_folder_and_another_one_is_refused(tmp_path: Path):
    made = Conversion.create(request(tmp_path / "m"), command="darkit-nb convert")
    assert made.root == tmp_path / "m.run"
    assert made.request == request(tmp_path / "m")
    assert made.state == "created"
    assert Conversion.create(request(tmp_path / "m")) == made
    with pytest.raises(RunError, match="another conversion") as caught:
        Conversion.create(request(tmp_path / "m", spec=preset("rtn")))
    assert caught.value.received == "other spec"


def test_a_start_that_came_to_nothing_gives_way_to_the_corrected_one(tmp_path: Path):
    wrong = Conversion.create(request(tmp_path / "m", source="stdlib-lama"))
    wrong.directory.begin_attempt()
    wrong.directory.append_event("plan", plan=plan().to_dict())
    wrong.directory.write_status(state="failed", message="no such model")
    work = tmp_path / "m.conversion"
    work.mkdir()
    (work / "state.json").write_text("{}")
    right = Conversion.create(request(tmp_path / "m"))
    assert right.request == request(tmp_path / "m")
    assert (right.state, right.status.attempt, right.progress().plan) == ("created", 0, None)
    assert not work.exists()


@pytest.mark.parametrize("what", ["block", "report", "somebody"])
def test_a_start_with_a_finished_block_or_somebody_at_work_does_not_give_way(tmp_path: Path, what: str):
    made = Conversion.create(request(tmp_path / "m"))
    made.directory.begin_attempt()
    if what == "block":
        (tmp_path / "m.conversion").mkdir()
        (tmp_path / "m.conversion" / "block-0000.json").write_text("{}")
    elif what == "report":
        made.directory.append_metrics({"kind": "block", "step": 0, "report": block(0).to_dict()})
    if what != "somebody":
        made.directory.write_status(state="stopped")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "lock" not in path.name}
    with pytest.raises(RunError, match="another conversion"):
        Conversion.create(request(tmp_path / "m", source="elsewhere"))
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_place_that_cannot_be_written_and_a_second_start_speak_of_conversions(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written") as caught:
        Conversion.create(request(tmp_path / "file" / "m"))
    assert "out=" in str(caught.value.fix)
    assert "runs_dir" not in str(caught.value)
    made = Conversion.create(request(tmp_path / "m"))
    made.directory.begin_attempt()
    with pytest.raises(RunError, match=r"The conversion m\.run is .* already") as caught:
        made.resume()
    assert "train" not in str(caught.value)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_there_already_is_not_touched(tmp_path: Path, kind: str):
    out = tmp_path / "m"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    with pytest.raises(RunError, match="there already"):
        Conversion.create(request(out))
    assert not (tmp_path / "m.run").exists()
    assert (out if kind == "file" else out / "mine").read_text() == "mine"


def test_a_folder_of_somebody_else_where_measurements_would_go_is_not_touched(tmp_path: Path):
    (tmp_path / "m.run").mkdir()
    (tmp_path / "m.run" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"m\.run is there already"):
        Conversion.create(request(tmp_path / "m"))
    assert [path.name for path in (tmp_path / "m.run").iterdir()] == ["thesis.txt"]


def test_folders_of_somebody_else_outlive_a_conversion_that_gives_way_or_is_deleted(tmp_path: Path):
    made = Conversion.create(request(tmp_path / "m", source="stdlib-lama"))
    for name in ("m.conversion", "m.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
    made.directory.begin_attempt()
    made.directory.write_status(state="failed", message="no such model")
    assert Conversion.create(request(tmp_path / "m")).delete() == (tmp_path / "m.run",)
    assert len(list(tmp_path.glob("m.*/thesis.txt"))) == 2


def test_dots_and_the_root_are_folders_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "m" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "m")
    with pytest.raises(RunError, match="no conversion at"):
        Conversion.open(".")
    (tmp_path / "m" / "inside").rmdir()
    made = Conversion.create(request(Path()))
    assert made.root == tmp_path / "m.run"
    assert Conversion.open(".").out == tmp_path / "m"
    for refused in (Conversion.open, lambda place: Conversion.create(request(place))):
        with pytest.raises(RunError, match="cannot be the folder"):
            refused(Path("/"))


def test_it_is_opened_by_either_folder_and_listed_in_the_order_begun(tmp_path: Path):
    first, second = (Conversion.create(request(tmp_path / name)) for name in ("z", "a"))
    assert Conversion.open(tmp_path / "z") == Conversion.open(tmp_path / "z.run") == first
    assert list_conversions(tmp_path) == [first, second]
    with pytest.raises(RunError, match="no conversion"):
        Conversion.open(tmp_path)


def test_progress_is_what_lies_in_the_folder(tmp_path: Path):
    made = Conversion.create(request(tmp_path / "m"))
    run = made.directory
    run.begin_attempt()
    run.append_event("plan", plan=plan().to_dict())
    for index in (0, 1):
        run.append_metrics({"kind": "block", "step": index, "report": block(index).to_dict()})
    run.write_status(state="running", message="block 3 of 4", windows_done=3, windows=9)
    write_rows(made.root, rows()[:1])
    now = made.progress()
    assert (now.state, now.stage, now.blocks_done, now.blocks) == ("running", "block 3 of 4", 2, 4)
    assert now.reports == (block(0), block(1))
    assert now.eta_s == pytest.approx(2 * (3.5 + 4.5) / 2)
    assert (now.windows_done, now.windows) == (3, 9)
    assert now.plan == plan()
    assert now.rows == rows()[:1]
    json.dumps(now.to_dict(), allow_nan=False)
    assert "2 of 4 blocks" in repr(made)


def test_a_start_that_has_said_nothing_yet_does_not_show_what_the_last_one_said(tmp_path: Path):
    made = Conversion.create(request(tmp_path / "m"))
    made.directory.begin_attempt()
    made.directory.write_status(state="stopped", message="stopped on request", windows=8, windows_done=3)
    assert made.progress().reason == "stopped on request"
    started = identity.process_started(os.getpid())
    who = {"pid": os.getpid(), "process_started": started, "host": identity.host(), "boot_id": identity.boot_id()}
    LaunchRecord(attempt=made.status.attempt + 1, heartbeat=time.time(), started=time.time(), **who).write(made.root)
    now = made.progress()
    assert now.state == "starting"
    assert (now.stage, now.windows, now.elapsed_s, now.eta_s) == (None, None, None, None)


def test_a_block_counts_as_its_last_attempt_wrote_it(tmp_path: Path):
    made = Conversion.create(request(tmp_path / "m"))
    for resumed in (False, True):
        made.directory.begin_attempt()
        for index in range(2 if resumed else 1):
            report = block(index, resumed=resumed and index == 0)
            made.directory.append_metrics({"kind": "block", "step": index, "report": report.to_dict()})
    assert [report.resumed for report in made.reports()] == [True, False]


def test_a_damaged_request_and_waiting_for_nobody_say_so(tmp_path: Path):
    made = Conversion.create(request(tmp_path / "m"))
    with pytest.raises(RunError, match="never started"):
        made.wait(1)
    assert made.stop() == ""
    (made.root / "conversion.json").write_text("{}")
    with pytest.raises(RunError, match="cannot be read"):
        _ = made.request


@pytest.mark.parametrize("changes", [{"source": ""}, {"windows": -1}, {"window": 1}, {"device": "tpu"}])
def test_a_request_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, object]):
    with pytest.raises(ConfigError):
        request(tmp_path / "m", **changes)
