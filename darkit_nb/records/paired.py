"""The same text scored window by window, so that two models can be compared on it pair by pair."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from darkit_nb.records.plain import own_fields


@dataclass(frozen=True, kw_only=True)
class WindowLosses:
    """What every window of a text cost one model.

    Attributes:
        text: name of the text.
        window: tokens per window, the first of which is not scored.
        bytes_per_token: bytes of the text per token.
        nats: mean cross entropy of a scored token, one number per window, in the order of the text.
        text_sha256: of the scored token ids, so that losses of different texts are never put in pairs.
    """

    text: str
    window: int
    bytes_per_token: float
    nats: tuple[float, ...] = field(repr=False)
    text_sha256: str = ""

    @property
    def loss(self) -> float:
        """Mean cross entropy of a scored token, in nats."""
        return sum(self.nats) / len(self.nats)

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite beyond what a float holds."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Loss in bits per byte of text."""
        return self.loss / math.log(2) / self.bytes_per_token

    def unlike(self, other: WindowLosses) -> str:
        """Why the two cannot be put in pairs, in words; empty where they can."""
        same_tokens = self.text_sha256 == other.text_sha256
        found = {
            "another text": same_tokens or self.text == other.text,
            f"windows of {self.window} tokens": self.window == other.window,
            f"{len(self.nats)} window{'s' * (len(self.nats) != 1)}": len(self.nats) == len(other.nats),
            "another tokenizer": self.bytes_per_token == other.bytes_per_token,
            "other tokens of the text": same_tokens,
        }
        return next((reason for reason, alike in found.items() if not alike), "")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**dataclasses.asdict(self), "nats": list(self.nats)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WindowLosses:
        """Read what `to_dict` wrote; unknown keys are ignored."""
        own = own_fields(cls, data)
        return cls(**{**own, "nats": tuple(own["nats"])})


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How much worse a model is than another one on the same windows, in bits per byte.

    Attributes:
        delta: mean over windows of the difference; positive is worse.
        standard_error: of that mean, from the differences of the windows; NaN for a single window.
        low, high: ends of the 95 % interval by Student's t.
        windows: pairs.
    """

    delta: float
    standard_error: float
    low: float
    high: float
    windows: int

    def __str__(self) -> str:
        """The difference, with half the width of its 95 % interval where there is one."""
        half = (self.high - self.low) / 2
        return f"{self.delta:+.4f} ± {half:.4f}" if math.isfinite(half) else f"{self.delta:+.4f}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not a number is null."""
        plain = dataclasses.asdict(self)
        return {name: value if math.isfinite(value) else None for name, value in plain.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PairedDifference:
        """Read what `to_dict` wrote; unknown keys are ignored."""
        own: dict[str, Any] = {info.name: data[info.name] for info in dataclasses.fields(cls)}
        own |= {name: math.nan for name, value in own.items() if value is None}
        return cls(**own)
