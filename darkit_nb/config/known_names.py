"""Whether the model, dataset and tokenizer a configuration names are registered; nothing is loaded for that."""

from __future__ import annotations

from collections.abc import Callable

from darkit_nb.config.problems import Problem
from darkit_nb.config.run_config import RunConfig
from darkit_nb.data.corpus import find_entry
from darkit_nb.errors import DarkitError
from darkit_nb.plugins import registry


def name_problems(config: RunConfig) -> list[Problem]:
    """Names no installed part knows.

    A configuration with `plugins` of its own is believed: those modules are imported by the training process only, and
    may register whatever it names.
    """
    if config.plugins:
        return []
    found = []
    if config.model.path is None:
        found += _problem("model.preset", lambda: registry("model").get(config.model.preset))
    found += _problem("data.dataset", lambda: find_entry("dataset", config.data.dataset))
    found += _problem("data.tokenizer", lambda: find_entry("tokenizer", config.data.tokenizer))
    return found


def _problem(key: str, look_up: Callable[[], object]) -> list[Problem]:
    try:
        look_up()
    except DarkitError as error:
        return [
            Problem(key=key, message=error.message, expected=error.expected, received=error.received, fix=error.fix)
        ]
    return []
