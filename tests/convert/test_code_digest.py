"""Code that decides numbers has a digest: equal for equal code wherever it lies, another for any change of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import darkit_nb
from darkit_nb.convert.code_digest import code_digest, digest_of

PACKAGE = Path(darkit_nb.__file__).parent


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy laid out as the wheel lays it out, with what Python leaves beside it."""
    folder = tmp_path / "site-packages" / "darkit_nb"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("static", "labextension", "native", "__pycache__"))
    if not (folder / "kernels").is_dir():
        shutil.copytree(PACKAGE.parent / "kernels", folder / "kernels")
    (folder / "convert" / "__pycache__").mkdir()
    (folder / "convert" / "__pycache__" / "driver.cpython-311.pyc").write_bytes(b"compiled")
    return folder


def test_the_same_code_elsewhere_has_the_same_digest(installed: Path):
    assert digest_of(installed) == code_digest()
    assert len(code_digest()) == 16


@pytest.mark.parametrize("name", ["convert/gptq.py", "nn/packed_linear.py", "functional/gif.py", "kernels/cpu/gif.cpp"])
def test_any_change_to_what_decides_numbers_changes_it(installed: Path, name: str):
    before = digest_of(installed)
    with (installed / name).open("a") as stream:
        stream.write(" ")
    assert digest_of(installed) != before


def test_what_only_shows_numbers_does_not(installed: Path):
    before = digest_of(installed)
    (installed / "widgets" / "new.py").write_text("")
    (installed / "kernels" / "README.md").write_text("")
    assert digest_of(installed) == before
