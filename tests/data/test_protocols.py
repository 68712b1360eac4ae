"""The published windows, against the published loops spelt out, on local copies and without a network."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from darkit_nb.data.protocols import C4_DOCUMENTS, C4_WINDOWS, protocol_text
from darkit_nb.errors import DataError


def encode(text: str) -> list[int]:
    """A token a letter, after one that begins the text, as Llama's tokenizer has it."""
    return [1, *(ord(letter) for letter in text)]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DARKIT_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def documents(count: int, longest: int) -> list[str]:
    draw = random.Random(7)
    return [f"{index}:" + "x" * draw.randint(1, longest) for index in range(count)]


def write_c4(mirror: Path, texts: list[str]) -> None:
    folder = mirror / "datasets" / "allenai" / "c4"
    folder.mkdir(parents=True)
    with gzip.open(folder / "c4-validation.00000-of-00008.json.gz", "wt") as file:
        file.writelines(json.dumps({"text": text, "url": "u"}) + "\n" for text in texts)


@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_wikitext_is_all_rows_joined_by_two_newlines(mirror: Path, form: str):
    rows = ["", " = A title = \n", "", " Some text , and more . \n", " Again . \n"]
    folder = mirror / "datasets" / "wikitext-2-raw"
    folder.mkdir(parents=True)
    text = "\n" + rows[1] + " \n" + rows[3] + rows[4]
    body = text if form == "txt" else "".join(json.dumps({"text": row}) + "\n" for row in rows)
    (folder / f"test.{form}").write_text(body)
    found = protocol_text("wikitext-2", encode, window=8)
    joined = "\n\n".join(rows)
    ids = encode(joined)
    assert found.windows.flatten().tolist() == ids[: len(ids) // 8 * 8]
    assert found.bytes_per_token == len(joined) / len(ids)


def test_old_c4_draws_what_the_published_loop_draws(mirror: Path):
    texts, window = documents(60, 80), 32
    write_c4(mirror, texts)
    random.seed(0)
    wanted = []
    for _ in range(C4_WINDOWS):
        while True:
            ids = encode(texts[random.randint(0, len(texts) - 1)])
            if len(ids) > window:
                break
        start = random.randint(0, len(ids) - window - 1)
        wanted.append(ids[start : start + window])
    assert protocol_text("c4", encode, window=window).windows.tolist() == wanted


def test_new_c4_is_the_beginning_of_the_first_documents(mirror: Path):
    texts = documents(C4_DOCUMENTS + 5, 300)
    write_c4(mirror, texts)
    ids = encode(" ".join(texts[:C4_DOCUMENTS]))
    assert protocol_text("c4-new", encode, window=64).windows.flatten().tolist() == ids[: C4_WINDOWS * 64]
    whole = protocol_text("c4-new", encode, window=1024).windows
    assert whole.flatten().tolist() == ids[: len(ids) // 1024 * 1024]


def test_texts_that_are_too_short_or_absent_or_unknown_are_refused(mirror: Path):
    with pytest.raises(DataError, match=r"could not be loaded|cannot be reached") as caught:
        protocol_text("c4", encode)
    assert "datasets/c4/" in str(caught.value)
    write_c4(mirror, documents(5, 20))
    for name in ("c4", "c4-new"):
        with pytest.raises(DataError, match="too short"):
            protocol_text(name, encode)
    with pytest.raises(DataError, match="no such protocol"):
        protocol_text("c5", encode)  # pyright: ignore[reportArgumentType]
