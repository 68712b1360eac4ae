"""The spikes of a text as a picture: tokens from left to right, features from top to bottom, colour = how many spikes.

Axes: `L` tokens, `D` features, `S` spike steps, `R` rows of a picture.
"""

from __future__ import annotations

import base64
import html
import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from darkit_nb.records.snapshot import LayerSpikes, SpikeSnapshot
from darkit_nb.views.numbers import percent
from darkit_nb.views.palette import Palette, channels
from darkit_nb.views.spike_table import role_of
from darkit_nb.views.table import WIDTH

Array = npt.NDArray[Any]

# Lightness changes evenly along each ramp, so they are told apart without colour too; silence has none of them.
SPIKE_COLOURS = {
    "light": ("#fde2b3", "#f9a65a", "#e35d6a", "#a53c93", "#5f2a94", "#26104f"),
    "dark": ("#43267a", "#7a3399", "#b8418c", "#e8655f", "#f8a250", "#fdeaa5"),
}
"""Of 1 spike … the most a panel can hold."""

NEGATIVE_COLOURS = {
    "light": ("#c9e4fa", "#7fbdee", "#3d8fd6", "#1f64ab", "#0f3f78", "#06203f"),
    "dark": ("#17395c", "#1f5a90", "#2f80c2", "#58a8e6", "#93cdf8", "#d6eeff"),
}
"""The same for spikes with a minus sign."""

_SHADES = " ▁▂▃▄▅▆▇█"
_SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍", "": "⋯"}
_TEXT_TOKENS = 48
_PICTURE_ROWS = 240
_PICTURE_WIDTH = 320


def token_label(token: str) -> str:
    """A token with its white space made visible; ⋯ where a character goes on in the next one."""
    return "".join(_SIGNS.get(letter, letter) for letter in token) if token else _SIGNS[""]


def layer_place(name: str) -> tuple[str, str]:
    """Block and role of a layer: `model.layers.3.mlp.up_proj` is ("Block 3", "mlp.up_proj")."""
    role = role_of(name)
    head = name.removesuffix(role).rstrip(".")
    return (f"Block {head.rpartition('.')[2]}", role) if head else ("Outside the blocks", role)


def pooled(levels: Array, rows: int) -> Array:
    """`[L, D]` levels as a picture `[R, L]` of at most `rows` rows, each the largest magnitude of its features."""
    features = levels.shape[1]
    starts = np.arange(min(rows, features)) * features // min(rows, features)
    most, least = (reduce(levels, starts, axis=1) for reduce in (np.maximum.reduceat, np.minimum.reduceat))
    return np.where(-least.astype(np.int32) > most, least, most).T


def panels(layer: LayerSpikes) -> list[tuple[str, Array, int]]:
    """Title, levels `[L, D]` and largest level of every picture of a layer: all spikes first, then step by step."""
    counts = ("All spikes", layer.counts, layer.cap)
    if layer.steps == 1:
        return [counts]
    steps = enumerate(layer.planes(), 1)
    return [counts, *((f"Step {step} of {layer.steps}", plane, layer.num_levels - 1) for step, plane in steps)]


def describe(layer: LayerSpikes) -> str:
    """One line: how much it fires, how many features, which code."""
    several = "" if layer.salient is None else f", {int(layer.salient.sum())} salient with {layer.num_steps} steps"
    levels = f"−{layer.num_levels - 1} … {layer.num_levels - 1}" if layer.signed else f"0 … {layer.num_levels - 1}"
    return f"fires {percent(layer.firing_rate)} · {layer.features} features{several} · spikes of level {levels}"


# -- in a terminal ----------------------------------------------------------------------------------------------------


def spike_raster(snapshot: SpikeSnapshot, layer: str | None = None, *, width: int = WIDTH) -> str:
    """A raster of block characters: a line for each token, features from left to right.

    Args:
        snapshot: the spikes of a text.
        layer: dotted name; the first layer if not given.
        width: columns of the terminal.

    Raises:
        RunError: no such layer.
    """
    if not snapshot.layers:
        return "No layer was kept, so there is no spike to show."
    own = snapshot.layer(layer) if layer else snapshot.layers[0]
    labels = [token_label(token) for token in snapshot.tokens[:_TEXT_TOKENS]]
    margin = min(14, max(map(len, labels)))
    columns = min(own.features, width - margin - 11)
    levels = np.abs(pooled(own.counts[:_TEXT_TOKENS], columns).T.astype(np.int64))
    rates = own.token_rates()
    lines = [own.name, describe(own), ""]
    for label, row, rate in zip(labels, levels, rates, strict=False):
        shades = "".join(_SHADES[math.ceil(8 * value / own.cap)] for value in row.tolist())
        lines.append(f"{label[:margin]:>{margin}} ▕{shades}▏ {percent(float(rate)):>7}")
    if own.tokens > _TEXT_TOKENS:
        lines.append(f"… and {own.tokens - _TEXT_TOKENS} more tokens")
    most = math.ceil(own.features / columns)
    together = f"the most of {most} features" if most > 1 else "one feature"
    return "\n".join([*lines, "", f"Each block is {together}: blank is silent, █ is {own.cap} spikes."])


# -- as a page without scripts ----------------------------------------------------------------------------------------


def raster_html(snapshot: SpikeSnapshot, layer: str | None = None) -> str:
    """The pictures of one layer with their tokens and captions; inline styles, pictures as data: URIs.

    Raises:
        RunError: no such layer.
    """
    if not snapshot.layers:
        return "<p>No layer was kept, so there is no spike to show.</p>"
    own = snapshot.layer(layer) if layer else snapshot.layers[0]
    when = "" if snapshot.step is None else f", step {snapshot.step}"
    figures = "".join(_figure(snapshot.tokens, *panel) for panel in panels(own))
    # A light card on any page: the colours are made for it.
    return (
        '<div style="background:#ffffff;color:#1f1f24;border:1px solid #dcdce2;border-radius:6px;padding:10px 12px;'
        'font:13px/1.45 system-ui,sans-serif">'
        f'<div style="font-weight:600">Spikes of {html.escape(own.name)}{when}</div>'
        f'<div style="color:#5f5f6b">{html.escape(describe(own))}</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:16px;margin-top:8px">{figures}</div>'
        '<div style="color:#5f5f6b;margin-top:6px">Each column is a token, each row a feature of the layer’s input; '
        "the colour says how many spikes it sent. White is silent.</div></div>"
    )


def _figure(tokens: tuple[str, ...], title: str, levels: Array, cap: int) -> str:
    cell = max(1, min(14, _PICTURE_WIDTH // len(tokens)))
    width = cell * len(tokens)
    scale = "".join(f'<span style="background:{colour};width:16px"></span>' for colour in SPIKE_COLOURS["light"])
    labels = "".join(
        f'<span style="flex:0 0 {cell}px;writing-mode:{"vertical-rl" if len(token) > 1 else "horizontal-tb"};'
        f'text-align:{"start" if len(token) > 1 else "center"};line-height:{cell}px">{html.escape(token)}</span>'
        for token in (map(token_label, tokens) if cell >= 6 else ())
    )
    return (
        '<figure style="margin:0">'
        f'<figcaption style="display:flex;gap:8px;align-items:center;margin-bottom:3px">{title}'
        f'<span style="display:flex;height:9px;margin-left:auto">{scale}</span>1 … {cap}</figcaption>'
        f'<img alt="{title}: spikes of {levels.shape[1]} features for {len(tokens)} tokens" '
        f'style="width:{width}px;height:{_PICTURE_ROWS}px;image-rendering:pixelated;border:1px solid #dcdce2" '
        f'src="data:image/png;base64,{base64.b64encode(raster_png(levels, cap)).decode()}">'
        f'<div style="display:flex;max-height:5.5em;overflow:hidden;font:{min(11, cell + 1)}px ui-monospace,monospace">'
        f"{labels}</div></figure>"
    )


def raster_png(levels: Array, cap: int, *, theme: str = "light") -> bytes:
    """A PNG of `[L, D]` levels, one pixel a cell; silence is transparent.

    Args:
        levels: spikes of each token and feature.
        cap: the level of the last colour.
        theme: light or dark.
    """
    from PIL import Image

    picture = pooled(levels, _PICTURE_ROWS).astype(np.int64)
    table = colour_table(cap, theme)
    stream = io.BytesIO()
    Image.fromarray(table[picture + cap]).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def colour_table(cap: int, theme: str) -> Array:
    """uint8 `[2·cap + 1, 4]`: the colour of every level from −cap to cap; that of 0 is transparent."""
    table = np.zeros((2 * cap + 1, 4), dtype=np.uint8)
    for sign, ramp in ((1, SPIKE_COLOURS[theme]), (-1, NEGATIVE_COLOURS[theme])):
        palette = Palette((), ramp, "", "", "", "")
        for level in range(1, cap + 1):
            share = 0.6 if cap == 1 else (level - 1) / (cap - 1)  # the only level is neither weak nor strong
            table[cap + sign * level] = (*channels(palette.along(share)), 255)
    return table
