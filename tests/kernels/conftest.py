"""Fixtures of the kernel tests: a compiler, both fiber orders, poisoned memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from darkit_nb.ops.backend import probe_cupy
from tests.conftest import need
from tests.kernels.library import Builds
from tests.kernels.shim import ShimLauncher

# cuBLAS wants to be told so before its first product among the deterministic algorithms below.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(scope="session")
def shim_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("g++", shutil.which("g++") is not None, "g++ is not on the PATH")
    return tmp_path_factory.mktemp("shim")


@pytest.fixture(params=["ascending", "descending"])
def shim(shim_folder: Path, request: pytest.FixtureRequest) -> ShimLauncher:
    launcher = ShimLauncher(shim_folder)
    launcher.descending = request.param == "descending"
    return launcher


@pytest.fixture
def gpu() -> None:
    need("gpu", torch.cuda.is_available(), "this torch finds no CUDA device")
    need("gpu", probe_cupy().works, probe_cupy().finding)


@pytest.fixture(autouse=True)
def _poisoned_memory() -> Iterator[None]:
    """Fresh tensors hold NaN, the largest integer or True, so that an element no thread wrote is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(tmp_path_factory.mktemp("library"))
