"""Commands reach the one process that obeys them, once, and never a later start of the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import DataError, RunError
from darkit_nb.runs import RunDirectory
from darkit_nb.runs.control import CommandReader, acknowledge, send


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(RunConfig(runs_dir=str(tmp_path / "runs")), command="x")
    run.begin_attempt()
    return run


def names(reader: CommandReader) -> list[str]:
    return [command.command for command in reader.read()]


def test_commands_arrive_in_order_and_once(run: RunDirectory) -> None:
    reader = CommandReader(run, attempt=1)
    sent = [send(run, "checkpoint"), send(run, "probe", {"text": "hello"}), send(run, "stop")]
    assert reader.read() == sent
    assert reader.read() == []
    send(run, "stop")
    assert names(reader) == ["stop"]


def test_a_line_written_twice_is_one_command(run: RunDirectory) -> None:
    send(run, "stop")
    line = run.control_path.read_text()
    run.control_path.write_text(line + line)
    assert names(CommandReader(run, attempt=1)) == ["stop"]


def test_stops_of_an_earlier_start_do_not_reach_the_next(run: RunDirectory) -> None:
    send(run, "stop")
    asked = send(run, "probe", {"text": "still wanted"})
    run.write_status(state="stopped")
    run.begin_attempt()
    assert CommandReader(run, attempt=2).read() == [asked]
    send(run, "stop")
    assert names(CommandReader(run, attempt=2)) == ["probe", "stop"]


def test_what_was_acknowledged_is_not_done_again(run: RunDirectory) -> None:
    done, failed, begun = (send(run, "probe", {"text": text}) for text in ("a", "b", "c"))
    acknowledge(run, done, step=3)
    acknowledge(run, failed, step=4, error=DataError("too long", expected="less", fix="shorten it"))
    run.append_event("request", command_id=begun.id, command="probe", state="running")
    reader = CommandReader(run)
    assert reader.read() == [begun]
    assert reader.interrupted == {begun.id}
    acks = [event for event in run.read_events() if event["kind"] == "ack"]
    assert [(ack["command_id"], ack["ok"], ack["step"]) for ack in acks] == [(done.id, True, 3), (failed.id, False, 4)]
    assert acks[1]["problem"] == {
        "message": "too long", "expected": "less", "received": None, "cause": None, "fix": "shorten it",
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        {"id": "../../../etc", "command": "probe"},
        {"id": "0123456789AB", "command": "probe"},
        {"id": 3, "command": "stop"},
        {"id": "0123456789ab", "command": "format the disk"},
        {"id": "0123456789ab", "command": ["stop"]},
        {"id": "0123456789ab", "command": "probe", "arguments": "text"},
        {},
    ],
)
def test_lines_that_are_no_commands_are_passed_over(run: RunDirectory, line: dict) -> None:
    run.control_path.write_text(f"not json\n{json.dumps({'schema': 1, **line})}\n")
    send(run, "stop")
    assert names(CommandReader(run, attempt=1)) == ["stop"]


def test_only_known_commands_are_sent(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="knows no command 'dance'"):
        send(run, "dance")
    assert not run.control_path.exists()


def test_a_run_that_was_deleted_takes_no_commands(run: RunDirectory) -> None:
    run.root.rename(run.root.with_name("elsewhere"))
    with pytest.raises(RunError, match="cannot be written"):
        send(run, "stop")
