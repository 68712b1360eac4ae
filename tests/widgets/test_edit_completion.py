"""What stands at the cursor is completed from live objects, or from the text of a file alone."""

from __future__ import annotations

import inspect
import subprocess
import sys
import time

from torch import nn

from darkit_nb.widgets.class_file import class_at, file_of_module, module_names
from darkit_nb.widgets.edit_completion import attributes_of, complete
from tests.widgets import edited

TEXT = inspect.getsource(edited.Mixer)
NET = edited.Net()


def offered(typed: str, **more: object) -> list[str]:
    text = f"{TEXT.rstrip()}\n        {typed}"
    own = {"own": lambda path: attributes_of(NET, f"layers.0.mixer.{path}".strip("."))}
    start, items = complete(text, len(text), **{"namespace": vars(edited), **own, **more})  # type: ignore[arg-type]
    assert text[start:] == typed.rpartition(".")[2]
    return [item[0] for item in items]


def test_own_attributes_come_first_and_to_any_depth():
    assert offered("self.")[:2] == ["up", "down"]
    assert offered("self.up.we") == ["weight"]
    assert offered("return self.up_") == []
    kinds = {name: (kind, about) for name, kind, about, _ in attributes_of(NET, "layers.0.mixer.up")}
    assert kinds["weight"] == ("instance", "8×4")
    assert kinds["forward"][0] == "function"
    assert attributes_of(NET, "layers.9") == []


def test_names_of_the_module_and_of_what_it_imports():
    assert "Linear" in offered("nn.Lin")
    assert "tanh" in offered("x = torch.ta")
    assert "Mixer" in offered("Mix")
    assert "ret" not in offered("ret")
    assert offered("nothing_of_that_name.") == []


def test_a_local_is_followed_by_its_type():
    assert "append" in offered("found = []\n        found.app")


def test_it_answers_while_somebody_types():
    offered("torch.nn.functional.s")
    start = time.perf_counter()
    for typed in ("torch.nn.functional.s", "self.u", "nn.M", "Te"):
        assert offered(typed)
    assert time.perf_counter() - start < 0.2


def test_a_file_alone_is_enough_and_nothing_is_imported():
    program = """
import sys
from darkit_nb.widgets.class_file import class_at, file_of_module, module_names
from darkit_nb.widgets.edit_completion import complete
file = file_of_module("tests.widgets.edited")
name, text, line = class_at(file, 9)
whole = open(file).read()
at = whole.index(text)
cut = text.rstrip() + "\\n        Net."
found = complete(cut, len(cut), around=(whole[:at], whole[at + len(text):]))[1]
print(name, line, sorted(module_names(file)), "forward" in [each[0] for each in found])
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    names = ["Layer", "Mixer", "Net", "Tensor", "annotations", "inputs", "nn", "torch"]
    assert done.stdout.strip() == f"Mixer 9 {names} True"


def test_classes_and_names_of_a_file(tmp_path):
    file = tmp_path / "m.py"
    file.write_text(
        "import a.b as c, d.e\ntry:\n    from f import g\nexcept ImportError:\n    g = None\n"
        "if c:\n    h: int = 1\nfor i in ():\n    j = [k for k in ()]\nwith c as m: pass\n"
        "def make():\n    inside = 1\n    @c\n    class Local(\n        object):\n        x = '''\n  far left'''\n"
    )
    assert set(module_names(str(file)) or ()) >= {"c", "d", "g", "h", "i", "j", "m", "make"}
    assert "inside" not in (module_names(str(file)) or ())
    assert class_at(str(file), 14) == (
        "make.<locals>.Local",
        "@c\nclass Local(\n    object):\n    x = '''\n  far left'''\n",
        13,
    )
    assert class_at(str(file), 2) is None
    file.with_name("star.py").write_text("from m import *\n")
    assert module_names(str(file.with_name("star.py"))) is None
    assert file_of_module("no.such.module") == ""
    assert file_of_module("torch.nn") == nn.__file__
