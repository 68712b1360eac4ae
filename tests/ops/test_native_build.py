"""The CPU library is built once from its sources, found again, and its absence says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkit_nb.doctor.checks import library_check
from darkit_nb.doctor.native import build_native_library, native_library
from darkit_nb.ops import native_build
from darkit_nb.ops.native_build import BuildError, NativeState
from tests.ops.native import need_library

SOURCE = 'extern "C" __attribute__((visibility("default"))) long dk_level() { return %d; }'


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small library of its own: sources, and two folders to build into."""
    need_library()
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "level.cpp").write_text(SOURCE % 0)
    (sources / "more.cpp").write_text("static int unused __attribute__((unused)) = 1;")
    monkeypatch.setattr(native_build, "SOURCE_FOLDERS", (tmp_path / "absent", sources))
    monkeypatch.setattr(native_build, "library_folders", lambda: (tmp_path / "first", tmp_path / "second"))
    native_build.probe_native.cache_clear()
    yield tmp_path
    native_build.probe_native.cache_clear()


def test_it_is_built_once_and_again_when_a_source_changed(tree: Path) -> None:
    assert native_build.probe_native() == NativeState(False, "the CPU library is not built", "darkit-nb doctor --build")
    built = native_build.build()
    assert built.parent == tree / "first"
    stamp = built.stat().st_mtime_ns
    assert native_build.build() == built
    assert built.stat().st_mtime_ns == stamp
    native_build.probe_native.cache_clear()
    assert native_build.probe_native() == NativeState(True, "C++ library, baseline", path=str(built), level="baseline")
    (tree / "sources" / "level.cpp").write_text(SOURCE % 0 + "\n")
    assert native_build.find_library() is None
    again = native_build.build()
    assert again != built
    assert list(built.parent.iterdir()) == [again]


def test_a_folder_that_cannot_be_written_is_passed_over(tree: Path) -> None:
    (tree / "first").write_text("a file where the folder would be")
    assert native_build.build().parent == tree / "second"
    assert native_build.find_library() is not None


def test_the_compiler_keeps_its_words(tree: Path) -> None:
    (tree / "sources" / "more.cpp").write_text("int broken(")
    with pytest.raises(BuildError, match=r"more\.cpp"):
        native_build.build()
    assert not list((tree / "first").iterdir())


def test_without_a_compiler_or_sources_it_says_so(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_build, "COMPILERS", ("no-such-compiler",))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BuildError, match=r"no C\+\+ compiler"):
        native_build.build()
    assert "install g++" in str(native_build.probe_native().fix)
    monkeypatch.setattr(native_build, "SOURCE_FOLDERS", (tree / "absent",))
    with pytest.raises(BuildError, match="sources"):
        native_build.build()


def test_a_library_that_does_not_load_is_reported(tree: Path) -> None:
    native_build.build().write_bytes(b"not a library")
    state = native_build.probe_native()
    assert not state.works
    assert "does not load" in state.finding


def test_the_program_runs_without_torch_and_the_doctor_reads_it() -> None:
    need_library()
    program = "import sys, darkit_nb.ops.native_build; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.strip() == "False", done.stderr
    assert build_native_library()
    found = native_library()
    assert found["works"]
    check = library_check(found)
    assert (check.level, check.name) == ("ok", "cpu library")
    assert "C++ library" in check.found
    lacking = json.loads(json.dumps({"works": False, "finding": "the CPU library is not built", "fix": "build it"}))
    check = library_check(lacking)
    assert (check.level, check.fix) == ("absent", "build it")
    assert "slower" in check.found
