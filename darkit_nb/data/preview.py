"""A first look at prepared data, as plain data and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from darkit_nb.data.packing import SplitFacts
from darkit_nb.data.windows import TokenWindows

if TYPE_CHECKING:
    from darkit_nb.data.prepared import PreparedData

_BAR = 30
_SAMPLE_CHARS = 400


@dataclass(frozen=True)
class DataPreview:
    """What a corpus looks like to the model.

    Attributes:
        dataset: Id of the dataset.
        tokenizer: Id of the tokenizer.
        vocab_size: Ids the tokenizer can give.
        seq_len: Tokens per window.
        train: Counts over the training split; None for a stream, which nobody has counted.
        validation: Counts over the validation split.
        train_windows: Training windows; None for a stream.
        validation_windows: Validation windows.
        duplicates_removed: Training documents left out because validation holds the very same one.
        samples: The first windows of training, decoded, each cut after 400 characters.
    """

    dataset: str
    tokenizer: str
    vocab_size: int
    seq_len: int
    train: SplitFacts | None
    validation: SplitFacts
    train_windows: int | None
    validation_windows: int
    duplicates_removed: int
    samples: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`, also after a trip through JSON."""
        train = values["train"] and SplitFacts.from_dict(values["train"])
        validation = SplitFacts.from_dict(values["validation"])
        return cls(**{**values, "train": train, "validation": validation, "samples": tuple(values["samples"])})

    def __str__(self) -> str:
        lines = [f"{self.dataset} in {self.tokenizer} tokens, windows of {self.seq_len}", ""]
        lines.append(f"{'':12}{'documents':>12}{'tokens':>15}{'windows':>12}{'bytes/token':>13}{'vocabulary used':>17}")
        lines += self._row("training", self.train, self.train_windows)
        lines += self._row("validation", self.validation, self.validation_windows)
        if self.duplicates_removed:
            lines.append(f"{self.duplicates_removed} training documents left out: validation holds the very same ones")
        lines += ["", f"tokens per document ({'validation' if self.train is None else 'training'})"]
        lines += _histogram((self.train or self.validation).document_lengths)
        for index, sample in enumerate(self.samples):
            lines += ["", f"sample {index + 1}", *("  " + line for line in sample.splitlines())]
        return "\n".join(lines)

    def _row(self, name: str, facts: SplitFacts | None, windows: int | None) -> list[str]:
        if facts is None:
            return [f"{name:12}{'streamed, not counted':>27}"]
        unknown = f", {facts.unknown_tokens / max(1, facts.tokens):.2%} unknown" if facts.unknown_tokens else ""
        learnt = f", {facts.learnt_tokens:,} learnt" if facts.learnt_tokens != facts.tokens else ""
        return [
            f"{name:12}{facts.documents:>12,}{facts.tokens:>15,}{windows:>12,}{facts.bytes_per_token:>13.2f}"
            f"{facts.vocabulary_used / self.vocab_size:>17.1%}{unknown}{learnt}"
        ]


def preview(data: PreparedData, count: int = 3) -> DataPreview:
    """Look at prepared data; `count` windows are decoded."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(data.tokenizer.folder / "tokenizer.json"))
    windows = [window["input_ids"] for window, _ in zip(data.train, range(count), strict=False)]
    samples = (backend.decode([int(i) for i in ids], skip_special_tokens=False) for ids in windows)
    return DataPreview(
        dataset=data.dataset,
        tokenizer=data.tokenizer_id,
        vocab_size=data.vocab_size,
        seq_len=data.validation.seq_len,
        train=data.train_facts,
        validation=data.validation_facts,
        train_windows=len(data.train) if isinstance(data.train, TokenWindows) else None,
        validation_windows=len(data.validation),
        duplicates_removed=data.duplicates_removed,
        samples=tuple(sample[:_SAMPLE_CHARS] for sample in samples),
    )


def _histogram(counts: tuple[int, ...]) -> list[str]:
    used = [k for k, count in enumerate(counts) if count]
    most = max(counts)
    return [
        f"{2**k:>12,} – {2 ** (k + 1) - 1:<12,} {'█' * round(_BAR * counts[k] / most):{_BAR}} {counts[k]:,}"
        for k in range(used[0], used[-1] + 1)
    ]
