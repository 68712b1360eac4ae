"""A log is read from its end, in pieces, whatever is written into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkit_nb.runs import LogReader


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "stdout.log"


def test_the_tail_is_the_last_lines_and_the_one_being_written(log: Path) -> None:
    assert LogReader(log).tail() == ""
    log.write_text("".join(f"line {n}\n" for n in range(50_000)) + "torn")
    assert LogReader(log).tail(3) == "line 49998\nline 49999\ntorn"
    assert LogReader(log).tail(100_000).count("\n") == 50_000
    assert LogReader(log).tail(0) == ""


def test_new_lines_come_once_and_whole(log: Path) -> None:
    reader = LogReader(log)
    assert reader.read_new() == ""
    log.write_text("one\ntw")
    assert reader.read_new() == "one\n"
    with log.open("a") as stream:
        stream.write("o\nthree\n")
    assert reader.read_new() == "two\nthree\n"
    assert reader.read_new() == ""


def test_of_a_burst_of_ten_thousand_lines_the_end_is_given(log: Path) -> None:
    reader = LogReader(log)
    log.write_text("".join(f"line {n:05}\n" for n in range(10_000)))
    new = reader.read_new(limit_bytes=10_000).splitlines()
    assert new[-1] == "line 09999"
    assert 800 < len(new) < 1000
    assert all(len(line) == 10 for line in new)
    assert reader.skipped_bytes == log.stat().st_size - 10_000
    assert reader.read_new() == ""


def test_a_replaced_log_is_read_from_its_beginning(log: Path) -> None:
    reader = LogReader(log)
    log.write_text("old old old\n")
    reader.read_new()
    log.write_text("new\n")
    assert reader.read_new() == "new\n"
    log.unlink()
    assert reader.read_new() == ""
    log.write_text("newest\n")
    assert reader.read_new() == "newest\n"


def test_progress_bars_bytes_and_endless_lines_do_no_harm(log: Path) -> None:
    log.write_bytes(b"10 %\r50 %\r100 %\n\xff\xfe\n" + b"x" * 10_000 + b"\n")
    done, broken, long = LogReader(log).tail().splitlines()
    assert done == "100 %"
    assert broken == "\ufffd\ufffd"
    assert len(long) == 2000


def test_search_finds_the_last_matches_with_their_lines(log: Path) -> None:
    log.write_text("".join(f"{'Loss' if n % 10 == 0 else 'step'} {n}\n" for n in range(1000)))
    found = LogReader(log).search("loss", limit=2)
    assert found == [(981, "Loss 980"), (991, "Loss 990")]
    assert LogReader(log).search("absent") == []


def test_a_reader_may_begin_behind_what_is_old(log: Path) -> None:
    log.write_text("of another start\n")
    reader = LogReader(log, start=log.stat().st_size)
    assert reader.tail() == ""
    with log.open("a") as stream:
        stream.write("mine\n")
    assert reader.tail() == "mine"
