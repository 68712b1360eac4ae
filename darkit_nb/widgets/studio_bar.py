"""The head of the Studio."""

from __future__ import annotations

from typing import Any

import traitlets

from darkit_nb.widgets.base import DarkitWidget, script, style

PAGES = ("Build", "Data", "Watch", "Spikes", "Generate", "Runs")


class StudioBar(DarkitWidget):
    """The pages of a Studio as tabs, and beside them the run they are about."""

    _esm = script("studio_bar")
    _css = style("studio_bar")
    pages = traitlets.List(traitlets.Unicode(), list(PAGES)).tag(sync=True)
    page = traitlets.Enum(PAGES, PAGES[0]).tag(sync=True)
    current: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)

    def text(self) -> str:
        """The pages, the open one marked."""
        return " | ".join(f"[{name}]" if name == self.page else name for name in self.pages)
