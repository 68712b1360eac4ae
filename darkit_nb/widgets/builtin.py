"""What shows our objects in a notebook, registered as any plug-in would."""

from __future__ import annotations

from darkit_nb.plugins import Entry, Registry


def register_displays(registry: Registry) -> None:
    """Entry point: how runs and spiking models show themselves."""
    registry.add(Entry("run", "A run's panel and charts, live.", "darkit_nb.widgets.dashboard:show_run"))
    registry.add(Entry("model", "A model's tree, live.", "darkit_nb.widgets.model_display:show_model"))
    registry.add(Entry("model-picture", "A model's tree as a page.", "darkit_nb.widgets.model_display:model_picture"))
