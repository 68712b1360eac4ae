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
from darkit_nb.runs.control import send
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.ending import end_orphan
from darkit_nb.runs.launcher import start_supervisor
from darkit_nb.runs.log import LogReader
from darkit_nb.runs.status import RunStatus, State
from darkit_nb.runs.waiting import ended_badly, wait_for_end, wait_while_active

_POLL_SECONDS = 0.2


class Conversion:
    """One conversion, wherever it is worked on. Holds nothing but its folder, so any number of handles agree.

    Args:
        root: the folder `<out>.run`.
    """

    def __init__(self, root: str | Path) -> None:
        self.directory = RunDirectory(Path(root).expanduser().absolute())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conversion) and self.directory == other.directory

    def __hash__(self) -> int:
        return hash(self.directory)

    def __repr__(self) -> str:
        now = self.progress()
        blocks = f", {now.blocks_done} of {now.blocks} blocks" if now.blocks else ""
        reason = f", {now.reason.splitlines()[0]}" if now.reason else ""
        return f"Conversion of {now.source} to {now.out} by {now.name}: {now.state}{blocks}{reason}"

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
            if files.is_conversion(found):
                return cls(found)
        raise RunError(
            f"There is no conversion at {str(folder)!r}.",
            expected=f"the folder of a converted model, or {files.work_folder(folder).name} with conversion.json",
            received="a folder without one" if folder.is_dir() else "no such folder",
            fix="darkit-nb convert SOURCE OUT begins one",
        )

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def root(self) -> Path:
        """Its folder."""
        return self.directory.root

    @property
    def id(self) -> str:
        """Name of its folder."""
        return self.directory.id

    @property
    def request(self) -> ConversionRequest:
        """What it was asked for.

        Raises:
            RunError: the file is damaged or from a newer version.
        """
        return files.read_request(self.root)

    @property
    def out(self) -> Path:
        """Folder of the converted model."""
        return files.model_folder(self.root)

    @property
    def status(self) -> RunStatus:
        """What it is doing, read now."""
        return self.directory.read_status()

    @property
    def state(self) -> State:
        """created, starting, running, finished, stopped, failed or lost."""
        return self.status.state

    def log(self, lines: int = 200) -> str:
        """The last lines of its output."""
        return LogReader(self.directory.log_path).tail(lines)

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
        return ConversionProgress(
            id=self.id,
            name=request.name,
            source=request.source,
            out=str(self.out),
            state=status.state,
            reason=None if active else status.reason,
            problem=status.problem,
            stage=status.message if active else None,
            blocks_done=len(reports),
            blocks=blocks,
            windows_done=_count(status, "windows_done") if active else None,
            windows=_count(status, "windows") if active else None,
            plan=plan,
            reports=reports,
            rows=self.rows(),
            elapsed_s=_elapsed(status),
            eta_s=_eta(reports, blocks) if active else None,
        )

    # -- what can be asked of it -------------------------------------------------------------------------------------

    def stop(self, *, wait_s: float = 0.0) -> str:
        """Ask it to end now; the blocks that are done stay.

        Args:
            wait_s: wait so many seconds for it to end.

        Returns: Id of the command; empty where nobody is at work.
        """
        status = self.status
        if not status.active and status.orphan_pid is None:
            return ""
        sent = send(self.directory, "stop").id
        wait_while_active(lambda: self.status, wait_s)
        return sent

    def resume(self) -> Conversion:
        """Go on after the last block that was finished, or begin; returns at once.

        Raises:
            RunError: it is at work, or done.
        """
        self.refuse_finished()
        end_orphan(self.directory)
        start_supervisor(self.directory)
        return self

    def refuse_finished(self) -> None:
        """Refuse to work on what is done.

        Raises:
            RunError: it is finished, and the model is where it should be.
        """
        if self.state == "finished" and (self.out / "config.json").is_file():
            raise RunError(
                f"The conversion to {self.out} is done.",
                expected="a conversion that has not come to its end",
                received=f"finished, {len(self.reports())} blocks",
                fix="choose another folder for another conversion",
            )

    def wait(self, timeout_s: float | None = None) -> Conversion:
        """Wait until it has finished or was stopped.

        Args:
            timeout_s: give up waiting after so many seconds; the conversion goes on.

        Raises:
            RunError: it failed or was lost, or is not done in time.
        """
        status = wait_for_end(lambda: (self.status, _POLL_SECONDS), timeout_s)
        if status is None:
            raise RunError(
                f"The conversion to {self.out} is not done after {timeout_s:g} seconds; it goes on.",
                expected="finished or stopped",
                received=self.state,
                fix="wait again, or stop it",
            )
        if status.state in ("failed", "lost", "created"):
            raise ended_badly(
                f"The conversion to {self.out}",
                status,
                expected="one that is starting or running",
                start="start it with .resume()",
                go_on=f"resume() goes on after the {len(self.reports())} blocks that are done",
            )
        return self


def list_conversions(folder: str | Path = ".") -> list[Conversion]:
    """The conversions whose models lie in `folder`, the one begun first coming first."""
    found = [root for root in Path(folder).expanduser().glob(f"*{files.SUFFIX}") if files.is_conversion(root)]
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
