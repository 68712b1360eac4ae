"""The C++ library under sanitisers, and proof that a bound or a mask taken away is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from darkit_nb.ops.native_build import compile_library, find_compiler, source_folder
from tests.conftest import need

RUN = """
import dataclasses, sys, threading
import torch
from darkit_nb.functional import gif as gif_law, neuron as neuron_law
from darkit_nb.ops import _native, _neuron_native, native_build
from darkit_nb.ops.gif import encode_centred, encode_rows, gif_encode, gif_quantise
from darkit_nb.ops.neuron_scan import neuron_scan

state = native_build.probe_native()
best = list(native_build.LEVELS).index(state.level)
torch.use_deterministic_algorithms(True)
torch.manual_seed(0)
torch.get_num_threads = lambda: 3
same = lambda one, other: torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
for level in list(native_build.LEVELS)[: best + 1]:
    _native.probe_native = lambda: dataclasses.replace(state, level=level)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for features in (1, 63, 129, 4097):
            x = torch.randn(19, features).to(dtype)
            counts, scale, zero, _ = encode_rows(x, num_levels=16, backend="native", packed=True)
            same(counts, gif_law.pack_counts(gif_law.gif_encode(x, num_levels=16)))
            x, salient = torch.randn(19, features).to(dtype), torch.rand(features) < 0.3
            x[3, 0] = torch.nan
            for mask, ranges in ((None, "shared"), (salient, "shared"), (salient, "own")):
                law = {"num_levels": 16, "num_steps": 2, "ranges": ranges, "salient": mask}
                same(gif_encode(x, backend="native", **law).counts, gif_law.gif_encode(x, **law).counts)
                encode_rows(x, backend="native", **law), encode_centred(x, backend="native", **law)
                for gradient in ("clipped", "range"):
                    leaf = x.clone().requires_grad_()
                    gif_quantise(leaf, gradient=gradient, backend="native", **law).sum().backward()
        for steps, neurons in ((1, 1), (4, 63), (9, 90001)):
            for law in ({}, {"reset": "hard", "surrogate": "gaussian"}, {"max_count": 4}):
                x = torch.randn(steps, neurons).to(dtype).requires_grad_()
                decay, theta = torch.rand(neurons, requires_grad=True), torch.rand((), requires_grad=True)
                spikes, last = neuron_scan(x, decay=decay, threshold=theta, backend="native", **law)
                same(spikes, neuron_law.neuron_scan(x, decay=decay, threshold=theta, **law)[0])
                torch.autograd.backward((spikes, last), (torch.ones_like(spikes), torch.ones_like(last)))
                neuron_scan(x.detach(), decay=0.5, spike_dtype=torch.uint8, backend="native", **law)
                if "max_count" not in law:
                    bits = neuron_scan(x.detach(), decay=0.5, packed=True, backend="native", **law)[0]
                    same(bits, neuron_law.neuron_scan(x.detach(), decay=0.5, packed=True, **law)[0])
# Memory that results left is used again, by several threads at once, past the caches, and given back.
torch.use_deterministic_algorithms(False)
_native.STREAMED_BYTES = _neuron_native.STREAMED_BYTES = 0
x = torch.randn(5, 90001)
expected = neuron_law.neuron_scan(x, decay=0.5)
def often():
    for _ in range(20):
        same(neuron_scan(x, decay=0.5, backend="native"), expected)
runners = [threading.Thread(target=often) for _ in range(3)]
[runner.start() for runner in runners], [runner.join() for runner in runners]
assert _native.idle_bytes() > 0
assert _native.idle_bytes(0) == 0
print("clean")
"""
SANITISERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def run(folder: Path, flags: tuple[str, ...], edit: tuple[str, str, str] | None = None) -> subprocess.CompletedProcess:
    """Build the library, with one place of one file changed if asked, and run it in a process of its own."""
    compiler, sources = find_compiler(), source_folder()
    need("g++", shutil.which("g++") is not None and compiler is not None, "g++ is not on the PATH")
    assert compiler is not None
    assert sources is not None
    copy = folder / "kernels"
    shutil.copytree(sources, copy)
    if edit is not None:
        name, old, new = edit
        text = (copy / name).read_text()
        assert old in text
        (copy / name).write_text(text.replace(old, new))
    compile_library("g++", copy, folder / "library.so", flags)
    found_there = f"native_build.find_library = lambda: Path({str(folder / 'library.so')!r})"
    program = f"from pathlib import Path\nfrom darkit_nb.ops import native_build\n{found_there}\n"
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "1"}
    if flags:
        found = [
            subprocess.run(
                ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
            ).stdout.strip()
            for name in ("libasan.so", "libubsan.so")
        ]
        need("libasan", all(Path(path).is_file() for path in found), "g++ has no sanitiser libraries")
        env["LD_PRELOAD"] = " ".join(found)
    return subprocess.run([sys.executable, "-c", program + RUN], capture_output=True, text=True, env=env, timeout=280)


@pytest.mark.slow
def test_no_access_out_of_bounds_and_nothing_undefined(tmp_path: Path) -> None:
    done = run(tmp_path, SANITISERS)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == "clean"


@pytest.mark.slow
def test_a_row_read_too_far_is_caught(tmp_path: Path) -> None:
    """The proof that the test above can fail."""
    wrong = ("gif.cpp", "for (; j < rows.features; ++j) any |=", "for (; j <= rows.features; ++j) any |=")
    done = run(tmp_path, SANITISERS, wrong)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "gif.cpp" in done.stderr


MUTATIONS = {
    "a row that ends early": (
        "gif.cpp",
        "for (; j < rows.features; ++j) any |=",
        "for (; j + 1 < rows.features; ++j) any |=",
    ),
    "neurons at the end": ("neuron_scan.cpp", "for (; n < end; ++n) forward<", "for (; n + 1 < end; ++n) forward<"),
    "the mask of salient features": ("gif_law.h", "out.scale = is_salient ? all<V>(b.scale) : out.scale;", ""),
    "a NaN in the range": ("gif_law.h", "nan[k] |= value != value;", ""),
    "a thread's share": ("threads.h", "if (index < work.parts) run_part(work, index);", "work.done[index] = true;"),
    "a half near a quotient": (
        "vector.h",
        "if (everywhere<V>(off < 0.5f - near * 0x1p-21f)) return whole;",
        "return whole;",
    ),
    "codes beyond their ends": ("gif_law.h", "return lowest >= group.low && highest <= group.cap;", "return true;"),
    "the second count of a byte": ("vector.h", "pairs | pairs >> 4", "pairs | pairs >> 8"),
    "the last bits of a row": ("vector.h", "(n % 8 ? *row : 0) | bits << n % 8", "bits << n % 8"),
    "a block in use": ("memory.cpp", "Block found = remove(place);", "Block found = idle[place];"),
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", MUTATIONS.values(), ids=MUTATIONS)
def test_what_is_taken_away_is_noticed(tmp_path: Path, edit: tuple[str, str, str]) -> None:
    done = run(tmp_path, (), edit)
    assert done.returncode != 0, "the run did not notice"
