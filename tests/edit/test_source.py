from __future__ import annotations

import importlib
import linecache
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from darkit_nb.edit.apply import apply, make_patch
from darkit_nb.edit.source import class_text, known_globals, module_source
from darkit_nb.errors import PatchError
from tests.edit.zoo import build

SCALE = 3.0


class Outer:
    class Nested(nn.Module):
        note = """One.

Text further left.
"""

        def forward(self, x: Tensor) -> Tensor:
            return SCALE * x


def tagged(kind: type) -> type:
    kind.tag = 1
    return kind


@tagged
class Decorated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Inherits(Decorated):
    pass


def local_class(factor: float) -> type[nn.Module]:
    class Local(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return factor * x

    return Local


def cell(text: str, number: int) -> dict[str, object]:
    """Run a text as a notebook does: its lines are known to linecache, and there is no file."""
    name = f"<cell {number}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names: dict[str, object] = {"__name__": "__main__", "nn": nn}
    exec(compile(text, name, "exec"), names)  # noqa: S102
    return names


def test_a_class_of_a_file():
    model, _ = build("llama")
    source = module_source(model, "model.layers.1.mlp")
    assert source.text.startswith("class LlamaMLP(nn.Module):\n    def __init__(self, config):\n")
    assert source.module == "transformers.models.llama.modeling_llama"
    assert Path(source.file).read_text().splitlines()[source.line - 1] == "class LlamaMLP(nn.Module):"
    assert source.same_class == ("model.layers.0.mlp", "model.layers.1.mlp")
    assert {"ACT2FN", "nn", "LlamaMLP"} <= set(source.globals_name)


def test_a_nested_class_loses_its_indentation_and_keeps_its_strings():
    source = module_source(Outer.Nested())
    assert source.text.startswith('class Nested(nn.Module):\n    note = """One.\n\nText further left.\n')
    assert source.class_name == "Outer.Nested"
    assert known_globals(Outer.Nested)["SCALE"] == 3.0


def test_decorators_belong_to_the_text():
    assert module_source(Decorated()).text.startswith("@tagged\nclass Decorated(nn.Module):\n")


def test_an_inherited_forward_leaves_the_class_its_own_text():
    assert module_source(Inherits()).text == "class Inherits(Decorated):\n    pass\n"


def test_a_local_class_sees_the_variables_around_it():
    kind = local_class(2.5)
    assert class_text(kind)[0].startswith("class Local(nn.Module):\n    def forward")
    assert known_globals(kind)["factor"] == 2.5


def test_a_class_of_a_cell_and_the_same_cell_run_again():
    first = cell("width = 1\n\nclass Mine(nn.Module):\n    def forward(self, x):\n        return x + width\n", 1)
    again = cell("class Mine(nn.Module):\n    def forward(self, x):\n        return x - 1\n", 2)
    source = module_source(first["Mine"]())
    assert source.text.endswith("return x + width\n")
    assert source.line == 3
    assert "width" in source.globals_name
    assert module_source(again["Mine"]()).text.endswith("return x - 1\n")


def test_a_class_of_a_cell_without_functions_is_found_by_what_it_says():
    text = "class Bare(nn.Identity):\n    width = {}\n"
    kinds = [cell(text.format(number), number)["Bare"] for number in (11, 12, 11)]
    assert [class_text(each)[0] for each in kinds] == [text.format(number) for number in (11, 12, 11)]
    kinds[0].width = 13
    with pytest.raises(PatchError, match="not to be found"):
        class_text(kinds[0])


def test_the_text_after_a_patch_is_the_patched_one_with_its_helpers(tmp_path: Path):
    model = nn.Sequential(Decorated())
    text = "import math\n\ndef twice(x):\n    return 2 * x\n\n" + module_source(model, "0").text.replace(
        "return x", "return twice(x)"
    )
    apply(model, make_patch(model, "0", text), folder=tmp_path)
    source = module_source(model, "0")
    assert source.text == text
    assert (source.class_name, source.module) == ("Decorated", Decorated.__module__)
    assert Path(source.file).read_text() == text


def test_a_file_that_changed_since_it_was_imported_is_not_taken_for_the_class(tmp_path: Path, monkeypatch):
    file = tmp_path / "changing_module.py"
    text = "from torch import nn\n\nclass A(nn.Module):\n    def forward(self, x):\n        return x\n"
    file.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    kind = importlib.import_module("changing_module").A
    file.write_text(text.replace("class A", "import os\n\n\nclass A"))
    linecache.checkcache(str(file))
    try:
        with pytest.raises(PatchError, match="not to be found"):
            class_text(kind)
    finally:
        del sys.modules["changing_module"]


def test_two_classes_of_one_name_in_a_file_are_told_apart(tmp_path: Path, monkeypatch):
    body = "class A(nn.Module):\n    def forward(self, x):\n        return x + {}\n"
    file = tmp_path / "two_of_one_name.py"
    file.write_text("from torch import nn\n\n" + body.format(1) + "\nFirst = A\n\n" + body.format(2))
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("two_of_one_name")
    try:
        assert class_text(module.First)[0].endswith("x + 1\n")
        assert class_text(module.A)[0].endswith("x + 2\n")
    finally:
        del sys.modules["two_of_one_name"]


def test_wrappers_of_torch_are_looked_through():
    model = nn.Sequential(Decorated())
    assert module_source(torch.compile(model, backend="eager"), "0").class_name == "Decorated"


def test_a_path_that_is_not_there_names_those_that_are():
    with pytest.raises(PatchError, match=r"no module 'model\.layers\.9'") as caught:
        module_source(build("llama")[0], "model.layers.9")
    assert caught.value.expected == "one of 0, 1 in model.layers"


def parametrized() -> nn.Module:
    return torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda: torch.fx.symbolic_trace(nn.Linear(2, 2)), "a module of torch.fx"),
        (parametrized, "torch.nn.utils.parametrize"),
        (lambda: type("Made", (nn.Module,), {"forward": lambda self, x: x})(), "Made"),
    ],
)
def test_a_class_without_a_text_says_what_to_do(make, received: str):
    with pytest.raises(PatchError) as caught:
        module_source(make())
    assert received in str(caught.value.received)
    assert caught.value.fix


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_is_refused():
    with pytest.raises(PatchError, match="no source of its own"):
        module_source(torch.jit.script(nn.ReLU()))
