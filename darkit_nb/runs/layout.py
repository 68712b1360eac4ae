"""What lies where in the folder of a run, and what the run is called."""

from __future__ import annotations

from pathlib import Path

from darkit_nb.runs import naming


class RunFiles:
    """The files of a run by what they hold. Nothing is read or written here.

    Args:
        root: The run's folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.root.resolve() == other.root.resolve()

    def __hash__(self) -> int:
        return hash(self.root.resolve())

    @property
    def id(self) -> str:
        """Name of the folder, unique in its `runs_dir`."""
        return self.root.resolve().name

    @property
    def name(self) -> str:
        """The readable part of the id."""
        return naming.name_of(self.id)

    @property
    def config_path(self) -> Path:
        """The configuration, YAML."""
        return self.root / "config.yaml"

    @property
    def status_path(self) -> Path:
        """The status, one JSON object, replaced as a whole."""
        return self.root / "status.json"

    @property
    def metrics_path(self) -> Path:
        """Measurements, one JSON object per line, only ever appended to."""
        return self.root / "metrics.jsonl"

    @property
    def events_path(self) -> Path:
        """What happened when, one JSON object per line."""
        return self.root / "events.jsonl"

    @property
    def control_path(self) -> Path:
        """Commands to the running trainer, one JSON object per line."""
        return self.root / "control.jsonl"

    @property
    def log_path(self) -> Path:
        """Output of the training process."""
        return self.root / "stdout.log"

    @property
    def checkpoints_path(self) -> Path:
        """Folder of checkpoints."""
        return self.root / "checkpoints"

    @property
    def spikes_path(self) -> Path:
        """Folder of recorded spikes."""
        return self.root / "spikes"

    @property
    def patches_path(self) -> Path:
        """Folder of edited modules."""
        return self.root / "patches"
