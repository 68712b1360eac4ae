"""The data preview: a worker looks, the kernel stays free, the newest settings win."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.widgets import data_preview
from darkit_nb.widgets.config_form import ConfigForm
from darkit_nb.widgets.data_preview import DataPreview


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    data_preview._looks.clear()
    monkeypatch.setattr(data_preview, "SETTLE_SECONDS", 0.05)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for index in range(20):
        (folder / f"{index}.txt").write_text(f"document <{index}> " * 30)
    changes = {"data.dataset": f"text:{folder}", "data.seq_len": 32, "data.cache_dir": str(tmp_path / "cache")}
    return RunConfig().replace({**changes, "train.steps": 10, "train.batch_size": 2})


def until(condition: Callable[[], object], seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def settled(preview: DataPreview) -> None:
    until(lambda: preview.stage["name"] in ("idle", "failed"))


def test_it_counts_and_shows_what_training_will_read(config: RunConfig) -> None:
    preview = DataPreview(config)
    assert preview.stage["name"] == "working"
    settled(preview)
    assert preview.problem is None
    report = json.loads(json.dumps(preview.report))
    assert report["rows"][0][0] == "training"
    assert len(report["window"]) == 32
    assert report["documents"][0].startswith("document <")
    assert "training reads 640 tokens" in report["notes"][0]
    text = preview.text()
    for part in ("vocabulary 261", "bytes/token", "training reads", "d|o|c|u|m|e|n|t", "document <"):
        assert part in text
    picture = preview.snapshot()
    assert "document &lt;" in picture
    assert "<script" not in picture


def test_training_settings_need_no_worker(config: RunConfig) -> None:
    preview = DataPreview(config)
    settled(preview)
    preview.config = config.replace({"train.steps": 100_000})
    assert preview.stage["name"] == "idle"
    assert preview.report is not None
    assert "the split" in preview.report["notes"][0]
    assert "times" in preview.report["notes"][0]


def test_what_was_seen_once_is_remembered(config: RunConfig) -> None:
    preview = DataPreview(config)
    settled(preview)
    other = config.replace({"data.seq_len": 16})
    preview.config = other
    settled(preview)
    assert preview.report is not None
    assert len(preview.report["window"]) == 16
    preview.config = config
    assert preview.stage["name"] == "idle"
    assert len(preview.report["window"]) == 32
    assert DataPreview(other).stage["name"] == "idle"


def test_the_last_of_many_settings_wins(config: RunConfig) -> None:
    preview = DataPreview(config)
    for length in range(16, 30):
        preview.config = config.replace({"data.seq_len": length})
        time.sleep(0.03)
    settled(preview)
    assert preview.report is not None
    assert len(preview.report["window"]) == 29


def test_problems_are_shown_and_mended(config: RunConfig) -> None:
    preview = DataPreview(config.replace({"data.dataset": "text:/nothing/here"}))
    settled(preview)
    assert preview.stage["name"] == "failed"
    assert preview.problem is not None
    assert "no file or folder" in preview.problem["message"]
    assert "no file or folder" in preview.text()
    preview.config = config
    settled(preview)
    assert preview.problem is None
    assert preview.report is not None


def test_what_may_be_downloaded_waits_for_the_button(config: RunConfig) -> None:
    preview = DataPreview(config.replace({"data.dataset": "org/corpus"}))
    assert preview.stage == {"name": "waiting", "dataset": "org/corpus", "tokenizer": "bytes"}
    preview._receive(preview, {"do": "look"}, [])
    settled(preview)
    assert preview.stage["name"] == "failed"  # there is no network here
    assert preview.problem is not None
    preview.config = config.replace({"data.dataset": "org/corpus", "data.seq_len": 16})
    assert preview.stage["name"] == "working"  # asked for once
    preview._receive(preview, {"do": "cancel"}, [])
    assert preview.stage["name"] == "waiting"


def test_it_follows_a_form(config: RunConfig) -> None:
    form = ConfigForm(config)
    preview = DataPreview().follow(form)
    settled(preview)
    form.set("data.seq_len", 24)
    settled(preview)
    until(lambda: preview.report is not None and len(preview.report["window"]) == 24)
    form.set("data.seq_len", 1)  # not valid: the last look stays
    assert preview.stage["name"] == "idle"
    assert preview.config == config.replace({"data.seq_len": 24})


def test_closing_ends_the_worker(config: RunConfig) -> None:
    preview = DataPreview(config)
    until(lambda: preview._job is not None)
    job = preview._job
    assert job is not None
    preview.close()
    job.wait(120)
    assert job._process.poll() is not None


def test_nothing_to_show_yet() -> None:
    preview = DataPreview()
    assert preview.text() == "Data: nothing looked at yet"
    assert "nothing looked at yet" in preview.snapshot()
    preview.look()
    preview.cancel()
    assert preview.report is None


def test_the_kernel_stays_light() -> None:
    program = """
import sys
from darkit_nb.widgets.data_preview import DataPreview
DataPreview()
print([name for name in ("torch", "transformers", "plotly", "datasets", "tokenizers") if name in sys.modules])
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
