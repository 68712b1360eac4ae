"""SpikingJelly 0.0.0.0.14 with its CuPy kernels, in an environment of its own: prints seconds and copies as JSON.

`python spikingjelly_14.py STEPS NEURONS ROUNDS`; needs torch with CUDA, CuPy and spikingjelly==0.0.0.0.14 only.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from spikingjelly.activation_based import neuron, surrogate


def seconds(call: Callable[[], object], rounds: int) -> list[float]:
    """Of every round."""
    found = []
    for _ in range(rounds + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return found[3:]


def main() -> None:
    steps, neurons, rounds = (int(each) for each in sys.argv[1:])
    lif = neuron.LIFNode(2.0, False, 1.0, None, surrogate.ATan(2.0), step_mode="m", backend="cupy")
    x = torch.randn(steps, neurons, device="cuda")
    out, grad = torch.empty_like(x), torch.randn_like(x)

    def forward(given: torch.Tensor) -> torch.Tensor:
        lif.reset()
        return lif(given)

    def both() -> torch.Tensor:
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(forward(leaf), leaf, grad)[0]

    copies = statistics.median(seconds(lambda: out.copy_(x), rounds))
    with torch.no_grad():
        once = statistics.median(seconds(lambda: forward(x), rounds))
    twice = statistics.median(seconds(both, rounds))
    row = {"dtype": "float32", "copy": copies, "forward": once, "forward and backward": twice}
    row["copies"] = {"forward": once / copies, "forward and backward": twice / copies}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
