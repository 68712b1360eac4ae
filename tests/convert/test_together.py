"""One conversion in several real processes: shared, stopped, killed, and resumed to the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from darkit_nb.cli.app import run
from darkit_nb.config import DataConfig
from darkit_nb.data import prepare
from darkit_nb.errors import DataError
from darkit_nb.runs.conversion import Conversion
from tests.convert.launching import Harm, Together, launch
from tests.evaluate.models import decoder

BLOCKS = 4
LAYERS = 7
SECONDS = 300.0
"""Far more than anything here takes."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float decoder over bytes, its tokenizer, and a text beside it."""
    folder = tmp_path_factory.mktemp("float")
    text = folder / "lines.txt"
    text.write_text("".join(f"Line {n} tells of spikes and of number {n * n}.\n" for n in range(300)))
    data = DataConfig(dataset=f"text:{text}", seq_len=32, cache_dir=str(folder / "cache"))
    prepared = prepare(data, seed=0)
    decoder(vocab_size=prepared.vocab_size, num_hidden_layers=BLOCKS).save_pretrained(folder / "model")
    prepared.load_tokenizer().save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(autouse=True)
def cache(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKIT_CACHE", str(source.parent / "cache"))


def command(source: Path, out: Path, *more: str, pipeline: str = "darkit", windows: int = 4) -> list[str]:
    text = ["--dataset", f"text:{source.parent / 'lines.txt'}", "--samples", "5", "--sample-length", "32"]
    scored = ["--windows", str(windows), "--window", "32"]
    return ["convert", str(source), str(out), "--pipeline", pipeline, *text, *scored, "--device", "cpu", *more]


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted by two processes that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    os.environ["DARKIT_CACHE"] = str(source.parent / "cache")
    try:
        both = launch(command(source, folder / "m"), folder)
        assert both.wait() == [0, 0], both.said(0) + both.said(1)
    finally:
        del os.environ["DARKIT_CACHE"]
    return folder / "m"


def test_the_first_speaks_for_both_and_both_models_are_scored(whole: Path):
    said = [(whole.parent / f"said-{rank}.txt").read_text() for rank in range(2)]
    assert "5 × 32 tokens, shared among 2 processes" in said[0]
    assert "memory of each process" in said[0]
    assert said[0].count("block 1 of 4") == 1
    assert said[0].count("finished: ") == 1
    assert said[1] == ""
    made = Conversion.open(whole)
    assert made.state == "finished"
    assert [row.name for row in made.rows()] == ["float", "darkit W4A4"]
    assert not (whole.parent / "m.conversion").exists()


def test_weights_that_no_statistics_decide_are_those_of_one_process(source: Path, tmp_path: Path):
    both = launch(command(source, tmp_path / "two", pipeline="rtn", windows=0), tmp_path)
    assert both.wait() == [0, 0], both.said(0) + both.said(1)
    assert run(command(source, tmp_path / "one", pipeline="rtn", windows=0)) == 0
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)


def test_errors_of_blocks_are_nearly_those_of_one_process(source: Path, whole: Path, tmp_path: Path):
    # Sums over the samples are added in another order, so codes that are ties may differ, and all that follows.
    assert run(command(source, tmp_path / "one", windows=0)) == 0
    one, two = (Conversion.open(out).reports() for out in (tmp_path / "one", whole))
    for alone, shared in zip(one, two, strict=True):
        assert shared.error == pytest.approx(alone.error, rel=0.1)


def blocks_of(out: Path) -> int:
    return len(list(out.with_name(out.name + ".conversion").glob("block-*.json")))


def test_killed_and_started_again_through_a_launcher_the_result_is_the_same_bit_for_bit(
    source: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "m"
    both = launch(command(source, out), tmp_path, harm=Harm(rank=1, call=LAYERS + 3))
    assert both.wait() == [2, -signal.SIGKILL]
    assert both.said(0).count("Another process of this work is gone") == 1
    assert "Traceback" not in both.said(0)
    assert blocks_of(out) == 1
    assert Conversion.open(out).state == "failed"
    assert run(command(source, out)) == 2
    assert "start it with 2 processes" in capsys.readouterr().err
    assert blocks_of(out) == 1
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    settings = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "darkit_nb"]
    done = subprocess.run(
        [sys.executable, *launcher, *settings, *command(source, out)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "block 1 of 4: error" in done.stdout
    for name in ("model.safetensors", "config.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert Conversion.open(out).rows()[1].losses == Conversion.open(whole).rows()[1].losses


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DataError("The text is odd.", fix="take another"), "The text is odd."),
        (ValueError("seven"), "Process 1 of 2 failed: ValueError: seven"),
    ],
)
def test_what_goes_wrong_in_one_ends_both_with_one_message(source: Path, tmp_path: Path, error: Exception, said: str):
    both = launch(command(source, tmp_path / "m"), tmp_path, harm=Harm(rank=1, call=LAYERS + 3, act=error))
    assert both.wait() == [2, 0]
    assert both.said(0).count(said) == 1
    assert said not in both.said(1)
    assert ("Traceback" in both.said(1)) == isinstance(error, ValueError)
    made = Conversion.open(tmp_path / "m")
    assert made.state == "failed"
    assert said in str((made.status.problem or {})["message"])
    assert blocks_of(tmp_path / "m") == 1


def test_what_is_wrong_with_the_request_is_said_once(source: Path, whole: Path, tmp_path: Path):
    both = launch(command(source, whole), tmp_path)
    assert both.wait() == [2, 0]
    assert both.said(0).count("is done") == 1
    assert both.said(1) == ""
    both = launch(command(source, tmp_path / "m", "--detach"), tmp_path)
    assert both.wait() == [2, 2]
    assert "--detach is for one process" in both.said(0)


@pytest.mark.parametrize("how", ["command", "first", "second"])
def test_a_stop_ends_both_at_the_same_block(source: Path, tmp_path: Path, how: str):
    out = tmp_path / "m"
    both = launch(command(source, out), tmp_path, harm=Harm(rank=int(how == "second"), call=LAYERS + 3, act="idle"))
    wait_for_a_block(out, both)
    if how == "command":
        Conversion.open(out).stop()
    else:
        os.kill(both.processes[how == "second"].pid or 0, signal.SIGINT)
    assert both.wait() == [130, 0], both.said(0) + both.said(1)
    made = Conversion.open(out)
    assert made.state == "stopped"
    assert blocks_of(out) == 1
    assert both.said(0).count("stopped: ") == 1
    state = json.loads((tmp_path / "m.conversion" / "state.json").read_text())
    assert state["processes"] == 2


def wait_for_a_block(out: Path, both: Together) -> None:
    end = time.monotonic() + SECONDS
    while blocks_of(out) < 1:
        assert time.monotonic() < end, both.said(0)
        assert all(process.is_alive() for process in both.processes), both.said(0) + both.said(1)
        time.sleep(0.005)
