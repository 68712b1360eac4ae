"""Kernels with one barrier, bound or mask taken away, and the small cases that have to notice.

`python -m tests.kernels.mutations FOLDER [KERNEL …]` runs them under the address sanitiser, its runtime preloaded, and
prints what noticed each: `result` (another number, or threads that wait for ever), `address` (memory of others), or
`nothing`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from darkit_nb.functional import gif as gif_law
from darkit_nb.functional import neuron as neuron_law
from darkit_nb.functional import spike_linear as product_law
from darkit_nb.functional.gif import gif_encode
from darkit_nb.functional.packed import pack_codes
from darkit_nb.functional.weight import weight_encode
from darkit_nb.ops import _gif_kernel
from darkit_nb.ops._epilogue_kernel import scaled_sums
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops._neuron_blocked import NeuronLaw
from darkit_nb.ops._neuron_kernel import BITS, ScanKernel, scan_forward
from darkit_nb.ops._packed_kernel import matvec, pack_weight
from darkit_nb.ops._product_kernel import product_kernel
from darkit_nb.ops.gif import encode_rows
from darkit_nb.ops.weight_layout import WeightLayout
from tests.kernels.cases import same
from tests.kernels.shim import ShimLauncher

Case = Callable[[ShimLauncher], None]


def _tokens(features: int, rows: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(rows, features, generator=random), torch.rand(features, generator=random) < 0.3


@contextmanager
def _few_blocks() -> Iterator[None]:
    """Two blocks for all tokens: what a block does after its first token is seen too."""
    kept, _gif_kernel.MAX_BLOCKS = _gif_kernel.MAX_BLOCKS, 2
    try:
        yield
    finally:
        _gif_kernel.MAX_BLOCKS = kept


def gif(shim: ShimLauncher) -> None:
    """Wide enough for several warps, narrow and odd, and both rows and teams that are left over."""
    law = GifLaw(16, 2)
    for features in (600, 63):
        x, salient = _tokens(features)
        if features == 63:
            x = (x * 4).round() / 2  # ties, which clamp
        with _few_blocks():
            counts, _, _, clamped = _gif_kernel.encode(x, law, salient, shim)
        same(counts, gif_law.gif_encode(x, salient=salient, **vars(law)).counts)
        flags = encode_rows(x, salient=salient, backend="reference", **vars(law))[3]
        flags = torch.zeros(x.shape, dtype=torch.uint8) if flags is None else flags.to(torch.uint8)
        assert clamped is not None
        same(clamped, pack_codes(flags, 1))
    x = _tokens(63)[0]
    packed = _gif_kernel.encode(x, GifLaw(16), None, shim, packed=True, mask=False)[0]
    same(packed, pack_codes(gif_law.gif_encode(x, num_levels=16).counts, 4))


def gif_backward(shim: ShimLauncher) -> None:
    law = GifLaw(16, 2, "rate", "own")
    for features in (600, 63):
        x, salient = _tokens(features)
        x = (x * 4).round() / 2
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        with _few_blocks():
            _gif_kernel.QuantiseKernel.apply(ours, law, salient, True, shim).backward(grad)
        gif_law.gif_quantise(theirs, salient=salient, gradient="range", **vars(law)).backward(grad)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-3)


def gif_clip(shim: ShimLauncher) -> None:
    grad, cut = _tokens(63)
    bits = pack_codes(cut.to(torch.uint8).expand(9, 63), 1)
    same(_gif_kernel.clip(grad, bits, shim), grad.masked_fill(cut, 0.0))


def neuron_scan(shim: ShimLauncher) -> None:
    law, (x, _) = NeuronLaw(), _tokens(63, 5)
    expected, membrane = neuron_law.neuron_scan(x, decay=0.5)
    spikes, last = scan_forward(x, None, torch.tensor(0.5), torch.tensor(1.0), law, shim, BITS)
    same(spikes, pack_codes(expected.to(torch.uint8), 1))
    same(last, membrane)


def neuron_scan_backward(shim: ShimLauncher) -> None:
    for steps in (5, 12):
        x, _ = _tokens(300, steps)
        inputs = x, torch.zeros(300), torch.tensor(0.5), torch.tensor(1.0)
        ours, theirs = ([each.clone().requires_grad_() for each in inputs] for _ in range(2))
        spikes, last = ScanKernel.apply(*ours, NeuronLaw(), shim)
        (spikes.sum() + last.sum()).backward()
        spikes, last = neuron_law.neuron_scan(theirs[0], theirs[1], decay=theirs[2], threshold=theirs[3])
        (spikes.sum() + last.sum()).backward()
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-3)


def packed_matvec(shim: ShimLauncher) -> None:
    for features, group in ((257, 128), (96, None)):
        x, salient = _tokens(features, 5)
        code = gif_encode(x, num_levels=16, num_steps=2, salient=salient)
        weight = weight_encode(_tokens(features, 11)[0], 4, group_size=group)
        same(matvec(code, pack_weight(weight, salient), None, shim), product_law.spike_product(code, weight))


def spike_linear(shim: ShimLauncher) -> None:
    x, salient = _tokens(129, 17)
    code, weight = gif_encode(x, num_levels=16, num_steps=2, salient=salient), weight_encode(_tokens(129, 19)[0], 4)
    same(product_kernel(code, weight, None, shim), product_law.spike_product(code, weight))


def spike_epilogue(shim: ShimLauncher) -> None:
    x, salient = _tokens(129, 17)
    code = gif_encode(x, num_levels=16, num_steps=2, salient=salient)
    for outputs in (16, 19):  # in whole packs, and one by one
        weight = weight_encode(_tokens(129, outputs)[0], 4)
        layout = WeightLayout(weight, None, GifLaw(16, 2), salient)
        factor = torch.ones(129) if layout.factor is None else layout.factor
        sums = (code.counts * factor).int() @ layout.segments[0].codes.int().T
        same(scaled_sums(sums, 0, code, layout, shim, torch.float32), product_law.spike_product(code, weight))


@dataclass(frozen=True)
class Mutation:
    """One place changed.

    Attributes:
        case: what has to notice.
        what: barrier, bound or mask.
        old: the place, once in the expanded source or more often where `which` says which one.
        new: what it becomes.
        which: number of the occurrence.
    """

    case: Case
    what: str
    old: str
    new: str
    which: int = 0

    def __str__(self) -> str:
        return f"{self.case.__name__}: {self.what} {self.old!r} #{self.which}"

    def edit(self, source: str) -> str:
        """The source with the change; sources of other kernels stay as they are."""
        if not source.startswith(f'#line 1 "{self.case.__name__}.cu"'):
            return source
        parts = source.split(self.old)
        if len(parts) <= self.which + 1:
            raise ValueError(f"{self} is not in the source any more")
        return self.old.join(parts[: self.which + 1]) + self.new + self.old.join(parts[self.which + 1 :])


BARRIER = "__syncthreads();"
MUTATIONS = [
    Mutation(gif, "barrier", BARRIER, "", 0),
    Mutation(gif, "barrier", BARRIER, "", 1),
    Mutation(gif, "bound", "first + k < end ? load_x(row[first + k]) : 0.0f", "load_x(row[first + k])"),
    Mutation(gif, "bound", "token.lane < DK_GROUPS && r < rows", "token.lane < DK_GROUPS"),
    Mutation(gif, "mask", "if (first + k < end && salient[first + k])", "if (first + k < end)"),
    Mutation(gif, "mask", "!(kept == code)", "false"),
    Mutation(gif_backward, "barrier", BARRIER, "", 0),
    # Not its second barrier: two reductions with slots of their own take turns there, so the first of each suffices.
    Mutation(gif_backward, "bound", "row < rows ? features : 0", "features"),
    Mutation(gif_backward, "mask", "if (fired_at<QUICK>(value, chosen(usual, high, is_high)).free)", "if (true)"),
    Mutation(gif_clip, "bound", "if (first >= features) return;", ""),
    Mutation(gif_clip, "mask", "if (cut >> k & 1)", "if (cut)"),
    Mutation(neuron_scan, "bound", "first < neurons; first", "first < neurons + DK_VEC; first"),
    Mutation(neuron_scan, "bound", "if (s0 + i >= steps) continue;", ""),
    Mutation(neuron_scan, "mask", "fired[k] > 0.0f && first + k < neurons", "true"),
    Mutation(neuron_scan_backward, "barrier", BARRIER, "", 0),
    Mutation(neuron_scan_backward, "bound", "if (s0 + i >= steps) continue;", "", 0),
    Mutation(neuron_scan_backward, "mask", "return h >= threshold ? 1.0f : 0.0f;", "return 1.0f;"),
    Mutation(packed_matvec, "barrier", "__syncwarp();", "", 0),
    Mutation(packed_matvec, "barrier", "__syncwarp();", "", 1),
    Mutation(packed_matvec, "bound", "if (first + i < bytes)", "if (true)"),
    Mutation(packed_matvec, "bound", "if (o >= outputs || r >= rows) continue;", ""),
    Mutation(packed_matvec, "mask", " & FOUR_ONES * ((1u << DK_BITS) - 1)", ""),
    Mutation(spike_epilogue, "bound", "if (first >= outputs) return;", ""),
    Mutation(spike_epilogue, "mask", "high != 0 ? (u32)zero[r * groups + 1] : 0u", "0u"),
    Mutation(spike_linear, "barrier", BARRIER, "", 0),
    Mutation(spike_linear, "barrier", BARRIER, "", 1),
    Mutation(spike_linear, "bound", "r0 + i < rows && j < features ?", "true ?"),
    Mutation(spike_linear, "mask", "if (flag[k])", "if (false)"),
]


def run(mutation: Mutation, launcher: ShimLauncher) -> bool:
    """Whether the case notices, in one of the two orders of fibers."""
    for descending in (False, True):
        changed = launcher.edited(mutation.edit)
        changed.descending = descending
        try:
            mutation.case(changed)
        except (AssertionError, RuntimeError):
            return True
    return False


def _reports(work: Callable[[], bool]) -> tuple[bool, str]:
    """What `work` returns, False if it dies, in a process whose memory it may break, and what that wrote as errors."""
    with tempfile.TemporaryFile() as held:
        child = os.fork()
        if child == 0:
            os.dup2(held.fileno(), 2)
            try:
                os._exit(0 if work() else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)
        held.seek(0)
        return status == 0, held.read().decode(errors="replace")


def main(folder: str, *names: str) -> None:
    """All cases, or those of these kernels."""
    torch.use_deterministic_algorithms(True)
    flags = ("-g", "-fsanitize=address", "-fsanitize-recover=address")
    launcher = ShimLauncher(Path(folder), flags=flags)
    cases = (
        gif,
        gif_backward,
        gif_clip,
        neuron_scan,
        neuron_scan_backward,
        packed_matvec,
        spike_epilogue,
        spike_linear,
    )
    for case in (case for case in cases if not names or case.__name__ in names):
        right, log = _reports(lambda case=case: case(launcher) is None)
        how = "address" if "AddressSanitizer" in log else "clean" if right else "result"
        print(f"{how}\t{case.__name__}", flush=True)
    for mutation in (each for each in MUTATIONS if not names or each.case.__name__ in names):
        noticed, log = _reports(lambda mutation=mutation: run(mutation, launcher))
        how = "address" if "AddressSanitizer" in log else "result" if noticed else "nothing"
        print(f"{how}\t{mutation}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
