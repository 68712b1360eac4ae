"""The notebook of conversions: executed as it is, driven in JupyterLab, and what of it is committed."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

from docs.notebooks import execute
from tests.notebooks.told import code_cells, pictures, told

ROOT = Path(__file__).parent.parent.parent
CONVERT = ROOT / "notebooks" / "02_convert.ipynb"
LARGEST_BYTES = 400_000


def figures(text: str) -> list[float]:
    """Percentages of a cell, in its order."""
    return [float(each) for each in re.findall(r"([\d.]+) % error", text)]


def largest(text: str) -> list[float]:
    """Medians of the largest feature of each panel of a figure."""
    return [float(each) for each in re.findall(r"is ([\d.]+) × the median", text)]


def check(book: Any) -> None:
    """What the notebook teaches, in its own numbers."""
    levels = figures(told(book, "for levels in"))
    assert levels == sorted(levels, reverse=True)
    all_spike, *kept = figures(told(book, "for kept in"))
    assert all(each < all_spike for each in kept)
    ways = dict(re.findall(r"^(.{32})\s*([\d.]+) % error  ▇+$", told(book, "ways = {"), re.MULTILINE))
    found = {name.strip(): float(value) for name, value in ways.items()}
    assert found["one step, rotated"] < found["one step"]
    assert found["radix, own range"] < found["rate, shared range (SpikeLLM)"] < found["one step"]
    assert found["radix, own range, split"] < found["one step, rotated"]
    towers = [float(each) for each in re.findall(r"is ([\d.]+) × the median", told(book, "feature_bars({name"))]
    assert towers[1] > 2 * towers[0]
    before, after = (float(each) for each in re.findall(r"is ([\d.]+) × the median", told(book, 'feature_bars({"down')))
    assert before == towers[1]
    assert after < 0.5 * before
    assert "darkit W4A4: finished, 5 of 5 blocks" in told(book, "panel.wait()")
    for name in ("rtn W4A4", "quarot W4A4", "darkit W4A4"):
        assert name in told(book, "result_view")
        assert name in pictures(book, "ConvertPanel(")
    assert "data:image/svg+xml" in pictures(book, "operation_points")
    lost = dict(re.findall(r"^(\w+) W4A4 .*?([+−-][\d.]+) ±", told(book, "result_view"), re.MULTILINE))
    assert float(lost["quarot"]) < float(lost["rtn"])
    assert float(lost["darkit"]) < float(lost["rtn"])
    assert "model.layers" in told(book, "dk.measure_spikes") or "mlp" in told(book, "dk.measure_spikes")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_cell_runs_and_shows_what_it_says(tmp_path: Path):
    check(execute(nbformat.read(CONVERT, as_version=4), tmp_path, timeout_s=600))


def test_the_committed_one_shows_what_it_says_and_names_no_machine():
    text = CONVERT.read_text(encoding="utf-8")
    book = nbformat.reads(text, as_version=4)
    check(book)
    assert len(text.encode()) < LARGEST_BYTES
    assert "widgets" not in book.metadata
    assert all("execution" not in cell.metadata for cell in book.cells)
    assert not [one for cell in code_cells(book) for one in cell.outputs if one.output_type == "error"]
    for private in (Path.home(), tempfile.gettempdir(), ROOT.parent):
        assert f"{private}/" not in text
    json.loads(text)
