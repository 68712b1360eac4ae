"""The whole way from settings to windows, on generated and on real corpora."""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkit_nb.data import PreparedData, prepare
from darkit_nb.data.windows import TokenWindows
from darkit_nb.errors import DataError


def decoded(prepared: PreparedData, windows: Any) -> str:
    tokenizer = prepared.load_tokenizer()
    return tokenizer.decode(np.concatenate([window["input_ids"] for window in windows]))


def test_stdlib_bytes_become_windows(settings: Any) -> None:
    prepared = prepare(settings(max_train_tokens=100_000, seq_len=128), seed=0)
    assert isinstance(prepared.train, TokenWindows)
    window = prepared.train[3]
    assert len(prepared.train) == 100_000 // 128
    assert window["input_ids"].dtype == np.int64
    assert window["input_ids"].shape == (128,)
    assert np.array_equal(window["labels"], window["input_ids"])
    assert (prepared.vocab_size, prepared.eos_id, prepared.tokenizer_id) == (261, 256, "bytes")
    assert 0.99 < prepared.bytes_per_token < 1.0
    assert isinstance(prepared.train.tokens, np.memmap)


def test_stdlib_files_are_on_one_side(settings: Any) -> None:
    prepared = prepare(settings(seq_len=256), seed=0)
    assert isinstance(prepared.train, TokenWindows)
    sides = []
    for windows in (prepared.train, prepared.validation):
        (ends,) = np.nonzero(windows.tokens == 256)
        starts = [0, *(ends[:-1] + 1)]
        sides.append([windows.tokens[a:b].tobytes() for a, b in zip(starts, ends, strict=True)])
    train, validation = sides
    assert not set(train) & set(validation)
    share = sum(map(len, validation)) / sum(map(len, train + validation))
    assert 0.045 < share <= 0.05


@pytest.fixture
def lines(tmp_path: Path) -> str:
    (tmp_path / "lines.txt").write_text("".join(f"this is line {i}\n" for i in range(2000)))
    return f"text:{tmp_path / 'lines.txt'}"


def test_second_call_reads_the_cache(settings: Any, lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(settings(dataset=lines), seed=0)
    monkeypatch.setattr("darkit_nb.data.preparation.split_corpus", lambda *args: pytest.fail("built again"))
    second = prepare(settings(dataset=lines), seed=0)
    assert second.cache_key == first.cache_key
    assert second.train_facts == first.train_facts
    other = prepare(settings(dataset=lines, seq_len=16), seed=0)
    assert other.cache_key == first.cache_key
    assert len(list(other.train)) >= 4 * len(list(first.train))


@pytest.mark.parametrize(
    "change",
    [
        {"validation_fraction": 0.1},
        {"max_train_tokens": 5000},
        {"max_validation_tokens": 500},
        {"tokenizer": "bpe:300"},
    ],
    ids=str,
)
def test_key_depends_on_the_settings(settings: Any, lines: str, change: dict[str, Any]) -> None:
    base = prepare(settings(dataset=lines, seq_len=8), seed=0)
    assert prepare(settings(dataset=lines, seq_len=8), seed=1).cache_key != base.cache_key
    assert prepare(settings(dataset=lines, seq_len=8, **change), seed=0).cache_key != base.cache_key


def test_key_depends_on_the_content(settings: Any, lines: str) -> None:
    first = prepare(settings(dataset=lines), seed=0)
    path = Path(lines.removeprefix("text:"))
    path.write_text(path.read_text().replace("line 7\n", "line 8\n"))
    second = prepare(settings(dataset=lines), seed=0)
    assert second.cache_key != first.cache_key
    assert "line 7\n" not in decoded(second, second.train)


def test_damaged_cache_is_rebuilt(settings: Any, lines: str) -> None:
    asked = settings(dataset=lines)
    first = prepare(asked, seed=0)
    expected = decoded(first, first.train)
    (first.tokenizer.folder.parent / "train.npy").write_bytes(b"\x93NUMPY nothing")
    again = prepare(asked, seed=0)
    assert decoded(again, again.train) == expected


def test_progress_goes_forward(settings: Any, lines: str) -> None:
    seen: list[tuple[str, float]] = []
    prepare(settings(dataset=lines, tokenizer="bpe:300"), seed=0, progress=lambda *step: seen.append(step))
    stages = list(dict.fromkeys(stage for stage, _ in seen))
    assert stages == ["reading", "splitting", "tokenizer", "tokenizing train", "tokenizing validation", "ready"]
    assert all(0 <= fraction <= 1 for _, fraction in seen)
    assert all(a[1] <= b[1] for a, b in pairwise(seen) if a[0] == b[0])
    assert seen[-1] == ("ready", 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seq_len": 1}, "data.seq_len is out of range"),
        ({"validation_fraction": 0.0}, "data.validation_fraction is out of range"),
        ({"validation_fraction": 1.0}, "data.validation_fraction is out of range"),
        ({"max_train_tokens": -1}, "data.max_train_tokens is out of range"),
    ],
)
def test_settings_out_of_range(settings: Any, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        prepare(settings(**change), seed=0)


def test_empty_corpus(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(DataError, match="is empty"):
        prepare(settings(dataset=f"text:{tmp_path / 'blank.txt'}"), seed=0)


def test_corpus_shorter_than_a_window(settings: Any, lines: str, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(DataError, match=r"The training split of .* is shorter than one window") as caught:
        prepare(settings(dataset=f"text:{tmp_path / 'short.txt'}"), seed=0)
    assert "data.seq_len = 64 tokens" in str(caught.value)
    with pytest.raises(DataError, match=r"The validation split of .* is shorter than one window") as caught:
        prepare(settings(dataset=lines, seq_len=4096, validation_fraction=0.01), seed=0)
    assert "validation_fraction" in str(caught.value)
    with pytest.raises(DataError, match=r"The training split") as caught:
        prepare(settings(dataset=lines, max_train_tokens=10), seed=0)
    assert "max_train_tokens" in str(caught.value)


def test_novels_with_gpt2_files(settings: Any, test_data: Path, tmp_path: Path) -> None:
    """Bytes per token counts the very text the tokens stand for."""
    path = test_data / "novels" / "valid.txt"
    gpt2 = str(test_data / "tokenizers" / "gpt2")
    prepared = prepare(settings(dataset=f"text:{path}", tokenizer=gpt2, seq_len=256), seed=0)
    assert prepared.train_facts is not None
    text = path.read_text(encoding="utf-8-sig")
    assert prepared.train_facts.learnt_bytes + prepared.validation_facts.learnt_bytes == len(text.encode())
    start = decoded(prepared, prepared.train)
    assert start == text[: len(start)]
    assert 3.5 < prepared.bytes_per_token < 4.8
    assert prepared.vocab_size == 50257


def test_compressed_novels_with_bpe_2048(settings: Any, test_data: Path, tmp_path: Path) -> None:
    with lzma.open(test_data / "novels" / "train.txt.xz", "rt", encoding="utf-8-sig") as novels:
        slice_ = novels.read(600_000)
    with lzma.open(tmp_path / "novels.txt.xz", "wt", encoding="utf-8", preset=0) as file:
        file.write(slice_)
    prepared = prepare(settings(dataset=f"text:{tmp_path / 'novels.txt.xz'}", tokenizer="bpe:2048"), seed=0)
    assert prepared.vocab_size == 2048
    start = decoded(prepared, prepared.train)
    assert start == slice_[: len(start)]
    assert 2.8 < prepared.bytes_per_token < 4.0


def test_chinese_with_bert_vocabulary(settings: Any, test_data: Path, tmp_path: Path) -> None:
    sentences = ["脉冲神经网络模仿大脑的工作方式。", "语言模型预测下一个词。", "能量消耗很低。"]
    (tmp_path / "zh.txt").write_text("\n".join(sentences * 200), encoding="utf-8")
    bert = str(test_data / "tokenizers" / "bert-base-chinese")
    prepared = prepare(settings(dataset=f"text:{tmp_path / 'zh.txt'}", tokenizer=bert), seed=0)
    assert prepared.eos_id == 102
    assert prepared.validation_facts.unknown_tokens == 0
    assert decoded(prepared, prepared.train).replace(" ", "").startswith("".join(sentences))
    assert 2.8 < prepared.bytes_per_token < 3.1


LEAN = """
import re, sys
from pathlib import Path
from darkit_nb.data import prepare
sys.path.insert(0, sys.argv[1])
from conftest import Settings
prepare(Settings(cache_dir=sys.argv[2]), seed=0)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print([name for name in ("torch", "transformers", "datasets", "pydantic", "pyarrow") if name in sys.modules])
print(int(peak.group(1)) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_preparing_bytes_is_lean(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAN, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "DARKIT_DATA": ""})
    loaded, peak_mebibytes = done.stdout.splitlines()
    assert loaded == "[]"
    assert int(peak_mebibytes) < 150
