"""Conversions of one model by several pipelines, one after another: what the alternatives would have given."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from darkit_nb.config.conversions import PRESETS, alternative
from darkit_nb.errors import ConfigError, RunError
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.runs.conversion import Conversion
from darkit_nb.runs.conversion_files import work_folder
from darkit_nb.runs.log import LogReader
from darkit_nb.runs.queue import queued_runs
from darkit_nb.runs.workers import is_conversion


def alternatives(request: ConversionRequest, pipelines: Iterable[str]) -> tuple[ConversionRequest, ...]:
    """The same model converted by other presets, on the same texts and at the same bits.

    Args:
        request: the conversion they are compared with.
        pipelines: names of presets; the request's own, and a second mention, are passed over.

    Returns:
        In the order named; each has the folder of `request` with the preset's name behind it.

    Raises:
        ConfigError: there is no such preset, or it does not exist at these bits.
    """
    others = [name for name in dict.fromkeys(pipelines) if name != request.spec.pipeline]
    return tuple(
        dataclasses.replace(request, spec=alternative(request.spec, name), out=f"{request.out}-{name}")
        for name in others
    )


def all_alternatives(request: ConversionRequest) -> tuple[ConversionRequest, ...]:
    """As `alternatives`, by every other preset that exists at these bits."""
    found = []
    for name in PRESETS:
        with suppress(ConfigError):
            found += alternatives(request, [name])
    return tuple(found)


def log_now(request: ConversionRequest) -> LogReader:
    """The log of a conversion, begun or not, from its end as it is now."""
    path = work_folder(request.out) / "stdout.log"
    return LogReader(path, start=path.stat().st_size if path.is_file() else 0)


def queue_conversions(requests: Sequence[ConversionRequest], *, command: str = "") -> list[Conversion]:
    """Queue conversions in the order given; the first begins at once where nobody is at work in its folder.

    Those that are done already, or at work, stay as they are: the same call again does what is left.

    Args:
        requests: each with a folder of its own.
        command: what was typed, for the record.

    Raises:
        RunError: a folder that holds something else. Nothing is queued then.
    """
    taken = [str(Path(request.out).expanduser().resolve()) for request in requests]
    twice = sorted({out for out in taken if taken.count(out) > 1})
    if twice:
        raise RunError(
            "Two conversions cannot have one folder.", expected="a folder for each", received=", ".join(twice)
        )
    made = [Conversion.create(request, command=command) for request in requests]
    for each in made:
        if not each.done and each.state not in ("queued", "starting", "running"):
            each.queue()
    return made


def queued_conversions(folder: str | Path = ".") -> list[Conversion]:
    """The conversions that wait in a folder, the next one first."""
    return [Conversion(run) for run in queued_runs(folder) if is_conversion(run.root)]
