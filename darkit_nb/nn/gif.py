"""The GIF neuron as a module: encodes tokens, watches which features are salient, and chooses them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from darkit_nb.functional.saliency import choose_salient, saliency_energy, saliency_score
from darkit_nb.functional.spike_code import SpikeCode
from darkit_nb.functional.spike_linear import neuron_settings
from darkit_nb.ops.backend import Resolved, resolve_backend
from darkit_nb.ops.gif import gif_encode, gif_quantise
from darkit_nb.records.spike_spec import SpikeSpec

SAMPLE_STRIDE = 8
"""Every eighth token feeds the running statistic: cheap, and the same set of tokens however a batch is sharded."""

EXTREME_DECAY = 0.99
"""What a running minimum or maximum keeps per training forward; a hundred forwards forget an outlier by 63 %."""

MEAN_DECAY = 0.95

SpikeListener = Callable[["GIF", SpikeCode], None]


class GIF(nn.Module):
    """Quantise-and-fire over the last axis, with salient features chosen from running statistics.

    While training, every `spec.reselect_every` forwards the salient features are chosen again (at the first forward
    for the first time); evaluation uses the stored choice, which is saved with the model. Forwards that autograd
    repeats for gradient checkpointing are not counted. Under torch.distributed the statistic is merged across
    processes before every choice, so all of them fire alike.

    Args:
        features: shape of the feature axes, `(D,)`, or `(H, 1, K)` for one choice per attention head.
        spec: what to encode and how.

    Shape: `[*B, L, D] → [*B, L, D]`, or `[B, H, L, K] → [B, H, L, K]`.

    Attributes:
        salient: bool, shape `features`; saved.
        statistic: float32 `[2, *features]`, running extremes or mean (`functional.saliency`); saved. Absent in neurons
            that gather none, as those of packed layers.
        forwards: int64 scalar, training forwards seen; saved. Absent where there is no statistic.
        spike_name: dotted name in the model, set by `spikify`.
        rotation: mixes the last axis before it is encoded, or None.
        spike_listener: called with (module, SpikeCode) at each forward when set.
    """

    salient: Tensor
    statistic: Tensor
    forwards: Tensor
    rotation: nn.Module | None

    def __init__(self, features: tuple[int, ...], spec: SpikeSpec, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.features = tuple(features)
        self.spec = spec
        self.spike_name = ""
        self.spike_listener: SpikeListener | None = None
        self.rotation = None
        self.register_buffer("salient", torch.zeros(self.features, dtype=torch.bool, device=device))
        self.register_buffer("statistic", torch.zeros((2, *self.features), dtype=torch.float32, device=device))
        self.register_buffer("forwards", torch.zeros((), dtype=torch.int64, device=device))
        # The counter also lives in Python: reading the buffer would stall a GPU at every forward.
        self._seen: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of `gif_encode` for this neuron, its salient mask included."""
        return {**neuron_settings(self.spec), "salient": self.mask, "backend": self.spec.backend}

    @property
    def mask(self) -> Tensor | None:
        """The salient mask, or None where salient features have neither more steps nor a range of their own."""
        apart = self.spec.num_steps > 1 or self.spec.ranges == "own"
        return self.salient if apart and self.spec.salient_fraction > 0 else None

    @property
    def backend(self) -> Resolved:
        """The implementation in use where the module lies, and why it is this one."""
        return resolve_backend(self.spec.backend, self.salient.device)

    def forward(self, x: Tensor) -> Tensor:
        """The value of the spikes of `x`, with a straight-through gradient; watches and reports them on the way."""
        x = self.turned(x)
        self.watch(x)
        self.listen(x)
        return gif_quantise(x, gradient=self.spec.gradient, **self.settings)

    def turned(self, x: Tensor) -> Tensor:
        """`x` as it is encoded: rotated where there is a rotation."""
        return x if self.rotation is None else self.rotation(x)

    def encode(self, x: Tensor) -> SpikeCode:
        """The spikes of `x`, detached."""
        return gif_encode(x.detach(), **self.settings)

    def listen(self, x: Tensor) -> None:
        """Hand the spikes of `x` to the listener, if there is one."""
        if self.spike_listener is not None:
            self.spike_listener(self, self.encode(x))

    def extra_repr(self) -> str:
        """What spikes, for `print(model)`."""
        spec = self.spec
        steps = f"S={spec.num_steps} on {spec.salient_fraction:.0%}" if self.mask is not None else "S=1"
        neuron = f"Q={spec.num_levels}, {steps}, {spec.coding}, {spec.ranges} range"
        return f"features={self.features}, {neuron}, backend={self.backend.name}"

    # -- salient features ------------------------------------------------------------------------------------------

    def saliency_weight(self) -> Tensor | None:
        """`[O, D]` weight behind this neuron, for scores that need it."""
        return None

    def watch(self, x: Tensor) -> None:
        """In training: update the running statistic from `x`, and choose salient features when it is time."""
        if not self.training or self.mask is None or not torch.is_grad_enabled():
            return
        # A choice that stays needs no watching, so a compiled model that has made it is one graph.
        if not (torch.compiler.is_compiling() and self.spec.reselect_every == 0 and self._seen):
            self._watch(x)  # pyright: ignore[reportCallIssue, reportArgumentType] - its decorator hides the signature

    @torch.compiler.disable
    def _watch(self, x: Tensor) -> None:
        if _inside_backward():
            return
        every, seen = self.spec.reselect_every, self._count()
        if every == 0 and seen > 1:
            return
        self._update_statistic(x.detach(), first=seen == 1)
        if seen == 1 or (every and seen % every == 0):
            self.choose()

    @property
    def gathers(self) -> bool:
        """Whether there is a statistic to choose from."""
        return self._buffers["statistic"] is not None

    def choose(self) -> None:
        """Choose the salient features from the statistic gathered so far, the same on every process."""
        _merge_across_processes(self.statistic, mean=self.spec.saliency == "energy")
        weight = self.saliency_weight()
        score = saliency_score(self.statistic, None if weight is None else weight.detach(), self.spec.saliency)
        self.salient.copy_(self._chosen(score))

    def choose_without_data(self) -> None:
        """A first choice before any token was seen: by the weights alone; without weights the lowest indices."""
        weight = self.saliency_weight()
        norms = torch.zeros(self.features, device=self.salient.device)
        if weight is not None and not weight.is_meta:
            norms = weight.detach().float().square().sum(0)
        if not self.salient.is_meta:
            self.salient.copy_(self._chosen(norms))

    def _chosen(self, score: Tensor) -> Tensor:
        return choose_salient(score, self.spec.salient_fraction, above_quantile=self.spec.coding == "paper")

    def _count(self) -> int:
        if self._seen is None:
            self._seen = int(self.forwards)
        self._seen += 1
        self.forwards.fill_(self._seen)
        return self._seen

    @torch.no_grad()
    def _update_statistic(self, x: Tensor, *, first: bool) -> None:
        axes = [axis for axis, size in enumerate((*[1] * (x.dim() - len(self.features)), *self.features)) if size == 1]
        tokens = x.movedim(-2, 0)[::SAMPLE_STRIDE].movedim(0, -2).float() if x.dim() > 1 else x.float()
        if self.spec.saliency == "energy":
            weight = self.saliency_weight()
            energy = tokens.square().mean(axes) if weight is None else saliency_energy(tokens, weight.detach().float())
            self.statistic[0].lerp_(energy.view(self.features), 1.0 if first else 1 - MEAN_DECAY)
            return
        low, high = tokens.amin(axes).view(self.features), tokens.amax(axes).view(self.features)
        if first:
            self.statistic[0], self.statistic[1] = low, high
        else:
            torch.minimum(self.statistic[0].mul_(EXTREME_DECAY), low, out=self.statistic[0])
            torch.maximum(self.statistic[1].mul_(EXTREME_DECAY), high, out=self.statistic[1])

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._seen = None


def _inside_backward() -> bool:
    """Whether autograd is running: then this forward is a repetition for gradient checkpointing."""
    return torch._C._current_graph_task_id() != -1


def _merge_across_processes(statistic: Tensor, *, mean: bool) -> None:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    if mean:
        torch.distributed.all_reduce(statistic, op=torch.distributed.ReduceOp.SUM)
        statistic.div_(torch.distributed.get_world_size())
        return
    statistic[0].neg_()  # one reduction for both ends: −min is the maximum of −x
    torch.distributed.all_reduce(statistic, op=torch.distributed.ReduceOp.MAX)
    statistic[0].neg_()
