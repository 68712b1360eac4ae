"""RunsTable from the kernel's side: real folders of runs, and only what changed on the wire."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.runs import RunDirectory
from darkit_nb.runs.queue import enqueue, read_slots
from darkit_nb.widgets.runs_table import RunsTable


class HeardTable(RunsTable):
    """A table that notes what it sends to its page."""

    def send(self, content: Any, buffers: Any = None) -> None:
        self.__dict__.setdefault("sent", []).append(content)
        super().send(content, buffers)

    def changes(self) -> list[dict[str, Any]]:
        return [content["rows"] for content in self.__dict__.get("sent", []) if "rows" in content]


def until(condition: Callable[[], Any], timeout_s: float = 120.0) -> Any:
    """Wait for something to hold."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)
    return found


def make(folder: Path, name: str, state: str = "finished", loss: float = 2.5, **changes: Any) -> RunDirectory:
    """A run in a folder, ended in that state by this process."""
    config = RunConfig().replace({"name": name, "runs_dir": str(folder), **changes})
    run = RunDirectory.create(config, command="darkit-nb train")
    if state != "created":
        run.begin_attempt()
        run.append_metrics({"kind": "train", "step": 5, "loss": loss, "tokens_per_s": 100.0})
        run.write_status(state=state, step=5, total_steps=config.train.steps)
    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def open_table(folder: Path) -> Iterator[Callable[[], HeardTable]]:
    """Makes tables of the folder that are closed at the end."""
    made: list[HeardTable] = []

    def start() -> HeardTable:
        made.append(HeardTable(folder))
        return made[-1]

    yield start
    for table in made:
        table.close()


def test_only_rows_that_changed_cross_the_wire(folder: Path, open_table: Callable[[], HeardTable]):
    runs = [make(folder, f"run-{number}") for number in range(30)]
    table = open_table()
    until(lambda: len(table._rows) == 30)
    before = len(table.changes())
    runs[7].append_metrics({"kind": "train", "step": 6, "loss": 2.0})
    runs[7].write_status(step=6)
    until(lambda: table._rows[runs[7].id]["step"] == 6)
    sent = table.changes()[before:]
    assert {row["id"] for change in sent for row in change["changed"]} == {runs[7].id}
    assert [change["version"] for change in table.changes()] == list(range(1, len(table.changes()) + 1))
    assert len(json.dumps(sent[0])) < 700


def test_a_page_that_joins_gets_everything_at_once(folder: Path, open_table: Callable[[], HeardTable]):
    run = make(folder, "one")
    table = open_table()
    until(lambda: table._rows)
    assert table.get_state("rows")["rows"]["rows"][0]["id"] == run.id
    table._receive(table, {"do": "rows", "view": "a"}, [])
    whole = table.sent[-1]["whole"]
    assert (whole["view"], whole["version"], [row["name"] for row in whole["rows"]]) == ("a", table._version, ["one"])


def test_a_removed_run_leaves_the_table_and_the_selection(folder: Path, open_table: Callable[[], HeardTable]):
    kept, gone = make(folder, "kept"), make(folder, "gone")
    table = open_table()
    until(lambda: len(table._rows) == 2)
    table.selected = [kept.id, gone.id]
    shutil.rmtree(gone.root)
    until(lambda: len(table._rows) == 1)
    assert table.selected == [kept.id]
    assert table.changes()[-1]["removed"] == [gone.id]
    table._receive(table, {"do": "stop", "runs": [gone.id]}, [])
    assert table.problem is not None
    assert "its folder was removed" in table.problem["cause"]


def test_a_run_that_cannot_be_read_is_a_row_with_its_problem(folder: Path, open_table: Callable[[], HeardTable]):
    run = make(folder, "torn")
    run.status_path.write_text("{", encoding="utf-8")
    run.metrics_path.write_bytes(b"\xff\x00 nonsense\n")
    table = open_table()
    row = until(lambda: table._rows)[run.id]
    assert row["state"] == "lost"
    assert "cannot be read" in row["reason"]
    assert "cannot be read" in table.text()


def test_a_queued_run_is_taken_out_of_the_queue_and_the_row_says_what_is_going_on(
    folder: Path, open_table: Callable[[], HeardTable]
):
    busy, waits = make(folder, "busy", state="running"), make(folder, "waits", state="created")
    enqueue(waits)
    table = open_table()
    until(lambda: table._rows and table._rows[waits.id]["state"] == "queued")
    table._receive(table, {"do": "stop", "runs": [waits.id]}, [])
    assert table.pending.get(waits.id, {"text": "stopping…"})["text"] == "stopping…"
    until(lambda: table._rows[waits.id]["state"] == "created")
    until(lambda: not table.pending)
    assert table._rows[busy.id]["state"] == "running"


def test_what_some_of_the_runs_could_not_do_is_said_once(folder: Path, open_table: Callable[[], HeardTable]):
    busy = [make(folder, "first", state="running"), make(folder, "second", state="running")]
    table = open_table()
    until(lambda: len(table._rows) == 2)
    table._receive(table, {"do": "resume", "runs": [run.id for run in busy]}, [])
    until(lambda: table.problem)
    assert table.problem["message"] == "2 of 2 runs could not: first, second."
    assert "running already" in table.problem["received"]
    assert table.pending == {}


def test_slots_are_those_of_the_folder(folder: Path, open_table: Callable[[], HeardTable]):
    make(folder, "one")
    table, other = open_table(), open_table()
    assert table.slots == 1
    table._receive(table, {"do": "slots", "slots": "fit"}, [])
    assert (table.slots, read_slots(folder)) == ("fit", "fit")
    make(folder, "two")
    until(lambda: other.slots == "fit")
    table._receive(table, {"do": "slots", "slots": 0}, [])
    assert table.problem is not None
    assert read_slots(folder) == "fit"


def test_ticked_runs_are_compared_with_the_best_marked(folder: Path, open_table: Callable[[], HeardTable]):
    worse, better = make(folder, "worse"), make(folder, "better", loss=1.5, **{"train.learning_rate": 0.001})
    table = open_table()
    until(lambda: len(table._rows) == 2)
    table.selected = [worse.id, better.id]
    assert table.compare().settings == {"train.learning_rate": (0.003, 0.001)}
    assert ["loss", ["2.500", "1.500"], [1]] in table.comparison["scores"]
    assert "★ 1.500" in table.text()
    assert "train.learning_rate" in table.snapshot()
    table._receive(table, {"do": "uncompare"}, [])
    assert table.comparison is None
    table._receive(table, {"do": "compare", "runs": []}, [])
    assert table.problem is not None


def test_text_and_picture_need_no_monitor_and_no_page(folder: Path, open_table: Callable[[], HeardTable]):
    make(folder, "plain")
    table = open_table()
    assert "plain" in table.text()
    picture = table.snapshot()
    assert "plain" in picture
    assert "<script" not in picture


def test_a_folder_that_is_not_there_is_an_empty_table(folder: Path, open_table: Callable[[], HeardTable]):
    assert "There are no runs yet." in open_table().text()
    assert not folder.exists()
