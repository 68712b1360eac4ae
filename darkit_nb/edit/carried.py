"""Edits that travel with a saved model: they stand in its `config.json` and are put in before weights are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from darkit_nb.data.cache import cache_root
from darkit_nb.edit import trust as trusting
from darkit_nb.edit.apply import apply, history
from darkit_nb.edit.history import entries
from darkit_nb.edit.rebuild import Rebuild
from darkit_nb.records.patch import Patch


def edits_to_save(model: torch.nn.Module) -> list[dict[str, Any]]:
    """The edits in effect, as plain data. Whoever saves them has run them, so they are trusted here."""
    patches = [each.patch for each in history(model) if not each.reverted]
    for patch in patches:
        trusting.remember(trusting.patch_hash(patch), f"{patch.label}, saved here")
    return [patch.to_dict() for patch in patches]


def apply_saved(model: PreTrainedModel, records: Sequence[Mapping[str, Any]], *, trust: bool) -> None:
    """Put the edits a model was saved with into the one that is being built for its weights.

    Raises:
        TrustError: nobody here has agreed to run their code.
        PatchError: an edit does not fit the base as it is now.
    """
    patches = [Patch.from_dict(record) for record in records]
    where = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
    trusting.require(
        [trusting.patch_hash(patch) for patch in patches],
        patches,
        what=f"The model {where!r}",
        trust=trust,
        fix=f"darkit-nb fork trust {where}, or dk.load_model({where!r}, trust=True)",
    )
    for patch in patches:
        apply(model, patch, folder=cache_root(None) / "patches")


def after_loading(model: PreTrainedModel) -> None:
    """What was built on the meta device has its weights now; what no file holds, as a table of angles, is made."""
    for entry in entries(model):
        for change in entry.undo:
            if isinstance(change, Rebuild):
                change.fill_buffers()
