"""`python -m tests.kernels.compiled_ghost LIBRARY`: every kernel compiled into one graph for a GPU that is not there.

Tensors are fakes on "cuda"; dynamo, AOTAutograd and autograd are the real ones. Prints what is in the graphs.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.kernels import ghost

ghost.appear(sys.argv[1])

import torch  # noqa: E402 - after the device is there
from functorch.compile import make_boxed_func  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch._dynamo.backends.common import aot_autograd  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from darkit_nb.functional.gif import gif_encode as encode_law  # noqa: E402
from darkit_nb.functional.weight import weight_encode  # noqa: E402
from darkit_nb.models.build import build_model  # noqa: E402
from darkit_nb.ops import backend, gif  # noqa: E402
from darkit_nb.ops._cupy import CupyLauncher  # noqa: E402
from darkit_nb.ops._packed_kernel import matvec, pack_weight  # noqa: E402
from darkit_nb.ops._product_kernel import product_kernel  # noqa: E402
from darkit_nb.ops.neuron_scan import neuron_scan  # noqa: E402
from darkit_nb.records.spike_spec import SpikeSpec  # noqa: E402
from darkit_nb.spikify import spikify  # noqa: E402

graphs: list[torch.fx.GraphModule] = []


def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
    graphs.append(graph)
    return make_boxed_func(graph.forward)


def one_graph(name: str, function: Callable[..., Any], *inputs: Any, dynamic: bool | None = None, **more: Any) -> None:
    """Compile and run forward and, where there is a gradient, backward; print the operators of ours in each."""
    graphs.clear()
    torch._dynamo.reset()
    whole = aot_autograd(fw_compiler=keep, bw_compiler=keep)
    found = torch.compile(function, backend=whole, fullgraph=True, dynamic=dynamic)(*inputs, **more)
    found = found if isinstance(found, tuple) else (found,)
    ends = [each for each in found if isinstance(each, Tensor) and each.requires_grad]
    if ends:
        torch.autograd.backward(ends, [torch.ones_like(each) for each in ends])
    assert all(each.device.type == "cuda" for each in found if isinstance(each, Tensor)), name
    ours = [Counter(str(n.target) for n in graph.graph.nodes if "darkit" in str(n.target)) for graph in graphs]
    text = "; ".join(", ".join(f"{op.split('.')[1]} {many}" for op, many in sorted(each.items())) for each in ours)
    print(f"{name}: {text}", flush=True)


def to_ghost(model: nn.Module) -> nn.Module:
    """Fakes on the GPU in the place of all parameters and buffers."""

    def moved(held: Tensor) -> Tensor:
        return torch.empty(held.shape, dtype=held.dtype, device="cuda")

    for module in model.modules():
        for name, held in module._parameters.items():
            if held is not None:
                module._parameters[name] = nn.Parameter(moved(held))
        for name, held in module._buffers.items():
            if held is not None:
                module._buffers[name] = moved(held)
    return model


def models(mode: FakeTensorMode) -> None:
    sizes = {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 96}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    ids = torch.randint(0, 250, (2, 16))
    for spec in (SpikeSpec(reselect_every=0), SpikeSpec(attention=True, gradient="range", reselect_every=0)):
        model = build_model("spike-llama-nano", vocab_size=258, seq_len=32, overrides=sizes)
        model = spikify(model, spec).train()
        model(input_ids=ids, labels=ids, use_cache=False)

        def loss(model: nn.Module, ids: Tensor) -> Tensor:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                return model(input_ids=ids, labels=ids, use_cache=False).loss

        with mode:
            there = torch.empty(2, 16, dtype=torch.int64, device="cuda")
            one_graph(f"model, {spec.gradient}", loss, to_ghost(model), there)


def neurons() -> None:
    x = torch.empty(4, 3, 64, dtype=torch.bfloat16, device="cuda", requires_grad=True)
    theta = torch.ones(64, device="cuda", requires_grad=True)
    state = torch.zeros(3, 64, device="cuda")
    one_graph("neuron", lambda x, theta: neuron_scan(x, state, decay=0.5, threshold=theta), x, theta)
    bits = {"spike_dtype": torch.uint8, "packed": True}
    one_graph("neuron, bits", lambda x: neuron_scan(x, **bits), x.detach(), dynamic=True)


def tokens() -> None:
    salient = torch.zeros(63, dtype=torch.bool, device="cuda")
    settings: dict[str, Any] = {"num_levels": 16, "num_steps": 2, "salient": salient}
    x = torch.empty(5, 63, dtype=torch.bfloat16, device="cuda", requires_grad=True)
    for gradient in ("clipped", "range"):
        one_graph(f"tokens, {gradient}", lambda x, g=gradient: gif.gif_quantise(x, gradient=g, **settings), x)
    still = x.detach()
    one_graph("counts", lambda x: gif.encode_rows(x, **settings), still, dynamic=True)
    packed = {"num_levels": 16, "packed": True, "mask": False}
    one_graph("packed counts", lambda x: gif.encode_rows(x, **packed)[:3], still, dynamic=True)


def products(mode: FakeTensorMode) -> None:
    def there(held: Any, **changed: Any) -> Any:
        fields = {field.name: getattr(held, field.name) for field in dataclasses.fields(held)}
        tensors = {name: value for name, value in fields.items() if isinstance(value, Tensor)}
        moved = {name: torch.empty(value.shape, dtype=value.dtype, device="cuda") for name, value in tensors.items()}
        return dataclasses.replace(held, **moved, **changed)

    flags = torch.arange(128) < 9
    code = encode_law(torch.randn(2, 128), num_levels=16, num_steps=2, salient=flags)
    weight = weight_encode(torch.randn(9, 128), 4, group_size=64)
    packed, whole = pack_weight(weight, flags), weight_encode(torch.randn(9, 128), 4)
    with mode:
        code, packed, whole = there(code), there(packed), there(whole)
        fire = lambda x: gif.gif_encode(x, num_levels=16, num_steps=2, salient=packed.salient)  # noqa: E731
        x = torch.empty(2, 128, dtype=torch.bfloat16, device="cuda")
        one_graph("one token", lambda x: matvec(fire(x), packed, None, CupyLauncher(), torch.bfloat16), x)
        one_graph("integers", lambda x: product_kernel(fire(x), whole, None, CupyLauncher()), x)


def main() -> None:
    backend.probe_cupy = lambda: backend.CupyState(True, "nothing is launched")
    # What autocast asks a GPU before it is on.
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda *_: True
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        neurons()
        tokens()
    products(mode)
    models(mode)


if __name__ == "__main__":
    main()
