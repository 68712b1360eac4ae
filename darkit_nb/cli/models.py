"""`generate` and `evaluate`."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter


def generate(
    model: str,
    /,
    *,
    prompt: Annotated[str, Parameter(alias="-p", allow_leading_hyphen=True)] = "",
    max_new_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 0.95,
    seed: int | None = None,
    runs_dir: str = "runs",
) -> None:
    """Continue a text with a trained model, shown as it is written.

    Try:

        darkit-nb generate latest --prompt "def "

    Args:
        model: Id, name or folder of a run (`latest` is the newest), a model folder, or a hub id.
        prompt: Text to continue.
        max_new_tokens: Longest continuation, in tokens.
        temperature: 0 always takes the likeliest token; 1 samples as the model believes.
        top_k: Choose among the k likeliest tokens only; 0 takes all.
        top_p: Choose among the likeliest tokens that hold this probability together.
        seed: The same seed gives the same text.
        runs_dir: Folder of runs.
    """
    from darkit_nb.train.generate import Sampling
    from darkit_nb.train.generate import generate as stream

    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    sys.stdout.write(prompt)
    for piece in stream(model, prompt, sampling, runs_dir=runs_dir):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()


def evaluate(
    model: str,
    /,
    *,
    text: str | None = None,
    dataset: str | None = None,
    protocol: Literal["wikitext-2", "c4", "c4-new"] | None = None,
    window: int | None = None,
    tasks: str | None = None,
    task_data: str | None = None,
    runs_dir: str = "runs",
) -> None:
    """Score a text with a model, in windows that do not overlap: perplexity and bits per byte.

    Without --text or --dataset a run is scored on its own validation text.

    Try:

        darkit-nb evaluate latest --text test.txt --window 256
        darkit-nb evaluate ./my-llama --protocol wikitext-2
        darkit-nb evaluate ./my-llama --tasks piqa,boolq --task-data questions

    Args:
        model: Id, name or folder of a run (`latest` is the newest), a model folder, or a hub id.
        text: Text file in UTF-8.
        dataset: Registered dataset or dataset id of the hub, instead of a file.
        protocol: Text and windows of a published table, from a local copy or the hub.
        window: Tokens per window; the smaller of 2048 and the model's context if not given.
        tasks: Zero-shot tasks of lm-evaluation-harness in place of a text, with commas; needs the extra eval.
        task_data: Folder with <task>.jsonl for each of them.
        runs_dir: Folder of runs.
    """
    if tasks is not None:
        _zero_shot(model, tasks.split(","), task_data or ".")
        return
    from darkit_nb.evaluate.run import evaluate_run

    result = evaluate_run(model, text=text, dataset=dataset, protocol=protocol, window=window, runs_dir=runs_dir)
    scores = result.perplexity
    bits = "" if scores.bits_per_byte is None else f"bits per byte  {scores.bits_per_byte:.4f}\n"
    print(
        f"{result.text}: {result.text_bytes:,} bytes, a vocabulary of {result.vocab_size:,}\n"
        f"perplexity     {scores.perplexity:.4f}\n{bits}"
        f"windows        {scores.windows:,} of {scores.window} tokens, not overlapping; "
        f"{scores.scored_tokens:,} tokens scored, {scores.dropped_tokens:,} at the end left over"
    )


def _zero_shot(model: str, tasks: list[str], data: str) -> None:
    from darkit_nb.evaluate.zero_shot import zero_shot

    for score in zero_shot(model, tasks, data=data):
        shown = "  (as in the published tables)" if score.published else ""
        value, error = f"{100 * score.value:6.2f}", f"{100 * score.standard_error:.2f}"
        print(f"{score.task:16} {score.metric:10} {value} ± {error} %  {score.questions} questions{shown}")
