"""A conversion at a glance: state, plan, blocks, layers and result, as text, as a static page part, as JSON."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from typing import Any

from darkit_nb.records.conversion_progress import ConversionProgress
from darkit_nb.views.conversion_heat import layer_map
from darkit_nb.views.conversion_points import operation_points
from darkit_nb.views.conversion_table import block_view, plan_view, result_view
from darkit_nb.views.numbers import duration
from darkit_nb.views.run_card import STATE_COLOURS

_FONT = "font:13px/1.5 system-ui,sans-serif"


@dataclass(frozen=True)
class ConversionCard:
    """What is shown of a conversion.

    Attributes:
        progress: the conversion, as it was read.
    """

    progress: ConversionProgress

    @property
    def headline(self) -> str:
        """State and progress in a line."""
        now = self.progress
        parts = [f"{now.source} → {now.out} by {now.name}: {now.state}"]
        if now.blocks:
            parts.append(f"{now.blocks_done} of {now.blocks} blocks")
        if now.windows:
            parts.append(f"{now.windows_done or 0} of {now.windows} windows scored")
        if now.stage:
            parts.append(now.stage)
        if now.eta_s and now.active:
            parts.append(f"about {duration(now.eta_s)} left for the blocks")
        return ", ".join(parts)

    @property
    def why(self) -> tuple[str, ...]:
        """Why it ended, in lines; the last ones say what was expected and what to do."""
        now = self.progress
        if not now.problem:
            return (now.reason,) if now.reason else ()
        parts = {"expected": "expected", "received": "received", "cause": "likely cause", "fix": "what to do"}
        told = (f"{words}: {now.problem[name]}" for name, words in parts.items() if now.problem.get(name))
        return (str(now.problem.get("message") or now.reason), *told)

    def to_text(self, width: int = 100) -> str:
        """Everything there is so far, for a terminal."""
        now = self.progress
        parts = [
            "\n  ".join([self.headline, *self.why]),
            plan_view(now.plan).to_text(width) if now.plan else "",
            block_view(now.reports, now.blocks).to_text(width) if now.reports else "",
            layer_map(now.reports).to_text(width) if now.reports else "",
            result_view(now.rows).to_text(max(width, 110)) if now.rows else "",
        ]
        return "\n\n".join(part for part in parts if part)

    def to_html(self) -> str:
        """The same as a static part of a page, safe without a kernel."""
        now = self.progress
        colour = STATE_COLOURS.get(now.state, "inherit")
        headline = f'<span style="color:{colour}">●</span> <b>{html.escape(self.headline)}</b>'
        parts = [
            f'<div style="{_FONT}">{headline}</div>',
            *(f'<div style="{_FONT}">{html.escape(line)}</div>' for line in self.why),
            plan_view(now.plan).to_html() if now.plan else "",
            layer_map(now.reports).to_html() if now.reports else "",
            result_view(now.rows).to_html() if now.rows else "",
            operation_points(now.rows).to_html() if any(row.cost for row in now.rows) else "",
        ]
        return "".join(part for part in parts if part)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for widgets: the record, its headline, the map of layers and the points."""
        now = self.progress
        return {
            **now.to_dict(),
            "headline": self.headline,
            "layers": layer_map(now.reports).to_dict(),
            "points": operation_points(now.rows).to_dict(),
        }

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        return self.to_text()
