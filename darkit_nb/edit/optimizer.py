"""Parameters that an edit brings or takes away, in the optimizer of a training that goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer


@dataclass
class GroupChange:
    """What was done to an optimizer's groups, so that it can be undone.

    Attributes:
        added: new parameters.
        taken: dropped ones with their group, their place in it, and their state.
    """

    added: list[nn.Parameter] = field(default_factory=list)
    taken: list[tuple[int, int, nn.Parameter, Any]] = field(default_factory=list)


def plain_optimizer(optimizer: Optimizer) -> Optimizer:
    """The optimizer inside the wrapper of accelerate."""
    inside = getattr(optimizer, "optimizer", None)
    return inside if isinstance(inside, Optimizer) else optimizer


def named_by_id(model: nn.Module) -> dict[int, tuple[str, nn.Parameter]]:
    """The parameters of a model, each once, under its first name."""
    return {id(each): (name, each) for name, each in model.named_parameters()}


def follow(
    optimizer: Optimizer,
    before: Mapping[int, tuple[str, nn.Parameter]],
    after: Mapping[int, tuple[str, nn.Parameter]],
) -> GroupChange:
    """Take dropped parameters out of their groups, and put new ones where parameters like them are.

    A new parameter joins the group of the one it replaces, else of its siblings that have the same name or number of
    axes, as weight decay is usually decided, looking from the nearest module outwards. Parameters that need no
    gradient are left out, as the optimizer would leave them.

    Returns:
        What `undo` needs.
    """
    plain = plain_optimizer(optimizer)
    change = GroupChange()
    places = {id(each): index for index, group in enumerate(plain.param_groups) for each in group["params"]}
    former = {name: places[key] for key, (name, _) in before.items() if key in places}
    axes = {name: each.dim() for name, each in before.values()}
    for index, group in enumerate(plain.param_groups):
        for place in reversed(range(len(group["params"]))):
            each = group["params"][place]
            if id(each) in before and id(each) not in after:
                change.taken.append((index, place, each, plain.state.pop(each, None)))
                del group["params"][place]
    for key, (name, each) in after.items():
        if key not in before and each.requires_grad and key not in places:
            plain.param_groups[_group_for(name, each.dim(), former, axes)]["params"].append(each)
            change.added.append(each)
    return change


def undo(optimizer: Optimizer, change: GroupChange) -> None:
    """The groups and the state as they were before `follow`; other changes made since stay."""
    plain = plain_optimizer(optimizer)
    added = {id(each) for each in change.added}
    for group in plain.param_groups:
        group["params"][:] = [each for each in group["params"] if id(each) not in added]
    for each in change.added:
        plain.state.pop(each, None)
    for index, place, each, state in reversed(change.taken):
        plain.param_groups[index]["params"].insert(place, each)
        if state is not None:
            plain.state[each] = state


def _group_for(name: str, dim: int, former: Mapping[str, int], axes: Mapping[str, int]) -> int:
    if name in former:
        return former[name]
    parts = name.split(".")
    for depth in range(len(parts) - 1, -1, -1):
        prefix = "".join(f"{part}." for part in parts[:depth])
        near = [each for each in former if each.startswith(prefix)]
        same_name = [each for each in near if each.rpartition(".")[2] == parts[-1] and axes[each] == dim]
        chosen = same_name or [each for each in near if axes[each] == dim]
        if chosen:
            return _commonest(former[each] for each in chosen)
    return _commonest(former.values())


def _commonest(groups: Iterable[int]) -> int:
    counted = Counter(groups).most_common(1)
    return counted[0][0] if counted else 0
