"""On a GPU: kernels against the definitions bit for bit, wherever and whatever their tensors are."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from darkit_nb.functional import gif as gif_law
from darkit_nb.functional import neuron as neuron_law
from darkit_nb.functional import spike_linear as product_law
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.packed import pack_codes
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops import _gif_kernel
from darkit_nb.ops._cupy import CupyLauncher
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._neuron_blocked import NeuronLaw
from darkit_nb.ops._neuron_kernel import BITS, BYTES, INPUT, ScanKernel, scan_forward
from darkit_nb.ops._packed_kernel import matvec, pack_weight
from darkit_nb.ops._product_kernel import product_kernel
from tests.conftest import need
from tests.kernels.cases import LAWS, mask, same, tokens

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
FEATURES = [1, 63, 128, 129, 4096, 4097, 40000]


pytestmark = pytest.mark.usefixtures("gpu")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_counts_are_those_of_the_definition_on_the_cpu(law: GifLaw, dtype: torch.dtype) -> None:
    for seed, features in enumerate(FEATURES):
        x, salient = tokens(9, features, seed).to(dtype), mask(features, seed + 1)
        on_gpu = None if salient is None else salient.cuda()
        counts, scale, zero, _ = _gif_kernel.encode(x.cuda(), law, on_gpu, CupyLauncher())
        expected = gif_law.gif_encode(x, salient=salient, **vars(law))
        same(counts.cpu(), expected.counts)
        same(scale.cpu(), expected.scale)
        same(zero.cpu(), expected.zero_point)
        values, _, _, _ = _gif_kernel.encode_centred(x.cuda(), law, on_gpu, CupyLauncher())
        same(values.cpu(), gif_law.gif_quantise(x, salient=salient, **vars(law)))


@pytest.mark.parametrize("follow", [False, True], ids=["clipped", "range"])
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_gradients_of_tokens(law: GifLaw, follow: bool) -> None:
    for seed, features in enumerate(FEATURES):
        x, salient = torch.randn(5, features), mask(features, seed + 1)
        ours, theirs = x.cuda().requires_grad_(), x.clone().requires_grad_()
        grad = torch.randn(x.shape)
        on_gpu = None if salient is None else salient.cuda()
        _gif_kernel.QuantiseKernel.apply(ours, law, on_gpu, follow, CupyLauncher()).backward(grad.cuda())
        gradient = "range" if follow else "clipped"
        gif_law.gif_quantise(theirs, salient=salient, gradient=gradient, **vars(law)).backward(grad)
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad.cpu(), theirs.grad, rtol=1e-4, atol=1e-4 * features**0.5)


def test_conversions_of_the_hardware_are_those_of_torch() -> None:
    """Every 16-bit input there is, and gradients next to every midpoint: see the same test on fibers."""
    for dtype in DTYPES[1:]:
        bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
        x = bits.view(dtype)[None].cuda().requires_grad_()
        constants = torch.zeros(2**16).cuda(), torch.tensor(0.0).cuda(), torch.tensor(torch.inf).cuda()
        law = NeuronLaw("hard", surrogate="rectangle", detach_reset=True)
        spikes, last = ScanKernel.apply(x, *constants, law, CupyLauncher())
        finite = x[0].isfinite()
        same(last[finite], x[0, finite].float().detach())
        factors = torch.tensor([1.0, 1 + 2**-11, 1 + 2**-9, 1 + 2**-8 + 2**-20]).repeat(2**14).cuda()
        grad = last.detach().nan_to_num() * factors
        torch.autograd.backward((spikes, last), (torch.zeros_like(spikes), grad))
        assert x.grad is not None
        same(x.grad[0], grad.to(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("steps", [1, 4, 8, 17, 72, 80])
def test_spikes_membranes_and_gradients_of_neurons(steps: int, dtype: torch.dtype) -> None:
    for law in (NeuronLaw(), NeuronLaw("hard", surrogate="sigmoid"), NeuronLaw(max_count=4)):
        for neurons in (1, 63, 4096):
            x = torch.randn(steps, neurons).to(dtype)
            inputs = x, torch.randn(neurons), torch.tensor(0.5), torch.tensor(0.8)
            on_gpu = [each.cuda() for each in inputs]
            expected, membrane = neuron_law.neuron_scan(x, inputs[1], decay=inputs[2], threshold=inputs[3], **vars(law))
            for emit in (INPUT, BYTES) if law.max_count else (INPUT, BYTES, BITS):
                spikes, last = scan_forward(*on_gpu, law, CupyLauncher(), emit)
                wanted = expected if emit == INPUT else expected.to(torch.uint8)
                same(spikes.cpu(), pack_codes(wanted, 1) if emit == BITS else wanted)
                same(last.cpu(), membrane)
            ours, theirs = ([each.detach().requires_grad_() for each in given] for given in (on_gpu, inputs))
            found = ScanKernel.apply(*ours, law, CupyLauncher())
            torch.autograd.backward(found, [torch.ones_like(each) for each in found])
            found = neuron_law.neuron_scan(theirs[0], theirs[1], decay=theirs[2], threshold=theirs[3], **vars(law))
            torch.autograd.backward(found, [torch.ones_like(each) for each in found])
            for mine, other in zip(ours, theirs, strict=True):
                assert mine.grad is not None
                assert other.grad is not None
                room = 1e-3 if dtype == torch.float32 else 3e-2
                size = 1 + float(other.grad.abs().max())
                torch.testing.assert_close(mine.grad.cpu(), other.grad, rtol=room, atol=room * size)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("group_size", [None, 128])
def test_products(bits: int, group_size: int | None) -> None:
    for rows, features in ((1, 4096), (5, 384), (17, 129)):
        salient = torch.rand(features) < 0.1
        code = gif_encode(torch.randn(rows, features), num_levels=16, num_steps=2, salient=salient)
        moved = {name: getattr(code, name).cuda() for name in ("counts", "scale", "zero_point", "salient")}
        on_gpu = dataclasses.replace(code, **moved)
        weight = weight_encode(torch.randn(33, features), bits, group_size=group_size)
        moved = {name: getattr(weight, name).cuda() for name in ("codes", "scale", "zero")}
        their = dataclasses.replace(weight, **moved)
        expected = product_law.spike_product(code, weight)
        same(matvec(on_gpu, pack_weight(their, on_gpu.salient), None, CupyLauncher()).cpu(), expected)
        if group_size is None:
            same(product_kernel(on_gpu, their, None, CupyLauncher()).cpu(), expected)


def test_denormal_numbers_are_numbers() -> None:
    """CuPy's own way to compile would flush them."""
    x = torch.full((3, 64), 1e-40)
    inputs = x, None, torch.tensor(1.0), torch.tensor(1.0)
    on_gpu = [None if each is None else each.cuda() for each in inputs]
    _, last = ScanKernel.apply(*on_gpu, NeuronLaw(), CupyLauncher())
    same(last.cpu(), neuron_law.neuron_scan(x)[1])
    assert bool((last > 0).all())


def test_memory_that_begins_at_no_multiple_of_16_bytes() -> None:
    """A slice of something larger: element by element then, and the same counts."""
    whole = torch.randn(5 * 256 + 1).to(torch.bfloat16)
    x = whole[1:].view(5, 256)
    on_gpu = whole.cuda()[1:].view(5, 256)
    assert on_gpu.data_ptr() % 16
    counts = _gif_kernel.encode(on_gpu, GifLaw(16), None, CupyLauncher())[0]
    same(counts.cpu(), gif_encode(x, num_levels=16).counts)
    constants = torch.tensor(0.5).cuda(), torch.tensor(1.0).cuda()
    spikes, last = scan_forward(on_gpu, None, *constants, NeuronLaw(), CupyLauncher())
    expected, membrane = neuron_law.neuron_scan(x, decay=0.5)
    same(spikes.cpu(), expected)
    same(last.cpu(), membrane)


def test_every_device_runs_its_own_kernels() -> None:
    need("gpus", torch.cuda.device_count() > 1, "there is one GPU")
    x = torch.randn(16, 256)
    expected = gif_encode(x, num_levels=16).counts
    for index in reversed(range(torch.cuda.device_count())):
        counts = _gif_kernel.encode(x.to(f"cuda:{index}"), GifLaw(16), None, CupyLauncher())[0]
        assert counts.device.index == index
        same(counts.cpu(), expected)
    assert torch.cuda.current_device() == 0


def test_more_than_two_to_the_31_elements() -> None:
    free, _ = torch.cuda.mem_get_info()
    need("gpu memory", free > 8 * 2**30, "8 GiB of GPU memory are not free")
    rows, features = 2**19 + 3, 4096
    x = torch.zeros(rows, features, dtype=torch.bfloat16, device="cuda")
    x[-1] = torch.randn(features).to(torch.bfloat16)
    counts = _gif_kernel.encode(x, GifLaw(16), None, CupyLauncher(), mask=False)[0]
    same(counts[-1].cpu(), gif_encode(x[-1].cpu(), num_levels=16).counts)
