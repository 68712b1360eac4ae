from __future__ import annotations

import abc
import copy
import inspect
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from darkit_nb.edit.apply import make_patch
from darkit_nb.edit.lineage import original_class, patch_of
from darkit_nb.edit.patched_class import load_class, write_source
from darkit_nb.edit.source import module_source
from darkit_nb.errors import PatchError

FACTOR = 2.0


def helper(x: Tensor) -> Tensor:
    return FACTOR * x


class Base(nn.Module):
    def shift(self, x: Tensor) -> Tensor:
        return x + 1


class Plain(Base):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def spare(self) -> int:
        return 1

    def forward(self, x: Tensor) -> Tensor:
        return helper(self.weight * x)


class Abstract(nn.Module, abc.ABC):
    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...


class Concrete(Abstract):
    def forward(self, x: Tensor) -> Tensor:
        return x


def edited(module: nn.Module, text: str, folder: Path) -> type:
    return load_class(make_patch(module, "", textwrap.dedent(text)), type(module), folder)


def run_as(kind: type, module: nn.Module, x: Tensor) -> Tensor:
    module.__class__ = kind
    return module(x)


ONES = torch.ones(3)


def test_the_whole_class_written_anew_still_stands_for_the_original(tmp_path: Path):
    module = Plain()
    kind = edited(module, module_source(module).text.replace("helper(", "3 * helper("), tmp_path)
    assert [each.__name__ for each in kind.__mro__] == ["Plain", "Base", "Module", "Plain", "object"]
    assert issubclass(kind, Plain)
    assert original_class(kind) is Plain
    assert patch_of(kind).source == inspect.getsource(kind)
    assert torch.equal(run_as(kind, module, ONES), 6 * ONES)


def test_super_goes_where_the_text_says(tmp_path: Path):
    whole = "class Plain(Base):\n    def forward(self, x):\n        return super().shift(x) - self.weight\n"
    assert torch.equal(run_as(edited(Plain(), whole, tmp_path), Plain(), ONES), ONES)
    derived = "class Mine(Plain):\n    def forward(self, x):\n        return -super().forward(x)\n"
    assert torch.equal(run_as(edited(Plain(), derived, tmp_path), Plain(), ONES), -2 * ONES)
    same_name = derived.replace("Mine", "Plain")
    assert torch.equal(run_as(edited(Plain(), same_name, tmp_path), Plain(), ONES), -2 * ONES)


def test_what_the_text_leaves_out_is_gone_and_what_it_derives_from_stays(tmp_path: Path):
    module = Plain()
    whole = edited(module, "class Plain(Base):\n    def forward(self, x):\n        return self.spare() * x\n", tmp_path)
    with pytest.raises(AttributeError, match="spare"):
        run_as(whole, Plain(), ONES)
    derived = edited(module, "class B(Plain):\n    def forward(self, x):\n        return self.spare() * x\n", tmp_path)
    assert torch.equal(run_as(derived, Plain(), ONES), ONES)


def test_helpers_imports_closures_decorators_and_globals(tmp_path: Path):
    text = """
    from __future__ import annotations
    import math
    from functools import wraps

    def counted(function):
        @wraps(function)
        def inner(self, *args: Nowhere):
            self.calls = getattr(self, "calls", 0) + 1
            return function(self, *args)
        return inner

    FACTOR = 10.0
    TOTAL = 0

    class Mine(Plain):
        half = property(lambda self: self.weight / 2)

        @counted
        def forward(self, x: "Tensor") -> "Tensor":
            global TOTAL
            TOTAL += 1
            scale = [math.sqrt(4)]
            return (lambda y: y * scale[0])(helper(self.half * x)) * FACTOR
    """
    module = Plain()
    kind = edited(module, text, tmp_path)
    assert torch.equal(run_as(kind, module, ONES), 20 * ONES)
    assert module.calls == 1
    assert sys.modules[kind.__module__].TOTAL == 1
    assert (FACTOR, "TOTAL" in globals()) == (2.0, False)


def test_a_metaclass_is_kept(tmp_path: Path):
    kind = edited(Concrete(), "class Concrete(Abstract):\n    def forward(self, x):\n        return -x\n", tmp_path)
    assert isinstance(kind, abc.ABCMeta)
    assert torch.equal(run_as(kind, Concrete(), ONES), -ONES)
    missing = edited(Concrete(), "class Concrete(Abstract):\n    pass\n", tmp_path)
    with pytest.raises(TypeError, match="abstract"):
        missing()
    module = Concrete()
    module.__class__ = kind
    assert torch.equal(pickle.loads(pickle.dumps(module))(ONES), -ONES)  # noqa: S301 - our own


def test_a_local_class_keeps_its_closure(tmp_path: Path):
    amount = 5.0

    class Local(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return amount * x

    text = module_source(Local()).text.replace("amount * x", "amount * x + 1")
    assert torch.equal(run_as(edited(Local(), text, tmp_path), Local(), ONES), 6 * ONES)


def test_a_traceback_shows_the_line_of_the_edit(tmp_path: Path):
    text = "import math\n\n\nclass Mine(Plain):\n    def forward(self, x):\n        y = x\n        return y @ y\n"
    module = Plain()
    try:
        run_as(edited(module, text, tmp_path), module, torch.ones(2, 3))
    except RuntimeError as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
    assert (frame.lineno, frame.line) == (7, "return y @ y")
    assert Path(frame.filename).read_text() == text


def test_the_same_edit_of_the_same_class_is_one_class_that_sees_todays_globals(tmp_path: Path, monkeypatch):
    text = "class Mine(Plain):\n    def forward(self, x):\n        return FACTOR * x\n"
    patch = make_patch(Plain(), "", text)
    kind = load_class(patch, Plain, tmp_path)
    monkeypatch.setitem(globals(), "FACTOR", 7.0)
    assert load_class(patch, Plain, tmp_path) is kind
    assert torch.equal(run_as(kind, Plain(), ONES), 7 * ONES)


def test_classes_of_one_name_get_modules_of_their_own(tmp_path: Path):
    def make(amount: float) -> type[nn.Module]:
        class Local(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return amount * x

        return Local

    one, two = make(1.0), make(2.0)
    text = "class Local(nn.Module):\n    def forward(self, x):\n        return -amount * x\n"
    patch = make_patch(one(), "", module_source(one()).text.replace("amount * x", "-amount * x"))
    assert text.splitlines()[2].strip() in patch.source
    kinds = [load_class(patch, each, tmp_path) for each in (one, two)]
    assert [run_as(kind, base(), ONES)[0].item() for kind, base in zip(kinds, (one, two), strict=True)] == [-1.0, -2.0]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("class Plain(Base):\n    def forward(self, x:\n        return x\n", 2, "not Python"),
        ("import math\n\nclass Other(nn.Module):\n    pass\n", None, "no class for Plain"),
        ("class Plain(Base):\n    x = undefined_name\n", 2, "undefined_name"),
        ("class Plain(Base):\n    def forward(self, x):\n        return x\n\nraise SystemExit(3)\n", 5, "SystemExit"),
        ("@staticmethod\nclass Plain(Base):\n    pass\n", 2, "does not end as a class"),
        ("class Plain(int):\n    pass\n", 1, "does not end as a class"),
    ],
)
def test_a_text_that_gives_no_class_says_where(text: str, line: int | None, message: str, tmp_path: Path):
    before = set(sys.modules)
    with pytest.raises(PatchError, match=message) as caught:
        edited(Plain(), text, tmp_path)
    assert line is None or caught.value.line == line
    assert not [name for name in set(sys.modules) - before if name.startswith("darkit_patch")]


def test_copies_and_pickles_are_of_the_patched_class_also_in_another_process(tmp_path: Path):
    program = """
    import pickle, sys, torch
    from pathlib import Path
    from torch import nn
    from darkit_nb.edit.apply import apply, make_patch
    if sys.argv[1] == "write":
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        text = "class Two(ReLU):\\n    def forward(self, x):\\n        return 2 * super().forward(x)\\n"
        apply(model, make_patch(model, "1", text), folder=sys.argv[2])
        torch.save(model, sys.argv[3])
    else:
        model = torch.load(sys.argv[3], weights_only=False)
        model(torch.ones(2))
        print(type(model[1]).__name__, isinstance(model[1], nn.ReLU), model[1](torch.ones(1)).item())
    """
    folder, file = tmp_path / "patches", tmp_path / "model.pt"
    run = [sys.executable, "-c", textwrap.dedent(program)]
    subprocess.run([*run, "write", folder, file], check=True, timeout=400)
    done = subprocess.run([*run, "read", folder, file], check=True, timeout=400, capture_output=True, text=True)
    assert done.stdout.split() == ["Two", "True", "2.0"]


def test_a_class_is_copied_as_itself(tmp_path: Path):
    kind = edited(Plain(), "class Mine(Plain):\n    pass\n", tmp_path)
    assert copy.deepcopy(kind) is kind
    assert pickle.loads(pickle.dumps(kind)) is kind  # noqa: S301 - our own


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills are of POSIX")
def test_a_kill_while_files_are_written_leaves_whole_files_only(tmp_path: Path):
    program = """
    import itertools, sys
    from darkit_nb.edit.patched_class import write_source
    from darkit_nb.records.patch import Patch
    print("ready", flush=True)
    for number in itertools.count():
        text = f"class A:\\n    x = {number}\\n" + "# rest\\n" * 20000
        facts = {"kind": "code", "targets": ("",), "module": "m", "class_name": "A", "base": "class A: pass"}
        write_source(Patch(**facts, source=text), sys.argv[1])
    """
    folder = tmp_path / "patches"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), folder], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    while len(list(folder.glob("*.py")) if folder.exists() else []) < 3:
        assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    written = list(folder.glob("*.py"))
    assert len(written) >= 3
    assert {each.read_text().count("# rest\n") for each in written} == {20000}


def test_a_file_of_the_edit_that_was_spoiled_is_written_again(tmp_path: Path):
    patch = make_patch(Plain(), "", "class Mine(Plain):\n    pass\n")
    file = write_source(patch, tmp_path)
    file.write_bytes(b"\xff")
    assert write_source(patch, tmp_path) == file
    assert file.read_text() == patch.source
