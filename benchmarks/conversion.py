"""Accuracy of conversions: model × planted outliers × method × seeds, each a row with its paired loss against float.

A combination whose row stands in benchmarks/results/conversion.jsonl with the same settings is passed over, so the
benchmark can be stopped and goes on where it was; the most informative combinations come first.
`python -m benchmarks.conversion_table` prints what is there.

Needs the corpora named by DARKIT_TEST_DATA, and models in the folder `models` beside it or named by DARKIT_TEST_MODELS.
"""

from __future__ import annotations

import json
import lzma
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.conversion_judges import judged
from benchmarks.conversion_methods import Method, all_methods, changed, controls, headline, weights
from benchmarks.harness import RESULTS
from benchmarks.planting import outlier_statistics, planted
from darkit_nb.convert.driver import convert_model
from darkit_nb.data.calibration import calibration_segments
from darkit_nb.data.tokenizer_files import load_folder
from darkit_nb.evaluate.conversion_cost import conversion_cost
from darkit_nb.evaluate.paired import paired_difference, window_differences
from darkit_nb.evaluate.scoring import window_losses
from darkit_nb.records.conversion import ConversionReport, ConversionSpec
from darkit_nb.records.paired import WindowLosses
from darkit_nb.spikify import load_model

SAMPLES, LENGTH, WINDOWS = 32, 256, 256
LONG_WINDOWS, LONG = 32, 2048
"""Windows of WikiText-2 besides, as long as the published protocol's; only for models with such a context."""
CALIBRATION_BYTES = 12_000_000
"""Of the training novels: what the calibration segments are drawn from."""


@dataclass(frozen=True)
class Combination:
    """One row to be."""

    model: str
    planting: str
    method: Method
    seed: int
    rotation_seed: int

    @property
    def key(self) -> str:
        """Equal for rows of the same settings."""
        method = self.method
        parts = (self.model, self.planting, method.name, method.judged_as, changed(method.spec))
        return "|".join(map(str, (*parts, self.seed, self.rotation_seed, SAMPLES, LENGTH, WINDOWS)))


def combinations(model: str) -> Iterator[Combination]:
    """In the order of what they tell: presets everywhere once, then over seeds, then the controls, then weights."""
    none, both, all_four = ("none",), ("none", "pca+diag"), ("none", "pca+diag", "diag", "pca")
    first, more = [(0, 0)], [(1, 1), (2, 0), (0, 1), (1, 0), (2, 1)]
    # Training the whole model is dear: most of its rows come after everybody else's.
    quick, slow = _split(headline())
    cheap, dear = _split(controls())
    rotated = [method for method in quick if method.rotates]
    rounds = (
        (none, quick, first),
        (none, rotated, more[:2]),
        (none, cheap, first),
        (("pca+diag",), quick, first),
        (none, slow[:2], first),
        (none, weights()[:8], first),
        (both, quick, more),
        (both, cheap, more[:2]),
        (none, slow, [*first, *more]),
        (none, weights(), more),
        (all_four, quick, [*first, *more]),
        (both, [*slow, *dear], first),
        (all_four, all_methods(), [*first, *more]),
    )
    seen = set[str]()
    for plantings, methods, seeds in rounds:
        for seed, rotation_seed in seeds:
            for planting in plantings:
                for method in methods:
                    one = Combination(model, planting, method, seed, rotation_seed if method.rotates else 0)
                    if one.key not in seen:
                        seen.add(one.key)
                        yield one


def _split(methods: list[Method]) -> tuple[list[Method], list[Method]]:
    return [m for m in methods if not m.spec.refine_epochs], [m for m in methods if m.spec.refine_epochs]


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """One row per combination that has none yet; without the corpora there is nothing to measure."""
    data = Path(os.environ.get("DARKIT_TEST_DATA") or "nowhere")
    models = Path(os.environ.get("DARKIT_TEST_MODELS") or data.parent / "models")
    folders = sorted(path.parent for path in models.glob("*/config.json")) if data.is_dir() else []
    if not folders:
        print("conversion: no corpora or no models; see the head of benchmarks/conversion.py")
        return
    done = known_keys()
    pending = [iter(list(combinations(folder.name))) for folder in folders]
    for turn in zip(*pending, strict=True):  # models take turns
        for folder, one in zip(folders, turn, strict=True):
            if quick or one.key not in done:
                yield _bench(folder, data).row(one)
                if quick:
                    return


def known_keys(results: Path = RESULTS) -> set[str]:
    """Combinations that have a row."""
    file = results / "conversion.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    return {row["key"] for row in map(json.loads, lines) if "key" in row}


@cache
def _bench(folder: Path, data: Path) -> Bench:
    return Bench(folder, data)


@dataclass(frozen=True)
class _Conversion:
    """What there is of one: planting and settings, the temporary folder it lies in, its report and seconds."""

    of: tuple[str, ConversionSpec]
    folder: tempfile.TemporaryDirectory[str]
    report: ConversionReport
    seconds: float


class Bench:
    """One model with its texts; what is needed again is kept."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data
        self.model: Any = load_model(folder, dtype=torch.float32)
        self._planted: dict[str, tuple[PreTrainedModel, WindowLosses, dict[str, float]]] = {}
        self._last: _Conversion | None = None

    @cached_property
    def calibration_tokens(self) -> Any:
        """Tokens of the beginning of the training novels."""
        with lzma.open(self.data / "novels" / "train.txt.xz") as stream:
            text = stream.read(CALIBRATION_BYTES).decode(errors="ignore")
        return load_folder(self.folder.name, self.folder).encode([text])[0]

    @cached_property
    def held_out(self) -> tuple[Tensor, float]:
        """Tokens of the validation novels, and bytes per token."""
        text = (self.data / "novels" / "valid.txt").read_text()
        ids = load_folder(self.folder.name, self.folder).encode([text])[0].astype("int64")
        return torch.from_numpy(ids)[: WINDOWS * LENGTH], len(text.encode()) / len(ids)

    def segments(self, seed: int) -> Tensor:
        """Calibration tokens `[SAMPLES, LENGTH]`."""
        return torch.from_numpy(
            calibration_segments(self.calibration_tokens, samples=SAMPLES, length=LENGTH, seed=seed)
        )

    def losses(self, model: torch.nn.Module) -> WindowLosses:
        """Of the held-out windows."""
        ids, bytes_per_token = self.held_out
        return window_losses(
            model, ids, window=LENGTH, text="novels/valid.txt", bytes_per_token=bytes_per_token, batch_size=8
        )

    @cached_property
    def wikitext(self) -> tuple[Tensor, float]:
        """Tokens of WikiText-2's test text, the word-level one, and bytes per token."""
        text = (self.data / "wikitext-2" / "test.txt").read_text()
        ids = load_folder(self.folder.name, self.folder).encode([text])[0].astype("int64")
        return torch.from_numpy(ids)[: LONG_WINDOWS * LONG], len(text.encode()) / len(ids)

    def long_losses(self, model: torch.nn.Module) -> WindowLosses | None:
        """Of WikiText-2 in windows of 2048 tokens, or None where they are longer than the model's context."""
        if self.model.config.max_position_embeddings < LONG:
            return None
        ids, bytes_per_token = self.wikitext
        return window_losses(model, ids, window=LONG, text="wikitext-2/test.txt", bytes_per_token=bytes_per_token)

    @cached_property
    def long_base(self) -> WindowLosses | None:
        """Those of the float model; planting changes nothing about them."""
        return self.long_losses(self.model)

    def with_outliers(self, how: str) -> tuple[PreTrainedModel, WindowLosses, dict[str, float]]:
        """The planted model, its float losses, and how peaked its channels are."""
        if how not in self._planted:
            ids = self.segments(0)[:8]
            made = planted(self.model, how, ids)
            self._planted[how] = (made, self.losses(made), outlier_statistics(made, ids))
        return self._planted[how]

    def converted(self, one: Combination) -> tuple[PreTrainedModel, ConversionReport, float]:
        """The converted model, its report and seconds. The last conversion is kept for a method that only judges it in
        another way."""
        wanted = (one.planting, one.method.seeded(one.seed, one.rotation_seed, SAMPLES, LENGTH))
        if self._last is None or self._last.of != wanted:
            start, folder = time.perf_counter(), tempfile.TemporaryDirectory()
            model = self.with_outliers(one.planting)[0]
            out = Path(folder.name) / "converted"
            report = convert_model(model, wanted[1], calibration=self.segments(one.seed), out=out)
            self._last = _Conversion(wanted, folder, report, time.perf_counter() - start)
        return load_model(Path(self._last.folder.name) / "converted"), self._last.report, self._last.seconds

    def row(self, one: Combination) -> dict[str, Any]:
        """Convert, score, and say what it cost."""
        model, base, peaks = self.with_outliers(one.planting)
        converted, report, seconds = self.converted(one)
        scored = judged(converted, one.method.judged_as)
        losses = self.losses(scored)
        cost = conversion_cost(converted, report, [self.held_out[0][: 2 * LENGTH].view(2, LENGTH)])
        delta = paired_difference(losses, base)
        return {
            "key": one.key,
            "model": one.model,
            "parameters": model.num_parameters(),
            "planting": one.planting,
            "method": one.method.name,
            "group": one.method.group,
            "judged_as": one.method.judged_as,
            "seed": one.seed,
            "rotation_seed": one.rotation_seed,
            "settings": {"samples": SAMPLES, "length": LENGTH, "windows": WINDOWS, "spec": changed(one.method.spec)},
            "float_bits_per_byte": round(base.bits_per_byte, 6),
            "perplexity": round(losses.perplexity, 4),
            "float_perplexity": round(base.perplexity, 4),
            **{name: round(value, 6) for name, value in delta.to_dict().items() if value is not None},
            "differences": [round(each, 5) for each in window_differences(losses, base)],
            **self._wikitext(scored),
            **self._cost(one, cost.to_dict()),
            "block_errors": [round(block.error, 6) for block in report.blocks],
            "seconds": round(seconds, 2),
            "outliers": {name: round(value, 3) for name, value in peaks.items()},
        }

    def _wikitext(self, scored: torch.nn.Module) -> dict[str, Any]:
        """Perplexity of the long windows and their paired differences, where the model has them."""
        base, losses = self.long_base, self.long_losses(scored)
        if base is None or losses is None:
            return {}
        return {
            "wikitext": {
                "perplexity": round(losses.perplexity, 4),
                "float_perplexity": round(base.perplexity, 4),
                "float_bits_per_byte": round(base.bits_per_byte, 6),
                "differences": [round(each, 5) for each in window_differences(losses, base)],
            }
        }

    def _cost(self, one: Combination, cost: dict[str, Any]) -> dict[str, Any]:
        """Figures of the conversion; the widest tenth of tokens takes a bit more each, whatever the features are."""
        kept = ("mean_steps", "code_bits", "weight_bits", "storage_bits", "ace", "unary_events", "bitwise_events")
        found = {name: round(cost[name], 4) for name in kept if cost[name] is not None}
        if one.method.judged_as == "tokens":
            found |= {"mean_steps": 1.1, "code_bits": 4.1, "ace": round(1.1 * found["ace"], 4)}
        return found
