"""Tokenizers by id: the mirror, the cache of Hugging Face, and nothing of either."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from darkit_nb.data.byte_tokenizer import ByteTokenizer
from darkit_nb.data.tokenizer import TextTokenizer, plan_tokenizer
from darkit_nb.errors import DataError


def built(settings: Any, name: str) -> TextTokenizer:
    return plan_tokenizer(settings(tokenizer=name)).build(lambda: iter([]))


@pytest.mark.parametrize("name", ["gpt2", "gpt2-medium", "gpt2-large", "some-org/their_tokenizer"])
def test_mirrored(settings: Any, test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DARKIT_DATA", str(tmp_path))
    shutil.copytree(test_data / "tokenizers" / "gpt2", tmp_path / "tokenizers" / name)
    tokenizer = built(settings, name)
    assert tokenizer.name == name
    assert tokenizer.encode(["Hello world"])[0].tolist() == [15496, 995]


def test_mirrored_bert_keeps_the_published_case(
    settings: Any, test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKIT_DATA", str(tmp_path))
    for name in ("bert-base-chinese", "bert-base-cased"):
        shutil.copytree(test_data / "tokenizers" / "bert-base-chinese", tmp_path / "tokenizers" / name)
        # The published configuration lowers nothing, and this vocabulary has hardly a capital.
        assert built(settings, name).encode(["Paris"])[0].tolist() == [100]


def test_folder(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ByteTokenizer().save(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "mine"), "./mine", "mine", "../" + tmp_path.name + "/mine"):
        assert built(settings, name).vocab_size == 261


def test_folder_changed_in_place_has_another_fingerprint(settings: Any, tmp_path: Path) -> None:
    ByteTokenizer().save(tmp_path)
    first = plan_tokenizer(settings(tokenizer=str(tmp_path))).fingerprint
    file = tmp_path / "tokenizer_config.json"
    file.write_text(file.read_text() + " ")
    assert plan_tokenizer(settings(tokenizer=str(tmp_path))).fingerprint != first


@pytest.mark.parametrize("name", ["../x", "a/../b", "a//b", "a/b/c", "-x", "a b", ".x", "a/..", "x" * 200])
def test_malformed_id(settings: Any, name: str) -> None:
    with pytest.raises(DataError, match="is not the id of a tokenizer"):
        plan_tokenizer(settings(tokenizer=name))


@pytest.mark.parametrize("name", ["", "bpee:300", "hub:"])
def test_no_such_form(settings: Any, name: str) -> None:
    with pytest.raises(DataError, match=r"There is no tokenizer of the form|incomplete") as caught:
        plan_tokenizer(settings(tokenizer=name))
    assert "expected" in str(caught.value)


def test_absolute_path_without_tokenizer(settings: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no tokenizer"):
        plan_tokenizer(settings(tokenizer=str(tmp_path)))


def test_offline_and_absent(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKIT_DATA", str(tmp_path))
    with pytest.raises(DataError, match="not on this machine and the hub cannot be reached") as caught:
        plan_tokenizer(settings(tokenizer="nobody/never-made-this"))
    message = str(caught.value)
    assert f"DARKIT_DATA is {tmp_path}, which has no tokenizers/nobody/never-made-this" in message
    assert "A.from_pretrained('nobody/never-made-this').save_pretrained('tokenizers/nobody/never-made-this')" in message
    monkeypatch.delenv("DARKIT_DATA")
    with pytest.raises(DataError, match="DARKIT_DATA is not set"):
        plan_tokenizer(settings(tokenizer="nobody/never-made-this"))


THROUGH_THE_HUB = """
import sys
from types import SimpleNamespace
from pathlib import Path
from darkit_nb.data.tokenizer import plan_tokenizer
plan = plan_tokenizer(SimpleNamespace(tokenizer="gpt2"))
tokenizer = plan.build(lambda: iter([]))
assert plan.fingerprint == plan_tokenizer(SimpleNamespace(tokenizer="gpt2")).fingerprint
assert type(tokenizer).__name__ == "HubTokenizer"
tokenizer.save(Path(sys.argv[1]))
from transformers import AutoTokenizer
again = AutoTokenizer.from_pretrained(sys.argv[1])
print(tokenizer.encode(["Hello world <|endoftext|>"])[0].tolist()[:2], tokenizer.vocab_size, tokenizer.eos_id,
      again("Hello world")["input_ids"], again.eos_token_id)
"""


def test_through_auto_tokenizer(test_data: Path, tmp_path: Path) -> None:
    """A copy laid out as the hub's client lays it out is found by the real loader, without a network."""
    revision = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
    repository = tmp_path / "hub" / "models--gpt2"
    shutil.copytree(test_data / "tokenizers" / "gpt2", repository / "snapshots" / revision)
    (repository / "snapshots" / revision).chmod(0o755)
    (repository / "snapshots" / revision / "config.json").write_text('{"model_type": "gpt2"}')
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    env.pop("DARKIT_DATA", None)
    env.pop("HF_HUB_CACHE", None)
    command = [sys.executable, "-c", THROUGH_THE_HUB, str(tmp_path / "saved")]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[15496, 995] 50257 50256 [15496, 995] 50256"
