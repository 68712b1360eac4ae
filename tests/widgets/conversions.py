"""Folders of conversions without a model in them, for panels: written as a worker writes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from darkit_nb.config.conversions import preset
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.runs.conversion import Conversion
from darkit_nb.runs.conversion_files import write_rows
from tests.records.conversions import block, plan, rows


def written(folder: Path, pipeline: str, *, done: int = 4, state: str = "finished") -> Conversion:
    """A conversion of the bundled model of which `done` of four blocks are done."""
    spec = preset(pipeline).replace(sample_length=256)
    out = folder / f"{pipeline}-w4a4"
    made = Conversion.create(ConversionRequest(source="stdlib-llama", out=str(out), spec=spec))
    made.directory.begin_attempt()
    made.directory.append_event("plan", plan=plan().to_dict())
    for index in range(done):
        report = block(index, resumed=index == 0)
        made.directory.append_metrics({"kind": "block", "step": index, "report": report.to_dict()})
    made.directory.write_status(state=state, total_steps=4, step=done)
    if done == 4:
        found = [dataclasses.replace(row, source="stdlib-llama") for row in rows()]
        write_rows(made.root, [found[0], *(row for row in found if row.name == spec.name)])
    return made
