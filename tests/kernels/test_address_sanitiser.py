"""No kernel touches memory beyond its tensors: each once under the address sanitiser, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need

RUN = """
import sys
from pathlib import Path
import torch
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops import _gif_kernel
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._neuron_blocked import NeuronLaw
from darkit_nb.ops._neuron_kernel import ScanKernel
from darkit_nb.ops._product_kernel import product_kernel
from tests.kernels.shim import ShimLauncher

edit = (lambda source: source.replace(*sys.argv[2].split("=>"))) if len(sys.argv) > 2 else (lambda source: source)
shim = ShimLauncher(Path(sys.argv[1]), edit, ("-g", "-fsanitize=address"))
for dtype in (torch.float32, torch.bfloat16):
    x = torch.randn(3, 129).to(dtype).requires_grad_()
    salient = torch.rand(129) < 0.2
    for law in (GifLaw(16, 2), GifLaw(16, 2, "rate", "own")):
        _gif_kernel.encode(x.detach(), law, salient, shim)
        for follow_range in (False, True):
            _gif_kernel.QuantiseKernel.apply(x, law, salient, follow_range, shim).sum().backward()
    constants = torch.rand(129, requires_grad=True), torch.rand(129, requires_grad=True)
    spikes, last = ScanKernel.apply(torch.randn(17, 129).to(dtype), torch.zeros(129), *constants, NeuronLaw(), shim)
    torch.autograd.backward((spikes, last), (torch.ones_like(spikes), torch.ones_like(last)))
code = gif_encode(torch.randn(17, 33), num_levels=16)
product_kernel(code, weight_encode(torch.randn(19, 33), 4), torch.zeros(19), shim)
print("clean")
"""


def run(folder: Path, *edit: str) -> subprocess.CompletedProcess[str]:
    library = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    runtime = library.stdout.strip()
    need("libasan", Path(runtime).is_file(), "g++ has no libasan.so")
    # Leaks are the interpreter's; fibers switch stacks, which the check for use after return does not follow.
    options = "detect_leaks=0:detect_stack_use_after_return=0"
    env = {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": options}
    return subprocess.run([sys.executable, "-c", RUN, str(folder), *edit], capture_output=True, text=True, env=env)


@pytest.mark.slow
def test_kernels_stay_inside_their_tensors(shim_folder: Path) -> None:
    done = run(shim_folder)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == "clean"


@pytest.mark.slow
def test_one_feature_too_many_is_caught(shim_folder: Path) -> None:
    """The proof that the test above can fail, and that it names the line of the kernel."""
    done = run(shim_folder, "j < features; j += DK_THREADS=>j < features + 1; j += DK_THREADS")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "gif.cu:" in done.stderr
