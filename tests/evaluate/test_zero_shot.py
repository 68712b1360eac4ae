"""Zero-shot through the real harness, offline; without it, a message that says what to install."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from darkit_nb.errors import BackendError, DataError
from darkit_nb.evaluate.zero_shot import PUBLISHED, zero_shot
from darkit_nb.spikify import spikify
from tests.evaluate.models import decoder

needs_harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed (extra eval)"
)

QUESTIONS = [
    {"goal": f"{index}: dry a cup", "sol1": "use a towel" * (1 + index % 2), "sol2": "use rain", "label": index % 2}
    for index in range(6)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A spiking model over bytes with its tokenizer."""
    from darkit_nb.config import DataConfig
    from darkit_nb.data import prepare

    text = tmp_path / "text.txt"
    text.write_text("A cup is dried with a towel.\n" * 400)
    prepared = prepare(DataConfig(dataset=f"text:{text}", seq_len=32, cache_dir=str(tmp_path / "cache")), seed=0)
    spikify(decoder(vocab_size=prepared.vocab_size)).save_pretrained(tmp_path / "model")
    prepared.load_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    (made / "piqa.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    return made


@needs_harness
@pytest.mark.slow
def test_the_harness_scores_a_spiking_model_offline(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder.parent / "cache"))
    scores = zero_shot(folder, ["piqa"], data=data, batch_size=4)
    assert {(score.metric, score.published) for score in scores} == {("acc", False), ("acc_norm", True)}
    assert all(score.questions == len(QUESTIONS) and score.task == "piqa" for score in scores)
    by_name = {score.metric: score.value for score in scores}
    assert by_name == pytest.approx(by_hand(folder))
    with pytest.raises(DataError, match="no data"):
        zero_shot(folder, ["boolq"], data=data)


def by_hand(folder: Path) -> dict[str, float]:
    """Both accuracies from the log-likelihoods of the answers, spelt out."""
    import torch
    from transformers import AutoTokenizer

    from darkit_nb.spikify import load_model

    model, tokenizer = load_model(folder), AutoTokenizer.from_pretrained(folder)
    right = {"acc": 0, "acc_norm": 0}
    for each in QUESTIONS:
        prompt, scores, lengths = f"Question: {each['goal']}\nAnswer:", [], []
        for answer in (each["sol1"], each["sol2"]):
            context = tokenizer(prompt, add_special_tokens=False).input_ids
            ids = tokenizer(f"{prompt} {answer}", add_special_tokens=False).input_ids
            whole = ids[-64:]
            with torch.no_grad():
                logits = torch.log_softmax(model(input_ids=torch.tensor([whole])).logits[0], -1)
            start = len(whole) - (
                len(tokenizer(f"{prompt} {answer}", add_special_tokens=False).input_ids) - len(context)
            )
            scores.append(sum(float(logits[i - 1, whole[i]]) for i in range(start, len(whole))))
            lengths.append(len(answer.encode()))
        right["acc"] += (scores[1] > scores[0]) == bool(each["label"])
        norm = [score / length for score, length in zip(scores, lengths, strict=True)]
        right["acc_norm"] += (norm[1] > norm[0]) == bool(each["label"])
    return {name: count / len(QUESTIONS) for name, count in right.items()}


def test_without_the_harness_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="not installed") as caught:
        zero_shot(tmp_path, ["piqa"], data=tmp_path)
    assert "darkit-nb[eval]" in str(caught.value)


def test_the_published_metric_of_every_task_is_named():
    assert set(PUBLISHED.values()) == {"acc", "acc_norm"}
    assert PUBLISHED["boolq"] == PUBLISHED["winogrande"] == "acc"
