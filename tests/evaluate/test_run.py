"""Evaluating a checkpoint: which text, which window, and the very numbers of `perplexity`."""

from __future__ import annotations

import lzma
import math
from hashlib import sha256
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from darkit_nb.config import DataConfig, RunConfig
from darkit_nb.data import prepare
from darkit_nb.errors import ConfigError, DataError, RunError
from darkit_nb.evaluate import evaluate_run, perplexity
from darkit_nb.runs import RunDirectory
from darkit_nb.spikify import load_model, spikify
from tests.evaluate.models import decoder

TEXT = "".join(f"Line {n} tells of {'spikes' if n % 3 else 'silence'} and of number {n * n}.\n" for n in range(120))


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def data(tmp_path: Path, text_file: Path) -> DataConfig:
    return DataConfig(
        dataset=f"text:{text_file}", seq_len=32, validation_fraction=0.3, cache_dir=str(tmp_path / "cache")
    )


@pytest.fixture
def checkpoint(tmp_path: Path, data: DataConfig) -> Path:
    """A spiking model over bytes and its tokenizer, as training saves them."""
    prepared, folder = prepare(data, seed=0), tmp_path / "model"
    model = spikify(decoder(vocab_size=prepared.vocab_size))
    model.save_pretrained(folder)
    prepared.load_tokenizer().save_pretrained(folder)
    return folder


def loaded(folder: Path) -> PreTrainedModel:
    return load_model(folder)


def test_a_model_folder_on_a_text_file(checkpoint: Path, text_file: Path):
    result = evaluate_run(checkpoint, text=text_file, device="cpu")
    content = TEXT.encode()
    direct = perplexity(loaded(checkpoint), list(content), window=64, bytes_per_token=1.0)
    assert result.perplexity.window == 64  # the model's context, being below 2048
    assert result.perplexity.loss == pytest.approx(direct.loss, rel=1e-6)
    assert result.perplexity.bits_per_byte == pytest.approx(direct.loss / math.log(2), rel=1e-6)
    assert (result.text, result.text_bytes, result.text_sha256) == (
        "lines.txt",
        len(content),
        sha256(content).hexdigest(),
    )
    assert result.to_dict()["perplexity"]["window"] == 64


def test_windows_can_be_chosen_and_limited_and_files_compressed(checkpoint: Path, text_file: Path):
    packed = text_file.with_suffix(".txt.xz")
    packed.write_bytes(lzma.compress(TEXT.encode()))
    plain = evaluate_run(checkpoint, text=text_file, window=16, max_windows=5, device="cpu")
    assert (plain.perplexity.window, plain.perplexity.windows) == (16, 5)
    assert evaluate_run(checkpoint, text=packed, window=16, max_windows=5, device="cpu").perplexity == plain.perplexity


def test_a_run_is_scored_on_the_documents_it_never_learnt_from(
    tmp_path: Path, checkpoint: Path, data: DataConfig, text_file: Path
):
    run = RunDirectory.create(RunConfig(data=data, runs_dir=str(tmp_path / "runs")), command="test")
    with pytest.raises(RunError, match="checkpoint"):
        evaluate_run(run, device="cpu")
    with run.new_checkpoint(7) as folder:
        for file in checkpoint.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    own = evaluate_run(run.id, runs_dir=tmp_path / "runs", device="cpu")
    assert own.text.endswith(", validation")
    assert 0 < own.text_bytes < len(TEXT.encode())
    assert own.text_sha256 == sha256(TEXT.encode()[-own.text_bytes :]).hexdigest()  # a single file is split at its end
    assert Path(own.model).name == "step-00000007"
    whole = evaluate_run(run, dataset="stdlib", max_windows=1, device="cpu")
    assert whole.text == "stdlib, validation"


def test_it_must_be_clear_which_text(checkpoint: Path, text_file: Path):
    with pytest.raises(ConfigError, match="not clear which text"):
        evaluate_run(checkpoint)
    with pytest.raises(ConfigError, match="not clear which text"):
        evaluate_run(checkpoint, text=text_file, dataset="stdlib")


def test_what_cannot_be_scored_says_so(tmp_path: Path, checkpoint: Path, text_file: Path):
    (tmp_path / "short.txt").write_text("too short\n")
    with pytest.raises(DataError, match="too short to be scored"):
        evaluate_run(checkpoint, text=tmp_path / "short.txt", device="cpu")
    with pytest.raises(DataError, match="no file or folder"):
        evaluate_run(checkpoint, text=tmp_path / "absent.txt", device="cpu")
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="holds no tokenizer"):
        evaluate_run(checkpoint, text=text_file, device="cpu")


@pytest.mark.slow
def test_the_novel_model_reads_novels_better_than_the_wikitext_test_text(test_data: Path):
    model = test_data.parent / "models" / "novel-llama"
    texts = {"wikitext": test_data / "wikitext-2" / "test.txt", "novels": test_data / "novels" / "valid.txt"}
    scores = {
        name: evaluate_run(model, text=text, max_windows=100, device="cpu").perplexity for name, text in texts.items()
    }
    assert {score.window for score in scores.values()} == {256}
    # Its own training log ends at a loss of about 3.3 on such text; word-level encyclopaedia text is foreign to it.
    assert scores["novels"].loss == pytest.approx(3.6, abs=0.2)
    assert scores["wikitext"].loss == pytest.approx(5.4, abs=0.2)


def test_a_published_protocol_from_a_local_copy(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "mirror" / "datasets" / "wikitext-2-raw"
    folder.mkdir(parents=True)
    (folder / "test.txt").write_text(TEXT)
    monkeypatch.setenv("DARKIT_DATA", str(tmp_path / "mirror"))
    result = evaluate_run(checkpoint, protocol="wikitext-2", device="cpu", max_windows=9)
    joined = "\n\n".join(TEXT.splitlines(keepends=True)).encode()
    direct = perplexity(loaded(checkpoint), list(joined)[: 9 * 64], window=64, bytes_per_token=1.0)
    assert result.perplexity.loss == pytest.approx(direct.loss, rel=1e-6)
    assert result.text == "wikitext-2, published protocol"
    with pytest.raises(ConfigError, match="not clear"):
        evaluate_run(checkpoint, protocol="wikitext-2", dataset="stdlib")
