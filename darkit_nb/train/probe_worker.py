"""`python -m darkit_nb.train.probe_worker FOLDER`: answers for a run nobody trains, or for a converted model, and ends
when nobody asks."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkit_nb.config.memory import available_memory
from darkit_nb.errors import DarkitError, RunError
from darkit_nb.runs import RunDirectory, lock
from darkit_nb.runs.control import REQUESTS, Cancellation, Command, CommandReader, acknowledge
from darkit_nb.runs.conversion_files import model_folder, read_request
from darkit_nb.runs.requests import WORKER_FILE, WORKER_LOCK
from darkit_nb.runs.run_requests import SOURCE
from darkit_nb.runs.workers import is_conversion

IDLE_SECONDS = 30.0
MOST_IDLE_SECONDS = 600.0
POLL_SECONDS = 0.1
HELD = 2
"""Models of one conversion that are kept beside each other: the float one and the converted one."""
_SPARE_BYTES = 256 << 20


@dataclass(frozen=True)
class _Model:
    """Weights that answer.

    Attributes:
        path: their folder, or their id of the hub.
        step: of the training that made them; None for a conversion.
    """

    path: Path
    step: int | None

    @property
    def bytes(self) -> int:
        """Of its weights on disk."""
        return sum(file.stat().st_size for file in self.path.glob("*.safetensors"))


class ProbeWorker:
    """Holds the newest checkpoint of a run, or the models a conversion made and began with, and answers with them.

    Args:
        run: the folder of either.
        idle_seconds: how long it waits for another request before it ends; a request may ask for longer.
    """

    def __init__(self, run: RunDirectory, idle_seconds: float = IDLE_SECONDS) -> None:
        self.run, self.idle_seconds = run, idle_seconds
        self._commands = CommandReader(run, kinds=(*REQUESTS, "release"))
        self._held: dict[_Model, tuple[Any, Any]] = {}  # what was used last stands last
        self._released = False

    def serve(self) -> None:
        """Answer until nobody has asked for a while, somebody trains the run, or it is let go."""
        last = time.monotonic()
        while (not self._released and time.monotonic() - last < self.idle_seconds) or not self._leave():
            for command in self._commands.read():
                self._answer(command)
                last = time.monotonic()
            if not self.run.root.is_dir() or (self.run.read_status().active and not is_conversion(self.run.root)):
                return
            time.sleep(POLL_SECONDS)

    def _leave(self) -> bool:
        """Sign off, unless a request came meanwhile: whoever asks after this starts another worker."""
        with lock.exclusive(self.run.root / WORKER_LOCK, "The worker", wait_seconds=10.0):
            waiting = self._commands.read()
            if not waiting:
                (self.run.root / WORKER_FILE).unlink(missing_ok=True)
        for command in waiting:
            self._answer(command)
        return not waiting

    def _answer(self, command: Command) -> None:
        self._released = command.command == "release"
        if self._released:
            return
        keep = command.arguments.get("keep_s")
        if isinstance(keep, int | float):
            self.idle_seconds = max(self.idle_seconds, min(float(keep), MOST_IDLE_SECONDS))
        try:
            if command.command == "generate" and Cancellation(self.run, command.id).asked():
                acknowledge(self.run, command, step=None, tokens=0, cancelled=True)
                return
            found = self._source() if command.arguments.get(SOURCE) is True else self._newest()
            # Here, so that a run without a checkpoint is told at once.
            from darkit_nb.train.answering import answer, refuse_again

            if command.id in self._commands.interrupted:
                refuse_again(self.run, command, step=found.step)
                return
            model, tokenizer = self._load(found)
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            acknowledge(self.run, command, step=None, error=error)
            return
        answer(self.run, command, model, tokenizer, step=found.step)

    def _newest(self) -> _Model:
        if not is_conversion(self.run.root):
            checkpoint = self.run.require_checkpoint()
            return _Model(checkpoint.path, checkpoint.step)
        out = model_folder(self.run.root)
        if not (out / "config.json").is_file():
            raise RunError(
                f"The conversion {self.run.id} has made no model yet.",
                expected=f"a model in {out}",
                received="none",
                fix="wait until its blocks are done, or resume it",
            )
        return _Model(out, None)

    def _source(self) -> _Model:
        """What the conversion began with."""
        from darkit_nb.train.generate import model_folder as named

        request = read_request(self.run.root)
        try:
            found = named(request.source, request.runs_dir)
        except RunError:
            found = request.source  # no run, so it was an id of the hub
        return _Model(_fetched(found, request.revision) if isinstance(found, str) else Path(found), None)

    def _load(self, found: _Model) -> tuple[Any, Any]:
        model = self._held.pop(found, None)
        if model is None:
            self._make_room(found)
            model = self._read(found)
        self._held[found] = model
        return model

    def _make_room(self, wanted: _Model) -> None:
        """Let go of models before another one is there; what may stay beside it is what memory certainly has room for.

        Unpacked for a product, weights may take twice what they take on disk.
        """
        while self._held:
            roomy = available_memory() > 2 * wanted.bytes + _SPARE_BYTES
            if roomy and wanted.step is None and len(self._held) < HELD:
                return
            self._held.pop(next(iter(self._held)))

    def _read(self, found: _Model) -> tuple[Any, Any]:
        import torch
        from transformers import AutoTokenizer

        from darkit_nb.config.cores import available_cores
        from darkit_nb.plugins import import_modules
        from darkit_nb.spikify import load_model

        threads = min(torch.get_num_threads(), available_cores())
        if found.step is not None:
            config = self.run.read_config()
            threads = config.train.num_threads or threads
            import_modules(config.plugins, Path.cwd())
        torch.set_num_threads(threads)
        return load_model(found.path).eval(), AutoTokenizer.from_pretrained(found.path)


def _fetched(name: str, revision: str | None) -> Path:
    """The folder in which the hub's cache keeps what was fetched for the conversion."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (OSError, ValueError) as error:
        raise RunError(
            "The float model of this conversion is not there any more.",
            expected="the folder, run or hub id that was converted",
            received=f"{name!r}: {str(error).strip().splitlines()[0]}",
            cause="it was moved or deleted",
            fix="put it back where it was",
        ) from error


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    folder, *idle = arguments
    worker = ProbeWorker(RunDirectory(folder), *(float(seconds) for seconds in idle))
    with suppress(DarkitError):
        worker.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
