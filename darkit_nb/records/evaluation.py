"""What scoring a text gave."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PerplexityResult:
    """Perplexity over non-overlapping windows.

    Attributes:
        loss: mean cross entropy of a scored token, in nats.
        perplexity: exp(loss).
        bits_per_byte: loss in bits per byte of text, None where the number of bytes is not known.
        window: tokens per window; each sees nothing before its own first token.
        windows: how many were scored.
        scored_tokens: windows × (window − 1): the first token of a window has no context and is not scored.
        dropped_tokens: tail that filled no window.
        bytes_per_token: bytes of text per token, as used for `bits_per_byte`.
    """

    loss: float
    perplexity: float
    bits_per_byte: float | None
    window: int
    windows: int
    scored_tokens: int
    dropped_tokens: int
    bytes_per_token: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """A checkpoint scored on a text.

    Attributes:
        model: folder of the checkpoint.
        text: name of the text: its file name, or the dataset and its split.
        text_sha256: of its bytes, so that two results can be told to be about the same text.
        text_bytes: its length.
        vocab_size: tokens of the tokenizer; perplexities compare only between equal tokenizers, bits per byte always.
        perplexity: the scores.
        seconds: wall time of scoring.
    """

    model: str
    text: str
    text_sha256: str
    text_bytes: int
    vocab_size: int
    perplexity: PerplexityResult
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class ZeroShotScore:
    """One metric of one task of lm-evaluation-harness, no examples in the prompt.

    Attributes:
        task: name of the task.
        metric: as the harness calls it: `acc`, or `acc_norm`, where answers are weighed by their length in bytes.
        value: share of questions answered rightly.
        standard_error: of that share.
        questions: how many.
        published: whether the published tables show this metric of this task.
    """

    task: str
    metric: str
    value: float
    standard_error: float
    questions: int
    published: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)
