"""From the steps of one forward to a drawing: repeated spike steps become one box.

Modules fold by name. Operators fold where the same sequence of them repeats inside a loop of the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from darkit_nb.records.trace_flow import FlowEdge, FlowKind, FlowNode
from darkit_nb.records.trace_node import TensorSpec
from darkit_nb.trace.source import loops_of


@dataclass
class Step:
    """One operator, or one call of a module below the level, as it ran.

    Attributes:
        kind: input, output, module or operator.
        label: name of the operator or of the argument.
        full_name: of an operator, or class of a module.
        path: of a module, in the whole model.
        line: in the forward of the level; 0 where it is not known.
        inputs: (place of the step that made it, what it is) of every tensor it takes.
    """

    kind: FlowKind
    label: str
    full_name: str = ""
    path: str = ""
    line: int = 0
    inputs: list[tuple[int, TensorSpec | None]] = field(default_factory=list)


Drawing = tuple[tuple[FlowNode, ...], tuple[FlowEdge, ...]]


def fold(
    steps: Sequence[Step],
    file: str,
    stateful: frozenset[str] = frozenset(),
    spike_steps: Mapping[str, int] = MappingProxyType({}),
) -> Drawing:
    """Boxes and edges of the steps of one level.

    Args:
        steps: in the order they ran.
        file: where the forward of the level is written.
        stateful: paths of modules that keep tensors from one call to the next.
        spike_steps: by path, steps that a module goes through inside one call: an edge to itself, as of a loop.
    """
    keys = _keys(steps, file)
    first: dict[str, int] = {}
    calls: dict[str, int] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
        calls[key] = calls.get(key, 0) + 1
    # Inputs are there before anything runs, whenever they are first asked for.
    first = dict(sorted(first.items(), key=lambda item: steps[item[1]].kind != "input"))
    order = {key: place for place, key in enumerate(first)}
    nodes = tuple(
        FlowNode(
            key=key,
            kind=steps[place].kind,
            label=steps[place].label,
            path=steps[place].path,
            class_name=steps[place].full_name,
            calls=calls[key],
            line=steps[place].line,
            stateful=steps[place].kind == "module" and steps[place].path in stateful,
        )
        for key, place in first.items()
    )
    return nodes, _edges(steps, keys, order, calls, nodes, spike_steps)


def _edges(
    steps: Sequence[Step],
    keys: list[str],
    order: dict[str, int],
    calls: dict[str, int],
    nodes: tuple[FlowNode, ...],
    spike_steps: Mapping[str, int],
) -> tuple[FlowEdge, ...]:
    specs: dict[tuple[str, str], TensorSpec | None] = {}
    count: dict[tuple[str, str], int] = {}
    for place, step in enumerate(steps):
        for source in dict.fromkeys(source for source, _ in step.inputs):
            pair = keys[source], keys[place]
            specs.setdefault(pair, next(spec for each, spec in step.inputs if each == source))
            count[pair] = count.get(pair, 0) + 1
    for node in nodes:
        if node.stateful and node.calls > 1 and (node.key, node.key) not in count:
            specs[node.key, node.key], count[node.key, node.key] = None, node.calls
        if node.kind == "module" and spike_steps.get(node.path, 1) > 1 and (node.key, node.key) not in count:
            specs[node.key, node.key], count[node.key, node.key] = None, node.calls
    turns = {node.key: calls[node.key] * spike_steps.get(node.path, 1) for node in nodes}
    return tuple(
        FlowEdge(
            source=source,
            target=target,
            shape=None if spec is None else spec.shape,
            dtype="" if spec is None else spec.dtype,
            calls=turns[source] if source == target else count[source, target],
            feedback=order[source] > order[target],
        )
        for (source, target), spec in specs.items()
    )


def _keys(steps: Sequence[Step], file: str) -> list[str]:
    """The box of each step."""
    loops = loops_of(file) if file else ()
    turns: dict[tuple[int, int], list[int]] = {}
    keys = [
        f"{step.kind}:{step.path}" if step.kind == "module" else f"{step.kind}:{place}"
        for place, step in enumerate(steps)
    ]
    for place, step in enumerate(steps):
        around = [loop for loop in loops if step.line and loop[0] <= step.line <= loop[1]]
        if around and step.kind in ("module", "operator"):
            turns.setdefault(min(around, key=lambda loop: loop[1] - loop[0]), []).append(place)
    for (line, end), places in turns.items():
        tokens = [
            (steps[place].kind, steps[place].path or steps[place].full_name, steps[place].line) for place in places
        ]
        for place, position in zip(places, folded_positions(tokens), strict=True):
            if steps[place].kind == "operator":
                keys[place] = f"operator:{line}-{end}:{position}"
    return keys


def folded_positions(tokens: Sequence[object]) -> list[int]:
    """The place of every token within the turn of the loop it belongs to; a place of its own for what does not repeat.

    The longest end of the sequence that repeats itself is taken for the turns. What comes before, as the first turn of
    a loop that starts differently, joins the token it equals where that is unmistakable.
    """
    length, period = _repeating_end(tokens)
    if not period:
        return list(range(len(tokens)))
    begin = len(tokens) - length
    positions = [0] * len(tokens)
    for place in range(begin, len(tokens)):
        positions[place] = len(tokens) + (place - len(tokens)) % period
    turn = list(tokens[len(tokens) - period :])
    for place in range(begin):
        same = [at for at, token in enumerate(turn) if token == tokens[place]]
        positions[place] = len(tokens) + same[0] if len(same) == 1 else place
    return positions


def _repeating_end(tokens: Sequence[object]) -> tuple[int, int]:
    """Length and period of the longest end that holds at least two whole turns; (0, 0) if there is none."""
    reverse = tokens[::-1]
    border, best = [0] * len(reverse), (0, 0)
    for place in range(1, len(reverse)):
        k = border[place - 1]
        while k and reverse[place] != reverse[k]:
            k = border[k - 1]
        border[place] = k + (reverse[place] == reverse[k])
        length = place + 1
        if length >= 2 * (length - border[place]):
            best = length, length - border[place]
    return best
