"""Tokenizers from files: published vocabularies give the published ids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from darkit_nb.data.byte_tokenizer import ByteTokenizer
from darkit_nb.data.tokenizer_files import is_tokenizer_folder, load_folder, plan_folder
from darkit_nb.errors import DataError

CHINESE = "自然语言处理是人工智能的一个重要方向。\n脉冲神经网络模仿大脑。"


def words(folder: Path, *more: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*more, "[UNK]", "the", "spike", "##s", "."]))
    return folder


def test_gpt2_files(test_data: Path) -> None:
    tokenizer = load_folder("gpt2", test_data / "tokenizers" / "gpt2")
    assert tokenizer.encode(["Hello world", " spiking <unk>"])[0].tolist() == [15496, 995]
    assert (tokenizer.vocab_size, tokenizer.eos_id, tokenizer.pad_id) == (50257, 50256, 50256)
    assert tokenizer.unknown_id is None
    text = "naïve — 漢字 🙂\n\n  indented\ttext <|endoftext|>"
    (ids,) = tokenizer.encode([text])
    assert 50256 not in ids
    assert tokenizer.decode(ids) == text


def test_bert_chinese_files(test_data: Path) -> None:
    tokenizer = load_folder("bert-base-chinese", test_data / "tokenizers" / "bert-base-chinese", lowercase=False)
    (ids,) = tokenizer.encode([CHINESE])
    assert tokenizer.decode(ids).replace(" ", "") == CHINESE.replace("\n", "")
    assert tokenizer.unknown_id == 100
    assert tokenizer.encode(["𰻝"])[0].tolist() == [100]
    # [CLS] 101 and [SEP] 102 are the ids every user of this model knows.
    assert tokenizer.eos_id == 102
    assert tokenizer.vocab_size == 21128


def test_bert_files_work_in_transformers(test_data: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    ours = load_folder("bert-base-chinese", test_data / "tokenizers" / "bert-base-chinese")
    ours.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(CHINESE, add_special_tokens=False)["input_ids"] == ours.encode([CHINESE])[0].tolist()
    assert (theirs.eos_token, theirs.pad_token, theirs.unk_token) == ("[SEP]", "[PAD]", "[UNK]")


def test_letter_case_follows_the_vocabulary_unless_told(tmp_path: Path) -> None:
    folder = words(tmp_path, "[SEP]")
    assert load_folder("w", folder).encode(["The SPIKES."])[0].tolist() == [2, 3, 4, 5]
    assert load_folder("w", folder, lowercase=False).encode(["The spikes."])[0].tolist() == [1, 3, 4, 5]
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert load_folder("w", folder, lowercase=False).encode(["The spikes."])[0].tolist() == [2, 3, 4, 5]
    assert plan_folder("w", folder).fingerprint != plan_folder("w", folder, lowercase=False).fingerprint


def test_no_token_ends_a_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no end-of-text token") as caught:
        load_folder("w", words(tmp_path))
    assert "eos_token" in str(caught.value)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "."}')
    assert load_folder("w", tmp_path).eos_id == 4
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</absent>"}')
    with pytest.raises(DataError, match="no end-of-text token"):
        load_folder("w", tmp_path)


def test_tokenizer_json_with_its_template(tmp_path: Path) -> None:
    ByteTokenizer().save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["eos_token"] = {"content": "<|pad|>", "special": True}
    config["chat_template"] = [{"name": "tool", "template": "x"}, {"name": "default", "template": "y"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = load_folder("bytes", tmp_path)
    assert loaded.eos_id == 257
    assert loaded.chat_template == "y"
    (tmp_path / "chat_template.jinja").write_text("z")
    assert load_folder("bytes", tmp_path).chat_template == "z"


def test_folder_without_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    assert not is_tokenizer_folder(tmp_path)
    with pytest.raises(DataError, match="holds no tokenizer") as caught:
        load_folder("t", tmp_path)
    assert "vocab.json" in str(caught.value)
    with pytest.raises(DataError, match="holds no tokenizer"):
        load_folder("t", tmp_path / "absent")


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "tokenizer_config.json"])
def test_damaged_files(test_data: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "t"
    shutil.copytree(test_data / "tokenizers" / "gpt2", folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    (folder / name).write_text('{"half": ')
    with pytest.raises(DataError, match="cannot be read"):
        load_folder("t", folder)


def test_vocabulary_that_is_not_byte_level(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a</w>": 0}')
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(DataError, match="not that of a byte-level tokenizer") as caught:
        load_folder("t", tmp_path)
    assert "256 of them missing" in str(caught.value)
