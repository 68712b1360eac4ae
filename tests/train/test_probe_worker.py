"""The process that answers for a conversion keeps both of its models, while memory allows, until it is let go."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from darkit_nb.config import DataConfig
from darkit_nb.config.conversions import preset
from darkit_nb.data import prepare
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.runs.control import send
from darkit_nb.runs.conversion import Conversion
from darkit_nb.runs.requests import worker_alive
from darkit_nb.train import probe_worker
from darkit_nb.train.probe_worker import IDLE_SECONDS, MOST_IDLE_SECONDS, ProbeWorker
from tests.evaluate.models import decoder

PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def conversion(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """A conversion whose model is there; what it was converted with matters to nobody here."""
    folder = tmp_path_factory.mktemp("conversion")
    (folder / "lines.txt").write_text("".join(f"Line {n} of a text.\n" for n in range(200)))
    data = DataConfig(dataset=f"text:{folder / 'lines.txt'}", seq_len=32, cache_dir=str(folder / "cache"))
    prepared = prepare(data, seed=0)
    asked = ConversionRequest(source=str(folder / "float"), out=str(folder / "converted"), spec=preset("rtn"))
    made = Conversion.create(asked)
    for name in ("float", "converted"):
        decoder(vocab_size=prepared.vocab_size).save_pretrained(folder / name)
        prepared.load_tokenizer().save_pretrained(folder / name)
    return made


def test_both_models_stay_for_the_next_text_where_there_is_room(
    conversion: Conversion, monkeypatch: pytest.MonkeyPatch
):
    worker = ProbeWorker(conversion.directory)
    source, newest = worker._source(), worker._newest()
    assert (source.path.name, newest.path.name) == ("float", "converted")
    assert source.bytes > 1000
    both = worker._load(source), worker._load(newest)
    assert (worker._load(source), worker._load(newest)) == both, "neither was read again"
    alone = ProbeWorker(conversion.directory)
    alone._load(source)
    monkeypatch.setattr(probe_worker, "available_memory", lambda: 2 * source.bytes)
    alone._load(newest)
    assert list(alone._held) == [newest]


def test_a_request_may_ask_it_to_wait_longer_but_not_for_ever(conversion: Conversion):
    for keep, waits in ((0.0, IDLE_SECONDS), (90.0, 90.0), (1e9, MOST_IDLE_SECONDS)):
        worker = ProbeWorker(conversion.directory)
        worker._answer(send(conversion.directory, "generate", {"prompt": "Line", "max_new_tokens": 1, "keep_s": keep}))
        assert worker.idle_seconds == waits


def test_it_ends_when_it_is_let_go_and_not_before_it_has_answered(conversion: Conversion):
    requests = [each.generate("Line", max_new_tokens=3, keep_s=300) for each in (conversion.float_model, conversion)]
    conversion.release()
    assert [len(request.wait(PATIENCE_S).tokens()) for request in requests] == [3, 3]
    _until_it_ended(conversion.root)
    assert len(conversion.generate("Line", max_new_tokens=2).wait(PATIENCE_S).tokens()) == 2, "another one answers"
    conversion.release()
    _until_it_ended(conversion.root)
    conversion.release()  # of nobody


def _until_it_ended(root: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while worker_alive(root):
        assert time.monotonic() < until
        time.sleep(0.05)
