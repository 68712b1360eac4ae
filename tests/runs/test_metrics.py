"""Metrics survive kills, torn and corrupt lines, and show every step once."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkit_nb.config import RunConfig
from darkit_nb.runs import MetricsReader, RunDirectory, last_attempts
from darkit_nb.runs.files import append_line, from_json, to_json


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(RunConfig(runs_dir=str(tmp_path / "runs")), command="test")


def test_every_line_carries_schema_attempt_and_time(run: RunDirectory) -> None:
    run.begin_attempt()
    run.append_metrics({"kind": "train", "step": 1, "loss": 2.5})
    (line,) = run.metrics_path.read_text().splitlines()
    record = json.loads(line)
    assert (record["schema"], record["attempt"], record["loss"]) == (1, 1, 2.5)
    assert abs(record["time"] - time.time()) < 60


def test_the_last_attempt_of_a_step_wins(run: RunDirectory) -> None:
    run.begin_attempt()
    for step in (1, 2, 3):
        run.append_metrics({"kind": "train", "step": step, "loss": 10.0 + step})
    run.append_metrics({"kind": "evaluation", "step": 2, "loss": 9.0})
    RunDirectory(run.root).begin_attempt()
    again = RunDirectory(run.root)
    for step in (2, 3, 4):
        again.append_metrics({"kind": "train", "step": step, "loss": 20.0 + step})
    seen = [(record["step"], record["kind"], record["loss"]) for record in run.read_metrics()]
    assert seen == [
        (1, "train", 11.0), (2, "train", 22.0), (2, "evaluation", 9.0), (3, "train", 23.0), (4, "train", 24.0)
    ]  # fmt: skip


def test_an_older_attempt_never_wins_even_when_written_later() -> None:
    records = [{"kind": "train", "step": 1, "attempt": 2}, {"kind": "train", "step": 1, "attempt": 1}]
    assert last_attempts(records) == records[:1]


def test_a_torn_line_is_awaited_and_then_returned_once(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st')
    reader = MetricsReader(path)
    assert reader.read() == [{"step": 1}]
    assert reader.read() == []
    with path.open("ab") as stream:
        stream.write(b'ep": 2}\n')
    assert reader.read() == [{"step": 2}]
    assert reader.corrupt == 0


def test_corrupt_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(
        b'{"step": 1}\n\x00\x00\x00\n[1]\n\n\xff\xfe\n{"step": \n'
        + b"[" * 100_000
        + b'\n{"schema": 9, "step": 5}\n{"schema": "x"}\n{"step": 2}\n'
    )
    reader = MetricsReader(path)
    assert [record["step"] for record in reader.read()] == [1, 2]
    assert (reader.corrupt, reader.newer) == (6, 1)


def test_the_line_after_a_torn_one_is_not_lost(run: RunDirectory) -> None:
    run.begin_attempt()
    run.append_metrics({"kind": "train", "step": 1})
    with run.metrics_path.open("ab") as stream:
        stream.write(b'{"kind": "train", "step": 2, "lo')  # killed here
    run.append_metrics({"kind": "train", "step": 2, "loss": 1.0})
    reader = MetricsReader(run.metrics_path)
    assert [record["step"] for record in reader.read()] == [1, 2]
    assert reader.corrupt == 1
    assert [record["step"] for record in run.read_metrics()] == [1, 2]


def test_a_replaced_or_cut_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    reader = MetricsReader(path)
    assert reader.read() == []
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n')
    assert len(reader.read()) == 2
    path.write_bytes(b'{"step": 7}\n')
    assert reader.read() == [{"step": 7}]
    assert reader.generation == 1
    other = tmp_path / "other"
    other.write_bytes(b'{"step": 8}\n{"step": 9}\n{"step": 10}\n')
    other.replace(path)
    assert [record["step"] for record in reader.read()] == [8, 9, 10]
    assert reader.generation == 2


@given(st.lists(st.text(max_size=40), max_size=8), st.integers(1, 64))
@settings(deadline=None, max_examples=60)
def test_any_size_of_bite_returns_every_line_once(texts: list[str], bite: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.jsonl"
        for text in texts:
            append_line(path, {"text": text})
        reader, seen = MetricsReader(path), []
        while records := reader.read(bite):
            seen += [record["text"] for record in records]
    assert seen == texts


def test_numbers_that_are_none_stay_what_they_were() -> None:
    line = to_json({"loss": math.nan, "scale": -math.inf, "ok": 1.5, "layers": [{"rate": math.nan}]})
    strict = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict["loss"] is None
    again = from_json(line)
    assert math.isnan(again["loss"])
    assert again["scale"] == -math.inf
    assert again["ok"] == 1.5
    assert again["layers"] == [{"rate": None}]


def test_numpy_numbers_records_and_paths_become_json() -> None:
    numpy = pytest.importorskip("numpy")

    class Record:
        def to_dict(self) -> dict[str, int]:
            return {"a": 1}

    line = to_json({"x": numpy.float32(0.5), "y": numpy.arange(3), "r": Record(), "p": Path("a"), "s": {2, 1}})
    assert json.loads(line) == {"x": 0.5, "y": [0, 1, 2], "r": {"a": 1}, "p": "a", "s": [1, 2]}
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        to_json({"x": object()})


WRITER = """
import sys
from darkit_nb.runs import RunDirectory
run = RunDirectory(sys.argv[1])
start = run.begin_attempt() * 1_000_000
for step in range(start, start + 1_000_000):
    run.append_metrics({"kind": "train", "step": step, "filler": "x" * (step % 3000)})
"""


def test_kill_9_of_a_writer_loses_no_complete_line(run: RunDirectory) -> None:
    reader = MetricsReader(run.metrics_path)
    seen: list[int] = []
    for round_number in range(4):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(run.root)])
        try:
            deadline = time.monotonic() + 20
            before = len(seen)
            while len(seen) < before + 50 * (round_number + 1) and time.monotonic() < deadline:
                seen += [record["step"] for record in reader.read()]
        finally:
            process.kill()
            process.wait()
        assert len(seen) > before
    run.begin_attempt()
    run.append_metrics({"kind": "train", "step": 99_000_000})
    seen += [record["step"] for record in reader.read()]
    assert seen[-1] == 99_000_000
    assert len(seen) == len(set(seen))
    for attempt in range(1, 5):
        steps = [step for step in seen if step // 1_000_000 == attempt]
        assert steps == list(range(steps[0], steps[0] + len(steps))), "no complete line was skipped"
        assert steps[0] == attempt * 1_000_000
    assert [record["step"] for record in run.read_metrics()] == seen


def test_two_processes_may_append_events(run: RunDirectory) -> None:
    code = (
        "import sys\nfrom darkit_nb.runs import RunDirectory\nrun = RunDirectory(sys.argv[1])\n"
        "for i in range(200): run.append_event(sys.argv[2], number=i, filler='x' * (i * 7 % 900))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(run.root), kind]) for kind in ("a", "b")]
    assert [process.wait() for process in processes] == [0, 0]
    reader = MetricsReader(run.events_path)
    events = reader.read()
    assert reader.corrupt == 0
    for kind in ("a", "b"):
        assert [event["number"] for event in events if event["kind"] == kind] == list(range(200))


def test_the_end_of_a_file_can_be_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in range(1000)))
    reader = MetricsReader(path, tail_bytes=100)
    steps = [record["step"] for record in reader.read()]
    assert steps == list(range(1000 - len(steps), 1000))
    assert 5 < len(steps) < 10
    assert reader.corrupt == 0
    assert MetricsReader(path, tail_bytes=10**6).read()[0] == {"step": 0}


def test_a_limited_read_says_whether_there_is_more(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in range(100)))
    reader, steps = MetricsReader(path), []
    while True:
        steps += [record["step"] for record in reader.read(200)]
        if not reader.behind:
            break
    assert steps == list(range(100))
    with path.open("a") as stream:
        stream.write('{"step": 100')
    assert reader.read(200) == []
    assert not reader.behind, "a torn line is not there yet"


def test_a_file_that_went_and_came_again_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    reader = MetricsReader(path)
    reader.read()
    path.unlink()
    assert reader.read() == []
    path.write_text('{"step": 1}\n{"step": 2}\n')
    assert [record["step"] for record in reader.read()] == [1, 2]
    assert reader.generation == 1
