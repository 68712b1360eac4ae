"""What a configuration form shows at one moment, as plain data for the front end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darkit_nb.config import RunConfig, dump_yaml
from darkit_nb.config import recipes as recipe
from darkit_nb.config.draft import Checked, Draft
from darkit_nb.config.memory import readable
from darkit_nb.runs.outlook import Outlook, outlook
from darkit_nb.widgets.form_field import error_data


def form_state(
    draft: Draft, checked: Checked, *, run: str | None, undo: str | None, seen: Mapping[str, int]
) -> dict[str, Any]:
    """Texts, errors, commands and estimates.

    Args:
        draft: The values.
        checked: What validation says about them.
        run: Folder of the run started last.
        undo: What can be taken back.
        seen: By view, the number of the last edit that is contained in this.
    """
    return {
        "texts": dict(draft.texts),
        "off": sorted(draft.off),
        "changed": list(draft.changed),
        "errors": {key: error_data(key, problem) for key, problem in checked.problems.items()},
        "recipes": [{"name": name, "text": text} for name, text in recipes(checked.config, run).items()],
        "note": outlook_note(checked.config),
        "undo": undo,
        "seen": dict(seen),
    }


def recipes(config: RunConfig | None, run: str | None = None) -> dict[str, str]:
    """What to type, by the title of its tab; nothing while the configuration is not valid."""
    if config is None:
        return {}
    return {
        "Train": recipe.training_command(config),
        "Use": recipe.inference_command(config, run),
        "2 processes": recipe.distributed_command(config),
        "Python": recipe.python_code(config),
        "YAML": dump_yaml(config),
    }


def outlook_note(config: RunConfig | None) -> dict[str, Any]:
    """What the run will take, in a few words, and the settings that would make it fit."""
    if config is None:
        return {"facts": [], "fits": True, "fix": None}
    ahead = outlook(config)
    return {"facts": _facts(ahead), "fits": ahead.fits, "fix": ahead.fix}


def _facts(ahead: Outlook) -> list[str]:
    facts = [f"{_count(ahead.tokens)} tokens of training"]
    if ahead.estimate is None:
        return [*facts, "parameters and memory are known once the model is there"]
    memory = readable(ahead.estimate.total_bytes)
    where = "of the GPU" if ahead.free_bytes is None else f"of memory ({readable(ahead.free_bytes)} free)"
    return [f"{_count(ahead.estimate.num_parameters)} parameters", f"about {memory} {where}", *facts]


def _count(number: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
