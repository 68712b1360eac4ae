"""Generated tokens with what each of them took, as text and as a page without scripts."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darkit_nb.views.numbers import energy, percent, significant
from darkit_nb.views.palette import Palette, channels
from darkit_nb.views.spike_raster import SPIKE_COLOURS

NARROW = "\N{THIN SPACE}"
"""The place of a token that only begins a character."""

Token = Mapping[str, Any]

_PALETTE = Palette((), SPIKE_COLOURS["light"], "", "", "", "")


@dataclass(frozen=True)
class Totals:
    """What a generation took so far; None where nothing was measured."""

    tokens: int
    tokens_per_s: float | None
    firing_rate: float | None
    energy_pj: float | None

    @classmethod
    def of(cls, tokens: Sequence[Token]) -> Totals:
        """Means over tokens as `stream_tokens` yields them."""
        seconds = sum(token["seconds"] for token in tokens)
        return cls(
            len(tokens),
            len(tokens) / seconds if seconds else None,
            _mean(tokens, "firing_rate"),
            _mean(tokens, "energy_pj"),
        )

    def __str__(self) -> str:
        parts = [f"{self.tokens} {'token' if self.tokens == 1 else 'tokens'}"]
        if self.tokens_per_s is not None:
            parts.append(f"{significant(self.tokens_per_s)} tokens/s")
        if self.firing_rate is not None:
            parts.append(f"fires {percent(self.firing_rate)}")
        if self.energy_pj is not None:
            parts.append(f"{energy(self.energy_pj)} per token (simulated)")
        return " · ".join(parts)


def generated_text(prompt: str, tokens: Sequence[Token]) -> str:
    """Prompt, what follows it, and a line about what it took."""
    said = prompt + "".join(token["text"] for token in tokens)
    return f"{said}\n\n{Totals.of(tokens)}" if tokens else said


def generated_html(prompt: str, tokens: Sequence[Token]) -> str:
    """The same, with a colour under every token: how much fired for it. Inline styles only."""
    rates = [token["firing_rate"] for token in tokens if token["firing_rate"] is not None]
    low, high = (min(rates), max(rates)) if rates else (0.0, 0.0)
    chips = "".join(_chip(token, low, high) for token in tokens)
    told = f"; colours from {percent(low)} to {percent(high)} of slots firing" if rates else ""
    return (
        '<div style="background:#ffffff;color:#1f1f24;border:1px solid #dcdce2;border-radius:6px;padding:10px 12px;'
        'font:13px/1.45 system-ui,sans-serif">'
        '<div style="font-family:ui-monospace,monospace;line-height:1.9;white-space:pre-wrap;overflow-wrap:anywhere">'
        f'<span style="color:#5f5f6b">{html.escape(prompt)}</span>{chips}</div>'
        f'<div style="color:#5f5f6b;margin-top:6px">{Totals.of(tokens)}{told}</div></div>'
    )


def _chip(token: Token, low: float, high: float) -> str:
    text, rate = token["text"], token["firing_rate"]
    shown = html.escape(text).replace("\n", "⏎\n") or NARROW
    if rate is None:
        return shown
    colour = _PALETTE.along((rate - low) / (high - low) if high > low else 0.3)
    red, green, blue = channels(colour)
    title = f"fires {percent(rate)}, {energy(token['energy_pj'])} simulated"
    style = f"background:rgba({red},{green},{blue},.22);border-bottom:3px solid {colour}"
    return f'<span title="{title}" style="{style}">{shown}</span>'


def _mean(tokens: Sequence[Token], name: str) -> float | None:
    values = [token[name] for token in tokens if token.get(name) is not None]
    return sum(values) / len(values) if values else None
