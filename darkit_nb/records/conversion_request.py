"""What a conversion in the background was asked for: written once into its folder, read by whoever works there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from darkit_nb.errors import ConfigError
from darkit_nb.records.conversion_spec import ConversionSpec
from darkit_nb.records.plain import own_fields

Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class ConversionRequest:
    """One conversion, from the float model to the scores of both.

    Attributes:
        source: folder, hub id, bundled model, or id, name or folder of a run whose newest checkpoint is converted.
        out: folder of the converted model; must not exist, or be empty, or hold this very conversion.
        spec: how it is converted.
        dataset: text for calibration, its training documents; None takes the run's own, or `stdlib`.
        text: file with the held-out text that is scored; None takes the validation documents of `dataset`.
        window: tokens of a scored window; None takes the smaller of 2048 and the model's context.
        windows: scored at most; 0 leaves scoring out.
        device: where the work is done; auto takes a GPU where there is one.
        runs_dir: where runs are looked up.
        revision: branch, tag or commit of a hub id; None takes the newest there is.

    Raises:
        ConfigError: an empty name, or a number that makes no sense.
    """

    source: str
    out: str
    spec: ConversionSpec
    dataset: str | None = None
    text: str | None = None
    window: int | None = None
    windows: int = 64
    device: Device = "auto"
    runs_dir: str = "runs"
    revision: str | None = None

    def __post_init__(self) -> None:
        for name, what in (("source", "a model to convert"), ("out", "a folder for the converted model")):
            if not getattr(self, name):
                raise ConfigError(f"A conversion needs {what}.", expected=f"a {name}", received="nothing")
        if self.windows < 0 or (self.window is not None and self.window < 2):
            raise ConfigError(
                "So much text cannot be scored.",
                expected="windows ≥ 0 of window ≥ 2 tokens",
                received=f"windows={self.windows}, window={self.window}",
            )
        if self.device not in DEVICES:
            raise ConfigError("There is no such device.", expected=", ".join(DEVICES), received=repr(self.device))

    @property
    def name(self) -> str:
        """Pipeline and bits, such as `darkit W4A4`."""
        return self.spec.name

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **{info.name: getattr(self, info.name) for info in dataclasses.fields(self)},
            "spec": self.spec.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConversionRequest:
        """Read what `to_dict` wrote; unknown keys are ignored."""
        own = own_fields(cls, data)
        return cls(**{**own, "spec": ConversionSpec.from_dict(own["spec"])})
