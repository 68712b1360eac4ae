"""`data`: what the model will read."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from darkit_nb.cli.settings import config_of


def data(
    dataset: str,
    /,
    *settings: Annotated[str, Parameter(metavar="key=value")],
    tokenizer: str = "bytes",
    samples: int = 3,
) -> None:
    """Prepare a corpus and show what the model will read: counts, lengths and the first samples.

    The prepared corpus stays in the cache, so a training that uses it starts at once.

    Try:

        darkit-nb data stdlib
        darkit-nb data text:novels/*.txt --tokenizer bpe:2048 data.seq_len=128

    Args:
        dataset: Registered dataset, text:<path or pattern>, or a dataset id of the hub.
        settings: Further settings of the data, such as data.seq_len=128.
        tokenizer: bytes, bpe:<size>, a folder, or an id of the hub.
        samples: How many samples to show.
    """
    from darkit_nb.config.yaml_text import inline
    from darkit_nb.data import prepare

    named = [f"data.dataset={inline(dataset)}", f"data.tokenizer={inline(tokenizer)}"]
    config = config_of([*named, *settings])

    def report(stage: str, fraction: float) -> None:
        if sys.stderr.isatty():
            print(
                f"\r{stage} {fraction:4.0%}\033[K", end="" if fraction < 1 else "\r\033[K", file=sys.stderr, flush=True
            )

    print(prepare(config.data, seed=config.data.split_seed, progress=report).preview(samples))
