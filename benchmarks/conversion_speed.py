"""How fast converted models are: text scored and tokens generated, every preset against float, turn by turn.

Weights are rounded the quick way where a preset searches longer, and trained for one epoch: which codes a layer holds
does not change how long it takes. Models are `novel-llama`, the pretrained Llama of 135 million parameters where
DARKIT_TEST_MODELS names the folder it is in, and one block of the shape of LLaMA-7B with random weights.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from benchmarks.conversion_cost import PRESETS, QUICK, SEVEN_B, one_block
from benchmarks.harness import compare
from darkit_nb.config.conversions import preset
from darkit_nb.convert.driver import convert_model
from darkit_nb.records.conversion import ADDITIVE, ConversionSpec
from darkit_nb.spikify import load_model

SAMPLES, LENGTH = 2, 128
WINDOWS, WINDOW = 4, 256
PROMPT = 32
NEARLY = 0.02
"""Relative difference of logits up to which none of their codes is taken to have tipped over."""
FEW = ("rtn", "quarot", "darkit", "spikellm-gptq")
WIDE = ("rtn", "gptq", "quarot", "darkit")
_PLAIN: dict[str, Any] = {
    "weights": "rtn",
    "clip_search": False,
    "scale_sweep": False,
    "code_passes": 0,
    "float_target": False,
    "residual_target": False,
}


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """Every model there is with its presets: scoring, then generation."""
    rounds = 2 if quick else 11
    for name, model, presets in models(quick):
        with tempfile.TemporaryDirectory() as folder:
            rivals = {pipeline: converted(model, pipeline, Path(folder) / pipeline) for pipeline in presets}
            yield from speeds(name, model, rivals, rounds=rounds)


def models(quick: bool) -> Iterator[tuple[str, PreTrainedModel, tuple[str, ...]]]:
    """What is measured: name, float model, presets."""
    data, own = (os.environ.get(name) or "nowhere" for name in ("DARKIT_TEST_DATA", "DARKIT_TEST_MODELS"))
    found = {
        "novel-llama": (Path(data).parent / "models" / "novel-llama", PRESETS[:1] if quick else PRESETS),
        "smollm2-135m": (Path(own) / "smollm2-135m", FEW),
    }
    for name, (folder, presets) in found.items():
        if folder.is_dir() and not (quick and presets is FEW):
            yield name, load_model(folder, dtype=torch.float32), presets
    block = "one block of a small model" if quick else "one block of LLaMA-7B"
    yield block, one_block(QUICK if quick else SEVEN_B), WIDE


def quickly(pipeline: str) -> ConversionSpec:
    """The preset without what takes long to find and does not change how fast its layers are."""
    usual = preset(pipeline)
    changes: dict[str, Any] = {} if usual.weights in ADDITIVE or usual.refine_epochs else dict(_PLAIN)
    if usual.refine_epochs:
        changes["refine_epochs"] = 1
    return preset(pipeline, samples=SAMPLES, sample_length=LENGTH, **changes)


def converted(model: PreTrainedModel, pipeline: str, folder: Path) -> PreTrainedModel:
    """The model by a preset, from `folder`, where it is saved unless it is there."""
    if not (folder / "config.json").is_file():
        ids = tokens_for(model, SAMPLES, LENGTH)
        convert_model(model, quickly(pipeline), calibration=ids, out=folder)
    return load_model(folder)


def tokens_for(model: PreTrainedModel, windows: int, window: int) -> Tensor:
    """Tokens at random, always the same."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, model.config.vocab_size, (windows, window), generator=generator)


def speeds(
    name: str, model: PreTrainedModel, rivals: Mapping[str, PreTrainedModel], *, rounds: int
) -> Iterator[dict[str, Any]]:
    """Rows of a model: tokens a second of scoring, then of generation one token at a time."""
    every = {"float": model, **rivals}
    ids = tokens_for(model, WINDOWS, WINDOW)
    checked = compare(
        {which: lambda each=each: score(each, ids) for which, each in every.items()}, agree=_agree, rounds=rounds
    )
    yield from _rows("scoring", name, checked, ids.numel())
    decoders = {which: Decoder(each) for which, each in every.items()}
    for decoder in decoders.values():
        decoder.check()
    checked = compare({which: each.next_token for which, each in decoders.items()}, agree=_one_token, rounds=3 * rounds)
    yield from _rows("generation", name, checked, 1)


@torch.no_grad()
def score(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Logits of windows."""
    return model(input_ids=ids, use_cache=False).logits


class Decoder:
    """A model that generates one token after the other behind a prompt, keys and values kept."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.cache, self.last = model, DynamicCache(config=model.config), tokens_for(model, 1, PROMPT)

    @torch.no_grad()
    def next_token(self) -> Tensor:
        """Logits of the token behind all until now, which is put behind them."""
        logits = self.model(input_ids=self.last, past_key_values=self.cache, use_cache=True).logits[:, -1]
        self.last = logits.argmax(-1, keepdim=True)
        return logits

    @torch.no_grad()
    def check(self, tokens: int = 8) -> None:
        """Generate some tokens; AssertionError unless they are those without a cache, and logits nearly so.

        Attention over one query sums in another order than over many, which tips a code over here and there. So logits
        may differ by as much as they do without any cache when embeddings move by a millionth, and the text with them.
        """
        ids = self.last
        for _ in range(tokens):
            logits, whole = self.next_token(), score(self.model, ids)[:, -1]
            error = float((logits - whole).norm() / whole.norm())
            if error >= NEARLY:
                assert error < self._restless(ids, whole), "other logits with a cache than without"
                return
            assert torch.equal(self.last, whole.argmax(-1, keepdim=True)), "another token with a cache than without"
            ids = torch.cat([ids, self.last], 1)

    def _restless(self, ids: Tensor, whole: Tensor) -> float:
        """How far logits move, relative to themselves, when embeddings move by a millionth."""
        weight = cast(Tensor, self.model.get_input_embeddings().weight)
        kept = weight.clone()
        generator = torch.Generator().manual_seed(2)
        weight.mul_(1 + 1e-6 * torch.randn(weight.shape, generator=generator))
        moved = score(self.model, ids)[:, -1]
        weight.copy_(kept)
        return float((moved - whole).norm() / whole.norm())


def _agree(results: Mapping[str, Tensor]) -> None:
    floating = results["float"]
    for name, low in results.items():
        error = float((low - floating).square().sum() / floating.square().sum())
        assert error < 1.5, f"{name} computes something else: relative error {error:.3g}"


def _one_token(results: Mapping[str, Tensor]) -> None:
    assert len({each.shape for each in results.values()}) == 1


def _rows(what: str, model: str, timed: dict[str, Any], tokens: int) -> Iterator[dict[str, Any]]:
    speeds_of = {which: round(tokens / each["median"], 1) for which, each in timed["seconds"].items()}
    for pipeline, ratio in timed["ratio"].items():
        times = {"median": 1 / ratio["median"], "p10": 1 / ratio["p90"], "p90": 1 / ratio["p10"]}
        yield {
            "what": what,
            "model": model,
            "pipeline": preset(pipeline).name,
            "tokens_per_s": {"float": speeds_of["float"], "converted": speeds_of[pipeline]},
            "times_float": {key: round(value, 3) for key, value in times.items()},
            "rounds": timed["rounds"],
        }
