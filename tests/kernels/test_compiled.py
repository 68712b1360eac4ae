"""Compiled for a GPU every kernel and a whole spiking model is one graph, and runs as it does uncompiled.

In processes of their own: one gets a CUDA device that is not there, the other takes the CPU for one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from darkit_nb.ops._launch import Launch
from tests.conftest import need
from tests.kernels import ghost, signature

GRAPHS = """\
neuron: neuron_scan 1; neuron_scan_backward 1
neuron, bits: neuron_scan 1
tokens, clipped: gif_quantise 1; gif_clip 1
tokens, range: gif_quantise 1; gif_backward 1
counts: gif_encode 1
packed counts: gif_encode 1
one token: gif_encode 1, packed_matvec 1
integers: gif_encode 1, spike_product 1
model, clipped: gif_centred 7; gif_clip 7
model, range: gif_quantise 9; gif_backward 9
"""


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_on_a_gpu_everything_is_one_graph_forward_and_backward(tmp_path: Path) -> None:
    """Seven linear layers, and the spiking attention's two products, each one operator a direction."""
    need("g++", shutil.which("g++") is not None, "g++ is not on the PATH")
    library = "of torch itself"
    if torch.version.cuda is None:
        library = str(ghost.build(tmp_path))
    else:
        need("gpu", torch.cuda.is_available(), "a torch with CUDA runs no autograd for a GPU that is not there")
    assert run("tests.kernels.compiled_ghost", library) == GRAPHS


def test_operators_run_the_kernels_they_stand_for(shim_folder: Path) -> None:
    assert run("tests.kernels.compiled_fibers", str(shim_folder)) == "the same, 7 kernels\n"


def _break(plan: Launch, change: Callable[[list], None]) -> Launch:
    arguments = list(plan.arguments)
    change(arguments)
    return Launch(plan.kernel, plan.function, plan.defines, plan.grid, plan.threads, tuple(arguments))


def test_arguments_that_do_not_fit_the_signature_are_seen() -> None:
    x, bits = torch.zeros(2, 16), torch.zeros(2, 2, dtype=torch.uint8)
    plan = Launch("gif_clip", "gif_clip", (("DK_X", 0),), (1, 2), 128, (x, bits, x, 2, 16))
    signature.check(plan)
    broken: dict[str, Callable[[list], None]] = {
        "i64 rows": lambda given: given.__setitem__(3, 2.0),
        "x_t grad": lambda given: given.__setitem__(0, x.half()),
        "u8 clamped": lambda given: given.__setitem__(1, bits.float()),
        "strides": lambda given: given.__setitem__(2, torch.zeros(16, 2).T),
        "takes 5": lambda given: given.pop(),
    }
    for words, change in broken.items():
        with pytest.raises(AssertionError, match=words):
            signature.check(_break(plan, change))
