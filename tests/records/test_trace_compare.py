"""Two traces side by side: rows matched, differences named, and sums told apart from changes of a module itself."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest

from darkit_nb.errors import ModelError
from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_compare import STATES, compare_traces, to_wire
from darkit_nb.records.trace_node import TraceNode
from tests.records.traces import large_trace, node, small_trace, spikes


def with_nodes(trace: ModelTrace, *nodes: TraceNode) -> ModelTrace:
    return dataclasses.replace(trace, nodes=nodes)


def edited(trace: ModelTrace, path: str, **changes: object) -> ModelTrace:
    return with_nodes(
        trace, *(dataclasses.replace(each, **changes) if each.path == path else each for each in trace.nodes)
    )


def test_a_trace_is_the_same_as_itself_in_every_row():
    trace = small_trace()
    comparison = compare_traces(trace, ModelTrace.from_json(trace.to_json()))
    assert comparison.counts == {"same": 5, "changed": 0, "new": 0, "gone": 0}
    assert all(row.before == row.after == place and not row.changed for place, row in enumerate(comparison.rows))
    assert comparison.notes == ()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"class_name": "Gated"}, "class_name"),
        ({"module": "elsewhere"}, "module"),
        ({"file": "/other/place/net.py", "line": 4}, "source"),
        ({"signature": "(x, y)"}, "signature"),
        ({"calls": 2, "calls_per_parent": 2}, "calls"),
        ({"outputs": ()}, "outputs"),
        ({"own_parameters": 65, "parameters": 65}, "own_parameters"),
        ({"own_flops": 1}, "own_flops"),
        ({"own_energy_pj": 1.0}, None),
        ({"trainable": 0}, "trainable"),
        ({"buffer_bytes": 4}, "buffer_bytes"),
        ({"spikes": spikes(5, 10, 20)}, "firing_rate"),
        ({"spikes": None}, "spikes"),
        ({"seconds": 1.0, "memory_bytes": 9}, None),
        ({"problem": "ValueError"}, "problem"),
    ],
)
def test_each_change_of_a_module_is_named(changes: dict[str, object], named: str | None):
    trace = small_trace()
    row = compare_traces(trace, edited(trace, "body.up", **changes)).row("body.up")
    assert (row.state, named is None or named in row.changed) == ("same" if named is None else "changed", True)


def test_a_folder_is_no_change_of_the_source():
    trace = edited(small_trace(), "body", file="/here/net.py", line=3)
    elsewhere = edited(trace, "body", file="C:\\there\\net.py")
    assert compare_traces(trace, elsewhere).counts["changed"] == 0


def test_what_surrounds_a_change_is_the_same_but_its_sums_differ():
    trace = small_trace()
    after = edited(trace, "body.up", own_flops=256, flops=256)
    after = edited(edited(after, "body", flops=384), "", flops=512)
    comparison = compare_traces(trace, after)
    assert [(row.path, row.state, row.below) for row in comparison.rows[:3]] == [
        ("", "same", 1),
        ("body", "same", 1),
        ("body.up", "changed", 0),
    ]
    assert comparison.row("body").changed == ("flops",)
    assert comparison.row("head").changed == ()


def test_a_swapped_class_is_changed_and_its_submodules_are_new():
    before = small_trace()
    nodes = list(edited(before, "head", class_name="SpikeLinear", kind="spiking").nodes)
    after = with_nodes(before, *nodes, node("head.encoder", "GIF"))
    comparison = compare_traces(before, after)
    assert (comparison.row("head").state, comparison.row("head.encoder").state) == ("changed", "new")
    assert compare_traces(after, before).row("head.encoder").state == "gone"


def test_what_is_new_follows_its_sibling_and_what_is_gone_keeps_its_place():
    def tree(*paths: str) -> ModelTrace:
        return ModelTrace(model="N", device="cpu", nodes=(node("", "N"), *(node(path, "L") for path in paths)))

    comparison = compare_traces(tree("a", "b", "b.x", "b.z", "c"), tree("new", "a", "b", "b.x", "b.y", "after_b", "d"))
    found = [(row.path, row.state) for row in comparison.rows[1:]]
    assert found == [
        ("new", "new"),
        ("a", "same"),
        ("b", "same"),
        ("b.x", "same"),
        ("b.y", "new"),
        ("b.z", "gone"),
        ("after_b", "new"),
        ("d", "new"),
        ("c", "gone"),
    ]
    assert comparison.row("b").below == 2
    assert [comparison.rows[parent].path for parent in comparison.parents[1:]] == [""] * 3 + ["b"] * 3 + [""] * 3
    assert comparison.merged.node("b.z").class_name == "L"
    with pytest.raises(ModelError, match="Neither"):
        comparison.row("nowhere")


def test_what_only_fires_differently_is_told_apart_from_what_was_edited():
    before = small_trace()
    after = edited(before, "body.up", spikes=spikes(6, 10, 26), own_energy_pj=9.0, energy_pj=9.0)
    after = edited(after, "body.down", spikes=spikes(9, 20, 31), own_energy_pj=8.0, energy_pj=8.0, line=7)
    comparison = compare_traces(before, after)
    assert [row.path for row in comparison.rows if row.affected] == ["body.up"]
    assert comparison.counts["changed"] == 2
    assert to_wire(comparison)["affected"] == [2]


def test_what_was_not_counted_is_no_difference():
    counted = small_trace()
    unknown = ModelTrace(
        model="Net",
        device="meta",
        nodes=tuple(
            dataclasses.replace(each, energy_pj=None, own_energy_pj=None, spikes=each.spikes and spikes(0, 0, 0))
            for each in counted.nodes
        ),
        tokens=8,
    )
    comparison = compare_traces(unknown, counted)
    assert comparison.counts["changed"] == 0
    assert comparison.notes == ("Before on meta, after on cpu.",)


def test_spikes_where_there_were_none_are_a_difference():
    before = edited(edited(small_trace(), "body.up", spikes=None), "body.down", spikes=None)
    comparison = compare_traces(before, small_trace())
    assert "firing_rate" in comparison.row("body").changed
    assert comparison.row("body").state == "same"


def test_other_inputs_and_a_failed_forward_are_told():
    trace = small_trace()
    other = edited(small_trace("ValueError: no"), "", inputs=())
    notes = compare_traces(trace, other).notes
    assert len(notes) == 2
    assert "different shapes" in notes[0]
    assert "after failed in head" in notes[1]


def test_the_wire_says_the_same():
    before = small_trace()
    after = with_nodes(before, *edited(before, "body.up", class_name="Gated").nodes, node("tail", "Linear"))
    comparison = compare_traces(before, after)
    wire = json.loads(json.dumps(to_wire(comparison)))
    assert [STATES[state] for state in wire["state"]] == [row.state for row in comparison.rows]
    assert wire["before"] == [0, 1, 2, 3, 4, -1]
    assert wire["after"] == [0, 1, 2, 3, 4, 5]
    assert wire["parent"] == [-1, 0, 1, 1, 0, 0]
    assert wire["changed"] == {"class_name": [2]}
    assert wire["affected"] == []
    assert wire["below"] == [2, 1, 0, 0, 0, 0]


def test_twenty_thousand_rows_are_compared_at_once():
    before, after = large_trace(20_000), large_trace(20_000)
    started = time.process_time()
    comparison = compare_traces(before, after)
    assert time.process_time() - started < 10
    assert comparison.counts["same"] == 20_000
