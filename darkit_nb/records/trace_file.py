"""A trace kept in a file: what `trace.to_json()` wrote."""

from __future__ import annotations

import json
from pathlib import Path

from darkit_nb.errors import ModelError
from darkit_nb.records.trace import ModelTrace


def read_trace(path: str | Path) -> ModelTrace:
    """The trace in a file.

    Raises:
        ModelError: no such file, a damaged one, one of a newer version, or not a trace.
    """
    path = Path(path)
    try:
        trace = ModelTrace.from_dict(json.loads(path.read_text(encoding="utf-8")))
        _check(trace)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path.name} is not a readable trace of a model.",
            expected="a file with what trace.to_json() wrote, or darkit-nb tree MODEL --format json",
            received=f"{type(error).__name__}: {error}",
            cause="it is missing, was cut off while copying, or is another JSON file",
            fix=f"trace the model again: darkit-nb tree MODEL --format json > {path.name}",
        ) from error
    return trace


def _check(trace: ModelTrace) -> None:
    """Refuse what is no tree, so that nothing fails later."""
    if trace.root.path:
        raise ValueError("the first module is not the model itself")
    if len(trace.parents) != len({node.path for node in trace.nodes}):
        raise ValueError("a module is in it twice")
