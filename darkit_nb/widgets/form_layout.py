"""How the settings are laid out in a form: generated from the settings themselves and from what is registered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from darkit_nb.config import RunConfig, key_table
from darkit_nb.config.draft import FIELDS, SWITCHES
from darkit_nb.config.field_text import text_of
from darkit_nb.config.starting_points import STARTING_POINTS
from darkit_nb.plugins import Kind, registry
from darkit_nb.widgets.form_field import field_data

FIRST: dict[str, tuple[str, ...]] = {
    "model": ("preset", "path"),
    "spike": ("num_levels", "num_steps", "salient_fraction", "weight_bits"),
    "data": ("dataset", "tokenizer", "seq_len"),
    "train": ("steps", "batch_size", "learning_rate", "device"),
    "": ("name", "seed"),
}
"""The few settings of a section that most people change; the others follow under "more"."""

_TITLES = {"": "Run", "spike": "Spikes", "train": "Training"}
_COLLAPSED = ("evaluation", "monitor", "checkpoint")
_REGISTRIES: dict[str, Kind] = {"model.preset": "model", "data.dataset": "dataset", "data.tokenizer": "tokenizer"}
_SWITCHED_OFF = {"spike": "float model, no spikes"}


def form_layout() -> dict[str, Any]:
    """Groups of fields, starting points and plug-ins that failed, as plain data for the front end."""
    return {
        "groups": [_group(section) for section in _sections()],
        "starting_points": [
            {"name": point.name, "title": point.title, "about": point.description, "scope": point.scope}
            for point in STARTING_POINTS
        ],
        "failures": [
            {"kind": kind, "plugin": plugin, "why": why}
            for kind in ("model", "dataset", "tokenizer", "neuron")
            for plugin, why in registry(kind).failures.items()
        ],
    }


def _sections() -> list[str]:
    """Sections as declared; the run's own settings before those most people never open."""
    found = dict.fromkeys(key.rpartition(".")[0] for key in FIELDS if "." in key)
    everyday = [section for section in found if section not in _COLLAPSED]
    return [*everyday, "", *(section for section in found if section in _COLLAPSED)]


def _group(section: str) -> dict[str, Any]:
    first = FIRST.get(section, ())
    leaves = [key.rpartition(".")[2] for key in FIELDS if key.rpartition(".")[0] == section]
    prefix = f"{section}." if section else ""
    return {
        "section": section,
        "title": _TITLES.get(section, section.capitalize()),
        "about": key_table(RunConfig)[section].description if section else "What the run is called and where it lies.",
        "switch": {"off": _SWITCHED_OFF.get(section, "none")} if section in SWITCHES else None,
        "collapsed": section in _COLLAPSED,
        "first": [_field(prefix + leaf) for leaf in first],
        "more": [_field(prefix + leaf) for leaf in leaves if leaf not in first],
    }


def _field(key: str) -> dict[str, Any]:
    setting = FIELDS[key]
    options = list(_options(_REGISTRIES[key])) if key in _REGISTRIES else []
    return field_data(setting, text_of(setting, setting.default), options)


def _options(kind: Kind) -> Iterable[dict[str, str]]:
    """What a registry offers; an entry that wants an argument is the beginning of what to type."""
    for entry in registry(kind):
        argument = entry.options.get("argument")
        if argument and entry.name == "hub":
            yield {"value": "", "label": str(argument), "about": entry.description}
        elif argument:
            yield {"value": f"{entry.name}:", "label": f"{entry.name}:<{argument}>", "about": entry.description}
        else:
            yield {"value": entry.name, "label": entry.name, "about": entry.description}
