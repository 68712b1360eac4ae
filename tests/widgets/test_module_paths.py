"""Names of modules as people write them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from darkit_nb.errors import ModelError, PatchError
from darkit_nb.runs.run import Run
from darkit_nb.widgets.module_paths import as_python, layer_range, name_of, named_in, resolve, roots_in
from tests.widgets.edited import Net

NET = Net()
PATHS = [path for path, _ in NET.named_modules()]
MIXERS = [f"layers.{number}.mixer" for number in range(3)]


@pytest.mark.parametrize(
    ("expression", "root", "path"),
    [
        ("net", "net", ""),
        ("net.layers[0].mixer", "net", "layers.0.mixer"),
        ("net.layers.0.mixer", "net", "layers.0.mixer"),
        ("net.layers.10.mixer.2", "net", "layers.10.mixer.2"),
        ("net.blocks['a-b'].up", "net", "blocks.a-b.up"),
        ("trainer.model.head", "trainer.model", "head"),
        ("held['m'].head", "held['m']", "head"),
        ("run.model.layers[1]", "run", "model.layers.1"),
    ],
)
def test_an_expression_is_a_root_and_a_path(expression: str, root: str, path: str, tmp_path: Path):
    namespace = {"net": NET, "trainer": SimpleNamespace(model=NET), "held": {"m": NET}, "run": Run(tmp_path)}
    found, text, rest = named_in(expression, namespace)
    assert (text, rest) == (root, path)
    assert found is (namespace["run"] if root == "run" else NET)


@pytest.mark.parametrize(
    "expression", ["", "net.layers[", "f(net)", "net.layers[0:2]", "net + 1", "__import__('os').name"]
)
def test_nothing_else_is_an_expression_and_nothing_is_called(expression: str):
    with pytest.raises(ModelError, match="does not name a module"):
        named_in(expression, {"net": NET, "f": lambda _: pytest.fail("called")})


def test_a_wrong_name_says_what_was_meant():
    with pytest.raises(ModelError) as told:
        named_in("nett.head", {"net": NET, "x": 3, "_3": NET})
    assert told.value.cause == "did you mean net?"
    with pytest.raises(ModelError, match=r"x\.real is neither a model nor a run"):
        named_in("x.real", {"net": NET, "x": SimpleNamespace(real=1)})
    assert roots_in({"net": NET, "x": 3, "_3": NET, "Net": Net}) == ["net"]
    assert name_of(NET, {"longer": NET, "net": NET, "_": NET}) == "net"
    assert name_of(NET, {"other": Net()}) is None


def test_the_beginning_of_a_path_may_be_left_out_where_one_module_fits():
    known = ["", "model", *(f"model.{path}" for path in PATHS if path), "head2"]
    assert resolve("model.layers.0.mixer", known) == "model.layers.0.mixer"
    assert resolve("layers.0.mixer", known) == "model.layers.0.mixer"
    assert resolve("model.head2", known) == "head2"
    assert resolve("model", known) == "model"
    for ambiguous in ("mixer", "layers.7.mixer", "mixer.up"):
        with pytest.raises(ModelError, match="no module"):
            resolve(ambiguous, known)
    with pytest.raises(ModelError) as told:
        resolve("layers.0.mixr", PATHS)
    assert "layers.0.mixer" in str(told.value.cause)


def test_layers_are_counted_as_python_slices_them():
    assert layer_range("0:2", MIXERS[0], MIXERS) == (*MIXERS[:2],)
    assert layer_range("1:", MIXERS[0], MIXERS) == (*MIXERS[1:],)
    assert layer_range(" : ", MIXERS[0], MIXERS) == (*MIXERS,)
    for wrong in ("3:", "2:1", "a:b", "1", "-1:", "0:2:1"):
        with pytest.raises(PatchError):
            layer_range(wrong, MIXERS[0], MIXERS)
    with pytest.raises(PatchError, match="no numbered layer"):
        layer_range("0:2", "head", ["head"])


def test_a_path_is_written_as_python():
    assert as_python("net", "layers.0.mixer") == "net.layers[0].mixer"
    assert as_python("run", "") == "run"
    for path in ("layers.0.mixer.up", "blocks.a-b.up", "0"):
        assert named_in(as_python("net", path), {"net": NET})[2] == path
