"""What lower floors ask of edits, registered as any plug-in would."""

from __future__ import annotations

from darkit_nb.plugins import Entry, Registry


def register_edits(registry: Registry) -> None:
    """Entry point: edits that travel with a saved model, and forks of runs."""
    registry.add(Entry("load", "Put the edits a model was saved with into it.", "darkit_nb.edit.carried:apply_saved"))
    registry.add(Entry("loaded", "Finish them once the weights are there.", "darkit_nb.edit.carried:after_loading"))
    registry.add(Entry("save", "The edits a model is to be saved with.", "darkit_nb.edit.carried:edits_to_save"))
    registry.add(Entry("fork-run", "Make a fork of a run's edits.", "darkit_nb.edit.run_fork:save_run_fork"))
