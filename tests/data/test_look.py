"""A look at data, token by token, in this process and in the worker's."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from darkit_nb.config import RunConfig
from darkit_nb.data import look_worker
from darkit_nb.data.byte_tokenizer import ByteTokenizer
from darkit_nb.data.look import DataLook, look, tokens_of
from darkit_nb.data.look_job import LookJob
from darkit_nb.data.windows import IGNORED


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for index in range(12):
        (folder / f"{index:02}.txt").write_text(f"café {index} \U0001f600 " * 40)
    return f"text:{folder}"


@pytest.fixture
def config(corpus: str, tmp_path: Path) -> RunConfig:
    changes = {"data.dataset": corpus, "data.seq_len": 32, "data.cache_dir": str(tmp_path / "cache")}
    return RunConfig().replace({**changes, "data.validation_fraction": 0.3})


class Told:
    def __init__(self) -> None:
        self.all: list[tuple[str, Any]] = []

    def __call__(self, kind: str, content: Any) -> None:
        self.all.append((kind, content))


def run(config: RunConfig) -> tuple[str, Any]:
    told = Told()
    LookJob(config, told).wait(400)
    return told.all[-1]


def test_tokens_are_shown_as_text_and_parts_of_letters_as_bytes(config: RunConfig) -> None:
    found = look(config.data, seed=0)
    texts = [token.text for token in found.window]
    assert texts[:6] == ["c", "a", "f", "\\xc3", "\\xa9", " "]
    assert "".join(texts).count("\\xf0\\x9f\\x98\\x80") == 2
    assert len(found.window) == 32
    assert not any(token.special for token in found.window)
    assert all(token.learnt for token in found.window)
    assert all(document.startswith("café ") for document in found.documents)
    assert len(found.documents) == 3


def test_special_tokens_and_masks_are_marked() -> None:
    tokenizer = ByteTokenizer()
    shown = list(tokens_of(tokenizer.backend, [97, tokenizer.eos_id, 98], [97, IGNORED, 98]))
    assert [(token.text, token.special, token.learnt) for token in shown] == [
        ("a", False, True),
        ("<|endoftext|>", True, False),
        ("b", False, True),
    ]
    assert len(list(tokens_of(tokenizer.backend, [97] * 1000, [97] * 1000))) == 256


def test_it_survives_json(config: RunConfig) -> None:
    found = look(config.data, seed=0)
    assert DataLook.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_worker_says_what_it_does_and_what_it_finds(config: RunConfig) -> None:
    told = Told()
    LookJob(config, told).wait(400)
    kinds = [kind for kind, _ in told.all]
    assert kinds[-1] == "look"
    assert set(kinds[:-1]) == {"progress"}
    assert told.all[-1][1] == look(config.data, seed=config.data.split_seed)
    assert told.all[0][1]["stage"] == "reading"


def test_a_problem_comes_with_its_fix(config: RunConfig) -> None:
    kind, problem = run(config.replace({"data.dataset": "text:/nothing/here"}))
    assert kind == "problem"
    assert "no file or folder" in problem["message"]
    assert problem["fix"]
    kind, problem = run(config.replace({"plugins": ["module_that_is_not_there"]}))
    assert kind == "problem"
    assert "module_that_is_not_there" in problem["message"]


def test_plug_ins_of_the_configuration_are_imported(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_data.py").write_text(
        "from darkit_nb.plugins import Entry, registry\n"
        "builder = 'darkit_nb.data.text_source:open_text'\n"
        "registry('dataset').add(Entry('mine', 'Mine.', builder, {'argument': 'path'}))\n"
    )
    monkeypatch.chdir(tmp_path)
    kind, found = run(
        config.replace({"plugins": ["my_data"], "data.dataset": config.data.dataset.replace("text", "mine", 1)})
    )
    assert kind == "look"
    assert found.preview.dataset.startswith("mine:")


def test_a_worker_that_dies_says_so(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.chdir(tmp_path)
    kind, problem = run(config.replace({"plugins": ["deadly"]}))
    assert kind == "problem"
    assert "exit status 7" in problem["received"]


def test_a_cancelled_job_ends_and_says_nothing(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.chdir(tmp_path)
    told = Told()
    job = LookJob(config.replace({"plugins": ["slow"]}), told)
    time.sleep(0.7)
    job.cancel()
    job.wait(120)
    assert not psutil.pid_exists(job.pid)
    assert told.all == []


def test_a_worker_whose_reader_is_gone_ends(config: RunConfig) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "darkit_nb.data.look_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdout.close()
    worker.stdin.write(json.dumps({"data": config.to_dict()["data"], "plugins": []}))
    worker.stdin.close()
    assert worker.wait(400) not in (0, None)


def test_progress_is_reported_at_most_ten_times_a_second() -> None:
    out = io.StringIO()
    began = time.monotonic()
    reporter = look_worker._Reporter(out)
    for step in range(1000):
        reporter.progress("tokenizing", step / 1000)
    reporter.progress("ready", 1.0)
    lines = [json.loads(line)["progress"] for line in out.getvalue().splitlines()]
    assert 2 <= len(lines) <= 3 + 10 * (time.monotonic() - began)
    assert lines[-1] == {"stage": "ready", "fraction": 1.0}
