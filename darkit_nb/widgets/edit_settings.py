"""The spike settings of a module as fields of a small form, and back."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from darkit_nb.errors import PatchError
from darkit_nb.records.spike_spec import SpikeSpec

TITLES = {
    "num_levels": "Levels",
    "num_steps": "Steps",
    "coding": "Coding",
    "salient_fraction": "Salient share",
    "ranges": "Ranges",
    "signed": "Signed",
    "gradient": "Surrogate gradient",
    "weight_bits": "Weight bits",
    "saliency": "Saliency",
    "reselect_every": "Reselect every",
}
"""Settings a module can change while it lives, with their titles."""


def settings_of(path: str, spec: SpikeSpec, modules: Sequence[str]) -> dict[str, Any]:
    """The form of a spec."""
    hints = typing.get_type_hints(SpikeSpec)
    known = {info.name: info for info in dataclasses.fields(SpikeSpec)}
    fields = []
    for name, title in TITLES.items():
        choices = [str(each) for each in typing.get_args(hints[name])]
        limits = known[name].metadata
        fields.append(
            {
                "name": name,
                "title": title,
                "help": limits["description"],
                "kind": "choice" if choices else hints[name].__name__,
                "value": getattr(spec, name),
                "least": limits.get("ge"),
                "most": limits.get("le"),
                "choices": choices,
            }
        )
    return {"path": path, "modules": len(modules), "fields": fields}


def changed_settings(spec: SpikeSpec, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What of `changes` differs from a spec, checked.

    Raises:
        PatchError: a setting that is none of the form's.
        ConfigError: a value, or a combination of them, without a meaning.
    """
    unknown = sorted(set(changes) - set(TITLES))
    if unknown:
        raise PatchError(
            "These are no settings of a spiking module.", expected=", ".join(TITLES), received=", ".join(unknown)
        )
    dataclasses.replace(spec, **changes)
    return {name: value for name, value in changes.items() if value != getattr(spec, name)}
