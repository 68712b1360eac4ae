"""A run is a directory: the only state shared between the processes of a training and those that watch it."""

from darkit_nb.runs.checkpoints import Checkpoint
from darkit_nb.runs.directory import RunDirectory, list_runs
from darkit_nb.runs.importing import import_run
from darkit_nb.runs.metrics import MetricsReader, last_attempts
from darkit_nb.runs.run import Run, open_run, resume, train
from darkit_nb.runs.status import RunStatus, State

__all__ = [
    "Checkpoint",
    "MetricsReader",
    "Run",
    "RunDirectory",
    "RunStatus",
    "State",
    "import_run",
    "last_attempts",
    "list_runs",
    "open_run",
    "resume",
    "train",
]
