"""Every public name resolves, is documented, and is what `dir` shows."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import darkit_nb

PACKAGE = Path(darkit_nb.__file__).parent
NAMES = [name for name in darkit_nb.__all__ if not name.startswith("__")]


@pytest.mark.parametrize("name", NAMES)
def test_public_name_resolves_and_says_what_it_is(name: str):
    value = getattr(darkit_nb, name)
    if callable(value) or inspect.ismodule(value):
        doc = inspect.getdoc(value) or ""
        assert doc.strip(), f"{name} has no docstring"
        # dataclasses without one get their signature as docstring, which tells a reader nothing
        assert not doc.startswith(f"{name}("), f"{name} has only the docstring dataclass generates"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = darkit_nb.no_such_name


def test_dir_lists_exactly_what_is_public():
    assert dir(darkit_nb) == sorted(darkit_nb.__all__)
    assert len(set(darkit_nb.__all__)) == len(darkit_nb.__all__)


def test_type_checkers_see_the_names_that_exist():
    """The TYPE_CHECKING block repeats the lazy table for editors; the two must not drift apart."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    stated = {
        alias.name: statement.module
        for block in blocks
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert stated == darkit_nb._EXPORTS


def test_star_import_gives_every_name():
    program = "from darkit_nb import *; import darkit_nb; assert set(darkit_nb.__all__) <= set(globals())"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=400)


def test_a_name_means_the_same_whatever_was_imported_before():
    """`darkit_nb.spikify` is a function beside a package of that name; importing the package must not replace it."""
    program = """
import sys
from importlib import import_module
import darkit_nb
for module in list(darkit_nb._EXPORTS.values()):
    import_module(module)
wrong = [n for n, m in darkit_nb._EXPORTS.items() if getattr(darkit_nb, n) is not getattr(import_module(m), n)]
from darkit_nb import spikify
sys.exit(f"{wrong} {spikify}" if wrong or not callable(spikify) else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
