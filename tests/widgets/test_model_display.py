"""A spiking model in a real kernel: its tree live, and a static one for those who come without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from torch import nn

from darkit_nb.plugins import registry
from darkit_nb.spikify import spikify

CELL = """
from torch import nn
from darkit_nb.spikify import spikify
spikify(nn.Sequential(nn.Linear(4, 4)), attention=False)
"""


def test_in_a_notebook_the_tree_is_live(tmp_path: Path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs: list[Any] = book.cells[0].outputs
    assert [output.output_type for output in outputs] == ["display_data", "display_data"]
    picture, live = outputs
    assert 'class="dk-tree"' in picture.data["text/html"]
    assert "SpikeLinear" in picture.data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in live.data


def test_without_a_kernel_there_is_only_a_picture():
    model = spikify(nn.Sequential(nn.Linear(4, 4)), attention=False)
    assert registry("display").get("model").load()(model) is None
    assert "SpikeLinear" in registry("display").get("model-picture").load()(model)
