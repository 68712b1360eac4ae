"""What a `CodeEditor` shows where there is no page: as text, and as a picture kept in the notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass

from darkit_nb.records.patch import Patch, clean_text
from darkit_nb.views.edit_report import EditHistory, PastEdit
from darkit_nb.views.python_html import diff_html, python_html
from darkit_nb.widgets.edit_desk import OpenModule


@dataclass(frozen=True, kw_only=True)
class EditStill:
    """An editor at one moment.

    Attributes:
        name: of what is edited.
        opened: the open module, if any.
        draft: what stands in the editor.
        past: the history.
    """

    name: str
    opened: OpenModule | None
    draft: str
    past: tuple[PastEdit, ...]

    def text(self) -> str:
        """The open module and what was changed of it."""
        opened = self.opened
        if opened is None:
            return f"CodeEditor of {self.name}: no module is open."
        head = f"{opened.path or self.name}: {opened.class_name}, {_place(opened)}"
        body = opened.reason if not opened.text else self._changes(opened) or self.draft
        return "\n".join([head, body.rstrip(), repr(EditHistory(self.past, self.name))])

    def picture(self) -> str:
        """The source, what was changed, and the history, coloured; empty where there is no source."""
        opened = self.opened
        if opened is None or not opened.text:
            return ""
        changes = self._changes(opened)
        body = diff_html(changes) if changes else python_html(self.draft, first_line=max(1, opened.line))
        history = EditHistory(self.past, self.name)._repr_html_()
        title = f"<b>{html.escape(opened.path or self.name)}</b> {html.escape(opened.class_name)}"
        place = f'<span style="opacity:.65">{html.escape(_place(opened))}</span>'
        return f'<div style="font:13px/1.5 system-ui,sans-serif"><div>{title} {place}</div>{body}{history}</div>'

    def _changes(self, opened: OpenModule) -> str:
        """The draft against the original, as a unified diff."""
        if not opened.text or clean_text(self.draft) == clean_text(opened.original):
            return ""
        return Patch(
            kind="code",
            targets=(opened.path,),
            module=opened.module,
            class_name=opened.class_name,
            base=opened.original,
            source=self.draft,
        ).diff


def _place(opened: OpenModule) -> str:
    return f"{opened.file}:{opened.line}" if opened.line else f"{opened.file}, edited"
