"""Fixtures shared by all tests: real data, required tools, a cache of one's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import hypothesis
import jaxtyping
import pytest

# Shapes in annotations are enforced while testing. Before anything imports these modules.
jaxtyping.install_import_hook("darkit_nb.functional", "beartype.beartype")

# A shared machine is slow now and then; a deadline per example would report that as a failure.
hypothesis.settings.register_profile("darkit", deadline=None)
hypothesis.settings.load_profile("darkit")

# Read by the hub's client when it is imported, which a test module may do before any fixture runs.
os.environ["HF_HUB_OFFLINE"] = "1"

REQUIRED = set(filter(None, os.environ.get("DARKIT_TEST_REQUIRE", "").split(",")))


def need(what: str, present: bool, reason: str) -> None:
    """Skip with the reason where a part is missing, or fail where DARKIT_TEST_REQUIRE names it."""
    if present:
        return
    if what in REQUIRED:
        pytest.fail(f"{what} is required by DARKIT_TEST_REQUIRE and missing: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real corpora, tokenizer files and golden vectors."""
    folder = os.environ.get("DARKIT_TEST_DATA", "")
    need("data", bool(folder) and Path(folder).is_dir(), "DARKIT_TEST_DATA names no folder with the test data")
    return Path(folder)


@pytest.fixture(scope="session")
def nvcc() -> str:
    """Path of the CUDA compiler."""
    found = shutil.which("nvcc")
    need("nvcc", found is not None, "nvcc is not on the PATH")
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache, or what the user has agreed to."""
    monkeypatch.setenv("DARKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("DARKIT_CONFIG", str(tmp_path_factory.getbasetemp() / "config"))
