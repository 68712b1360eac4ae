"""A spiking model compiled by inductor counts and learns as it does without.

In processes of their own: the checks of shapes that tests put around the definitions cannot be compiled. Minutes on a
machine that has compiled nothing yet, so marked slow; graph breaks are looked for in the quick suite too, by aot_eager.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

COMPILED = """
import sys, torch
from darkit_nb.ops import native_build
if "no library" in sys.argv:
    native_build.find_library = lambda: None
from darkit_nb.models.build import build_model
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify import spikify, spiking_modules

backend, attention = sys.argv[1], sys.argv[2] == "attention"
ids = torch.randint(0, 250, (2, 16), generator=torch.Generator().manual_seed(0))

def build():
    sizes = {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2}
    sizes["num_key_value_heads"] = 1
    model = build_model("spike-llama-nano", vocab_size=258, seq_len=32, overrides=sizes)
    # Training, with a choice of salient features that was made and stays.
    model = spikify(model, SpikeSpec(attention=attention, reselect_every=0)).train()
    model(input_ids=ids, labels=ids, use_cache=False)
    return model

def step(model, function):
    loss = function(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    return loss.detach(), [each.grad for each in model.parameters()]

plain, compiled = build(), build()
expected, gradients = step(plain, plain)
torch._dynamo.reset()
found, own = step(compiled, torch.compile(compiled, backend=backend, fullgraph=True))
torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
for one, other in zip(own, gradients, strict=True):
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)

# Counts of the encoder itself, bit for bit, also of awkward widths.
from darkit_nb.ops.gif import encode_rows, gif_encode
from darkit_nb.ops.neuron_scan import neuron_scan
for width in (63, 64):
    x = torch.randn(5, width, generator=torch.Generator().manual_seed(width))
    salient = torch.arange(width) < 6
    for coding in ("rate", "radix"):
        encode = lambda x: encode_rows(x, num_levels=16, num_steps=2, salient=salient, coding=coding)[:3]
        for one, other in zip(torch.compile(encode, backend=backend, fullgraph=True)(x), encode(x), strict=True):
            assert torch.equal(one, other), (width, coding)
    scan = lambda x: neuron_scan(x, decay=0.5, spike_dtype=torch.uint8)
    steps = torch.randn(4, width, generator=torch.Generator().manual_seed(1))
    for one, other in zip(torch.compile(scan, backend=backend, fullgraph=True)(steps), scan(steps), strict=True):
        assert torch.equal(one, other), width
print("the same")
"""


def same(*settings: str, seconds: int = 280) -> None:
    command = [sys.executable, "-c", COMPILED, *settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.stdout.strip() == "the same", done.stderr[-3000:]


@pytest.mark.parametrize("library", ["library", "no library"])
def test_a_spiking_model_is_one_graph(library: str):
    same("aot_eager", "linear", library)


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("attention", ["linear", "attention"])
def test_inductor_gives_the_same_counts_and_gradients(attention: str):
    same("inductor", attention, seconds=1500)
