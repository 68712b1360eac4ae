"""Ids lead to registry entries, ours and those of others; documents are known by their content."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.data.corpus import Document, Message, find_entry, open_corpus
from darkit_nb.data.tokenizer import plan_tokenizer
from darkit_nb.errors import DataError
from darkit_nb.plugins import Entry, Registry, registry

PLUGIN = """
from darkit_nb.data import Corpus, Document
from darkit_nb.data.tokenizer import TokenizerPlan
from darkit_nb.data.byte_tokenizer import ByteTokenizer

def open_it(request):
    return Corpus(request.name, "v1", lambda: iter([Document(f"{request.options['word']} {request.argument}")]))

def plan(request):
    return TokenizerPlan("mine-1", lambda texts: ByteTokenizer(request.name))
"""


@pytest.mark.parametrize("kind", ["dataset", "tokenizer"])
def test_every_builtin_can_be_imported_and_described(kind: Any) -> None:
    entries = list(registry(kind))
    assert not registry(kind).failures
    assert len(entries) >= 8
    for entry in entries:
        assert callable(entry.load())
        assert entry.description.endswith(".")


def test_ids() -> None:
    assert find_entry("dataset", "stdlib")[0].name == "stdlib"
    entry, argument = find_entry("dataset", "text:C:/some where/a:b.txt")
    assert (entry.name, argument) == ("text", "C:/some where/a:b.txt")
    entry, argument = find_entry("tokenizer", "org/name")
    assert (entry.name, argument) == ("hub", "org/name")
    assert find_entry("tokenizer", "hub:org/name") == (entry, argument)


def test_plugins_come_through_the_same_door(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_corpus_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = {"dataset": Registry("dataset"), "tokenizer": Registry("tokenizer")}
    known["dataset"].add(Entry("mine", "Mine.", "my_corpus_plugin:open_it", {"argument": "n", "word": "hi"}))
    known["tokenizer"].add(Entry("mine", "Mine.", "my_corpus_plugin:plan"))
    monkeypatch.setattr("darkit_nb.data.corpus.registry", known.__getitem__)
    assert [document.text for document in open_corpus(settings(dataset="mine:7")).train()] == ["hi 7"]
    assert plan_tokenizer(settings(tokenizer="mine")).build(lambda: iter([])).name == "mine"


def test_failed_plugins_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Registry("dataset")
    known.failures["broken (pkg:register)"] = "ImportError: no pkg"
    monkeypatch.setattr("darkit_nb.data.corpus.registry", lambda kind: known)
    with pytest.raises(DataError, match="ImportError: no pkg"):
        find_entry("dataset", "theirs:1")


def test_documents_are_known_by_their_content() -> None:
    chat = Document(messages=(Message("user", "a"), Message("assistant", "b")))
    different = [
        Document("a"),
        Document("b"),
        chat,
        Document(messages=chat.messages[:1]),
        Document('[["user", "a"], ["assistant", "b"]]'),
    ]
    assert len({document.digest for document in different}) == 5
    assert Document("a").digest == Document("a").digest
    assert (Document("aé").num_bytes, chat.num_bytes) == (3, 2)


def test_importing_data_stays_cheap() -> None:
    script = "import sys, darkit_nb.data as d; [getattr(d, n) for n in d.__all__]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "darkit_nb.data.preparation" in loaded
    assert not loaded & {"torch", "transformers", "datasets", "tokenizers", "pyarrow", "pydantic", "jinja2"}


def test_unknown_name() -> None:
    import darkit_nb.data

    with pytest.raises(AttributeError, match="prepair"):
        _ = darkit_nb.data.prepair  # pyright: ignore[reportAttributeAccessIssue]
