"""The notebook of edits: executed as it is, and what of it is committed."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

from docs.notebooks import execute
from tests.notebooks.told import code_cells, told

ROOT = Path(__file__).parent.parent.parent
EDIT = ROOT / "notebooks" / "03_edit.ipynb"
LARGEST_BYTES = 400_000


def check(book: Any) -> None:
    """What the notebook teaches, in its own words."""
    (before,) = re.findall(r"[\d.]+", told(book, "before = loss()"))
    assert "class LlamaMLP(nn.Module):" in told(book, "dk.module_source")
    assert "✓ Edit 1 applied to model.layers.1.mlp" in told(book, '--note "a gate with tanh"')
    first, edited = re.findall(r"\d\.\d{4}", told(book, 'now {loss():.4f}")'))
    assert first == before
    assert float(edited) > float(before)
    assert "cell line 4: It fails while running forward" in told(book, "torch.tahn")
    assert re.findall(r"\d\.\d{4}", told(book, 'still {loss():.4f}"')) == [edited]
    assert "The output has another shape: [2, 16] instead of [2, 16, 128]." in told(book, "mean(-1)")
    assert "✓ Edit 2 applied to 3 modules" in told(book, "half the MLP")
    assert "firing rate" in told(book, "half the MLP")
    assert "half the MLP" in told(book, "%darkit history")
    assert re.findall(r"\d\.\d{4}", told(book, "%darkit revert")) == [before, before]
    assert "Fork tanh-gate saved: 1 edit" in told(book, "%darkit fork save")
    assert "torch.tanh" in told(book, "CodeEditor(")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_cell_runs_and_shows_what_it_says(tmp_path: Path):
    check(execute(nbformat.read(EDIT, as_version=4), tmp_path))


def test_the_committed_one_shows_what_it_says_and_names_no_machine():
    text = EDIT.read_text(encoding="utf-8")
    book = nbformat.reads(text, as_version=4)
    check(book)
    assert len(text.encode()) < LARGEST_BYTES
    assert "widgets" not in book.metadata
    refused = [one for cell in code_cells(book) for one in cell.outputs if one.output_type == "error"]
    assert [one.ename for one in refused] == ["EditRefusedError", "EditRefusedError"]
    for private in (Path.home(), tempfile.gettempdir(), ROOT.parent):
        assert f"{private}/" not in text
