"""`bpe:<size>`: trained on the training split only, the same each time, kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkit_nb.data import prepare
from darkit_nb.data.bpe_tokenizer import train_bpe
from darkit_nb.data.tokenizer import plan_tokenizer
from darkit_nb.errors import DataError

TRAINED = train_bpe("bpe:300", 300, iter(["the spiking neuron and the other neuron\n" * 20]))
SCRIPT = """
import sys
from pathlib import Path
from darkit_nb.data.bpe_tokenizer import train_bpe
text = Path(sys.argv[1]).read_text()[:200_000]
sys.stdout.write(train_bpe("bpe:800", 800, iter([text])).backend.to_str())
"""


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_round_trip(text: str) -> None:
    (ids,) = TRAINED.encode([text])
    assert TRAINED.decode(ids) == text
    assert len(ids) == 0 or ids.max() < TRAINED.vocab_size


def test_small_corpus_gives_fewer_merges_than_asked() -> None:
    assert 261 < TRAINED.vocab_size <= 300
    assert train_bpe("bpe:2048", 2048, iter(["abab"])).vocab_size < 300


def test_same_text_gives_the_same_file_in_every_process(test_data: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(test_data / "novels" / "valid.txt")]
    first, second = (subprocess.run(command, capture_output=True, check=True, text=True).stdout for _ in range(2))
    assert first == second
    assert '"model"' in first


@pytest.mark.parametrize("size", ["0", "-5", "260", "many", "1e4", "99999999", "2048.5"])
def test_bad_size(settings: Any, size: str) -> None:
    with pytest.raises(DataError, match="names no tokenizer that can be trained") as caught:
        plan_tokenizer(settings(tokenizer=f"bpe:{size}"))
    assert "261" in str(caught.value)


def test_size_left_out(settings: Any) -> None:
    with pytest.raises(DataError, match="incomplete"):
        plan_tokenizer(settings(tokenizer="bpe"))
    with pytest.raises(DataError, match="takes nothing after its name"):
        plan_tokenizer(settings(tokenizer="bytes:3"))


def test_validation_text_is_never_seen(settings: Any, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    names = [word * 3 for word in "abcdefghijklmnopqrst"]
    for name in names:
        (folder / name).write_text(f"{name} " * 40)
    prepared = prepare(settings(dataset=f"text:{folder}", tokenizer="bpe:600", seq_len=8), seed=0)
    tokenizer = prepared.load_tokenizer()
    (withheld,) = {name for name in names if name in tokenizer.decode(prepared.validation[0]["input_ids"])}
    learnt = {name for name in names if name in tokenizer.get_vocab()}
    assert learnt == set(names) - {withheld}


def test_kept_by_itself(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "a.txt"
    text.write_text("".join(f"line {i} of some text\n" for i in range(500)))
    asked = {"dataset": f"text:{text}", "tokenizer": "bpe:300", "seq_len": 16}
    first = prepare(settings(**asked), seed=0)
    monkeypatch.setattr("darkit_nb.data.bpe_tokenizer.train_bpe", lambda *args: pytest.fail("trained again"))
    limited = prepare(settings(**asked, max_train_tokens=500), seed=0)
    assert limited.cache_key != first.cache_key
    assert limited.train[0]["input_ids"].tolist() == first.train[0]["input_ids"].tolist()
