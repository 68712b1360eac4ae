"""The suite catches a barrier, a bound check or a mask taken out of a kernel, each by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernels.mutations import MUTATIONS, Mutation, run
from tests.kernels.shim import ShimLauncher
from tests.kernels.test_proof import sanitised


@pytest.mark.parametrize("mutation", [each for each in MUTATIONS if each.what == "barrier"], ids=str)
def test_a_missing_barrier_is_caught(shim_folder: Path, mutation: Mutation) -> None:
    assert run(mutation, ShimLauncher(shim_folder))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_mutation_is_caught(shim_folder: Path) -> None:
    """And no kernel as it stands touches memory beyond its tensors."""
    done = sanitised("-m", "tests.kernels.mutations", str(shim_folder))
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line.split("\t", 1) for line in done.stdout.splitlines()]
    assert len(lines) == 8 + len(MUTATIONS)
    assert [name for how, name in lines[:8] if how != "clean"] == []
    assert [name for how, name in lines[8:] if how == "nothing"] == []
    assert any(how == "address" for how, _ in lines[8:])
