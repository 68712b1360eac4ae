"""The quickstart, executed as it is, and what of it is committed."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest

from darkit_nb.config.cores import available_cores
from docs.notebooks import execute

ROOT = Path(__file__).parent.parent.parent
QUICKSTART = ROOT / "notebooks" / "01_quickstart.ipynb"
LARGEST_BYTES = 300_000
FIRST_SPIKES_SECONDS = 60.0

NOTHING_HEAVY = """
import sys
[name for name in ("torch", "transformers", "cupy", "datasets", "accelerate") if name in sys.modules]
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook after every cell was run in a kernel of its own, with a question to that kernel at its end."""
    book = nbformat.read(QUICKSTART, as_version=4)
    book.cells.append(nbformat.v4.new_code_cell(NOTHING_HEAVY))
    done = execute(book, tmp_path_factory.mktemp("quickstart"))
    done.metadata["wanting_a_core"] = os.getloadavg()[0] / available_cores()
    return done


def outputs(book: Any, containing: str) -> list[Any]:
    """Outputs of the one code cell whose source holds that text."""
    (cell,) = (cell for cell in book.cells if cell.cell_type == "code" and containing in cell.source)
    return cell.outputs


def told(found: list[Any]) -> str:
    """All text of some outputs."""
    return "\n".join(one.get("text", "") or one.get("data", {}).get("text/plain", "") for one in found)


def seconds_since_start(book: Any, containing: str) -> float:
    """From the first cell's start to the end of that one."""
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    (cell,) = (cell for cell in cells if containing in cell.source)
    begun, done = cells[0].metadata.execution["iopub.execute_input"], cell.metadata.execution["shell.execute_reply"]
    return (datetime.fromisoformat(done) - datetime.fromisoformat(begun)).total_seconds()


@pytest.mark.timeout(900)
def test_every_cell_runs_and_says_what_it_promises(executed: Any):
    assert "spike-llama-nano" in pictures(executed, "dk.train(config)")
    assert "data:image/png" in pictures(executed, "SpikeRaster")
    assert "evaluation_bits_per_byte" in told(outputs(executed, "run.metrics"))
    assert "bits per byte" in told(outputs(executed, "darkit_nb evaluate"))
    assert "token" in pictures(executed, "GenerateBox(run)")
    assert pictures(executed, "dk.Studio()")


def pictures(book: Any, containing: str) -> str:
    """The static pages among a cell's outputs."""
    return "\n".join(one.get("data", {}).get("text/html", "") for one in outputs(book, containing))


@pytest.mark.timeout(900)
def test_the_first_spikes_are_there_within_a_minute(executed: Any):
    share = max(1.0, executed.metadata["wanting_a_core"])  # a machine that does other things too gives it a share
    assert seconds_since_start(executed, "SpikeRaster") < FIRST_SPIKES_SECONDS * share


@pytest.mark.timeout(900)
def test_its_kernel_never_loads_torch(executed: Any):
    assert executed.cells[-1].outputs[0]["data"]["text/plain"] == "[]"


@pytest.mark.timeout(900)
def test_it_stays_small_with_its_outputs(executed: Any):
    assert len(nbformat.writes(executed).encode()) < LARGEST_BYTES


def test_the_committed_one_holds_pictures_and_no_widget_state():
    text = QUICKSTART.read_text(encoding="utf-8")
    book = json.loads(text)
    assert len(text.encode()) < LARGEST_BYTES
    assert "widgets" not in book["metadata"]
    assert all("execution" not in cell["metadata"] for cell in book["cells"])
    found = [output for cell in book["cells"] for output in cell.get("outputs", [])]
    assert any("data:image/png" in "".join(output.get("data", {}).get("text/html", "")) for output in found)
    assert not [output for output in found if output["output_type"] == "error"]
    for private in (Path.home(), tempfile.gettempdir(), ROOT.parent):
        assert f"{private}/" not in text
