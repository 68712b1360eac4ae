"""Real prose with real tokenizers: novels read with GPT-2's files and with a BPE of 2 048 trained on them.

Each trained model is then scored on the WikiText-2 test text, non-overlapping windows of min(2048, context) tokens.
Needs the corpora named by DARKIT_TEST_DATA.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from darkit_nb.evaluate import evaluate_run
from darkit_nb.train.demo import demo_config
from darkit_nb.train.launch import train


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """Train and score once per tokenizer; without the corpora there is nothing to measure."""
    data = Path(os.environ.get("DARKIT_TEST_DATA") or "nowhere")
    if not data.is_dir():
        print("real_text: DARKIT_TEST_DATA names no folder; nothing measured")
        return
    tokenizers = {"gpt2": str(data / "tokenizers" / "gpt2"), "bpe:2048": "bpe:2048"}
    steps, tokens, novels = (3, 100_000, "valid.txt") if quick else (200, 2_000_000, "train.txt.xz")
    with tempfile.TemporaryDirectory() as folder:
        for name, tokenizer in tokenizers.items():
            config = demo_config(steps, runs_dir=folder).replace(
                {
                    "data.dataset": f"text:{data / 'novels' / novels}",
                    "data.tokenizer": tokenizer,
                    "data.max_train_tokens": tokens,
                    "data.max_validation_tokens": 100_000,
                    "evaluation.windows": 64,
                    "train.max_seconds": None,
                }
            )
            trained = train(config, progress=False)
            scores = [line for line in trained.read_metrics() if line["kind"] == "evaluation"]
            wikitext = evaluate_run(
                trained, text=data / "wikitext-2" / "test.txt", max_windows=4 if quick else 400, runs_dir=folder
            )
            yield {
                "preset": config.model.preset,
                "tokenizer": name,
                "steps": steps,
                "tokens": steps * config.train.batch_size * config.data.seq_len,
                "novels_bits_per_byte": {"before": scores[0]["bits_per_byte"], "after": scores[-1]["bits_per_byte"]},
                "wikitext2_test": {
                    "window": wikitext.perplexity.window,
                    "windows": wikitext.perplexity.windows,
                    "perplexity": wikitext.perplexity.perplexity,
                    "bits_per_byte": wikitext.perplexity.bits_per_byte,
                },
            }
