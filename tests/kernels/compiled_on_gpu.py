"""`python -m tests.kernels.compiled_on_gpu`: on a GPU, inductor's code gives what eager calls give, CUDA graphs too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from darkit_nb.models.build import build_model
from darkit_nb.ops.gif import encode_rows, gif_encode, gif_quantise
from darkit_nb.ops.neuron_scan import neuron_scan
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify import spikify
from tests.kernels.cases import same

MODES = ("default", "reduce-overhead")
"""The second replays CUDA graphs from the third call on."""


def _trained(function: Callable[..., Any], *inputs: torch.Tensor) -> list[torch.Tensor]:
    """Outputs, and the gradients of all inputs where there are any."""
    leaves = [each.detach().clone().requires_grad_(each.is_floating_point()) for each in inputs]
    found = function(*leaves)
    ends = [end for end in (found if isinstance(found, tuple) else (found,)) if end.requires_grad]
    torch.autograd.backward(ends, [torch.ones_like(end) for end in ends])
    return [*ends, *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def _functions() -> dict[str, Callable[..., Any]]:
    salient = torch.arange(256).lt(20).cuda()
    gif = {"num_levels": 16, "num_steps": 2, "salient": salient}
    return {
        "tokens, clipped": lambda x: gif_quantise(x * 2, gradient="clipped", **gif),
        "tokens, range": lambda x: gif_quantise(x * 2, gradient="range", **gif),
        "neurons": lambda x: neuron_scan(x * 2, decay=0.5),
        "neurons, hard": lambda x: neuron_scan(x * 2, decay=0.5, reset="hard", surrogate="sigmoid"),
    }


def functions(name: str, mode: str) -> None:
    """Outputs and gradients, over and over with other tokens."""
    torch._dynamo.reset()
    function = _functions()[name]
    compiled = torch.compile(function, fullgraph=True, mode=mode)
    for seed in range(4):
        x = torch.randn(16, 256, generator=torch.Generator().manual_seed(seed)).cuda()
        torch.compiler.cudagraph_mark_step_begin()
        found = [each.clone() for each in _trained(compiled, x)]
        for ours, expected in zip(found, _trained(function, x), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def model() -> None:
    """One training step, every gradient."""
    torch._dynamo.reset()
    sizes = {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 96}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    ids = torch.randint(0, 250, (2, 16), generator=torch.Generator().manual_seed(0)).cuda()
    made = build_model("spike-llama-nano", vocab_size=258, seq_len=32, overrides=sizes)
    made = spikify(made, SpikeSpec(attention=True, reselect_every=0)).cuda().train()
    made(input_ids=ids, labels=ids, use_cache=False)

    def step(function: Callable[..., Any]) -> list[torch.Tensor]:
        made.zero_grad()
        loss = function(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        return [loss.detach(), *(each.grad.clone() for each in made.parameters() if each.grad is not None)]

    expected = step(made)
    for ours, theirs in zip(step(torch.compile(made, fullgraph=True)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def counts() -> None:
    """Bit for bit, of awkward widths and however few tokens."""
    for width in (63, 64, 4096):
        salient = torch.arange(width).lt(6).cuda()
        encode = lambda x, s=salient: encode_rows(x, num_levels=16, num_steps=2, salient=s)  # noqa: E731
        torch._dynamo.reset()
        compiled = torch.compile(encode, fullgraph=True, dynamic=True)
        for rows in (1, 5, 33):
            x = torch.randn(rows, width, generator=torch.Generator().manual_seed(rows)).to(torch.bfloat16)
            found = compiled(x.cuda())
            for ours, eager in zip(found, encode(x.cuda()), strict=True):
                same(ours, eager)
            same(found[0].cpu(), gif_encode(x, num_levels=16, num_steps=2, salient=salient.cpu()).counts)


def main() -> None:
    counts()
    for name in _functions():
        for mode in MODES:
            functions(name, mode)
    model()
    print("the same")


if __name__ == "__main__":
    main()
