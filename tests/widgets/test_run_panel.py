"""RunPanel from the kernel's side: real run folders, real processes, real signals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import RunError
from darkit_nb.records.patch import Patch
from darkit_nb.runs import Run, RunDirectory, train
from darkit_nb.runs.control import send
from darkit_nb.runs.patching import store_patch
from darkit_nb.views.run_card import plain_line
from darkit_nb.widgets.log_feed import PUSH_BYTES, LogFeed, search
from darkit_nb.widgets.run_panel import RunPanel

EDIT = Patch(kind="spec", targets=("a",), module="m", class_name="GIF", spec={"num_levels": 4})
WRITER = """
import sys, time
from darkit_nb.runs import RunDirectory
run = RunDirectory(sys.argv[1])
with run.lock():
    run.begin_attempt()
    run.write_status(state="running", step=7, total_steps=20)
    run.append_metrics({"kind": "train", "step": 7, "loss": 2.5, "tokens_per_s": 800.0, "step_seconds": 2.0})
    print("at work", flush=True)
    time.sleep(600)
"""


class HeardPanel(RunPanel):
    """A panel that notes what it sends to its page."""

    def send(self, content: Any, buffers: Any = None) -> None:
        self.__dict__.setdefault("sent", []).append((content, buffers or []))
        super().send(content, buffers)

    def heard(self, name: str) -> list[tuple[Any, str]]:
        return [(c[name], b"".join(b).decode()) for c, b in self.__dict__.get("sent", []) if name in c]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that was made and never started."""
    config = RunConfig().replace({"name": "first-try", "runs_dir": str(tmp_path / "runs"), "train.steps": 20})
    return Run(RunDirectory.create(config, command="darkit-nb train train.steps=20"))


@pytest.fixture
def panels() -> Iterator[Callable[..., HeardPanel]]:
    """Makes panels that are closed at the end."""
    made: list[HeardPanel] = []

    def make(*arguments: Any, **options: Any) -> HeardPanel:
        made.append(HeardPanel(*arguments, **options))
        return made[-1]

    yield make
    for panel in made:
        panel.close()


def until(condition: Callable[[], Any], timeout_s: float = 120.0) -> Any:
    """Wait for something to hold."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)
    return found


def finish(run: Run, **fields: Any) -> None:
    """Write what a trainer of this process writes at its end."""
    with run.directory.lock():
        run.directory.begin_attempt()
        run.directory.append_metrics({"kind": "train", "step": 20, "loss": 1.25, "tokens_per_s": 812.0})
        run.directory.append_metrics({"kind": "evaluation", "step": 20, "bits_per_byte": 3.5})
        run.directory.write_status(**{"state": "finished", "step": 20, "total_steps": 20, **fields})
        run.directory.append_event(fields.get("state", "finished"), step=20, message=fields.get("message"))


def test_without_a_run_it_says_so(panels: Callable[..., HeardPanel]):
    panel = panels()
    assert panel.text() == "No run is shown."
    assert "No run is shown." in panel.snapshot()
    panel._receive(panel, {"do": "stop"}, [])
    assert panel.problem is not None
    assert panel.problem["message"] == "No run is shown."


def test_a_finished_run_is_shown_with_its_numbers(run: Run, panels: Callable[..., HeardPanel]):
    with run.directory.new_checkpoint(20) as folder:
        (folder / "model.safetensors").write_bytes(b"x" * 1000)
    finish(run)
    panel = panels(run)
    until(lambda: panel.status)
    assert (panel.status["state"], panel.status["step"], panel.status["loss"]) == ("finished", 20, 1.25)
    assert panel.status["problem"] is None
    assert panel.about["settings"] == [["runs_dir", str(run.root.parent)], ["train.steps", "20"]]
    assert [(each["step"], each["bytes"]) for each in panel.checkpoints] == [(20, 1000)]
    assert [event["text"] for event in panel.events] == ["started", "finished"]
    number = store_patch(run.directory, EDIT)
    run.directory.append_event("patch", step=7, number=number, label="A <b> in a")
    text = panel.text()
    edit = "1. A <b> in a, after step 7"
    for part in (run.id, "finished", "step 20 of 20", "1.25", "812", "train.steps", "darkit-nb train", edit):
        assert part in text
    assert "1. A &lt;b&gt; in a, after step 7" in panel.snapshot()
    picture = panel.snapshot()
    assert "first-try" in picture
    assert "<script" not in picture
    assert "http" not in picture


def test_it_may_be_given_an_id_and_another_run_later(run: Run, tmp_path: Path, panels: Callable[..., HeardPanel]):
    other = Run(RunDirectory.create(RunConfig(runs_dir=str(tmp_path / "runs"), name="second"), command="x"))
    finish(other)
    panel = panels(run.id, runs_dir=tmp_path / "runs")
    assert panel.run == run
    until(lambda: panel.status)
    panel.run = other
    until(lambda: panel.status and panel.status["name"] == "second")
    assert panel.about["name"] == "second"
    panel.run = None
    assert (panel.status, panel.about, panel.events) == (None, {}, [])


def test_a_failed_run_says_why_and_what_to_do(run: Run, panels: Callable[..., HeardPanel]):
    problem = {"message": "The disk is full.", "fix": "free some space", "expected": None, "log": ["…"]}
    finish(run, state="failed", message="The disk is full.", problem=problem)
    panel = panels(run)
    until(lambda: panel.status)
    assert panel.status["problem"] == {"message": "The disk is full.", "fix": "free some space"}
    assert "what to do: free some space" in panel.text()


def test_a_killed_writer_reads_as_lost_with_a_way_out(run: Run, panels: Callable[..., HeardPanel]):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(run.root)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "at work\n"
        panel = panels(run)
        until(lambda: panel.status and panel.status["state"] == "running")
        assert panel.status["eta_s"] == pytest.approx(26.0)
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
        until(lambda: panel.status["state"] == "lost")
        assert "is gone" in panel.status["problem"]["message"]
        assert "Resume" in panel.status["problem"]["fix"]
    finally:
        writer.kill()
        writer.wait(10)


def test_two_panels_see_what_the_other_asked_for_and_asking_twice_asks_once(
    run: Run, panels: Callable[..., HeardPanel]
):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(run.root)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        mine, theirs = panels(run), panels(run)
        until(lambda: mine.status and theirs.status)
        for _ in range(3):
            mine._receive(mine, {"do": "stop"}, [])
        until(lambda: run.directory.control_path.exists())
        until(lambda: "stop" in mine.pending)
        run.directory.append_metrics({"kind": "train", "step": 8, "loss": 2.4})
        until(lambda: "stop" in theirs.pending)
        theirs._receive(theirs, {"do": "stop"}, [])
        time.sleep(0.3)
        assert len(run.directory.control_path.read_text().splitlines()) == 1
        command = send(run.directory, "checkpoint")
        run.directory.append_event("ack", command_id=command.id, command="checkpoint", ok=True, step=8)
        until(lambda: any(event["kind"] == "ack" for event in theirs.events))
        assert set(theirs.pending) == {"stop"}
    finally:
        writer.kill()
        writer.wait(10)
    until(lambda: not mine.pending and not theirs.pending)


def test_a_folder_that_is_deleted_while_shown_leaves_what_was_read(run: Run, panels: Callable[..., HeardPanel]):
    finish(run)
    panel = panels(run)
    until(lambda: panel.status)
    shutil.rmtree(run.root)
    until(lambda: panel.status["missing"])
    assert panel.status["loss"] == 1.25
    assert "its folder is gone" in panel.text()
    panel._receive(panel, {"do": "log", "view": "a"}, [])
    panel._receive(panel, {"do": "search", "text": "x", "view": "a"}, [])
    assert panel.last_fault is None


def test_clone_hands_the_settings_to_whoever_observes(run: Run, panels: Callable[..., HeardPanel]):
    panel = panels(run)
    taken: list[RunConfig] = []
    panel.observe(lambda change: taken.append(change["new"]), "cloned")
    panel._receive(panel, {"do": "clone"}, [])
    assert [config.train.steps for config in taken] == [20]
    assert taken[0].name is None
    assert "panel.cloned" in panel.note
    panel._receive(panel, {"do": "read_note"}, [])
    assert panel.note == ""


def test_an_action_that_cannot_be_done_shows_its_problem(run: Run, panels: Callable[..., HeardPanel]):
    finish(run)
    panel = panels(run)
    panel._receive(panel, {"do": "checkpoint"}, [])
    until(lambda: panel.problem)
    assert "is not training" in panel.problem["message"]
    until(lambda: not panel.pending)


def test_a_damaged_configuration_is_named_and_the_rest_is_shown(run: Run, panels: Callable[..., HeardPanel]):
    finish(run)
    run.directory.config_path.write_text("train: [", encoding="utf-8")
    panel = panels(run)
    until(lambda: panel.status)
    assert panel.status["loss"] == 1.25
    assert panel.about["problem"]
    panel._receive(panel, {"do": "clone"}, [])
    assert panel.problem is not None


def test_a_log_is_sent_whole_to_a_new_page_and_then_in_batches_that_join_on(
    run: Run, panels: Callable[..., HeardPanel]
):
    run.directory.log_path.write_text("one\ntwo\n")
    panel = panels(run)
    until(lambda: panel.status)
    panel._receive(panel, {"do": "log", "view": "a"}, [])
    message, text = panel.heard("log")[-1]
    assert (message["view"], message["before"], text) == ("a", 0, "one\ntwo\n")
    with run.directory.log_path.open("a") as log:
        log.write("three\n")
    until(lambda: panel.heard("log")[-1][0]["before"] == 2)
    assert panel.heard("log")[-1][1] == "three\n"
    panel._receive(panel, {"do": "search", "text": "T", "view": "a"}, [])
    assert panel.heard("hits")[-1] == ({"view": "a", "text": "T", "count": 2, "more": False}, "2\ttwo\n3\tthree\n")


def test_ten_thousand_lines_at_once_are_a_small_message_that_says_what_it_lacks(tmp_path: Path):
    path = tmp_path / "stdout.log"
    path.write_text("start\n")
    feed = LogFeed(path)
    first = feed.read()
    assert first is not None
    with path.open("a") as log:
        log.writelines(f"{number:06} {'x' * 60}\n" for number in range(10_000))
    batch = feed.read()
    assert batch is not None
    assert batch.before == 1
    assert len(batch.text.encode()) <= PUSH_BYTES
    assert batch.skipped >= 10_000 * 68 - PUSH_BYTES
    assert batch.text.endswith(f"009999 {'x' * 60}\n")
    assert feed.read() is None
    whole = feed.whole()
    assert whole.text.count("\n") == 500
    assert whole.text.endswith(batch.text[-200:])


def test_a_page_never_gets_more_than_one_message_holds(tmp_path: Path):
    path = tmp_path / "stdout.log"
    path.write_text("".join(f"{'y' * 1900}\n" for _ in range(400)))
    feed = LogFeed(path)
    for _ in range(3):
        with path.open("a") as log:
            log.writelines(f"{'z' * 1900}\n" for _ in range(30))
        feed.read()
    assert len(feed.whole().text.encode()) <= PUSH_BYTES


def test_a_search_gives_the_last_lines_cut_around_what_was_looked_for(tmp_path: Path):
    path = tmp_path / "stdout.log"
    path.write_text("".join(f"line {number}\n" for number in range(1000)) + f"{'a' * 900}NEEDLE{'b' * 900}\n")
    message, buffers = search(path, "line")
    assert (message["count"], message["more"]) == (200, True)
    assert buffers[0].splitlines()[-1] == b"1000\tline 999"
    message, buffers = search(path, "needle")
    assert "NEEDLE" in buffers[0].decode()
    assert len(buffers[0]) < 400
    assert search(path, "")[0]["count"] == 0


def test_control_sequences_are_left_out_of_text():
    assert plain_line("\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x1b[?25l") == "red plain"


def test_an_unknown_run_is_an_error_of_its_own(tmp_path: Path):
    with pytest.raises(RunError):
        RunPanel("nothing", runs_dir=tmp_path)


@pytest.mark.slow
def test_a_real_training_is_stopped_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, panels: Callable[..., HeardPanel]
):
    monkeypatch.chdir(tmp_path)
    settings = {"train.steps": 2000, "train.batch_size": 1, "data.seq_len": 32, "evaluation.windows": 1}
    settings |= {"monitor.spikes_every": 0, "data.max_train_tokens": 20_000, "data.max_validation_tokens": 2_000}
    corpus = tmp_path / "text.txt"
    corpus.write_text("to be or not to be, that is the question\n" * 2000)
    run = train(RunConfig().replace({**settings, "data.dataset": f"text:{corpus}"}))
    panel = panels(run)
    try:
        until(lambda: panel.status and panel.status["state"] == "running" and (panel.status["step"] or 0) > 2, 200)
        panel.stop()
        assert "stop" in panel.pending
        asked = time.monotonic()
        until(lambda: panel.status["state"] == "stopped")
        assert time.monotonic() - asked < 5  # a step takes far less than a second; then 2 s, and a busy machine's share
        until(lambda: panel.checkpoints)
        assert panel.pending == {}
        panel.resume()
        assert "resume" in panel.pending
        until(lambda: panel.status["state"] in ("starting", "running"))
        until(lambda: not panel.pending)
    finally:
        status = run.status
        for pid in {status.pid, status.launch.pid if status.launch else None} - {None}:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
