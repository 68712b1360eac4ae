"""Which layers a conversion hurts: a map of blocks (down) by kinds of layer (across)."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from darkit_nb.records.conversion import BlockReport
from darkit_nb.views.chart_svg import short_role
from darkit_nb.views.numbers import percent
from darkit_nb.views.palette import LIGHT, Palette, channels
from darkit_nb.views.spike_table import role_of
from darkit_nb.views.table import TableView

_DARK_INK = 140.0
"""Lightness of a cell above which its letters are dark."""


@dataclass(frozen=True)
class LayerMap:
    """Relative squared output errors.

    Attributes:
        blocks: names of the blocks, the first one on top.
        kinds: roles of the layers, such as `mlp.up_proj`, in the order of the model.
        errors: one row per block; NaN where a block has no such layer.
        totals: error of each block's own output.
    """

    blocks: tuple[str, ...]
    kinds: tuple[str, ...]
    errors: tuple[tuple[float, ...], ...]
    totals: tuple[float, ...]

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest error above zero, for a logarithmic scale of colours."""
        known = [value for row in self.errors for value in row if math.isfinite(value) and value > 0]
        return (min(known), max(known)) if known else (1e-6, 1.0)

    def share(self, value: float) -> float | None:
        """Place of an error on the scale, 0 to 1; None where there is nothing to colour."""
        low, high = self.limits
        if not math.isfinite(value):
            return None
        if value <= low or high <= low:
            return 0.0 if value <= low else 1.0
        return min(1.0, math.log(value / low) / math.log(high / low))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and widgets; missing layers are null."""
        low, high = self.limits
        cells = [[value if math.isfinite(value) else None for value in row] for row in self.errors]
        return {
            "blocks": list(self.blocks),
            "kinds": list(self.kinds),
            "errors": cells,
            "shares": [[self.share(value) for value in row] for row in self.errors],
            "totals": [value if math.isfinite(value) else None for value in self.totals],
            "low": low,
            "high": high,
        }

    def to_text(self, width: int = 80) -> str:
        """A table of percentages."""
        rows = tuple(
            (block, *(percent(value) if math.isfinite(value) else "–" for value in (*row, total)))
            for block, row, total in zip(self.blocks, self.errors, self.totals, strict=True)
        )
        headers = ("block", *map(short_role, self.kinds), "block")
        note = "‖y_q − y‖² / ‖y‖² of each layer's output on the calibration text; last column: of the whole block."
        return TableView("Error of every layer", headers, rows, (note,)).to_text(width)

    def to_html(self, *, palette: Palette = LIGHT) -> str:
        """The same with coloured cells."""
        head = "".join(
            f'<th style="{_HEAD}" title="{html.escape(kind)}">{html.escape(short_role(kind))}</th>'
            for kind in self.kinds
        )
        body = "".join(
            f"<tr><th style='{_SIDE}'>{html.escape(block)}</th>{''.join(self._cell(value, palette) for value in row)}"
            f"<td style='padding:1px 8px;text-align:right'>{percent(total) if math.isfinite(total) else '–'}</td></tr>"
            for block, row, total in zip(self.blocks, self.errors, self.totals, strict=True)
        )
        return (
            '<div style="font:12px/1.4 system-ui,sans-serif;overflow-x:auto"><b>Error of every layer</b>'
            '<table style="border-collapse:separate;border-spacing:2px;font-variant-numeric:tabular-nums">'
            f"<thead><tr><th></th>{head}<th style='{_HEAD}'>block</th></tr></thead><tbody>{body}</tbody></table></div>"
        )

    def _cell(self, value: float, palette: Palette) -> str:
        share = self.share(value)
        if share is None:
            return "<td></td>"
        colour = palette.along(share)
        red, green, blue = channels(colour)
        ink = "#1f1f24" if 0.299 * red + 0.587 * green + 0.114 * blue > _DARK_INK else "#ffffff"
        look = f"background:{colour};color:{ink};padding:1px 8px;text-align:right"
        return f"<td style='{look}'>{percent(value)}</td>"

    def __str__(self) -> str:
        return self.to_text()


_HEAD = "padding:1px 8px;font-weight:500;text-align:right"
_SIDE = "padding:1px 8px 1px 0;font-weight:500;text-align:left;white-space:nowrap"


def layer_map(reports: Sequence[BlockReport]) -> LayerMap:
    """The map of the blocks that are done.

    Args:
        reports: in order.
    """
    rows = [{role_of(layer.name): layer.error for layer in report.layers} for report in reports]
    kinds = tuple(dict.fromkeys(kind for row in rows for kind in row))
    return LayerMap(
        tuple(report.name for report in reports),
        kinds,
        tuple(tuple(row.get(kind, math.nan) for kind in kinds) for row in rows),
        tuple(report.error for report in reports),
    )
