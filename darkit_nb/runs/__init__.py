"""A run is a directory: the only state shared between the processes of a training and those that watch it."""

from darkit_nb.runs.checkpoints import Checkpoint
from darkit_nb.runs.comparison import Comparison, compare_runs
from darkit_nb.runs.directory import RunDirectory, list_runs
from darkit_nb.runs.importing import import_run
from darkit_nb.runs.log import LogReader
from darkit_nb.runs.metrics import MetricsReader, last_attempts
from darkit_nb.runs.monitor import RunMonitor
from darkit_nb.runs.patch_history import RunPatch
from darkit_nb.runs.patching import PatchRefusedError
from darkit_nb.runs.requests import Request
from darkit_nb.runs.run import Run, open_run, resume, train
from darkit_nb.runs.status import RunStatus, State
from darkit_nb.runs.summary import RunSummary
from darkit_nb.runs.watched import RunChange

__all__ = [
    "Checkpoint",
    "Comparison",
    "LogReader",
    "MetricsReader",
    "PatchRefusedError",
    "Request",
    "Run",
    "RunChange",
    "RunDirectory",
    "RunMonitor",
    "RunPatch",
    "RunStatus",
    "RunSummary",
    "State",
    "compare_runs",
    "import_run",
    "last_attempts",
    "list_runs",
    "open_run",
    "resume",
    "train",
]
