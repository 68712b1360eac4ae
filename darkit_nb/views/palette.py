"""The colours of charts, each readable on its own background."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Colours of one theme, as #rrggbb.

    Attributes:
        slots: of runs and quantities, told apart also by people who see few colours; the last one is quiet.
        scale: from low to high, even steps apart in lightness.
        text, muted, line, surface: of letters, of small letters, of grid lines, and behind all of it.
    """

    slots: tuple[str, ...]
    scale: tuple[str, ...]
    text: str
    muted: str
    line: str
    surface: str

    def colour(self, slot: int | float) -> str:
        """Colour of a slot, or of a share from 0 to 1 of the scale. Slots beyond the last begin again."""
        if isinstance(slot, int):
            return self.slots[slot] if slot < len(self.slots) else self.slots[slot % (len(self.slots) - 1)]
        # The ends of the scale are too near to the background for a thin line.
        return self.along(0.2 + 0.7 * slot)

    def faded(self, colour: str) -> str:
        """A colour as it looks when it lets the ground shine through."""
        pairs = zip(channels(colour), channels(self.surface), strict=True)
        return "#" + "".join(f"{round(0.4 * own + 0.6 * ground):02x}" for own, ground in pairs)

    def along(self, share: float) -> str:
        """Colour at a share from 0 to 1 of the scale."""
        place = min(1.0, max(0.0, share)) * (len(self.scale) - 1)
        index = min(int(place), len(self.scale) - 2)
        low, high = channels(self.scale[index]), channels(self.scale[index + 1])
        mixed = (round(a + (b - a) * (place - index)) for a, b in zip(low, high, strict=True))
        return "#" + "".join(f"{each:02x}" for each in mixed)


LIGHT = Palette(
    slots=("#5b3fd6", "#d9480f", "#0b7285", "#2b8a3e", "#c2255c", "#1864ab", "#846b00", "#868e96"),
    scale=("#f5f1fc", "#d9cbf6", "#b79cec", "#9169dc", "#6d3fc0", "#4b2292", "#2a0f5c"),
    text="#1f1f24",
    muted="#63636e",
    line="#e4e4ea",
    surface="#ffffff",
)
DARK = Palette(
    slots=("#a48bff", "#ffa94d", "#3bc9db", "#69db7c", "#f783ac", "#74c0fc", "#e6c84b", "#8b929a"),
    scale=("#1a1430", "#3a2370", "#6a3099", "#a53c93", "#dc5b6d", "#f59452", "#fbd786"),
    text="#e6e6ea",
    muted="#a0a0ab",
    line="#34343c",
    surface="#16161a",
)


def channels(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of #rrggbb."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
