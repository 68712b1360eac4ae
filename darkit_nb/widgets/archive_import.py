"""From a dropped archive to a run: upload, unpack in the background, say what happened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from darkit_nb.errors import DarkitError, RunError
from darkit_nb.runs import RunDirectory, import_run
from darkit_nb.widgets.archive_upload import ArchiveUpload
from darkit_nb.widgets.base import problem_of


class ArchiveImport:
    """One archive at a time on its way to become a run.

    Args:
        told: Called with the state as plain data whenever it changes, from any thread: `stage` is `upload`, `import`,
            `done` or `refused`, beside `name`, `received`, `size`, and `run` or `problem` at the end.
    """

    def __init__(self, told: Callable[[dict[str, Any] | None], None]) -> None:
        self._told = told
        self._upload: ArchiveUpload | None = None
        self._id = ""
        self._runs_dir = "runs"
        self._thread: threading.Thread | None = None
        self.run: RunDirectory | None = None

    @property
    def busy(self) -> bool:
        """Whether an archive is being unpacked."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, upload: str, name: str, size: int, runs_dir: str) -> None:
        """Announce an archive; the one before it is dropped.

        Raises:
            RunError: it cannot be taken, or another one is being unpacked.
        """
        if self.busy:
            raise RunError(
                "Another archive is being imported.",
                expected="one at a time",
                received=name[:80],
                fix="wait until it is done, and drop this one again",
            )
        self.cancel()
        try:
            self._upload = ArchiveUpload(name, size, runs_dir)
        except DarkitError as error:
            self._told({"stage": "refused", "name": name[:80], "problem": problem_of(error), "upload": upload})
            return
        self._id, self._runs_dir = upload, runs_dir
        self._report("upload")

    def add(self, upload: str, offset: int, piece: bytes | memoryview) -> None:
        """Take the next piece; the last one starts the import. Pieces of an upload that was cancelled are ignored."""
        if self._upload is None or upload != self._id or self._upload.complete:
            return
        try:
            self._upload.add(offset, piece)
        except DarkitError as error:
            self._report("refused", problem=problem_of(error))
            self._drop()
            return
        if self._upload.complete:
            self.start()
        else:
            self._report("upload")

    def start(self, *, drop_pickles: bool = False) -> None:
        """Import what was uploaded."""
        if self._upload is None or self.busy:
            return
        self._report("import")
        self._thread = threading.Thread(target=self._import, args=(self._upload, drop_pickles), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until a running import has ended."""
        if self._thread is not None:
            self._thread.join()

    def cancel(self) -> None:
        """Forget the upload; an import that runs already goes on."""
        if not self.busy:
            self._drop()
            self._told(None)

    def _import(self, upload: ArchiveUpload, drop_pickles: bool) -> None:
        try:
            self.run = import_run(upload.path, self._runs_dir, drop_pickles=drop_pickles)
        except DarkitError as error:
            may_drop = not drop_pickles and "--drop-pickles" in (error.fix or "")
            self._report("refused", problem=_in_words_of_the_form(error, upload), may_drop_pickles=may_drop)
            if not may_drop:
                self._drop()
            return
        except Exception as error:  # noqa: BLE001 - a thread must not die in silence
            self._report("refused", problem={"message": f"Unexpected {type(error).__name__}: {error}"})
            self._drop()
            return
        left_out = self.run.read_events()[-1]["left_out"]
        self._report("done", run=str(self.run.root), left_out=left_out[:8])
        self._drop()

    def _report(self, stage: str, **more: Any) -> None:
        if self._upload is not None:
            sizes = {"received": self._upload.received, "size": self._upload.size}
            self._told({"stage": stage, "upload": self._id, "name": self._upload.name[:80], **sizes, **more})

    def _drop(self) -> None:
        if self._upload is not None:
            self._upload.close()
        self._upload = None


def _in_words_of_the_form(error: DarkitError, upload: ArchiveUpload) -> dict[str, str]:
    """Without the folder the upload happens to lie in."""
    inside = f"{upload.folder}/"
    return {name: text.replace(inside, "") for name, text in problem_of(error).items()}


def weights_of(run: RunDirectory) -> dict[str, Any]:
    """Settings that train from a run's newest weights, with its own tokenizer where it has one.

    Raises:
        RunError: it has no complete checkpoint.
    """
    folder: Path = run.require_checkpoint().path.resolve()
    changes: dict[str, Any] = {"model.path": str(folder)}
    return changes | ({"data.tokenizer": str(folder)} if (folder / "tokenizer.json").is_file() else {})
