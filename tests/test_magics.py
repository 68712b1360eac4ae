"""`%darkit` in a real shell: cells are inserted, tried, applied, refused with their line, taken back, and completed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from darkit_nb.widgets.edit_desk import Edit, Progress, desk_of
from tests.widgets.edited import Mixer, Net, inputs

EDITED = inspect.getsource(Mixer).replace("torch.relu", "torch.sigmoid")
PATCH = "%%darkit patch net.layers[1].mixer"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.chdir(tmp_path)
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance()
    made.run_line_magic("load_ext", "darkit_nb")
    torch.manual_seed(0)
    made.push({"net": Net(), "x": inputs()})
    yield made
    InteractiveShell.clear_instance()


def run(shell: InteractiveShell, cell: str) -> tuple[bool, str]:
    """Whether a cell went through, and all it showed as text."""
    with capture_output() as shown:
        result = shell.run_cell(cell)
    told = [each.data.get("text/plain", "") for each in shown.outputs]
    return bool(result.success), "\n".join([*told, shown.stdout])


def inserted(shell: InteractiveShell, line: str) -> str:
    """The cell that a line puts below itself."""
    ok, told = run(shell, line)
    assert ok, told
    return shell.rl_next_input  # type: ignore[attr-defined]  # where a terminal keeps it


@pytest.fixture
def cell(shell: InteractiveShell) -> str:
    return inserted(shell, "%darkit edit net.layers[1].mixer --inputs x")


def test_a_module_becomes_a_cell_with_its_source(shell: InteractiveShell, cell: str):
    assert cell.startswith(f"{PATCH} --inputs x\nclass Mixer(nn.Module):\n")
    assert cell.endswith("return self.down(torch.relu(self.up(x)))")
    again = inserted(shell, "%darkit edit net.layers.0.mixer --layers 0:2 --dry-run --note 'a gate'")
    assert again.startswith("%%darkit patch net.layers[0].mixer --layers 0:2 --dry-run --note 'a gate'\nclass Mixer")


def test_a_cell_is_tried_applied_shown_and_taken_back(shell: InteractiveShell, cell: str):
    net: Any = shell.user_ns["net"]
    before = net(inputs())
    edited = cell.replace("torch.relu", "torch.tanh")
    ok, told = run(shell, edited.replace(" --inputs x", " --inputs x --dry-run"))
    assert ok, told
    assert "Checks passed" in told
    assert torch.equal(net(inputs()), before)
    ok, told = run(shell, edited.replace(" --inputs x", " --inputs x --note 'softer'"))
    assert ok, told
    assert "✓ Edit 1 applied to layers.1.mixer · +1 −1" in told
    assert not torch.equal(net(inputs()), before)
    assert run(shell, "%darkit history") == (True, run(shell, "%darkit history net")[1])
    assert run(shell, edited)[1].strip().endswith("✓ The module has this text already")  # run all, again
    assert "1 softer applied" in run(shell, "%darkit history")[1]
    ok, told = run(shell, "%darkit fork save softer")
    assert ok, told
    assert Path("forks/softer/fork.json").is_file()
    ok, told = run(shell, "%darkit revert")
    assert "Took back edit 1" in told
    assert torch.equal(net(inputs()), before)
    assert type(net.layers[1].mixer) is Mixer
    assert "1 softer reverted" in run(shell, "%darkit history")[1]


def test_a_cell_says_when_the_class_was_changed_since_it_was_made(shell: InteractiveShell, cell: str):
    desk = desk_of(shell.user_ns["net"], inputs())
    edit = Edit(opened=desk.open("layers.1.mixer"), text=EDITED, targets=("layers.1.mixer",))
    assert desk.apply(edit, Progress()).ok
    ok, told = run(shell, cell.replace("torch.relu", "torch.tanh"))
    assert ok, told
    assert "Mixer had been changed since this cell was made" in told


def test_all_of_a_class_and_some_layers(shell: InteractiveShell, cell: str):
    net: Any = shell.user_ns["net"]
    edited = cell.replace("torch.relu", "torch.tanh")
    assert run(shell, edited.replace(" --inputs x", " --inputs x --layers 1:"))[0]
    assert [type(each.mixer) is Mixer for each in net.layers] == [True, False, False]
    again = inserted(shell, "%darkit edit net.layers[0].mixer --class --inputs x")
    assert run(shell, again.replace("torch.relu", "torch.sigmoid"))[0]
    assert type(net.layers[0].mixer) is not Mixer
    assert run(shell, "%darkit revert 2 net")[0]
    assert {type(each.mixer) for each in net.layers} == {Mixer}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("torch.relu", "tarch.relu"), ["cell line 11:", "tarch", "return self.down(tarch.relu(self.up(x)))"]),
        (("self.up(x)))", "self.up(x))"), ["cell line 11:", "Python cannot read this"]),
        (("return self.down(", "return self.down.weight @ ("), ["cell line 11:"]),
        (("class Mixer(nn.Module)", "class Another(nn.Module)"), ["cell line 2:", "Mixer"]),
    ],
)
def test_a_bad_cell_names_its_line_and_ends_a_run_of_all_cells(
    shell: InteractiveShell, cell: str, change: tuple[str, str], says: list[str]
):
    before = shell.user_ns["net"](inputs())
    ok, told = run(shell, cell.replace(*change))
    assert not ok
    assert all(each in told for each in says), told
    assert "Not applied: 1 problem" in told
    assert "Traceback" not in told
    assert torch.equal(shell.user_ns["net"](inputs()), before)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%darkit", "edit, patch, revert, history, fork"),
        ("%darkit bake net", "There is no %darkit bake"),
        ("%darkit edit", "the following arguments are required: module"),
        ("%darkit edit nett.head", "did you mean net?"),
        ("%darkit edit net.layers[7]", "no module 'layers.7'"),
        ("%darkit edit net.layers[0].mixer --layers 5:9", "There are no layers 5:9"),
        ("%darkit edit net.layers[0].mixer --class --layers 0:1", "not allowed with"),
        ("%darkit edit net.head --inputs y", "There is no y"),
        ("%darkit edit 'net", "cannot be read"),
        ("%darkit patch net.head", "two for a whole cell"),
        ("%%darkit edit net.head\nx", "One % is for a line"),
        ("%darkit revert 1 2", "What is to be reverted?"),
        ("%darkit revert", "There are not that many patches"),
        ("%darkit history net net", "Whose history"),
        ("%darkit fork load a", "fork save NAME"),
        ("%darkit fork save ../a net", "received"),
    ],
)
def test_a_wrong_line_says_what_is_right(shell: InteractiveShell, line: str, says: str):
    ok, told = run(shell, line)
    assert not ok
    assert says in told
    assert "Traceback" not in told


def test_without_a_name_the_only_or_the_last_model_is_meant(shell: InteractiveShell):
    shell.push({"other": Net()})
    ok, told = run(shell, "%darkit history")
    assert not ok
    assert "2 of them here: net, other" in told
    inserted(shell, "%darkit edit other.head")
    assert run(shell, "%darkit history") == (True, "No edits of Net.\n")


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("%darkit ", ["edit", "patch", "revert", "history", "fork"]),
        ("%darkit re", ["revert"]),
        ("%darkit edit n", ["net"]),
        ("%darkit edit net.", ["net.head", "net.layers", "net.layers[0]", "net.layers[1]", "net.layers[2]"]),
        ("%darkit edit net.layers[1].", ["net.layers[1].mixer", "net.layers[1].mixer.down", "net.layers[1].mixer.up"]),
        ("%%darkit patch net.h", ["net.head"]),
        ("%darkit edit net.head --d", ["--dry-run"]),
        ("%darkit fork s", ["save"]),
        ("%darkit history ", ["net"]),
    ],
)
def test_lines_are_completed(shell: InteractiveShell, line: str, offers: list[str]):
    with provisionalcompleter():
        found = list(shell.Completer.completions(line, len(line)))
    assert {line[: each.start] + each.text for each in found} == {
        line[: len(line) - len(line.split(" ")[-1])] + each for each in offers
    }


def test_importing_the_package_in_a_shell_is_enough_and_cheap():
    program = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("import darkit_nb")
shell.run_line_magic("reload_ext", "darkit_nb")
assert shell.find_line_magic("darkit") and shell.find_cell_magic("darkit")
sys.exit(any(name in sys.modules for name in ("torch", "ipywidgets", "pydantic")))
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
