"""A whole conversion in the background: scores of both models, a stop, and `kill -9` that costs nothing."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from darkit_nb.config import DataConfig
from darkit_nb.config.conversions import preset
from darkit_nb.convert.job import plan_of
from darkit_nb.convert.worker import work_on
from darkit_nb.data import prepare
from darkit_nb.errors import BackendError, DarkitError, DataError, ModelError, RunError
from darkit_nb.evaluate import paired_difference, window_losses
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.runs.conversion import Conversion
from darkit_nb.runs.conversion_files import write_rows
from darkit_nb.spikify import load_model
from tests.evaluate.models import decoder

TEXT = "".join(f"Line {n} tells of {'spikes' if n % 3 else 'silence'} and of number {n * n}.\n" for n in range(300))
BLOCKS = 8


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def source(corpus: Path) -> Path:
    """A float decoder over bytes and its tokenizer."""
    data = DataConfig(dataset=f"text:{corpus}", seq_len=32, cache_dir=str(corpus.parent / "cache"))
    prepared, folder = prepare(data, seed=0), corpus.parent / "model"
    decoder(vocab_size=prepared.vocab_size, num_hidden_layers=BLOCKS).save_pretrained(folder)
    prepared.load_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def cache(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKIT_CACHE", str(corpus.parent / "cache"))


def request(source: Path, corpus: Path, out: Path, **changes: object) -> ConversionRequest:
    spec = preset("quarot", samples=4, sample_length=32)
    made = ConversionRequest(
        source=str(source), out=str(out), spec=spec, dataset=f"text:{corpus}", window=32, windows=6, device="cpu"
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture(scope="module")
def finished(source: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """Converted here, without interruption."""
    made = Conversion.create(request(source, corpus, tmp_path_factory.mktemp("out") / "m"))
    work_on(made)
    return made


def test_both_models_are_scored_on_the_same_windows(finished: Conversion, source: Path):
    floating, converted = finished.rows()
    assert finished.state == "finished"
    assert (floating.name, converted.name) == ("float", "quarot W4A4")
    assert len(converted.losses.nats) == 6
    assert converted.delta == paired_difference(converted.losses, floating.losses)
    assert converted.cost is not None
    assert converted.cost.ace == 16
    assert converted.cost.unary_events > converted.cost.bitwise_events > 0
    assert converted.cost.energy is not None
    rotation = {part.name: part for part in converted.cost.energy.float_parts}["online rotation"]
    assert rotation.additions > 0
    ids = [ord(letter) for letter in TEXT[-400:]]
    losses = [window_losses(load_model(folder), ids, window=32).loss for folder in (source, finished.out)]
    assert losses[1] == pytest.approx(losses[0], abs=1.0)


def test_alternatives_score_the_float_model_once(finished: Conversion, source: Path, corpus: Path):
    floating, converted = finished.rows()
    marked = dataclasses.replace(floating, losses=dataclasses.replace(floating.losses, nats=(1.0, 2.0, 3.0) * 2))
    write_rows(finished.root, [marked, converted])
    try:
        rtn = preset("rtn", samples=4, sample_length=32)
        again = Conversion.create(request(source, corpus, finished.out.parent / "rtn", spec=rtn))
        work_on(again)
        taken, other = again.rows()
        assert taken == marked
        assert other.delta == paired_difference(other.losses, marked.losses)
        fewer = Conversion.create(request(source, corpus, finished.out.parent / "fewer", spec=rtn, windows=5))
        work_on(fewer)
        assert fewer.rows()[0].losses.nats == pytest.approx(floating.losses.nats[:5], rel=1e-5)
        assert fewer.rows()[0].key != floating.key
    finally:
        write_rows(finished.root, [floating, converted])


def test_the_plan_counts_what_scoring_takes(source: Path, corpus: Path, tmp_path: Path):
    without, scored = (plan_of(request(source, corpus, tmp_path / "m", windows=count)) for count in (0, 6))
    weights = (source / "model.safetensors").stat().st_size
    assert without.scoring_bytes == 0
    assert scored.scoring_bytes > weights
    assert scored.memory_bytes == max(without.memory_bytes, scored.scoring_bytes)
    assert "the logits of 2,048 tokens" in scored.text


def test_progress_holds_the_plan_and_every_block(finished: Conversion):
    now = finished.progress()
    assert now.plan is not None
    assert (now.blocks_done, now.blocks, now.fraction) == (BLOCKS, BLOCKS, 1.0)
    assert [report.index for report in now.reports] == list(range(BLOCKS))
    assert now.stage is None
    with pytest.raises(RunError, match="is done"):
        finished.resume()


def wait_for_blocks(conversion: Conversion, count: int, seconds: float = 400.0) -> None:
    end = time.monotonic() + seconds
    while len(conversion.reports()) < count:
        assert time.monotonic() < end, conversion.log()
        assert conversion.state in ("starting", "running"), conversion.log()
        time.sleep(0.02)


def test_killed_outright_it_is_lost_and_resumed_gives_the_same_bits(
    finished: Conversion, source: Path, corpus: Path, tmp_path: Path
):
    conversion = Conversion.start(request(source, corpus, tmp_path / "m"))
    wait_for_blocks(conversion, 2)
    status = conversion.status
    assert status.launch is not None
    for pid in (status.launch.pid, status.pid):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    while conversion.status.active:
        time.sleep(0.02)
    assert conversion.state == "lost"
    kept = len(conversion.reports())
    assert kept < BLOCKS
    conversion.resume().wait(400)
    assert conversion.state == "finished"
    reports = conversion.reports()
    assert len(reports) == BLOCKS
    assert any(report.resumed for report in reports)
    for name in ("model.safetensors", "config.json"):
        assert (conversion.out / name).read_bytes() == (finished.out / name).read_bytes()
    assert conversion.rows()[1].losses == finished.rows()[1].losses


@pytest.mark.slow
def test_whoever_is_killed_in_the_middle_of_a_block_the_result_is_the_same_bit_for_bit(
    finished: Conversion, source: Path, corpus: Path, tmp_path: Path
):
    conversion = Conversion.start(request(source, corpus, tmp_path / "m"))
    work = tmp_path / "m.conversion"
    for done, victims in ((1, ("worker",)), (2, ("supervisor",)), (4, ("supervisor", "worker"))):
        _freeze_in_a_block(conversion, done)
        kept = {file.name: file.read_bytes() for file in work.glob("block-*.json")}
        assert done <= len(kept) < BLOCKS
        pids = _pids(conversion)
        for victim in victims:
            os.kill(pids[victim], signal.SIGKILL)
        if "worker" not in victims:
            os.kill(pids["worker"], signal.SIGCONT)  # goes on alone, until it is ended for the next start
        while conversion.status.active:
            time.sleep(0.02)
        assert conversion.state == ("failed" if victims == ("worker",) else "lost")
        conversion.resume()
        for name, content in kept.items():
            assert (work / name).read_bytes() == content
    conversion.wait(400)
    assert conversion.state == "finished"
    for name in ("model.safetensors", "config.json"):
        assert (conversion.out / name).read_bytes() == (finished.out / name).read_bytes()
    assert conversion.rows()[1].losses == finished.rows()[1].losses


def _pids(conversion: Conversion) -> dict[str, int]:
    status = conversion.status
    assert status.launch is not None
    assert status.pid is not None
    return {"supervisor": status.launch.pid, "worker": status.pid}


def _freeze_in_a_block(conversion: Conversion, done: int) -> None:
    """Stop the worker between the end of one block and that of the next, at whatever instruction it is."""
    wait_for_blocks(conversion, done)
    pid = _pids(conversion)["worker"]
    time.sleep(0.05)
    os.kill(pid, signal.SIGSTOP)
    assert len(conversion.reports()) < BLOCKS, "it was faster than the test: the model needs more blocks"


def test_a_stop_keeps_the_blocks_that_are_done(source: Path, corpus: Path, tmp_path: Path):
    conversion = Conversion.start(request(source, corpus, tmp_path / "m", windows=0))
    wait_for_blocks(conversion, 1)
    assert conversion.stop(wait_s=400)
    assert conversion.state == "stopped"
    kept = len(conversion.reports())
    assert 1 <= kept < BLOCKS
    conversion.resume().wait(400)
    assert sum(report.resumed for report in conversion.reports()) >= kept
    assert conversion.rows() == ()


def test_what_goes_wrong_stands_in_the_status(source: Path, corpus: Path, tmp_path: Path):
    spec = preset("rtn", samples=5000, sample_length=32)
    conversion = Conversion.create(request(source, corpus, tmp_path / "m", spec=spec.replace(samples=20000)))
    with pytest.raises(DataError, match="too short"):
        work_on(conversion)
    assert conversion.state == "failed"
    assert conversion.status.problem is not None
    assert "lower samples" in str(conversion.status.problem["fix"])


@pytest.mark.parametrize("older", [False, True])
def test_a_model_without_a_tokenizer_is_refused_before_any_work(
    source: Path, corpus: Path, tmp_path: Path, older: bool
):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((source / name).read_bytes())
    if older:
        (bare / "tokenizer.model").write_bytes(b"")
    made = Conversion.create(request(bare, corpus, tmp_path / "m"))
    with pytest.raises(DataError, match="no tokenizer beside the model") as caught:
        work_on(made)
    assert ("writes tokenizer.json" if older else "copy the tokenizer's files") in str(caught.value.fix)
    assert made.progress().plan is None


def test_a_folder_that_is_neither_run_nor_model_says_what_it_holds(corpus: Path, tmp_path: Path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.jsonl").write_text("{}")
    with pytest.raises(ModelError, match="No model can be read") as caught:
        plan_of(request(tmp_path / "texts", corpus, tmp_path / "m"))
    assert caught.value.received == "train.jsonl"


def test_the_latest_run_where_there_is_none_is_called_so(corpus: Path, tmp_path: Path):
    with pytest.raises(RunError, match="no run 'latest'"):
        plan_of(request(Path("latest"), corpus, tmp_path / "m", runs_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "said"), [({"text": "empty.txt"}, "no text to score"), ({"window": 4096}, "too short")]
)
def test_what_cannot_be_scored_is_said_before_any_block(source: Path, corpus: Path, tmp_path: Path, changes, said: str):
    (tmp_path / "empty.txt").write_text("")
    if "text" in changes:
        changes = {"text": str(tmp_path / changes["text"])}
    made = Conversion.create(request(source, corpus, tmp_path / "m", **changes))
    with pytest.raises(DarkitError, match=said):
        work_on(made)
    assert not made.reports()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_in_words(source: Path, corpus: Path, tmp_path: Path):
    made = Conversion.create(request(source, corpus, tmp_path / "m", device="cuda"))
    with pytest.raises(BackendError, match="no GPU"):
        work_on(made)
