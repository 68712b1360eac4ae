"""The teaching notebooks as a student meets them: opened with their saved pictures, then run cell by cell."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.lab import Lab
from tests.browser.notebook import Notebook

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"


def opened(open_page: Callable[..., Notebook], lab: Lab, name: str) -> Notebook:
    """A copy of a notebook, in a folder of its own."""
    folder = name.partition(".")[0]
    (lab.root / folder).mkdir()
    shutil.copyfile(NOTEBOOKS / name, lab.root / folder / name)
    return open_page(Notebook, folder=folder, name=name)


def run_all(notebook: Notebook, name: str, *, timeout_s: float) -> None:
    """Run every code cell, one after the other; those that are to be refused may be."""
    for index, cell in enumerate(nbformat.read(NOTEBOOKS / name, as_version=4).cells):
        if cell.cell_type == "code":
            notebook.run_cell(index, timeout_s=timeout_s, may_fail="raises-exception" in cell.metadata.get("tags", ()))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "saved"), [("02_convert.ipynb", "darkit W4A4"), ("03_edit.ipynb", "LlamaMLP")])
def test_what_is_saved_is_read_without_running_anything(
    open_page: Callable[..., Notebook], lab: Lab, name: str, saved: str
):
    notebook = opened(open_page, lab, name)
    expect(notebook.panel.locator("[class^=dk-snapshot]").first).to_contain_text(saved)
    notebook.screenshot(f"notebook-{name[:2]}-saved")
    shutil.rmtree(lab.root / name.partition(".")[0])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook_of_conversions_runs_in_a_page(open_page: Callable[..., Notebook], lab: Lab):
    notebook = opened(open_page, lab, "02_convert.ipynb")
    run_all(notebook, "02_convert.ipynb", timeout_s=500)
    panel = notebook.panel.locator(".cv").first
    panel.get_by_role("tab", name="Results", exact=True).click()
    expect(panel.locator(".cv-point")).to_have_count(3)
    expect(panel.locator(".cv-table tbody tr")).to_have_count(4)
    notebook.screenshot("notebook-02-results", panel)


@pytest.mark.slow
def test_the_notebook_of_edits_runs_in_a_page(open_page: Callable[..., Notebook], lab: Lab):
    notebook = opened(open_page, lab, "03_edit.ipynb")
    run_all(notebook, "03_edit.ipynb", timeout_s=200)
    editor = notebook.panel.locator(".ce").last
    expect(editor.locator(".cm-content")).to_contain_text("torch.tanh")
    notebook.screenshot("notebook-03-editor", editor)
