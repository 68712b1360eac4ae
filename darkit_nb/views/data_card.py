"""Data before it is trained on: counts, what training will read of it, some documents, one window token by token."""

from __future__ import annotations

import html
from dataclasses import dataclass

from darkit_nb.config import RunConfig
from darkit_nb.data.look import DataLook, Token
from darkit_nb.data.packing import SplitFacts
from darkit_nb.views.table import TableView

HUES = 8
_SHOWN_TOKENS = 96


@dataclass(frozen=True)
class Diet:
    """How much of the data a training reads.

    Attributes:
        tokens: Tokens read, with one process.
        epochs: How often it reads the training split; None where nobody has counted it.
    """

    tokens: int
    epochs: float | None

    @classmethod
    def of(cls, config: RunConfig, look: DataLook) -> Diet:
        """What a configuration makes of it."""
        train = config.train
        windows = train.steps * train.batch_size * train.gradient_accumulation
        held = look.preview.train_windows
        return cls(windows * config.data.seq_len, windows / held if held else None)

    def __str__(self) -> str:
        if self.epochs is None:
            return f"training reads {self.tokens:,} tokens of the stream"
        share = f"the split {self.epochs:.3g} times" if self.epochs >= 1 else f"{self.epochs:.1%} of the split"
        return f"training reads {self.tokens:,} tokens: {share}"


@dataclass(frozen=True)
class DataCard:
    """A look at data, lowered to text and to HTML.

    Attributes:
        look: What the worker found.
        diet: What training will read.
    """

    look: DataLook
    diet: Diet

    def table(self) -> TableView:
        """Counts of both splits."""
        preview = self.look.preview
        rows = [
            self._row("training", preview.train, preview.train_windows),
            self._row("validation", preview.validation, preview.validation_windows),
        ]
        notes = [str(self.diet)]
        if preview.duplicates_removed:
            notes.append(f"{preview.duplicates_removed} training documents left out: validation holds the same ones")
        return TableView(
            title=f"{preview.dataset} in {preview.tokenizer} tokens, vocabulary {preview.vocab_size:,}, "
            f"windows of {preview.seq_len}",
            headers=("", "documents", "tokens", "windows", "bytes/token", "vocabulary used", "unknown"),
            rows=tuple(rows),
            notes=tuple(notes),
        )

    def _row(self, name: str, facts: SplitFacts | None, windows: int | None) -> tuple[str, ...]:
        if facts is None or windows is None:
            return (name, "streamed", "–", "–", "–", "–", "–")
        return (
            name,
            f"{facts.documents:,}",
            f"{facts.tokens:,}",
            f"{windows:,}",
            f"{facts.bytes_per_token:.2f}",
            f"{facts.vocabulary_used / self.look.preview.vocab_size:.1%}",
            f"{facts.unknown_tokens / max(1, facts.tokens):.2%}" if facts.unknown_tokens else "none",
        )

    def to_text(self, width: int = 96) -> str:
        """Plain text for a terminal."""
        tokens = "|".join(token.text.replace("\n", "⏎") for token in self.look.window[:_SHOWN_TOKENS])
        first = (self.look.documents or ("",))[0].splitlines()[:6]
        lines = [self.table().to_text(width), "", "first window", f"  {tokens}", "", "first document"]
        return "\n".join([*lines, *("  " + line for line in first)])

    def to_html(self) -> str:
        """The same with inline styles, in the colours of the page around it."""
        chips = "".join(_chip(token) for token in self.look.window)
        documents = "".join(
            f'<details><summary>document {index}</summary><pre style="white-space:pre-wrap;font-size:12px">'
            f"{html.escape(text)}</pre></details>"
            for index, text in enumerate(self.look.documents, 1)
        )
        return (
            f'{self.table().to_html()}<div style="margin:8px 0 4px">first window</div>'
            f'<div style="font-family:monospace;font-size:12px;line-height:1.9">{chips}</div>{documents}'
        )


def _chip(token: Token) -> str:
    hue = 360 * (token.id % HUES) // HUES
    frame = "border:1px solid currentColor;" if token.special else ""
    faded = "" if token.learnt else "opacity:.5;"
    style = f"background:hsla({hue},70%,50%,.22);border-radius:3px;padding:1px 2px;white-space:pre-wrap;{frame}{faded}"
    return f'<span style="{style}" title="id {token.id}">{html.escape(token.text.replace(chr(10), "⏎"))}</span>'
