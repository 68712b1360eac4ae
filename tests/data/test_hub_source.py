"""Datasets of the hub through their real loader: from a mirror, from the hub's own cache, and absent."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.data import prepare
from darkit_nb.data.corpus import Document, open_corpus
from darkit_nb.errors import DataError

WIKI = {
    "train": [
        "",
        " = Spike = \n",
        "",
        " A spike is short . \n",
        " = = Use = = \n",
        " Much . \n",
        " = Other = \n",
        " Text . \n",
    ],
    "validation": [" = Held = \n", "", " Out . \n"],
}
CHAT = [
    [{"role": "user", "content": f"Question {i}?"}, {"role": "assistant", "content": f"Answer {i}."}] for i in range(9)
]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty mirror folder."""
    root = tmp_path / "mirror"
    monkeypatch.setenv("DARKIT_DATA", str(root))
    return root / "datasets"


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def saved(path: Path, rows: list[dict[str, Any]]) -> None:
    """What `save_to_disk` writes, with all splits at once."""
    from datasets import Dataset, DatasetDict

    if path.stem == "train":
        DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(str(path.parent))


def texts(documents: Any) -> list[str]:
    return [document.text for document in documents]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["wikitext-2", "wikitext-2-raw", "wikitext-103", "wikitext-103-raw"])
def test_wikitext_is_split_into_articles(settings: Any, mirror: Path, name: str, streaming: bool) -> None:
    for split, lines in WIKI.items():
        parquet(mirror / name / f"{split}-00000-of-00001.parquet", [{"text": line} for line in lines])
    corpus = open_corpus(settings(dataset=name, streaming=streaming))
    first, second = texts(corpus.train())
    assert first.startswith(" = Spike = ")
    assert " = = Use = = " in first
    assert second == " = Other = \n Text . "
    assert corpus.validation is not None
    assert texts(corpus.validation()) == [" = Held = \n\n Out . "]


def test_wikitext_as_plain_text_of_the_distribution(settings: Any, mirror: Path, test_data: Path) -> None:
    folder = mirror / "Salesforce" / "wikitext" / "wikitext-2-v1"
    folder.mkdir(parents=True)
    for split, file in (("train", "test"), ("validation", "valid")):
        (folder / f"{split}.txt").write_bytes((test_data / "wikitext-2" / f"{file}.txt").read_bytes())
    asked = settings(dataset="wikitext-2", tokenizer=str(test_data / "tokenizers" / "gpt2"), seq_len=1024)
    prepared = prepare(asked, seed=0)
    assert prepared.validation_facts.documents == 60  # as published
    assert 240_000 < prepared.validation_facts.tokens < 260_000
    assert prepared.load_tokenizer().decode(prepared.train[0]["input_ids"]).startswith(" = Robert <unk> = ")


@pytest.mark.parametrize("write", [jsonl, parquet, saved])
@pytest.mark.parametrize("name", ["fineweb", "wikipedia", "HuggingFaceFW/fineweb", "someone/books"])
def test_corpora_with_one_split(settings: Any, mirror: Path, name: str, write: Callable[..., None]) -> None:
    suffix = ".parquet" if write is parquet else ".jsonl"
    rows = [{"id": str(i), "text": f"Page number {i}. " * 5} for i in range(40)]
    write(mirror / name / f"train{suffix}", rows)
    corpus = open_corpus(settings(dataset=name))
    assert texts(corpus.train()) == [row["text"] for row in rows]
    assert corpus.validation is None
    prepared = prepare(settings(dataset=name, seq_len=32, validation_fraction=0.2), seed=0)
    assert prepared.train_facts is not None
    assert prepared.train_facts.documents + prepared.validation_facts.documents == 40
    streamed = prepare(settings(dataset=name, seq_len=32, validation_fraction=0.2, streaming=True), seed=0)
    assert next(iter(streamed.train))["input_ids"].shape == (32,)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("write", [jsonl, parquet])
def test_ultrachat_learns_answers_only(
    settings: Any, mirror: Path, write: Callable[..., None], streaming: bool
) -> None:
    suffix = ".parquet" if write is parquet else ".jsonl"
    rows = [{"prompt": "p", "prompt_id": str(i), "messages": chat} for i, chat in enumerate(CHAT)]
    write(mirror / "ultrachat_200k" / f"train_sft{suffix}", rows[:7])
    write(mirror / "ultrachat_200k" / f"test_sft{suffix}", rows[6:])
    prepared = prepare(settings(dataset="ultrachat_200k", seq_len=16, streaming=streaming), seed=0)
    learnt, whole = "", ""
    for window in prepared.train:
        learnt += "".join(chr(i) for i in window["labels"] if 0 <= i < 256)
        whole += "".join(chr(i) for i in window["input_ids"] if i < 256)
    assert "Answer 0.Answer 1." in learnt
    assert "Question" not in learnt
    assert "Question 1?Answer 1." in whole
    assert "Answer 6" not in whole  # the duplicate of a validation conversation
    assert streaming or prepared.duplicates_removed == 1
    facts = prepared.validation_facts
    assert facts.learnt_tokens == sum(len(f"Answer {i}.") + 1 for i in (6, 7, 8))
    assert prepared.bytes_per_token == pytest.approx(9 / 10)


def test_subset_of_the_settings(settings: Any, mirror: Path) -> None:
    jsonl(mirror / "wikipedia" / "20231101.en" / "train.jsonl", [{"text": "English"}])
    jsonl(mirror / "wikipedia" / "20231101.de" / "train.jsonl", [{"text": "Deutsch"}])
    assert texts(open_corpus(settings(dataset="wikipedia")).train()) == ["English"]
    assert texts(open_corpus(settings(dataset="wikipedia", subset="20231101.de")).train()) == ["Deutsch"]


def test_text_file_is_one_document_elsewhere(settings: Any, mirror: Path) -> None:
    (mirror / "org" / "book").mkdir(parents=True)
    (mirror / "org" / "book" / "train.txt").write_text("one\ntwo\n")
    assert texts(open_corpus(settings(dataset="org/book")).train()) == ["one\ntwo\n"]


def test_saved_without_splits(settings: Any, mirror: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(str(mirror / "org" / "plain"))
    assert texts(open_corpus(settings(dataset="org/plain")).train()) == ["a", "b"]


@pytest.mark.parametrize("streaming", [False, True])
def test_changed_file_changes_the_fingerprint(settings: Any, mirror: Path, streaming: bool) -> None:
    settings = partial(settings, streaming=streaming)
    file = mirror / "org" / "d" / "train.jsonl"
    jsonl(file, [{"text": "a"}])
    first = open_corpus(settings(dataset="org/d"))
    assert open_corpus(settings(dataset="org/d")).fingerprint == first.fingerprint
    jsonl(file, [{"text": "b"}])
    os.utime(file, ns=(1, 1))
    second = open_corpus(settings(dataset="org/d"))
    assert second.fingerprint != first.fingerprint
    assert list(second.train()) == [Document("b")]


def test_text_column(settings: Any, mirror: Path) -> None:
    jsonl(mirror / "org" / "d" / "train.jsonl", [{"title": "t", "story": "s"}])
    with pytest.raises(DataError, match="the columns title, story"):
        open_corpus(settings(dataset="org/d"))
    with pytest.raises(DataError, match="has no column 'body'"):
        open_corpus(settings(dataset="org/d", text_column="body"))
    assert texts(open_corpus(settings(dataset="org/d", text_column="story")).train()) == ["s"]


def test_no_training_split(settings: Any, mirror: Path) -> None:
    jsonl(mirror / "org" / "d" / "test.jsonl", [{"text": "t"}])
    with pytest.raises(DataError, match="holds no training split") as caught:
        open_corpus(settings(dataset="org/d"))
    assert "test.jsonl" in str(caught.value)
    from datasets import Dataset, DatasetDict

    DatasetDict({"test": Dataset.from_dict({"text": ["a"]})}).save_to_disk(str(mirror / "org" / "e"))
    with pytest.raises(DataError, match="no split to train on"):
        open_corpus(settings(dataset="org/e"))


def test_shards_and_nothing_else(settings: Any, mirror: Path) -> None:
    folder = mirror / "org" / "d"
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation", "training_notes", "device"):
        jsonl(folder / f"{name}.jsonl", [{"text": name}])
    jsonl(folder / "train-00000-of-00002.jsonl.bak", [{"text": "old"}])
    (folder / "train-00002-of-00002.jsonl.gz").write_bytes(gzip.compress(b'{"text": "packed"}\n'))
    corpus = open_corpus(settings(dataset="org/d"))
    assert texts(corpus.train()) == ["train-00000-of-00002", "train-00001-of-00002", "packed"]
    assert corpus.validation is not None
    assert texts(corpus.validation()) == ["validation"]


def test_damaged_mirror(settings: Any, mirror: Path) -> None:
    (mirror / "org" / "d").mkdir(parents=True)
    (mirror / "org" / "d" / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read"):
        open_corpus(settings(dataset="org/d"))


@pytest.mark.parametrize("name", ["../x", "a/../../b", "/etc", "a/b/c", "name with blanks"])
def test_malformed_id(settings: Any, mirror: Path, name: str) -> None:
    with pytest.raises(DataError, match="is not the id of a dataset") as caught:
        open_corpus(settings(dataset=name))
    assert "text:<path>" in str(caught.value)
    with pytest.raises(DataError, match="is not the id of a dataset"):
        open_corpus(settings(dataset="org/d", subset="../.."))


def test_unknown_form(settings: Any) -> None:
    with pytest.raises(DataError, match="There is no dataset of the form") as caught:
        open_corpus(settings(dataset="file:x"))
    assert "text:<path>" in str(caught.value)


def test_offline_and_absent(settings: Any, mirror: Path) -> None:
    with pytest.raises(
        DataError, match="'wikitext-2-raw' is not on this machine and the hub cannot be reached"
    ) as caught:
        open_corpus(settings(dataset="wikitext-2-raw"))
    message = str(caught.value)
    assert f"DARKIT_DATA is {mirror.parent}, which has no datasets/Salesforce/wikitext/wikitext-2-raw-v1" in message
    assert "l('Salesforce/wikitext', 'wikitext-2-raw-v1').save_to_disk(" in message


HUB_CACHE = """
import json, sys
from functools import partial
from pathlib import Path
from datasets import DatasetInfo, Features, SplitDict, SplitInfo, Value
from datasets.arrow_writer import ArrowWriter

folder = Path(sys.argv[1], "datasets", "Salesforce___wikitext", "wikitext-2-raw-v1", "0.0.0", "0123abcd")
folder.mkdir(parents=True)
features, splits = Features({"text": Value("string")}), SplitDict()
for split, lines in json.loads(sys.argv[2]).items():
    with ArrowWriter(path=str(folder / f"wikitext-{split}.arrow"), features=features) as writer:
        for line in lines:
            writer.write({"text": line})
        count, size = writer.finalize()
    splits.add(SplitInfo(split, num_bytes=size, num_examples=count, dataset_name="wikitext"))
info = DatasetInfo(features=features, config_name="wikitext-2-raw-v1", dataset_name="wikitext", splits=splits)
info.version = "0.0.0"
info.write_to_directory(str(folder))
"""
READ = """
import sys
sys.path.insert(0, sys.argv[1])
from conftest import Settings
from darkit_nb.data.corpus import open_corpus
for streaming in (False, True):
    corpus = open_corpus(Settings(dataset="wikitext-2-raw", streaming=streaming))
    print([len(list(documents())) for documents in (corpus.train, corpus.validation)])
"""


def test_from_the_cache_of_the_hub(tmp_path: Path) -> None:
    """What an earlier download left is found by the real loader, without a network."""
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    for name in ("DARKIT_DATA", "HF_DATASETS_CACHE"):
        env.pop(name, None)
    for command in ([HUB_CACHE, str(tmp_path), json.dumps(WIKI)], [READ, str(Path(__file__).parent)]):
        done = subprocess.run([sys.executable, "-c", *command], capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["[2, 1]", "[2, 1]"]
