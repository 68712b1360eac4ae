"""The model tree's traits, headless: a trace crosses the wire, choices checked, sources and drawings come on demand."""

from __future__ import annotations

import copy
import dataclasses
import json
import linecache
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import darkit_nb as dk
from darkit_nb.errors import ModelError, ShapeError
from darkit_nb.records.trace import ModelTrace
from darkit_nb.records.trace_wire import from_wire
from darkit_nb.widgets import ModelTree, SpikeRaster
from tests.records.snapshots import layer, snapshot
from tests.records.traces import large_trace, node, small_trace


class Twice(nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).relu())


def traced(tree: ModelTree) -> ModelTrace:
    assert tree.trace is not None
    return tree.trace


def test_a_trace_crosses_the_wire_whole():
    trace = small_trace()
    tree = ModelTree(trace)
    assert tree.trace is trace
    assert from_wire(json.loads(tree.tree)) == trace
    assert tree.about["headline"].startswith("Net on cpu")
    assert "Seen once." in tree.about["notes"]
    assert not tree.about["live"]


def test_a_model_is_traced_and_drawn():
    model = Twice()
    tree = ModelTree(model, torch.ones(3, 4), timing=True)
    assert [each.path for each in traced(tree).nodes] == ["", "first", "second"]
    assert traced(tree).root.seconds is not None
    assert tree.about["live"]
    tree._receive(None, {"do": "flow", "path": ""}, [])
    assert tree.flow["path"] == ""
    assert all(text in tree.flow["svg"] for text in ("first", "relu", "second", "3×8"))
    tree._receive(None, {"do": "flow", "path": "third"}, [])
    assert "no such module" in tree.flow["problem"]["message"]
    assert model.training


def test_a_forward_that_fails_is_shown_where_it_failed():
    tree = ModelTree(Twice(), torch.ones(3, 5))
    assert traced(tree).failed == "first"
    assert str(traced(tree).node("first").problem) in tree.text()
    assert from_wire(json.loads(tree.tree)).problem == traced(tree).problem


def test_the_chosen_module_is_one_of_the_model():
    tree = ModelTree(small_trace())
    heard = []
    tree.observe(lambda change: heard.append(change["new"]), "selected")
    tree.selected = "body.up"
    tree.selected = "tied"
    assert heard == ["body.up", "head"]
    with pytest.raises(ModelError, match="no such module"):
        tree.selected = "body.upp"
    assert tree.selected == "head"
    tree.selected = None
    assert heard[-1] is None


def test_another_trace_keeps_the_choice_if_it_can():
    tree = ModelTree(small_trace())
    tree.selected = "body"
    tree._receive(None, {"do": "source", "path": "body"}, [])
    tree.show(small_trace("ValueError: no"))
    assert (tree.selected, tree.source) == ("body", None)
    tree.show(large_trace(30))
    assert tree.selected is None


def test_the_source_of_a_class_comes_with_its_lines():
    tree = ModelTree(Twice(), torch.ones(3, 4))
    tree._receive(None, {"do": "source", "path": ""}, [])
    source = tree.source
    assert source["text"].splitlines()[0] == "class Twice(nn.Module):"
    assert source["text"].splitlines()[source["forward_line"] - source["line"]].strip().startswith("def forward(")
    assert Path(source["file"]) == Path(__file__)
    tree._receive(None, {"do": "source", "path": "nowhere"}, [])
    assert "no such module" in tree.problem["message"]


def test_a_class_of_a_notebook_cell_has_its_source_too():
    text: str = "class Cell(nn.Module):\n    pass\n"
    linecache.cache["<cell 7>"] = (len(text), None, list(text.splitlines(keepends=True)), "<cell 7>")
    try:
        tree = ModelTree(
            ModelTrace(model="Cell", device="cpu", nodes=(node("", "Cell", file="<cell 7>", line=1, end_line=2),))
        )
        tree.do_source("")
        assert tree.source["text"] == text
    finally:
        del linecache.cache["<cell 7>"]


def test_a_trace_from_elsewhere_cannot_have_any_file_read(tmp_path: Path):
    secret = tmp_path / "key.txt"
    secret.write_text("secret\n")
    long = tmp_path / "long.py"
    long.write_text("x = 1\n" * 700)
    for file, line, reason in (
        (str(secret), 1, "no Python file"),
        (str(tmp_path / "gone.py"), 1, "cannot be read here"),
        ("", 0, "written in no Python file"),
        (str(long), 1, "100 more lines"),
    ):
        root = dataclasses.replace(small_trace().root, file=file, line=line, end_line=700)
        tree = ModelTree(ModelTrace(model="Net", device="cpu", nodes=(root,)))
        tree.do_source("")
        assert reason in tree.source["reason"]
        assert "secret" not in tree.source["text"]


def test_what_cannot_be_shown_says_what_can():
    with pytest.raises(ModelError, match="cannot be shown") as found:
        ModelTree("spike-llama-nano")
    assert found.value.received == "str"
    with pytest.raises(ShapeError):
        ModelTree(Twice(), {})
    with pytest.raises(ModelError, match="holds only its trace"):
        ModelTree(small_trace()).flow_svg()
    empty = ModelTree()
    assert "nothing to show yet" in empty.text()
    assert "nothing to show yet" in empty.snapshot()
    empty._receive(None, {"do": "source", "path": ""}, [])
    assert "no model in this tree" in empty.problem["message"]


def test_a_model_without_inputs_shows_its_structure_and_parameters():
    tree = ModelTree(Twice())
    assert [each.path for each in traced(tree).nodes] == ["", "first", "second"]
    assert "dk.trace_model(model, inputs)" in tree.about["notes"][-1]
    tree._receive(None, {"do": "parameters", "path": "first"}, [])
    assert [own["name"] for own in tree.parameters["rows"]] == ["weight", "bias"]
    with pytest.raises(ModelError, match="no inputs"):
        tree.flow_svg()


def test_text_and_static_picture():
    tree = ModelTree(small_trace())
    assert tree.text().splitlines()[0].startswith("Net on cpu")
    assert repr(tree) == tree.text()
    assert "Body&lt;T&gt;" in tree.snapshot()
    assert "<script" not in tree.snapshot()


def test_a_large_model_leaves_a_small_picture_in_the_notebook():
    tree = ModelTree(large_trace(20_000))
    assert len(tree.tree) < 4_000_000
    assert len(tree.snapshot()) < 1_000_000
    assert tree.text().count("\n") < 300


def test_a_trace_is_shown_without_torch(tmp_path: Path):
    (tmp_path / "trace.json").write_text(small_trace().to_json())
    code = (
        "import sys; from pathlib import Path; from darkit_nb.widgets import ModelTree;"
        "from darkit_nb.records.trace import ModelTrace;"
        f"tree = ModelTree(ModelTrace.from_json(Path({str(tmp_path / 'trace.json')!r}).read_text()));"
        "tree.snapshot(); tree.do_source('');"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_two_traces_are_one_tree_and_each_side_answers():
    before, after = small_trace(), dataclasses.replace(small_trace(), nodes=small_trace().nodes[:-1])
    tree = ModelTree(after, compare=before)
    sent = json.loads(tree.other)
    assert from_wire(sent["before"]) == before
    assert from_wire(json.loads(tree.tree)) == after
    assert sent["rows"]["states"][sent["rows"]["state"][-1]] == "gone"
    assert tree.about["before"] == tree.about["headline"]
    tree.selected = "head"  # gone, and still there to look at
    tree._receive(None, {"do": "source", "path": "head", "side": "before"}, [])
    assert tree.source["side"] == "before"
    assert "head" in tree.text()
    assert "head" in tree.snapshot()
    tree.compare(None)
    assert (tree.other, tree.comparison, tree.selected) == (b"", None, None)
    tree.compare(before)
    assert tree.comparison is not None
    tree.show(small_trace())
    assert tree.comparison is None
    with pytest.raises(ModelError, match="no model in this tree"):
        ModelTree().compare(before)


def test_a_float_model_and_its_spiking_twin():
    model = dk.build_model("spike-llama-nano", overrides={"num_hidden_layers": 1})
    ids = torch.arange(12).reshape(1, 12)
    tree = ModelTree(dk.spikify(copy.deepcopy(model)), ids, compare=model)
    assert tree.about["live"] == ["before", "after"]
    assert tree.comparison is not None
    row = tree.comparison.row("model.layers.0.mlp.up_proj")
    assert row.state == "changed"
    assert {"class_name", "energy_pj"} <= set(row.changed)
    tree._receive(None, {"do": "raster", "path": row.path, "side": "after"}, [])
    assert tree.raster["picture"]["name"] == row.path
    assert tree.raster["tokens"] == [str(token) for token in range(12)]
    tree._receive(None, {"do": "raster", "path": row.path, "side": "before"}, [])
    assert "No raster" in tree.raster["problem"]["message"]
    tree._receive(None, {"do": "parameters", "path": row.path, "side": "before"}, [])
    [weight] = tree.parameters["rows"]
    assert (weight["name"], weight["shape"], weight["not_finite"]) == ("weight", (512, 128), 0)
    held = model.get_submodule(row.path).get_parameter("weight")
    assert weight["mean"] == pytest.approx(held.double().mean().item())


def test_what_needs_the_model_says_so_of_a_trace():
    tree = ModelTree(small_trace())
    for kind in ("raster", "parameters", "flow"):
        tree._receive(None, {"do": kind, "path": "body.up"}, [])
        assert "holds only its trace" in getattr(tree, kind)["problem"]["message"]
    other = Twice()
    changed = ModelTree(other, torch.ones(3, 4))
    delattr(other, "first")
    changed.do_parameters("first")
    assert "has changed since it was traced" in changed.parameters["problem"]["message"]


def test_a_comparison_costs_little_more_than_its_two_traces():
    tree = ModelTree(dk.compare_traces(large_trace(4_000), large_trace(3_800)))
    assert len(tree.other) < 1.3 * len(tree.tree)  # the other trace, and a few figures a row
    assert len(tree.snapshot()) < 1_000_000


def test_the_chosen_module_and_the_layer_of_a_raster_are_one_choice():
    up, down = "body.up", "body.down"
    tree, raster = ModelTree(small_trace()), SpikeRaster()
    unlink = tree.link(raster)
    tree.selected = down
    assert raster.layer == ""  # it has no spikes yet
    raster.show(snapshot(layer(up), layer(down)))
    assert raster.layer == down
    tree.selected = up
    assert raster.layer == up
    raster.layer = down
    assert tree.selected == down
    tree.selected = "body"  # holds what is drawn
    assert raster.layer == down
    tree.selected = "head"  # holds no layer
    assert raster.layer == down
    unlink()
    tree.selected = up
    assert raster.layer == down
