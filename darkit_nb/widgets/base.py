"""What all widgets share: a bundle each, errors shown in place, and a static picture that survives without a kernel."""

from __future__ import annotations

import html
import logging
import secrets
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets
from IPython import get_ipython
from IPython.display import display, update_display

from darkit_nb.errors import DarkitError
from darkit_nb.widgets.attendance import attendance

STATIC = Path(__file__).parent.parent / "static"
SNAPSHOT_SECONDS = 5.0
"""A static picture is renewed at most this often; the last one is never left out."""

log = logging.getLogger(__name__)

_NOT_BUILT = """export default {{ render({{ el }}) {{
  el.textContent = "darkit-nb: the front end of this widget ({name}) was not built. " +
    "Run `make setup` in a checkout, or `pip install --force-reinstall darkit-nb`; everything in Python works without.";
}} }}"""


def script(stem: str) -> Path | str:
    """The JavaScript of a widget, or a small one that says that it was not built."""
    path = STATIC / f"{stem}.js"
    return path if path.is_file() else _NOT_BUILT.format(name=stem)


def style(stem: str) -> Path | str:
    """The style sheet of a widget."""
    path = STATIC / f"{stem}.css"
    return path if path.is_file() else ""


def problem_of(error: DarkitError) -> dict[str, str]:
    """An error as the front end shows it."""
    fields = ("message", "expected", "received", "cause", "fix")
    return {name: text for name in fields if (text := getattr(error, name))}


class StaticView:
    """A widget that can also be read as text and as a picture.

    Displaying it puts two outputs into the cell: the static picture, and the live view, which hides the picture as long
    as it runs. A notebook opened without a kernel, or turned into a page, shows the picture.
    """

    _snapshot_id = ""
    _shown = False
    _renewed = 0.0
    _renewal: threading.Timer | None = None
    _missed_snapshot = False
    snapshot_parent: StaticView | None = None
    """The widget that holds this one and whose picture this one's is part of."""

    def text(self) -> str:
        """What the widget shows, for terminals."""
        raise NotImplementedError

    def snapshot(self) -> str:
        """What the widget shows, as HTML with inline styles, no script and nothing loaded from elsewhere."""
        return f"<pre>{html.escape(self.text())}</pre>"

    def _snapshot_bundle(self) -> dict[str, str]:
        picture = f"dk-snapshot-{self._snapshot_id}"
        # Where no kernel is, JupyterLab writes "Loading widget..." for ever under the picture.
        waiting = f".jp-OutputArea-child:has(.{picture}) + .jp-OutputArea-child .jupyter-widgets:not(:has(*))"
        return {
            "text/plain": self.text(),
            "text/html": f'<style>{waiting} {{ display: none }}</style><div class="{picture}">{self.snapshot()}</div>',
        }

    def _ipython_display_(self) -> None:
        if get_ipython() is None:
            print(self.text())
            return
        if not self._snapshot_id:
            self._snapshot_id = secrets.token_hex(6)
        display(self._snapshot_bundle(), raw=True, display_id=f"darkit-{self._snapshot_id}")
        self._shown = True
        live, metadata = self._live_bundle()
        display(live, metadata=metadata, raw=True)

    def _live_bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        found = self._repr_mimebundle_()  # type: ignore[attr-defined]  # of ipywidgets' DOMWidget
        data, metadata = found if isinstance(found, tuple) else (found, {})
        return {**(data or {}), "text/plain": ""}, metadata or {}  # the picture's output has the text already

    def refresh_snapshot(self, *, now: bool = False) -> None:
        """Renew the static picture, soon: many calls make one picture every few seconds."""
        if attendance.away:
            self._missed_snapshot = True
            return
        if not self._shown:
            if self.snapshot_parent is not None:
                self.snapshot_parent.refresh_snapshot(now=now)
            return
        wait = 0.0 if now else max(0.0, self._renewed + SNAPSHOT_SECONDS - time.monotonic())
        if wait == 0.0:
            self._renew_snapshot()
        elif self._renewal is None:
            self._renewal = threading.Timer(wait, self._renew_snapshot)
            self._renewal.daemon = True
            self._renewal.start()

    def returned(self) -> None:
        """Somebody looks again: renew what was not renewed meanwhile."""
        if self._missed_snapshot:
            self._missed_snapshot = False
            self.refresh_snapshot()

    def _renew_snapshot(self) -> None:
        self._renewed, self._renewal = time.monotonic(), None
        update_display(self._snapshot_bundle(), raw=True, display_id=f"darkit-{self._snapshot_id}")


class DarkitWidget(StaticView, anywidget.AnyWidget):
    """Base of the widgets with a front end of their own.

    A message `{"do": "stop", …}` of the front end calls `do_stop(…)`. An error a person can mend is shown by the
    widget (`problem`); anything else is a fault of ours, shown as such, with its traceback in `last_fault`.
    """

    problem: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    _snapshot_id = traitlets.Unicode().tag(sync=True)
    """Also the name by which the front end finds itself, should anywidget have given it up."""
    _silent: ClassVar[frozenset[str]] = frozenset()
    """Messages nobody pressed anything for: their success does not clear a problem that was just shown."""

    def __init__(self, **traits: Any) -> None:
        self._held: set[str] = set()
        name = secrets.token_hex(16)
        super().__init__(_snapshot_id=name, model_id=name, **traits)
        self.last_fault: BaseException | None = None
        self.on_msg(self._receive)
        attendance.join(self)

    def __repr__(self) -> str:
        return self.text()

    # -- only to pages that are there --------------------------------------------------------------------------------

    def send_state(self, key: Any = None) -> None:
        """Send traits to the page; while nobody looks they are remembered instead."""
        if attendance.away:
            self._held.update(self.keys if key is None else [key] if isinstance(key, str) else key)
        else:
            super().send_state(key)

    def send(self, content: Any, buffers: Any = None) -> None:
        """Send a message to the page, unless nobody looks; who depends on it overrides `returned`."""
        if not attendance.away:
            super().send(content, buffers)

    def returned(self) -> None:
        """Somebody looks again: send what changed meanwhile."""
        held, self._held = self._held, set()
        if held:
            self.send_state(held)
        super().returned()

    def _handle_msg(self, msg: Any) -> None:
        attendance.beat()
        super()._handle_msg(msg)

    # -- what the page asks for --------------------------------------------------------------------------------------

    def _receive(self, _: Any, content: Any, buffers: list[Any]) -> None:
        name = content.get("do") if isinstance(content, dict) else None
        if name == "beat":
            return  # a sign of life, and it has been seen
        action = getattr(self, f"do_{name}", None) if isinstance(name, str) and name.isidentifier() else None
        if action is None:
            log.warning("%s: message without an action: %.200r", type(self).__name__, content)
            return
        arguments = {key: value for key, value in content.items() if key != "do"}
        self._guarded(action, (), {**arguments, **({"buffers": buffers} if buffers else {})}, name not in self._silent)

    def guard(self, action: Any, /, *positional: Any, **arguments: Any) -> Any:
        """Call `action`; its error becomes the `problem` that the widget shows, a success clears the last one."""
        return self._guarded(action, positional, arguments, clears=True)

    def _guarded(self, action: Any, positional: tuple[Any, ...], arguments: dict[str, Any], clears: bool) -> Any:
        before = self.problem
        try:
            result = action(*positional, **arguments)
        except DarkitError as error:
            self.problem = problem_of(error)
        except Exception as error:
            self.last_fault = error
            log.exception("%s failed", getattr(action, "__name__", action))
            self.problem = {
                "message": f"Unexpected {type(error).__name__}: {error}",
                "cause": "a fault of darkit-nb, not of yours",
                "fix": "`raise widget.last_fault` shows where; please report it",
            }
        else:
            if clears and self.problem is before:  # and not that of something this action began on another thread
                self.problem = None
            return result
        return None

    def do_dismiss(self) -> None:
        """Put the shown error away; `guard` does it."""
