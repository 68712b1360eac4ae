"""On a GPU: kernels compiled by inductor, captured in a CUDA graph, and on torch's current stream."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from darkit_nb.functional import spike_linear as product_law
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops import _gif_kernel
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._neuron_blocked import NeuronLaw
from darkit_nb.ops._neuron_kernel import scan_forward
from darkit_nb.ops.neuron_scan import neuron_scan
from darkit_nb.ops.spike_product import prepare_products
from tests.kernels.cases import same

pytestmark = pytest.mark.usefixtures("gpu")


@pytest.mark.timeout(600)
def test_compiled_by_inductor_it_is_one_graph_and_what_it_is_without() -> None:
    """In a process of its own: the checks of shapes that tests put around the definitions cannot be compiled."""
    command = [sys.executable, "-m", "tests.kernels.compiled_on_gpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.stdout.strip() == "the same", done.stderr[-4000:]


def test_the_whole_way_through_a_neuron_is_captured_with_constants_as_numbers() -> None:
    """A constant copied from the CPU cannot be captured: one never met before is written by the GPU."""
    x = torch.randn(4, 256).cuda()
    neuron_scan(x, decay=0.5)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        spikes, _ = neuron_scan(x, decay=0.625)
    x.copy_(torch.randn(4, 256))
    graph.replay()
    same(spikes, neuron_scan(x, decay=0.625)[0])


@pytest.mark.parametrize("rows", [1, 64])
def test_an_integer_product_is_captured(rows: int) -> None:
    weight = weight_encode(torch.randn(64, 256), 4)
    weight = dataclasses.replace(weight, **{name: getattr(weight, name).cuda() for name in ("codes", "scale", "zero")})
    products, x = prepare_products(weight, None, GifLaw(16)), torch.randn(rows, 256).cuda()
    products.linear(x, torch.bfloat16)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = products.linear(x, torch.bfloat16)
    x.copy_(torch.randn(rows, 256))
    graph.replay()
    same(captured, products.linear(x, torch.bfloat16))
    expected = product_law.spike_product(gif_encode(x, num_levels=16), weight)
    same(products.linear(x, torch.float32), expected)


def _launches() -> dict[str, Callable[[torch.Tensor], Any]]:
    law, constants = GifLaw(16), _constants()
    return {
        "gif": lambda x: _gif_kernel.encode(x, law, None, CupyLauncher())[0],
        "neuron": lambda x: scan_forward(x, None, *constants, NeuronLaw(), CupyLauncher())[0],
    }


@pytest.mark.parametrize("name", ["gif", "neuron"])
def test_a_launch_is_captured_in_a_graph_and_replayed_on_new_input(name: str) -> None:
    launch, x = _launches()[name], torch.randn(16, 256).cuda()
    launch(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = launch(x)
    x.copy_(torch.randn(16, 256))
    graph.replay()
    torch.cuda.synchronize()
    same(captured, launch(x))


@pytest.mark.parametrize("name", ["gif", "neuron"])
def test_launches_follow_the_stream_of_torch_over_rotating_sets(name: str) -> None:
    """Work queued before on the same stream is seen, whichever stream that is, set after set."""
    launch = _launches()[name]
    sets = [torch.zeros(64, 4096).cuda() for _ in range(8)]
    wanted = [torch.randn(64, 4096).cuda() for _ in sets]
    expected = [launch(each) for each in wanted]
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(10_000_000)
        found = []
        for into, each in zip(sets, wanted, strict=True):
            into.copy_(each)
            found.append(launch(into))
    side.synchronize()
    for mine, other in zip(found, expected, strict=True):
        same(mine, other)


def _constants() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(0.5).cuda(), torch.tensor(1.0).cuda()
