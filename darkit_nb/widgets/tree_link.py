"""The module chosen in a tree and the layer of a raster as one choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from darkit_nb.records.trace import ModelTrace

if TYPE_CHECKING:
    from darkit_nb.widgets.model_tree import ModelTree
    from darkit_nb.widgets.spike_raster import SpikeRaster


def link_choice(tree: ModelTree, raster: SpikeRaster) -> Callable[[], None]:
    """Have a raster show the layer that is chosen in a tree, and a tree choose the layer that a raster shows.

    A module that is no layer itself leads to the first layer in it; one without any leaves the raster as it is.

    Returns: A function that ends it.
    """

    def to_raster(_: object = None) -> None:
        names = raster.source.names if raster.source is not None else ()
        layer = None if tree.selected is None or tree.trace is None else _layer_in(tree.trace, tree.selected, names)
        if layer is not None and not _holds(tree.selected or "", raster.layer):
            raster.layer = layer

    def to_tree(_: object) -> None:
        trace, layer = tree.trace, raster.layer
        if trace is None or layer not in trace.index:
            return
        if tree.selected is None or not _holds(tree.selected, layer):
            tree.selected = layer

    tree.observe(to_raster, "selected")
    raster.observe(to_raster, "layers")
    raster.observe(to_tree, "layer")
    to_raster()

    def unlink() -> None:
        tree.unobserve(to_raster, "selected")
        raster.unobserve(to_raster, "layers")
        raster.unobserve(to_tree, "layer")

    return unlink


def _holds(path: str, layer: str) -> bool:
    return layer == path or layer.startswith(f"{path}.") or (not path and bool(layer))


def _layer_in(trace: ModelTrace, path: str, names: tuple[str, ...]) -> str | None:
    """The first of the layers at a path or below it, in the order of the model."""
    row = trace.index.get(path)
    if row is None:
        return None
    inside = {node.path for node in trace.nodes[row : trace.ends[row]]}
    return next((name for name in names if name in inside), None)
