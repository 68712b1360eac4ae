"""Train a small Llama that grows outliers by itself: no weight decay and a high learning rate.

    python -m benchmarks.outlier_model OUT --corpus novels/train.txt.xz --tokenizer FOLDER --steps 2400

or, where time is short, cut off while the rate is still constant and cooled down in a second call:

    … --steps 2400 --stop 1400        … --steps 250 --init FIRST --decay 1 --rate 0.002 --seed 1

Outliers of real models come from AdamW without weight decay on pre-norm decoders; a model trained with weight decay
has few of them, and a conversion that is judged on it alone is judged too kindly. The recipe is fixed by its seed and
by the numbers below; `outlier_facts` says how strong the outliers are, and stands beside the weights as
`outliers.json`.

Source: He et al. 2024 (arXiv 2405.19279), kurtosis of the channel RMS; arXiv 2603.05498 (2026), weight decay.
"""

from __future__ import annotations

import argparse
import json
import lzma
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
}
BATCH, WINDOW, WARMUP = 8, 256, 100


def tokens_of(corpus: Path, tokenizer: Any, characters: int) -> Tensor:
    """The first `characters` of a text file (plain or .xz) as one row of token ids."""
    opener = lzma.open if corpus.suffix == ".xz" else open
    with opener(corpus, "rt", encoding="utf-8") as file:
        text = file.read(characters)
    # In pieces: the tokenizer holds several times its input in memory.
    pieces = [text[at : at + 1_000_000] for at in range(0, len(text), 1_000_000)]
    return torch.cat([torch.tensor(tokenizer(piece, verbose=False)["input_ids"]) for piece in pieces])


def rate_at(step: int, given: argparse.Namespace) -> float:
    """Learning rate: linear warm-up (none for a model that was trained before), constant, linear decay at the end."""
    warm = 1.0 if given.init else (step + 1) / WARMUP
    return given.rate * min(1.0, warm, (given.steps - step) / (given.steps * given.decay))


def kurtosis(values: Tensor) -> float:
    """Fourth moment over squared second moment of the channel RMS, mean(r⁴)/mean(r²)²; 1 where all are alike."""
    squares = values.double().square()
    return float(squares.square().mean() / squares.mean().square())


@torch.no_grad()
def outlier_facts(model: nn.Module, ids: Tensor) -> dict[str, Any]:
    """How strong the outliers are in front of every linear layer of the decoder, over the windows `ids` `[N, L]`.

    Returns:
        For each kind of layer (by the last part of its name): mean and largest kurtosis of the channel RMS, largest
        absmax over median |x|, and how much larger the norm of the first token is than the median norm.
    """
    found: dict[str, list[tuple[float, float, float]]] = {}

    def note(name: str, x: Tensor) -> None:
        x = x.detach().float()
        norms = x.norm(dim=-1)
        flat = x.flatten(0, 1)
        found.setdefault(name.rpartition(".")[2], []).append(
            (
                kurtosis(flat.square().mean(0).sqrt()),
                float(flat.abs().max() / flat.abs().median().clamp(min=1e-12)),
                float(norms[:, 0].mean() / norms[:, 1:].median()),
            )
        )

    hooks = [
        module.register_forward_pre_hook(lambda _, args, name=name: note(name, args[0]))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "lm_head" not in name
    ]
    # The stream itself, where massive activations live: what the norms in front of the layers take in.
    hooks += [
        module.register_forward_pre_hook(lambda _, args, name=name: note(name, args[0]))
        for name, module in model.named_modules()
        if name.endswith(("input_layernorm", "post_attention_layernorm"))
    ]
    model.eval()(input_ids=ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    return {
        name: {
            "kurtosis_mean": round(sum(row[0] for row in rows) / len(rows), 2),
            "kurtosis_max": round(max(row[0] for row in rows), 2),
            "absmax_over_median": round(max(row[1] for row in rows), 1),
            "first_token_norm": round(max(row[2] for row in rows), 2),
        }
        for name, rows in found.items()
    }


def train(given: argparse.Namespace) -> None:
    """Train and save, with the weights of every 200 steps and the curve in `train_log.jsonl`."""
    torch.manual_seed(given.seed)
    tokenizer = AutoTokenizer.from_pretrained(given.tokenizer)
    ids = tokens_of(given.corpus, tokenizer, given.characters)
    if given.init:
        model = LlamaForCausalLM.from_pretrained(given.init, dtype=torch.float32).train()
    else:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **SHAPE))
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    order = torch.Generator().manual_seed(given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(given.out)
    began, stop = time.perf_counter(), given.stop or given.steps
    with (given.out / "train_log.jsonl").open("w") as log:
        for step in range(stop):
            starts = torch.randint(0, len(ids) - WINDOW, (BATCH,), generator=order)
            batch = torch.stack([ids[start : start + WINDOW] for start in starts.tolist()])
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, given)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(input_ids=batch, labels=batch, use_cache=False).loss
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if step % 50 == 49:
                seconds = round(time.perf_counter() - began, 1)
                row = {"step": step + 1, "tokens": (step + 1) * batch.numel(), "loss": loss.item(), "s": seconds}
                log.write(json.dumps(row) + "\n")
                log.flush()
            if step % 200 == 199 or step + 1 == stop:
                facts = outlier_facts(model, ids[: 8 * WINDOW].view(8, WINDOW))
                (given.out / "outliers.json").write_text(json.dumps({"step": step + 1, **facts}, indent=1) + "\n")
                model.train().save_pretrained(given.out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outlier_model", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpus", type=Path, required=True, help="text file, plain or .xz")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of a tokenizer of transformers")
    parser.add_argument("--steps", type=int, default=2400, help="length of the schedule")
    parser.add_argument("--stop", type=int, help="steps to take of it, all if not given")
    parser.add_argument("--init", type=Path, help="model to go on with, instead of a new one")
    parser.add_argument("--decay", type=float, default=0.25, help="share of the steps in which the rate falls to 0")
    parser.add_argument("--rate", type=float, default=4e-3, help="largest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--characters", type=int, default=30_000_000, help="how much of the corpus is read")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
