"""Two compared trees as text and page: every difference marked by a sign and a colour, blocks folded, sums of both."""

from __future__ import annotations

import dataclasses
import re
import time

from rich.console import Console

from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_compare import compare_traces
from darkit_nb.views.tree import tree
from darkit_nb.views.tree_compare_html import comparison_html, comparison_page
from darkit_nb.views.tree_compare_rows import compared_lines, totals
from tests.records.traces import large_trace, node, small_trace, spikes
from tests.views.test_tree import parsed


def both() -> tuple[ModelTrace, ModelTrace]:
    """A layer with another class, an unknown script for a name, and one that is gone."""
    before = small_trace()
    nodes = [
        dataclasses.replace(each, class_name="Gated", own_parameters=80, parameters=80, energy_pj=9.0)
        if each.path == "body.up"
        else dataclasses.replace(each, energy_pj=each.energy_pj and each.energy_pj + 1.5)
        if each.path in ("", "body")
        else each
        for each in before.nodes
        if each.path != "body.down"
    ]
    return before, dataclasses.replace(before, nodes=(*nodes, node("tail", "<script>", parameters=5)))


def test_text_marks_every_difference():
    lines = tree(compare_traces(*both())).to_text(140).splitlines()
    assert lines[0] == "Net spiking · 1 changed · 1 new · 1 gone · 3 the same"
    assert "energy 22.5 pJ → 24.0 pJ (+6.7 %)" in lines[1]
    assert "parameters 192 ·" in lines[1]
    assert [line[0] for line in lines[3:9]] == ["·", "·", "~", "−", " ", "+"]
    assert "up SpikeLinear → Gated" in lines[5]
    assert "64 → 80" in lines[5]
    assert "down SpikeLinear" in lines[6]
    assert "tail <script>" in lines[8]
    assert lines[9].startswith("~ changed, + new, − gone")


def test_what_is_the_same_can_be_left_out():
    lines = tree(compare_traces(*both()), only_changed=True).to_text(140).splitlines()
    assert not any("head Linear" in line for line in lines)
    assert "1 modules that are the same are not shown." in lines[-1]


def test_two_that_are_the_same():
    trace = small_trace()
    text = tree(compare_traces(trace, trace)).to_text()
    assert "Net spiking · all 5 modules are the same" in text
    assert "→" not in text


def test_what_else_differs_is_named():
    before = small_trace()
    after = dataclasses.replace(
        before,
        nodes=tuple(
            dataclasses.replace(each, line=99, calls=2, calls_per_parent=2, trainable=1)
            if each.path == "head"
            else each
            for each in before.nodes
        ),
    )
    (head,) = [line for line in tree(compare_traces(before, after)).to_text().splitlines() if "head" in line]
    assert head.endswith("source, calls, trainable")


def test_what_only_fires_differently_has_a_sign_of_its_own():
    before = small_trace()
    fewer = dataclasses.replace(before.nodes[2], spikes=spikes(1, 10, 5), own_energy_pj=1.0, energy_pj=1.0)
    comparison = compare_traces(
        before, dataclasses.replace(before, nodes=(*before.nodes[:2], fewer, *before.nodes[3:]))
    )
    lines = tree(comparison).to_text().splitlines()
    assert lines[0] == "Net spiking · 1 firing differently · 4 the same"
    assert [line[0] for line in lines if "up SpikeLinear" in line] == ["≈"]
    assert "≈ fires differently" in lines[-1]
    assert 'class="affected leaf"' in comparison_html(comparison)


def test_a_narrow_terminal():
    for width in (30, 60, 100):
        lines = tree(compare_traces(*both())).to_text(width).splitlines()
        assert max(map(len, lines)) <= width
    assert "~ " in "".join(lines)


def test_colours_in_a_terminal():
    console = Console(width=120, force_terminal=True, color_system="truecolor")
    with console.capture() as capture:
        console.print(tree(compare_traces(*both())))
    assert "\x1b[1;33mup" in capture.get()
    assert "\x1b[1;32mtail" in capture.get()
    assert "\x1b[1;9;31mdown" in capture.get()


def test_blocks_that_differ_alike_are_one_row_and_others_are_not():
    before = large_trace(122)
    nodes = [dataclasses.replace(each, class_name="Other") if each.name == "part3" else each for each in before.nodes]
    after = dataclasses.replace(before, nodes=tuple(nodes))
    lines = compared_lines(compare_traces(before, after))
    (block,) = [line for line in lines if line.row.node.class_name == "Block"]
    assert (block.row.name, block.state, block.below) == ("0 … 11", "same", 1)
    assert block.before is not None
    assert block.before.parameters == 12 * 576
    nodes[-1] = dataclasses.replace(nodes[-1], class_name="Odd")
    lines = compared_lines(compare_traces(before, dataclasses.replace(after, nodes=tuple(nodes))))
    assert [line.row.name for line in lines if line.row.node.class_name == "Block"] == ["0 … 10", "11"]


def test_sums_of_both():
    before, after = small_trace(), small_trace()
    root = dataclasses.replace(after.root, parameters=19_200, flops=12, energy_pj=None, trainable=4)
    found = totals(compare_traces(before, dataclasses.replace(after, nodes=(root, *after.nodes[1:]))))
    assert ("parameters", "192", "19.2 k", "×100") in found
    assert ("trainable", "0", "4", "") in found
    assert ("MACs", "192", "6", "÷32.0") in found
    assert ("energy", "22.5 pJ", "–", "") in found
    fewer = dataclasses.replace(after.nodes[2], spikes=spikes(1, 10, 5))
    found = totals(
        compare_traces(before, dataclasses.replace(after, nodes=(*after.nodes[:2], fewer, *after.nodes[3:])))
    )
    assert ("fires", "43.3 %", "33.3 %", "−10.0 points") in found
    assert not any(name in ("time", "memory") for name, *_ in found)


def test_a_page_stands_alone():
    page = comparison_page(compare_traces(*both()))
    found = parsed(page)
    assert "script" not in found.met
    assert not re.search(r"""(src|href)=|url\(|@import|https?:""", page)
    assert "tail" in found.text
    assert "<script>" in found.text
    for state, sign in (("changed", "~"), ("new", "+"), ("gone", "−")):
        assert f'<span class="g" aria-label="{state}">{sign}</span>' in page
        assert page.count(f'class="{state} leaf"') == 1


def test_the_way_to_a_difference_is_open():
    before = large_trace(122)
    nodes = list(before.nodes)
    nodes[-1] = dataclasses.replace(nodes[-1], class_name="Odd")
    page = comparison_html(compare_traces(before, dataclasses.replace(before, nodes=tuple(nodes))), open_depth=0)
    parsed(page)
    assert page.count("<details open>") == 3
    assert page.count("<details>") == 1


def test_a_failure_is_shown_where_it_happened():
    failed = compare_traces(small_trace(), small_trace("ValueError: <no>"))
    assert "✗ ValueError: <no>" in tree(failed).to_text()
    assert "✗ ValueError: &lt;no&gt;" in comparison_html(failed)
    assert "The forward of the model after failed in head" in tree(failed).to_text()


def test_ten_thousand_rows_are_written_quickly():
    comparison = compare_traces(large_trace(10_002), large_trace(10_002))
    start = time.process_time()
    text, page = tree(comparison, fold=False).to_text(), comparison_page(comparison)
    assert time.process_time() - start < 10
    assert len(text.splitlines()) > 10_002
    assert page.count('class="m"') == 13
