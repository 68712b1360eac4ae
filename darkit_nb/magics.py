"""`%darkit` and `%%darkit`: edit a module of a live model, or of a training run, in a notebook cell.

%darkit edit model.layers[0].mlp       puts the source of the class into a new cell
%%darkit patch model.layers[0].mlp     tries what the cell says, and puts it into the model
%darkit revert                         takes the last edit back
%darkit history                        shows all edits
%darkit fork save gated                keeps them under a name
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.display import display

from darkit_nb.errors import DarkitError, PatchError

if TYPE_CHECKING:
    from darkit_nb.views.edit_report import EditReport
    from darkit_nb.widgets.edit_desk import EditDesk, OpenModule, Progress

COMMANDS = ("edit", "patch", "revert", "history", "fork")
_OPTIONS = ("--class", "--layers", "--dry-run", "--effect", "--inputs", "--note")


class EditRefusedError(DarkitError):
    """An edit that was not taken. The report above it says why; a traceback would not."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class _Parser(argparse.ArgumentParser):
    """Says what is wrong instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        raise PatchError(f"%darkit {self.prog}: {message}.", expected=f"%darkit {usage}")


def _module_parser(name: str, about: str) -> _Parser:
    parser = _Parser(prog=name, description=about, add_help=False, allow_abbrev=False)
    parser.add_argument("module", help="such as model.layers[0].mlp, or run.model.layers[0].mlp")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--class", dest="whole_class", action="store_true", help="edit all modules of its class")
    which.add_argument("--layers", metavar="FIRST:END", help="edit it in these layers, as 0:6")
    parser.add_argument("--dry-run", action="store_true", help="try the edit, and leave the model as it is")
    parser.add_argument("--effect", action="store_true", help="measure loss, firing rate and speed before and after")
    parser.add_argument("--inputs", metavar="NAME", help="what the model is tried on; a few tokens by default")
    parser.add_argument("--note", default="", help="what to say about the edit")
    return parser


_PARSERS: dict[str, Callable[[], _Parser]] = {
    "edit": lambda: _module_parser("edit", "Put the source of a module's class into a new cell."),
    "patch": lambda: _module_parser("patch", "Try the class in this cell, and put it into the model."),
}


@magics_class
class DarkitMagics(Magics):
    """The magics of this package; registered by `%load_ext darkit_nb`, and by importing it in a notebook."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._root = ""  # what the last edit was made in, as text: a model is not kept alive by it
        self._runs: dict[str, EditDesk] = {}
        self._texts: dict[str, set[str]] = {}  # hashes of what cells of this notebook began from, by module

    @line_cell_magic
    def darkit(self, line: str, cell: str | None = None) -> None:
        """Edit a module of a model or a run.

        %darkit edit MODULE [--class | --layers FIRST:END] [--dry-run] [--effect] [--inputs NAME] [--note TEXT]
        %%darkit patch MODULE …, the edited class below it
        %darkit revert [COUNT] [MODEL or RUN]
        %darkit history [MODEL or RUN]
        %darkit fork save NAME [MODEL or RUN]
        """
        try:
            self._obey(line, cell)
        except EditRefusedError:
            raise
        except DarkitError as error:
            parts = {name: getattr(error, name) for name in ("expected", "received", "cause", "fix")}
            raise EditRefusedError(error.message, **parts) from None

    def _obey(self, line: str, cell: str | None) -> None:
        try:
            command, *words = shlex.split(line) or [""]
        except ValueError as error:
            raise PatchError("This line cannot be read.", received=line, cause=str(error)) from error
        if command not in COMMANDS:
            raise PatchError(
                f"There is no %darkit {command}." if command else "What is %darkit to do?",
                expected=f"one of {', '.join(COMMANDS)}",
                fix="%darkit edit model.layers[0].mlp",
            )
        if (command == "patch") != (cell is not None):
            right = "%%darkit patch, with the class below it" if command == "patch" else f"%darkit {command}"
            raise PatchError("One % is for a line, two for a whole cell.", expected=right)
        if command == "edit":
            self._edit(words)
        elif command == "patch":
            self._patch(words, cell or "")
        elif command == "revert":
            self._revert(words)
        elif command == "history":
            self._history(words)
        else:
            self._fork(words)

    # -- commands ----------------------------------------------------------------------------------------------------

    def _edit(self, words: list[str]) -> None:
        asked = _PARSERS["edit"]().parse_args(words)
        desk, opened, name = self._open(asked)
        _needs_text(opened)
        _targets(opened, asked)  # says now what is wrong with the layers
        options = [word for word in words if word != asked.module]
        head = " ".join(["%%darkit patch", *map(_quoted, [name, *options])])
        desk.prepare()
        self._texts.setdefault(name, set()).add(opened.hash)
        self._shell.set_next_input(f"{head}\n{opened.text.rstrip()}", replace=False)

    def _patch(self, words: list[str], cell: str) -> None:
        from darkit_nb.records.patch import text_hash
        from darkit_nb.views.edit_report import in_cell
        from darkit_nb.widgets.edit_desk import Edit, Progress

        asked = _PARSERS["patch"]().parse_args(words)
        desk, opened, name = self._open(asked)
        _needs_text(opened)
        targets = _targets(opened, asked)
        known = self._texts.setdefault(name, set())
        replaced = bool(known) and opened.hash not in known
        edit = Edit(opened=opened, text=cell, targets=targets, note=asked.note, effect=asked.effect)
        shown = display({"text/plain": "Trying the edit…"}, raw=True, display_id=True)
        progress = Progress(lambda said: shown.update({"text/plain": said}, raw=True) if shown else None)
        report = _answered(desk.validate if asked.dry_run else desk.apply, edit, progress)
        if report.ok and not asked.dry_run:
            known.add(text_hash(cell))
        if replaced:
            note = f"{opened.class_name} had been changed since this cell was made; %darkit history shows by what."
            report = dataclasses.replace(report, notes=[*report.notes, note])
        lead = len(cell) - len(cell.lstrip("\n"))
        self._tell(in_cell(report, 1 + lead), shown)

    def _revert(self, words: list[str]) -> None:
        counts = [int(word) for word in words if word.isdigit()]
        roots = [word for word in words if not word.isdigit()]
        if len(counts) > 1 or len(roots) > 1:
            raise PatchError("What is to be reverted?", expected="%darkit revert [COUNT] [MODEL or RUN]")
        self._tell(self._desk(*roots).revert(counts[0] if counts else 1))

    def _history(self, words: list[str]) -> None:
        from darkit_nb.views.edit_report import EditHistory

        if len(words) > 1:
            raise PatchError("Whose history is to be shown?", expected="%darkit history [MODEL or RUN]")
        desk = self._desk(*words)
        display(EditHistory(desk.history(), desk.name))

    def _fork(self, words: list[str]) -> None:
        from darkit_nb.views.edit_report import EditReport

        if not 2 <= len(words) <= 3 or words[0] != "save":
            raise PatchError("What is to become a fork?", expected="%darkit fork save NAME [MODEL or RUN]")
        saved = self._desk(*words[2:]).save_fork(words[1])
        count = f"{saved.patches} edit{'s' * (saved.patches != 1)}"
        display(EditReport(title=f"Fork {saved.name} saved: {count} in {saved.path}", ok=True))

    # -- what is meant -----------------------------------------------------------------------------------------------

    @property
    def _shell(self) -> Any:
        return self.shell

    def _open(self, asked: argparse.Namespace) -> tuple[EditDesk, OpenModule, str]:
        """The desk, the module that was asked for, and how it is named in full."""
        from darkit_nb.widgets.module_paths import as_python, named_in

        root, text, path = named_in(asked.module, self._shell.user_ns)
        desk = self._desk_of(root, text, asked.inputs)
        opened = desk.open(path)
        return desk, opened, as_python(text, opened.path)

    def _desk(self, expression: str = "") -> EditDesk:
        """The desk of a model or run by name; of the one edited last, or the only one there is, without a name."""
        from darkit_nb.widgets.module_paths import named_in, roots_in

        namespace = self._shell.user_ns
        names = roots_in(namespace)
        expression = expression or self._root or (names[0] if len(names) == 1 else "")
        if not expression:
            raise PatchError(
                "Of which model or run?",
                expected="its name at the end of the line",
                received=f"{len(names)} of them here" + (f": {', '.join(names[:8])}" if names else ""),
            )
        root, text, _ = named_in(expression, namespace)
        return self._desk_of(root, text, None)

    def _desk_of(self, root: Any, text: str, inputs: str | None) -> EditDesk:
        from darkit_nb.runs.run import Run
        from darkit_nb.widgets.edit_desk import desk_of

        self._root = text
        if isinstance(root, Run):  # whose trace is asked for once
            return self._runs.setdefault(str(root.root), desk_of(root))
        if inputs is None:
            return desk_of(root)
        if inputs not in self._shell.user_ns:
            raise PatchError(
                f"There is no {inputs} in this notebook.", expected="a name", received=f"--inputs {inputs}"
            )
        return desk_of(root, self._shell.user_ns[inputs])

    def _tell(self, report: EditReport, shown: Any = None) -> None:
        """Show what came of it; a refusal also ends the cell, so that the cells after it do not run."""
        if shown is not None:
            shown.update(report)
        else:
            display(report)
        if not report.ok:
            raise EditRefusedError(report.title)

    # -- completion --------------------------------------------------------------------------------------------------

    def complete(self, before: str) -> tuple[str, list[str]]:
        """What could come next in a line: the beginning that is typed already, and all that fit it.

        Args:
            before: the line up to the cursor.
        """
        words = before.split()[1:]
        if not words or before[-1:].isspace():
            words.append("")
        typed = words[-1]
        if len(words) == 1:
            found = [*COMMANDS]
        elif words[0] in ("edit", "patch"):
            found = [*_OPTIONS] if typed.startswith("-") else self._modules(typed)
        elif words[0] == "fork" and len(words) == 2:
            found = ["save"]
        else:
            found = self._roots()
        return typed, [each for each in found if each.startswith(typed)]

    def _roots(self) -> list[str]:
        from darkit_nb.widgets.module_paths import roots_in

        return roots_in(self._shell.user_ns)

    def _modules(self, typed: str) -> list[str]:
        """Full names of the modules that begin with what is typed, one level further at most."""
        from darkit_nb.widgets.module_paths import as_python, is_model, roots_in

        namespace = self._shell.user_ns
        names = roots_in(namespace)
        found = [name for name in names if name.startswith(typed)]
        for name in names:
            if not typed.startswith((f"{name}.", f"{name}[")):
                continue
            root = namespace[name]
            desk = self._runs.get(str(getattr(root, "root", "")))
            paths = [path for path, _ in root.named_modules()] if is_model(root) else desk.paths() if desk else []
            every = [as_python(name, path) for path in paths if path]
            found += [each for each in every if each.startswith(typed) and _depth(each) <= _depth(typed) + 1]
        return found


def _answered(act: Callable[[Any, Progress], EditReport], edit: Any, progress: Progress) -> EditReport:
    """The report of an action; an interrupt of the kernel gives it up."""
    from darkit_nb.views.edit_report import EditReport

    try:
        return act(edit, progress)
    except KeyboardInterrupt:
        progress.cancel()
        return EditReport(title="Given up; the history shows what was done", ok=False)


def _targets(opened: OpenModule, asked: argparse.Namespace) -> tuple[str, ...]:
    mode = "class" if asked.whole_class else "layers" if asked.layers is not None else "this"
    return opened.targets(mode, asked.layers or "")


def _needs_text(opened: OpenModule) -> None:
    if not opened.text:
        raise PatchError(f"{opened.class_name} cannot be edited.", received=opened.path, cause=opened.reason)


def _depth(expression: str) -> int:
    return expression.count(".") + expression.count("[")


def _quoted(word: str) -> str:
    return shlex.quote(word) if any(letter.isspace() or letter in "'\"" for letter in word) else word


def load_ipython_extension(shell: Any) -> None:
    """Register the magics with a shell, once."""
    if any(isinstance(each, DarkitMagics) for each in shell.magics_manager.registry.values()):
        return
    magics = DarkitMagics(shell)
    shell.register_magics(magics)

    @context_matcher(identifier="darkit", priority=1000)
    def match(context: CompletionContext) -> SimpleMatcherResult:
        before = context.text_until_cursor
        if not before.lstrip().startswith(("%darkit ", "%%darkit ")):
            return {"completions": []}
        typed, found = magics.complete(before)
        return {"completions": [SimpleCompletion(each) for each in found], "matched_fragment": typed, "suppress": True}

    shell.Completer.custom_matchers.append(match)
