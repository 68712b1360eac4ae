"""The second page of the conversions' panel: the conversion that is shown, from its start to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import traitlets

from darkit_nb.errors import RunError
from darkit_nb.records.conversion_progress import ConversionProgress
from darkit_nb.runs.conversion import Conversion, list_conversions
from darkit_nb.runs.conversion_queue import queue_conversions
from darkit_nb.widgets.convert_others import Others
from darkit_nb.widgets.convert_setup import ConvertSetup
from darkit_nb.widgets.convert_wire import BlockPace, ScoringPace, course_data, state_text

_MOST_CLICKS = 32


class ConvertCourse(ConvertSetup):
    """Starting what is set up, watching it, stopping it, going on with it, deleting it.

    Args:
        source, pipeline, bits, folder, runs_dir, options: as of `ConvertSetup`.

    Attributes:
        page: the page shown: Set up, Watch or Results.
        conversion: the one that is shown.
        progress: of it, as it was read last.
    """

    page = traitlets.Unicode("Set up").tag(sync=True)
    course: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    choices = traitlets.List(traitlets.Dict()).tag(sync=True)
    pending = traitlets.Unicode().tag(sync=True)
    going = traitlets.List(traitlets.Unicode()).tag(sync=True)
    answered = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, *given: Any, **named: Any) -> None:
        self.conversion: Conversion | None = None
        self.progress: ConversionProgress | None = None
        self._others = Others(self._changed)
        self._pace, self._block_pace = ScoringPace(), BlockPace()
        self._seen_at_work = ""
        self._clicks: list[str] = []
        super().__init__(*given, **named)
        self._show_newest()

    # -- what Python sees --------------------------------------------------------------------------------------------

    def start(self) -> Conversion:
        """Start the conversion that is set up, in the background, and show it; those to compare with are queued.

        Raises:
            DarkitError: something is wrong with the model or the settings, or it cannot be started.
        """
        requests = self.requests()
        conversion = queue_conversions(requests)[0] if len(requests) > 1 else Conversion.start(requests[0])
        self.show(conversion)
        self.page = "Watch"
        with self._lock:
            self._refresh()  # the next one gets another folder
        return conversion

    def show(self, conversion: Conversion | str | Path) -> None:
        """Show another conversion: itself, its id, or the folder of its model.

        Raises:
            RunError: there is none.
        """
        found = conversion if isinstance(conversion, Conversion) else self._named(conversion)
        with self._lock:
            if found != self.conversion:
                self._leave()
            self.conversion, self.pending = found, ""
            self._others.look(found)
            self._show_now()

    @property
    def models(self) -> Path:
        """Folder of the conversion that is shown and of those beside it."""
        return self.folder if self.conversion is None else self.conversion.root.parent

    def stop(self) -> None:
        """Ask the conversion that is shown to end; what is done is kept. Returns at once."""
        self._act("stop", lambda conversion: conversion.stop())

    def resume(self) -> None:
        """Go on after the last block that was done. Returns at once."""
        self._act("resume", lambda conversion: conversion.resume())

    def delete(self, conversion: Conversion | None = None) -> None:
        """Delete a conversion, the one that is shown by default, with its model and everything measured.

        Raises:
            RunError: it is at work, or cannot be removed.
        """
        found = conversion or self._require()
        found.delete()
        with self._lock:
            if found == self.conversion:
                self._leave()
                self._show_newest()
            elif self.conversion is not None:
                self._others.look(self.conversion)
                self._show_now()
            self._refresh()  # its folder is free again

    def close(self) -> None:
        """Stop watching, and remove the widget; conversions go on."""
        self._others.close()
        super().close()

    # -- what the page asks for --------------------------------------------------------------------------------------

    def do_stop(self) -> None:
        """Stop."""
        self.stop()

    def do_resume(self) -> None:
        """Resume."""
        self.resume()

    def do_show(self, id: str) -> None:
        """Show the conversion of that id."""
        if self.conversion is None or id != self.conversion.id:
            self.show(id)

    def do_start(self, click: str) -> None:
        """Start once for every click, however often the click arrives."""
        with self._lock:
            if click in self._clicks:
                return
            self._clicks = [*self._clicks[-_MOST_CLICKS:], click]
        try:
            self.start()
        finally:
            self.answered = [*self.answered[-_MOST_CLICKS:], click]

    def do_delete(self, id: str) -> None:
        """Delete the conversion of that id, which was confirmed."""
        found = self._others.conversions.get(id)
        with self._lock:
            if found is None or id in self.going:
                return
            self.going = [*self.going, id]

        def work() -> None:
            self.guard(self.delete, found)
            with self._lock:
                self.going = [each for each in self.going if each != id]

        threading.Thread(target=work, name="darkit-delete", daemon=True).start()

    # -- what its folder says ----------------------------------------------------------------------------------------

    def _changed(self, progress: ConversionProgress, before: str | None) -> None:
        """Called on another thread: one of the conversions in the folder is not what it was."""
        with self._lock:
            if self.conversion is None:
                return
            own = progress.id == self.conversion.id
            if own and progress.active:
                self._seen_at_work = progress.id
            if not own and progress.active and before == "queued" and self._follows():
                self.show(self._others.conversions[progress.id])
            else:
                self._show_now()

    def _follows(self) -> bool:
        """Whether somebody watched the conversion that is shown come to its end, and will watch the next one."""
        done = self.progress is not None and not self.progress.active
        return done and self.page == "Watch" and self.progress is not None and self._seen_at_work == self.progress.id

    def _show_newest(self) -> None:
        """Show what was begun last, or that there is nothing."""
        found = list_conversions(self.models)
        if found:
            self.show(found[-1])
            return
        self._others.close()
        self.conversion = self.progress = None
        self._show_now()

    def _show_now(self) -> None:
        progress = None if self.conversion is None else self._others.read(self.conversion)
        if progress is None and self.conversion is not None:
            return  # its folder was removed; what was read stays
        self.progress = progress
        active = progress is not None and progress.active
        if (self.pending == "stop" and not active) or (self.pending == "resume" and active):
            self.pending = ""
        found = [] if progress is None else list(reversed(self._others.found.values()))
        with self.hold_sync():
            self.course = None if progress is None else course_data(progress, time.time(), self._pace, self._block_pace)
            self.choices = [_choice(each) for each in found]
            self._show_results(found)
        self.refresh_snapshot()

    def _show_results(self, found: list[ConversionProgress]) -> None:
        """Called with every conversion of the folder, the newest first, when one of them has changed."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Called when another conversion is shown from now on."""
        raise NotImplementedError

    def _named(self, name: str | Path) -> Conversion:
        inside = self.models / name
        return Conversion.open(inside if inside.exists() else name)

    def _require(self) -> Conversion:
        if self.conversion is None:
            raise RunError("No conversion is shown.", expected="one", received="none", fix="panel.start() begins one")
        return self.conversion

    def _act(self, name: str, action: Callable[[Conversion], Any]) -> None:
        """Do something with the conversion, once: asked again while it is being done, nothing happens."""
        conversion = self._require()
        with self._lock:
            if self.pending:
                return
            self.pending = name
        threading.Thread(target=self._do, args=(conversion, action), name=f"darkit-{name}", daemon=True).start()

    def _do(self, conversion: Conversion, action: Callable[[Conversion], Any]) -> None:
        done = self.guard(action, conversion)
        with self._lock:
            if done is None or done == "":
                self.pending = ""
            if conversion == self.conversion:
                self._show_now()


def _choice(progress: ConversionProgress) -> dict[str, Any]:
    title = f"{Path(progress.source).name} → {progress.name}"
    words = state_text(progress)
    label = f"{title} · {words}"
    plain = {"id": progress.id, "name": progress.name, "title": title, "label": label, "state": progress.state}
    return {**plain, "words": words, "place": progress.place}
