"""A model tree as text, page and graph: every row there, folded where asked for, safe, and quick."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser

import pytest
from rich.console import Console

from darkit_nb.views.tree import tree
from darkit_nb.views.tree_graph import tree_dot, tree_mermaid
from darkit_nb.views.tree_html import tree_html, tree_page
from darkit_nb.views.tree_rows import tree_rows
from darkit_nb.views.tree_text import TreeView
from tests.conftest import need
from tests.records.traces import large_trace, small_trace

VOID = {"meta", "br"}


class Balanced(HTMLParser):
    """Fails on an element that is closed in the wrong place; counts what it meets."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.met: dict[str, int] = {}
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.met[tag] = self.met.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Balanced:
    found = Balanced()
    found.feed(page)
    assert found.open == []
    return found


def test_text():
    lines = TreeView(small_trace()).to_text(140).splitlines()
    assert lines[0] == "Net on cpu · 8 tokens · 192 parameters, 0 trainable · 192 MACs · fires 43.3 % · 22.5 pJ"
    assert lines[1].split() == ["module", "output", "parameters", "MACs", "spikes", "fires", "energy"]
    assert [re.split(r"\s{2,}", line)[0] for line in lines[2:7]] == [
        "Net",
        "├─ body Body<T> ×4",
        "│",
        "│",
        "└─ head Linear",
    ]
    assert "up SpikeLinear" in lines[4]
    assert "Q16 S2" in lines[4]
    assert "40.0 %" in lines[4]
    assert lines[4].rstrip().endswith("██")
    assert lines[7] == "Seen once."


def test_columns_that_do_not_fit_are_left_out():
    narrow = TreeView(small_trace()).to_text(50).splitlines()
    assert narrow[2].split() == ["module", "output", "energy"]  # the bar is of the energy
    assert max(map(len, narrow)) <= 50


def test_colours_in_a_terminal():
    console = Console(width=120, force_terminal=True, color_system="truecolor", file=None)
    with console.capture() as capture:
        console.print(tree(small_trace("RuntimeError: no")))
    assert "\x1b[1;31mhead" in capture.get()
    assert "✗ RuntimeError: no" in capture.get()


def test_depth_says_what_it_hides():
    text = TreeView(small_trace(), depth=1).to_text(120)
    assert "body Body<T> ×4 +2" in text
    assert "up SpikeLinear" not in text


def test_blocks_of_a_stack_fold_and_their_sums_stay():
    trace = large_trace(122)
    rows = tree_rows(trace)
    (block,) = [row for row in rows if row.node.class_name == "Block"]
    assert (block.name, block.repeat, block.parameters) == ("0 … 11", 12, 12 * 576)
    assert len(rows) == 3 + 9
    assert len([row for row in rows if row.repeat > 1]) == 1
    slots = sum(trace.spike_total(row, "slots") for row in block.rows)
    assert slots == 12 * 90
    assert len(tree_rows(trace, fold=False)) == 122
    assert sum(len(row.rows) for row in rows) == 122


def test_a_page_stands_alone():
    page = tree_page(small_trace("RuntimeError: <b>bold</b> claim"))
    found = parsed(page)
    assert "script" not in found.met
    assert not re.search(r"""(src|href)=|url\(|@import|https?:""", page)
    assert "<b>bold" not in page
    assert "Body<T>" in found.text
    assert "✗ RuntimeError: <b>bold</b> claim" in found.text
    assert page.startswith("<!doctype html>")


def test_details_fold_every_branch_and_open_the_way_to_a_failure():
    trace = large_trace(122)
    found = parsed(tree_html(trace, fold=False))
    assert found.met["details"] == 14
    assert tree_html(trace, fold=False).count("<details open>") == 2
    nodes = list(trace.nodes)
    broken = nodes[15]
    assert broken.depth == 3
    nodes[15] = dataclasses.replace(broken, problem="ValueError: no")
    failing = dataclasses.replace(trace, nodes=tuple(nodes))
    assert tree_html(failing, fold=False).count("<details open>") == 3


def test_mermaid():
    text = tree_mermaid(small_trace("RuntimeError: no"))
    assert text.startswith("flowchart LR\n")
    assert 'n1["body' in text
    assert "Body#60;T#62;" in text
    assert ":::spiking" in text
    assert ":::failed" in text
    assert text.count("-->") == 4


def test_dot_is_drawn():
    need("dot", shutil.which("dot") is not None, "Graphviz is not installed")
    text = tree_dot(small_trace('quote " and \\ slash'))
    done = subprocess.run(["dot", "-Tsvg"], input=text.encode(), capture_output=True, check=True)
    assert b"SpikeLinear" in done.stdout
    assert text.count("->") == 4


@pytest.mark.parametrize("fold", [True, False])
def test_twenty_thousand_rows_are_written_quickly(fold: bool):
    trace = large_trace(20_002)
    start = time.process_time()
    text, page = TreeView(trace, fold=fold).to_text(), tree_page(trace, fold=fold)
    seconds = time.process_time() - start
    assert seconds < 10
    assert (len(text.splitlines()) > 20_002) != fold
    assert page.count('class="m"') == (13 if fold else 20_003)
