"""One thread that watches any number of runs by their files, and tells listeners what changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.summary import RunSummary
from darkit_nb.runs.watched import Listener, RunChange, WatchedFolder, WatchedRun

TICK_SECONDS = 0.25
IDLE_SECONDS = 1.0
_STAY_AWAKE_SECONDS = 10.0
_log = logging.getLogger(__name__)


class RunMonitor:
    """Tails the files of watched runs four times a second while something happens, once a second otherwise.

    Listeners are called on the monitor's thread, one after the other: they do short work or hand it on. One that raises
    is logged and called again next time.
    """

    _shared: RunMonitor | None = None
    _shared_lock = threading.Lock()

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._runs: dict[Path, WatchedRun] = {}
        self._folders: dict[Path, WatchedFolder] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._active_until = 0.0

    @classmethod
    def shared(cls) -> RunMonitor:
        """The monitor of this process."""
        with cls._shared_lock:
            if cls._shared is None:
                cls._shared = cls()
            return cls._shared

    def watch(self, run: RunDirectory, listener: Callable[[RunChange], None]) -> Callable[[], None]:
        """Tell `listener` of every change of a run, beginning with all there is.

        Returns: A function that ends it; it may be called anywhere and more than once.
        """
        return self._add(self._runs, run.root.resolve(), WatchedRun, listener)

    def watch_folder(self, runs_dir: str | Path, listener: Callable[[list[RunSummary]], None]) -> Callable[[], None]:
        """Tell `listener` of the runs in a folder, oldest first, whenever one of them changes.

        Returns: A function that ends it; it may be called anywhere and more than once.
        """
        return self._add(self._folders, Path(runs_dir).expanduser().resolve(), WatchedFolder, listener)

    def _add(self, table: dict[Path, Any], path: Path, make: Callable[[Path], Any], listener: Any) -> Any:
        handle = Listener(listener)
        with self._lock:
            table.setdefault(path, None)
            table[path] = table[path] or make(path)
            table[path].listeners.append(handle)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="darkit-monitor", daemon=True)
                self._thread.start()
        self._wake.set()

        def unwatch() -> None:
            handle.active = False
            with self._lock:
                watched = table.get(path)
                if watched is not None and handle in watched.listeners:
                    watched.listeners.remove(handle)
                if watched is not None and not watched.listeners:
                    del table[path]

        return unwatch

    def _watch(self) -> None:
        while True:
            with self._lock:
                runs, folders = list(self._runs.values()), list(self._folders.values())
                if not runs and not folders:
                    self._thread = None
                    return
            behind = False
            for watched in (*runs, *folders):
                try:
                    behind |= watched.poll()
                except Exception:  # noqa: BLE001 - a damaged run must not end the watch over the others
                    _log.exception("watching %s failed", watched.path)
                if watched.active:
                    self._active_until = time.monotonic() + _STAY_AWAKE_SECONDS
            if not behind:
                awake = time.monotonic() < self._active_until
                self._wake.wait(TICK_SECONDS if awake else IDLE_SECONDS)
                self._wake.clear()
