"""Several runs side by side: the settings in which they differ, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkit_nb.config import RunConfig, changed_keys
from darkit_nb.errors import ConfigError
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.run import Run, open_run
from darkit_nb.runs.summary import summarize

if TYPE_CHECKING:
    import pandas

SCORES = ("state", "step", "loss", "bits_per_byte", "firing_rate", "energy_pj", "tokens_per_s")
_NOT_COMPARED = {"name", "runs_dir", "schema"}


@dataclass(frozen=True)
class Comparison:
    """What `compare_runs` found.

    Attributes:
        runs: Ids, in the order given.
        settings: Dotted key → value of each run, for the keys whose values differ.
        scores: Score → value of each run, None where it was not measured; energy is per token, simulated.
    """

    runs: tuple[str, ...]
    settings: dict[str, tuple[Any, ...]]
    scores: dict[str, tuple[Any, ...]]

    def to_frame(self) -> pandas.DataFrame:
        """One row a run: settings, then scores."""
        import pandas

        columns = {name: list(map(_flat, values)) for name, values in {**self.settings, **self.scores}.items()}
        return pandas.DataFrame(columns, index=pandas.Index(self.runs, name="run"))

    def __str__(self) -> str:
        table = [["", *self.runs]]
        table += [[name, *map(_shown, values)] for name, values in {**self.settings, **self.scores}.items()]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        return "\n".join(line.rstrip() for line in lines)


def compare_runs(runs: Iterable[Run | RunDirectory | str | Path], runs_dir: str | Path = "runs") -> Comparison:
    """Put runs side by side.

    Args:
        runs: Runs, their folders, ids or names.
        runs_dir: Where ids are looked up.

    Raises:
        RunError: no such run.
        ConfigError: no run was given, or a run's configuration cannot be read.
    """
    found = [open_run(run, runs_dir) for run in runs]
    if not found:
        raise ConfigError("There is nothing to compare.", expected="at least one run", received="none")
    summaries = [summarize(run.root) for run in found]
    return Comparison(
        runs=tuple(run.id for run in found),
        settings=_differing([run.config for run in found]),
        scores={name: tuple(getattr(summary, name) for summary in summaries) for name in SCORES},
    )


def _differing(configs: list[RunConfig]) -> dict[str, tuple[Any, ...]]:
    keys = dict.fromkeys(key for config in configs for key in changed_keys(config))
    plain = [config.to_dict() for config in configs]
    values = {key: tuple(_look_up(data, key) for data in plain) for key in keys if key not in _NOT_COMPARED}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found[1:])}


def _look_up(data: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; None where its section is off or the entry absent."""
    value: Any = data
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _flat(value: Any) -> Any:
    return "on" if isinstance(value, Mapping) else str(value) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    flat = _flat(value)
    return "–" if flat is None else f"{flat:.4g}" if isinstance(flat, float) else str(flat)
