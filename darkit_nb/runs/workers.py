"""What a supervisor can start: a training or a conversion. The folder says which by the settings that lie in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CONVERSION_FILE = "conversion.json"
"""Settings of a conversion, in its folder."""

CONVERSION_SUFFIX = ".run"
"""What the name of its folder has behind that of the model it makes."""


@dataclass(frozen=True)
class Worker:
    """A module that works in a folder until it is done.

    Attributes:
        module: run as `python -m module FOLDER [key=value …]`.
        noun: what it does, for messages.
        smaller: what makes it need less memory.
    """

    module: str
    noun: str
    smaller: str


TRAINING = Worker("darkit_nb.train.worker", "training", "lower train.batch_size or data.seq_len")
CONVERSION = Worker("darkit_nb.convert.worker", "conversion", "take fewer calibration samples, or shorter ones")


def worker_of(root: Path) -> Worker:
    """Who works in a folder."""
    return CONVERSION if (root / CONVERSION_FILE).is_file() else TRAINING


def is_conversion(root: Path) -> bool:
    """Whether a folder is one of a conversion."""
    return root.name.endswith(CONVERSION_SUFFIX) and (root / CONVERSION_FILE).is_file()


def conversion_folders(folder: Path) -> list[Path]:
    """Folders of the conversions whose models lie in `folder`, by name; an absent folder has none."""
    return [root for root in sorted(folder.glob(f"*{CONVERSION_SUFFIX}")) if is_conversion(root)]
