"""The settings of a spiking module as fields of a small form."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from darkit_nb.errors import PatchError
from darkit_nb.records.spike_spec import SpikeSpec

_TITLES = {
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
    "threshold": "Threshold",
    "decay": "Decay",
    "reset": "Reset",
    "surrogate": "Surrogate gradient",
    "alpha": "Surrogate width",
    "max_count": "Most spikes",
    "decay_input": "Decay input",
    "detach_reset": "Detach reset",
}
"""In the order of the form; what has no title, as the backend, is no matter of the model."""

_OF_NEURONS = {
    "threshold": "Membrane potential at which it fires.",
    "decay": "Share of the membrane that is left after a step, 0 … 1.",
    "reset": "What a spike does to the membrane.",
    "surrogate": "Derivative that stands for that of the spike in training.",
    "alpha": "How steep the surrogate is.",
    "max_count": "Most spikes of one step.",
    "decay_input": "Scale the input by 1 − decay.",
    "detach_reset": "No gradient through the reset.",
}


@dataclass(frozen=True)
class Settings:
    """What can be changed of spiking modules without code.

    Attributes:
        values: by name, of the first of them.
        modules: dotted paths of all that will change.
        choices: words a setting can have, beyond those of `SpikeSpec`.
    """

    values: Mapping[str, Any]
    modules: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def form(self, path: str) -> dict[str, Any]:
        """As the page shows it."""
        fields = [self._field(name) for name in _TITLES if name in self.values]
        return {"path": path, "modules": len(self.modules), "fields": fields}

    def changed(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """What of `changes` differs.

        Raises:
            PatchError: a setting it does not have.
            ConfigError: a value, or a combination of them, without a meaning.
        """
        unknown = sorted(set(changes) - set(self.values))
        if unknown:
            raise PatchError(
                "These are no settings of this module.", expected=", ".join(self.values), received=", ".join(unknown)
            )
        known = {info.name for info in dataclasses.fields(SpikeSpec)}
        if set(self.values) <= known:
            SpikeSpec(**{**self.values, **changes})
        return {name: value for name, value in changes.items() if value != self.values[name]}

    def _field(self, name: str) -> dict[str, Any]:
        info = next((each for each in dataclasses.fields(SpikeSpec) if each.name == name), None)
        limits: Mapping[str, Any] = info.metadata if info else {"description": _OF_NEURONS.get(name, "")}
        hint = typing.get_type_hints(SpikeSpec)[name] if info else type(self.values[name])
        choices = [str(each) for each in typing.get_args(hint)] or list(self.choices.get(name, ()))
        return {
            "name": name,
            "title": _TITLES[name],
            "help": limits["description"],
            "kind": "choice" if choices else hint.__name__,
            "value": self.values[name],
            "least": limits.get("ge"),
            "most": limits.get("le"),
            "choices": choices,
        }
