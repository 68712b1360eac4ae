"""What shows our objects in a notebook, registered as any plug-in would."""

from __future__ import annotations

from darkit_nb.plugins import Entry, Registry


def register_displays(registry: Registry) -> None:
    """Entry point: how a run shows itself."""
    registry.add(Entry("run", "A run's panel and charts, live.", "darkit_nb.widgets.dashboard:show_run"))
