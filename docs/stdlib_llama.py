"""Trains the decoder that comes with the package and writes its files: `make stdlib-llama`, about half an hour.

The recipe is `docs/recipes/stdlib-llama.yaml`. The weights are stored in float16 and loaded as float32. With the folder
of a run of that recipe as an argument, `python -m docs.stdlib_llama FOLDER`, nothing is trained and its weights are
taken.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from darkit_nb.config import load_config
from darkit_nb.records.bundled import FOLDER, STDLIB_LLAMA
from darkit_nb.runs import RunDirectory
from darkit_nb.train.launch import train

RECIPE = Path(__file__).parent / "recipes" / "stdlib-llama.yaml"
STEP = 2200
"""The checkpoint that is bundled: the learning rate is down to 4 % of its peak there, and the rest changes little."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")

_CARD = """# stdlib-llama

A small Llama for trying things out: {parameters:,} parameters, {layers} blocks of width {width}, a vocabulary of
{vocabulary} tokens, windows of {window}. Trained by DarKit-NB (`make stdlib-llama`, {steps} steps of {batch} windows,
{seen:.1f} M tokens, a checkpoint near the end of its recipe) on the source of the Python standard library, {corpus}.
Seed, learning rate and the rest stand in `docs/recipes/stdlib-llama.yaml`. It writes something that looks like Python
and means nothing.

Held-out files of the library, while training: {score:.3f} bits per byte. Weights in float16.

## Licence

The text it was trained on is the Python standard library, (c) Python Software Foundation, used under the PSF License
Version 2 (https://docs.python.org/3/license.html), which allows to use, modify and distribute it. The weights and the
tokenizer are part of DarKit-NB and under its licence, Apache 2.0.
"""


def export(run: RunDirectory, target: Path) -> None:
    """Write model, tokenizer and a card of a finished run.

    Args:
        run: of the recipe.
        target: folder of the bundled model; what it held is replaced.
    """
    (checkpoint,) = (each.path for each in run.checkpoints() if each.step == STEP)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    weights = {name: value.to(torch.float16) for name, value in load_file(checkpoint / "model.safetensors").items()}
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((checkpoint / "config.json").read_text())
    (target / "model.safetensors").chmod(0o644)
    # Training leaves the cache out; whoever writes with the model wants it.
    _write(target / "config.json", {**config, "dtype": "float32", "use_cache": True})
    for name in TOKENIZER_FILES:
        shutil.copyfile(checkpoint / name, target / name)
    (target / "README.md").write_text(_card(run, config, weights), encoding="utf-8")


def _card(run: RunDirectory, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> str:
    made = run.read_config()
    scores = [
        line["bits_per_byte"] for line in run.read_metrics() if line["kind"] == "evaluation" and line["step"] == STEP
    ]
    return _CARD.format(
        parameters=sum(value.numel() for value in weights.values()),
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        vocabulary=config["vocab_size"],
        window=made.data.seq_len,
        steps=STEP,
        batch=made.train.batch_size,
        seen=STEP * made.train.batch_size * made.data.seq_len / 1e6,
        corpus=_corpus(run),
        score=scores[-1],
    )


def _corpus(run: RunDirectory) -> str:
    python = json.loads((run.root / "env.json").read_text())["python"]
    return f"that of Python {python}"


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Train unless a run is given, and write the files."""
    run = RunDirectory.open(arguments[0]) if arguments else train(load_config(RECIPE))
    target = FOLDER / STDLIB_LLAMA
    export(run, target)
    print(f"{target}: {sum(path.stat().st_size for path in target.iterdir()):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
