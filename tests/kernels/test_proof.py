"""Counts bit-equal across all hands of the law and gradients to rounding, on generated cases, thousands if slow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need
from tests.kernels.proof import Proof
from tests.kernels.shim import ShimLauncher
from tests.ops.native import need_library

SANITISERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def sanitised(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python process with the runtime of the address sanitiser."""
    library = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    runtime = library.stdout.strip()
    need("libasan", Path(runtime).is_file(), "g++ has no libasan.so")
    # Leaks are the interpreter's; fibers switch stacks, which the check for use after return does not follow.
    options = "detect_leaks=0:detect_stack_use_after_return=0:halt_on_error=0:symbolize=0"
    env = {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": options, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env)


def test_a_few_cases(shim_folder: Path) -> None:
    need_library()
    proof = Proof(ShimLauncher(shim_folder), 20)
    assert proof.backends == ("blocked", "native")
    assert sum(proof.run().values()) >= 16


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_thousands_of_cases_under_sanitisers(shim_folder: Path) -> None:
    need_library()
    done = sanitised("-m", "tests.kernels.proof", str(shim_folder), "2400", *SANITISERS)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "ERROR: AddressSanitizer" not in done.stderr
    found = re.search(r"(\d+) cases against reference, blocked, native", done.stdout)
    assert found is not None, done.stdout
    assert int(found[1]) >= 2000
