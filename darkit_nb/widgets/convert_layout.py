"""How the settings of a conversion are laid out: generated from `ConversionSpec` and the presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from darkit_nb.config.conversion_draft import SPEC_FIELDS, SpecDraft
from darkit_nb.config.conversions import BITS, PRESETS, preset
from darkit_nb.config.field_text import text_of
from darkit_nb.widgets.convert_source import choices
from darkit_nb.widgets.form_field import field_data

_GROUPS: tuple[tuple[str, str, str, tuple[str, ...], bool], ...] = (
    (
        "spike",
        "Spikes",
        "How activations become spikes.",
        ("spike.num_levels", "spike.num_steps", "spike.salient_fraction", "spike.coding"),
        False,
    ),
    ("coding", "Weights", "How weights are coded.", ("weights", "weight_bits", "group_size", "clip_search"), False),
    ("outliers", "Outliers", "What is done about large features.", ("scaling", "scaling_alpha", "rotation"), False),
    ("training", "Training", "Block-wise refinement.", ("refine_epochs",), True),
    ("calibration", "Calibration", "The text the model listens to.", ("samples", "sample_length", "seed"), False),
)
"""Section, title, what it is about, the few settings most people change, and whether it is closed at first. Which
section a setting stands in is said by the setting."""

BRIEFLY: dict[str, str] = {
    "rtn": "round, nothing else",
    "smoothquant": "outliers into the weights",
    "omniquant": "learned clipping",
    "gptq": "column by column",
    "pb-llm": "one bit, a few with eight",
    "spikellm-omniquant": "as published",
    "spikellm-gptq": "weights are only added",
    "quarot": "Hadamard, then GPTQ",
    "flatquant": "learned transform",
    "darkit": "split, radix steps, GPTQ",
}
"""The presets in a few words, where a list has no room for their descriptions."""


def convert_layout(draft: SpecDraft, runs_dir: str | Path) -> dict[str, Any]:
    """Models, presets, bits and groups of fields, as plain data for the front end.

    Args:
        draft: whose preset gives the defaults.
        runs_dir: where float runs are looked for.
    """
    return {
        "models": choices(runs_dir),
        "presets": [
            {"name": name, "brief": BRIEFLY.get(name, ""), "about": about, "tags": _tags(name)}
            for name, about in PRESETS.items()
        ],
        "bits": list(BITS),
        "groups": groups(draft),
    }


def groups(draft: SpecDraft) -> list[dict[str, Any]]:
    """The fields by what they are about; the few that most people change come first, the others as declared."""
    found = []
    for section, title, about, first, collapsed in _GROUPS:
        inside = [key for key, setting in SPEC_FIELDS.items() if (setting.group or key.partition(".")[0]) == section]
        found.append(
            {
                "section": section,
                "title": title,
                "about": about,
                "switch": {"off": "activations stay in float"} if section == "spike" else None,
                "collapsed": collapsed,
                "first": [_field(draft, key) for key in first],
                "more": [_field(draft, key) for key in inside if key not in first],
            }
        )
    return found


def _field(draft: SpecDraft, key: str) -> dict[str, Any]:
    setting = SPEC_FIELDS[key]
    return field_data(setting, text_of(setting, draft.usual(key)))


def _tags(name: str) -> list[str]:
    spec = preset(name)
    spikes = spec.spike is not None and spec.spike.num_steps > 1 and spec.spike.salient_fraction > 0
    return [*(["spikes"] if spikes else []), *(["trains"] if spec.refine_epochs else [])]
