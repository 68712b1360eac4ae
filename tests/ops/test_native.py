"""Memory and threads of the C++ library: results use memory again, and work goes to the threads torch has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from darkit_nb.ops import _native
from tests.ops.native import need_library


@pytest.fixture(autouse=True)
def _library() -> Iterator[None]:
    need_library()
    _native.idle_bytes(0)
    _native.idle_bytes(2**27)
    yield
    _native.idle_bytes(2**27)


@pytest.mark.parametrize("dtype", _native.TYPES)
@pytest.mark.parametrize("shape", [(600_000,), (3, 200_001), (2, 3, 100_000), (1,)], ids=str)
def test_a_result_is_a_tensor_like_others(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    found = _native.empty(shape, dtype)
    assert (found.shape, found.dtype, found.device.type) == (torch.Size(shape), dtype, "cpu")
    assert found.is_contiguous()
    assert found.data_ptr() % 64 == 0
    found.fill_(3)
    assert torch.equal(found, torch.full(shape, 3, dtype=dtype))


def test_memory_is_used_again_when_nobody_holds_it() -> None:
    first = _native.empty((500_000,), torch.float32)
    view, place = first[10:20], first.data_ptr()
    del first
    other = _native.empty((500_000,), torch.float32)
    assert other.data_ptr() != place, "a view still held it"
    del view
    assert _native.empty((500_000,), torch.float32).data_ptr() == place


def test_idle_memory_is_bounded_and_goes_back() -> None:
    _native.idle_bytes(2**24)
    held = [_native.empty((2**20,), torch.float32) for _ in range(10)]
    held.clear()
    assert 0 < _native.idle_bytes() <= 2**24
    assert _native.idle_bytes(0) == 0
    _native.empty((2**20,), torch.float32)
    assert _native.idle_bytes() == 0


def test_fresh_results_hold_nan_where_torch_fills_memory() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        assert _native.empty((500_000,), torch.float32).isnan().all()
    finally:
        torch.use_deterministic_algorithms(False)


PROGRAM = """
import os
import torch
from darkit_nb.functional import neuron as reference
from darkit_nb.ops import _native
from darkit_nb.ops.neuron_scan import neuron_scan

torch.set_num_threads(2)
x = torch.randn(4, 200_001)
x.copy_(x + 0)  # torch starts its threads
threads = lambda: len(os.listdir("/proc/self/task"))
before, expected = threads(), reference.neuron_scan(x, decay=0.5)
same = lambda: all(torch.equal(a, b) for a, b in zip(neuron_scan(x, decay=0.5, backend="native"), expected))
assert same()
print(threads() - before)
child = os.fork()
if child == 0:
    # The child has one thread, and OpenMP does not know: a region of two would wait for ever.
    spikes = neuron_scan(x, decay=0.5, backend="native")[0]
    os._exit(0 if spikes.numpy().tobytes() == expected[0].numpy().tobytes() else 1)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
_native._library(_native._usable()[0]).dk_share_threads(None, None)
print(same())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_torch_s_threads_do_the_work_and_a_fork_does_without() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=400)
    assert done.stdout.split() == ["0", "0", "True"], done.stderr[-2000:]
