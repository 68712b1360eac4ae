"""What a conversion does to a model, station by station, in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from darkit_nb.records.conversion_spec import ADDITIVE, ConversionSpec
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.views.numbers import significant
from darkit_nb.views.table import TableView

_METHODS = {
    "rtn": ("round to nearest", "Every weight takes the nearest value of its output's grid."),
    "lwc": ("learned clipping", "How far each output's range reaches is learned together with the scales."),
    "gptq": ("GPTQ", "Column by column; the error of one is made good by those still to come."),
    "ternary": ("ternary spikes", "Weights are sums of −1, 0 and 1: products become additions."),
    "trit_planes": (
        "trit planes",
        "Weights are ternary planes whose scales rise by three: few additions, finer values.",
    ),
    "pb_llm": (
        "one bit, the salient 8 bits",
        "Most weights keep only their sign; the salient ones are rounded finely.",
    ),
}


@dataclass(frozen=True)
class ConversionStep:
    """One station.

    Attributes:
        title: What is done, in a word.
        value: How, in a few words.
        about: What it is good for.
        on: Whether this conversion does it at all.
    """

    title: str
    value: str
    about: str
    on: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a page."""
        return asdict(self)


def conversion_steps(spec: ConversionSpec) -> tuple[ConversionStep, ...]:
    """The stations of a conversion in the order in which they are passed.

    Args:
        spec: what is to be done.
    """
    return (_statistics(spec), _scaling(spec), _rotation(spec), _weights(spec), _spikes(spec), _refinement(spec))


def _statistics(spec: ConversionSpec) -> ConversionStep:
    about = "What the layers see: the largest values of each feature, and which directions carry the signal."
    return ConversionStep("Listen", f"{spec.samples} texts of {spec.sample_length} tokens", about, True)


def _scaling(spec: ConversionSpec) -> ConversionStep:
    if spec.scaling == "none":
        return ConversionStep("Scale", "left out", "", False)
    value = f"{'SmoothQuant' if spec.scaling == 'smooth' else 'learned'}, α = {significant(spec.scaling_alpha, 2)}"
    return ConversionStep("Scale", value, "Large features are made smaller and their weights larger, exactly.", True)


def _rotation(spec: ConversionSpec) -> ConversionStep:
    if spec.rotation == "none":
        return ConversionStep("Rotate", "left out", "", False)
    value, about = {
        "hadamard": ("Hadamard", "Outliers are spread evenly over all features; the model stays the same."),
        "split": ("split", "The strongest directions become the salient features; each part is spread within itself."),
        "learned": ("learned per layer", "Small matrices, learned and applied while the model runs."),
    }[spec.rotation]
    online = ", also inside the MLP" if spec.online_rotation else ""
    return ConversionStep("Rotate", value + online, about, True)


def _weights(spec: ConversionSpec) -> ConversionStep:
    if spec.weight_bits == 16 and spec.weights not in ADDITIVE:
        return ConversionStep("Weights", "stay in float", "", False)
    method, about = _METHODS[spec.weights]
    parts = [method]
    if spec.weights not in ADDITIVE:
        parts.append(f"{spec.weight_bits} bits")
    elif spec.weight_salient_fraction:
        share = _share(spec.weight_salient_fraction)
        parts.append(share if spec.weights == "pb_llm" else f"{spec.weight_steps} steps for {share}")
        parts.append(f"{spec.weight_additions:.3g} additions a weight")
    if spec.group_size:
        parts.append(f"groups of {spec.group_size}")
    if spec.clip_search:
        parts.append("clip search")
    if spec.shapes_errors:
        parts.append("shaped")
        about += " What is left is led to where the model's predictions feel it least."
    return ConversionStep("Weights", ", ".join(parts), about, True)


def _spikes(spec: ConversionSpec) -> ConversionStep:
    spike = spec.spike
    if spike is None:
        return ConversionStep("Spikes", "none; activations stay in float", "", False)
    about = f"Every value of every token becomes an integer of {spike.num_levels} levels."
    if spike.num_steps > 1 and spike.salient_fraction:
        about += f" Salient features send {spike.num_steps} of them, {_coding(spike)}"
        about += ", in a range of their own." if spike.ranges == "own" else "."
    value = f"Q = {spike.num_levels}, {_who(spike)}" + (", keys and values too" if spike.attention else "")
    return ConversionStep("Spikes", value, about, True)


def _who(spike: SpikeSpec) -> str:
    if spike.num_steps == 1 or not spike.salient_fraction:
        return "one step"
    who = "all features" if spike.salient_fraction == 1 else f"{_share(spike.salient_fraction)} of the features"
    return f"{spike.num_steps} {'radix ' if spike.coding == 'radix' else ''}steps for {who}"


def _coding(spike: SpikeSpec) -> str:
    if spike.coding == "radix":
        return f"the second {spike.num_levels} times finer than the first"
    return "added up" if spike.coding == "rate" else "coded as published"


def _refinement(spec: ConversionSpec) -> ConversionStep:
    if not spec.refine_epochs:
        return ConversionStep("Train", "left out", "", False)
    about = "Block by block, until the converted block gives what the float block gave. This takes the time."
    return ConversionStep("Train", f"{spec.refine_epochs} epochs a block", about, True)


def steps_view(spec: ConversionSpec, source: str = "") -> TableView:
    """The stations as a table.

    Args:
        spec: what is to be done.
        source: the model it is done to.
    """
    return TableView(
        title=f"{source}: {spec.name}" if source else spec.name,
        headers=("step", "how"),
        rows=tuple((step.title, step.value) for step in conversion_steps(spec)),
        notes=(bits_about(spec),),
    )


def bits_about(spec: ConversionSpec) -> str:
    """What the widths of a conversion mean, in one line."""
    if spec.weights in ADDITIVE:
        weights = "one-bit weights" if spec.weights == "pb_llm" else "weights that are added, never multiplied"
    else:
        weights = "float weights" if spec.weight_bits == 16 else f"{spec.weight_bits}-bit weights"
    spike = spec.spike
    if spike is None:
        return f"{weights}, float activations"
    mean = (
        f", {significant(spike.mean_steps, 4)} steps on average"
        if spike.num_steps > 1 and spike.salient_fraction
        else ""
    )
    return f"{weights}, {spec.activation_bits:.3g}-bit spikes{mean}"


def _share(share: float) -> str:
    return f"{100 * share:.3g} %"
