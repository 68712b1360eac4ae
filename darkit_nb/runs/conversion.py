"""`Conversion`: the handle by which a notebook starts, watches and stops a conversion that outlives it.

A conversion has the files of a run (`status.json`, `metrics.jsonl`, `events.jsonl`, `control.jsonl`, `stdout.log`) in
`<out>.run`, beside the model it makes; the blocks that are done lie in `<out>.conversion` until the model is saved. It
has the same supervisor as a training, so a process that dies is seen as lost, and what it had finished is taken over
when it goes on.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from darkit_nb.errors import RunError
from darkit_nb.records.conversion import BlockReport
from darkit_nb.records.conversion_progress import ConversionProgress
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.records.conversion_result import ConversionRow
from darkit_nb.runs import conversion_files as files
from darkit_nb.runs.ending import end_orphan
from darkit_nb.runs.handle import Handle
from darkit_nb.runs.launcher import start_supervisor
from darkit_nb.runs.queue import enqueue
from darkit_nb.runs.removal import delete_conversion
from darkit_nb.runs.run_requests import AskableRun, AskableSource
from darkit_nb.runs.status import RunStatus
from darkit_nb.runs.workers import conversion_folders, is_conversion


class Conversion(Handle, AskableRun):
    """One conversion, wherever it is worked on. When its model is there, it can be asked for text, spikes and its tree.

    Args:
        directory: the folder `<out>.run`.
    """

    def __repr__(self) -> str:
        now = self.progress()
        blocks = f", {now.blocks_done} of {now.blocks} blocks" if now.blocks else ""
        reason = f", {now.reason.splitlines()[0]}" if now.reason else ""
        place = f" (place {now.place})" if now.place else ""
        return f"Conversion of {now.source} to {now.out} by {now.name}: {now.state}{place}{blocks}{reason}"

    # -- finding and making ------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, request: ConversionRequest, *, command: str = "") -> Conversion:
        """Make the folder of a conversion, or take the one there is for the very same request. Nothing is started.

        Raises:
            RunError: `out` holds something else, or another conversion; or it cannot be written.
        """
        return cls(files.claim(request, command))

    @classmethod
    def start(cls, request: ConversionRequest) -> Conversion:
        """Start a conversion in a process of its own and return at once; the same request again goes on where it was.

        Raises:
            RunError: it is at work or done already; `out` holds something else; or it cannot be written.
        """
        made = cls.create(request)
        return made.resume()

    @classmethod
    def open(cls, path: str | Path) -> Conversion:
        """The conversion of that folder, or the one that makes or made the model in that folder.

        Raises:
            RunError: there is none.
        """
        folder = Path(path).expanduser()
        for found in (folder, files.work_folder(folder)):
            if is_conversion(found):
                return cls(found)
        raise RunError(
            f"There is no conversion at {str(folder)!r}.",
            expected=f"the folder of a converted model, or {files.work_folder(folder).name} with conversion.json",
            received="a folder without one" if folder.is_dir() else "no such folder",
            fix="darkit-nb convert SOURCE OUT begins one",
        )

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def request(self) -> ConversionRequest:
        """What it was asked for.

        Raises:
            RunError: the file is damaged or from a newer version.
        """
        return files.read_request(self.root)

    @property
    def name(self) -> str:
        """Pipeline and bits, such as `darkit W4A4`."""
        return self.request.name

    @property
    def out(self) -> Path:
        """Folder of the converted model."""
        return files.model_folder(self.root)

    @property
    def done(self) -> bool:
        """Whether it is finished, and the model is where it should be."""
        return self.state == "finished" and (self.out / "config.json").is_file()

    def reports(self) -> tuple[BlockReport, ...]:
        """Of the blocks that are done, in order."""
        return files.read_blocks(self.directory)

    def rows(self) -> tuple[ConversionRow, ...]:
        """The float model and the converted one, as far as they are scored."""
        return files.read_rows(self.root)

    def progress(self) -> ConversionProgress:
        """Everything a panel shows, read now."""
        request, status = self.request, self.status
        plan, reports = files.read_plan(self.directory), self.reports()
        blocks = plan.blocks if plan else status.total_steps
        active = status.active
        begun = active and (status.launch is None or status.attempt >= status.launch.attempt)
        return ConversionProgress(
            id=self.id,
            name=request.name,
            source=request.source,
            out=str(self.out),
            state=status.state,
            place=status.place,
            reason=None if active else status.reason,
            problem=status.problem,
            stage=status.message if begun else None,
            blocks_done=len(reports),
            blocks=blocks,
            windows_done=_count(status, "windows_done") if begun else None,
            windows=_count(status, "windows") if begun else None,
            plan=plan,
            reports=reports,
            rows=self.rows(),
            elapsed_s=_elapsed(status) if begun or not active else None,
            eta_s=_eta(reports, blocks) if begun else None,
        )

    # -- what can be asked of it -------------------------------------------------------------------------------------

    @property
    def float_model(self) -> AskableSource:
        """The model it began with, which can be asked for the same: `conversion.float_model.generate("def ")`."""
        return AskableSource(self.directory)

    def resume(self) -> Conversion:
        """Go on after the last block that was finished, or begin; returns at once.

        Raises:
            RunError: it is at work, or done.
        """
        self.refuse_finished()
        end_orphan(self.directory)
        start_supervisor(self.directory)
        return self

    def queue(self) -> Conversion:
        """As `resume`, when whatever is at work in the same folder, or waits there already, has ended.

        Raises:
            RunError: it is at work, or done.
        """
        self.refuse_finished()
        enqueue(self.directory)
        return self

    def delete(self) -> tuple[Path, ...]:
        """Remove it for good: model, finished blocks, measurements, answers. One that waits leaves the queue with it.

        Returns: The folders that are gone.

        Raises:
            RunError: it is at work; one of its folders is a link; or it cannot be removed.
        """
        return delete_conversion(self.root)

    def refuse_finished(self) -> None:
        """Refuse to work on what is done.

        Raises:
            RunError: it is finished, and the model is where it should be.
        """
        if self.done:
            raise RunError(
                f"The conversion to {self.out} is done.",
                expected="a conversion that has not come to its end",
                received=f"finished, {len(self.reports())} blocks",
                fix="choose another folder for another conversion",
            )

    @property
    def _what(self) -> str:
        return f"The conversion to {self.out}"

    def _progress_words(self, status: RunStatus) -> str:
        return f"{len(self.reports())} blocks"

    def _go_on(self) -> str:
        return f"resume() goes on after the {len(self.reports())} blocks that are done"


def list_conversions(folder: str | Path = ".") -> list[Conversion]:
    """The conversions whose models lie in `folder`, the one begun first coming first."""
    found = conversion_folders(Path(folder).expanduser())
    return [Conversion(root) for root in sorted(found, key=lambda root: (files.begun(root), root.name))]


def _count(status: RunStatus, name: str) -> int | None:
    value: Any = status.extra.get(name)
    return value if isinstance(value, int) else None


def _elapsed(status: RunStatus) -> float | None:
    if status.started is None:
        return None
    end = status.ended if not status.active and status.ended is not None else None
    last = end if end is not None else time.time() if status.active else status.heartbeat or status.started
    return max(0.0, last - status.started)


def _eta(reports: tuple[BlockReport, ...], blocks: int | None) -> float | None:
    own = [report.seconds for report in reports if not report.resumed]
    if not own or blocks is None:
        return None
    return max(0, blocks - len(reports)) * sum(own) / len(own)
