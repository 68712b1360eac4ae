"""Faults of an edited text that can be seen without running it, in milliseconds: for a check while somebody types.

Loads no torch. What it has to know of the model comes in as plain names.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterable, Iterator

from pyflakes import checker, messages

from darkit_nb.edit.class_text import (
    Method,
    attributes_in,
    calls_super,
    classes_in,
    edited_class,
    methods_of,
    names_of,
    simple_name,
)
from darkit_nb.records.patch import PatchProblem

_NO_NAME = (messages.UndefinedName, messages.UndefinedLocal)
_OPEN = {"__getattr__", "__getattribute__", "__setattr__"}
"""A class that writes one of these decides itself which attributes there are."""


def static_problems(
    source: str,
    base: str,
    known_names: Iterable[str],
    *,
    class_name: str = "",
    attributes: Iterable[str] = (),
    parameters: Iterable[str] = (),
) -> list[PatchProblem]:
    """What is wrong with an edited class, by line; empty where nothing is seen.

    Args:
        source: the edited text: the class, or one that derives from it, and any helpers beside it.
        base: text of the class as it was.
        known_names: globals of the module the class stands in. Built-in names are known.
        class_name: of the class as it was; by default the first of `base`.
        attributes: what an instance has, `dir(module)`; without it attributes are not checked.
        parameters: dotted names of its parameters and buffers; without it a renamed one is not seen.

    The forward of a class that inherits it is not in `base`, and is compared only when the edit is tried.
    """
    try:
        tree = _parsed(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [_syntax(error, source)]
    before = _quiet_parse(base)
    old = before and (edited_class(before, class_name) if class_name else next(iter(classes_in(before)), None))
    name = class_name or (old.name if old else "")
    found = list(_unknown_names(tree, before, {name, *known_names}))
    new = edited_class(tree, name)
    if new is None:
        found.append(_no_class(tree, name))
    elif old is not None:
        found += _signature(new, old)
        found += _renamed(new, old, tuple(parameters))
        found += _missing_attributes(new, old, set(attributes))
    return sorted(found, key=lambda problem: problem.line or 0)


def _parsed(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
        compile(tree, "<edit>", "exec", dont_inherit=True)  # sees what the grammar does not, as a stray `return`
    return tree


def _quiet_parse(base: str) -> ast.Module | None:
    try:
        return ast.parse(base)
    except (SyntaxError, ValueError):
        return None


def _syntax(error: Exception, source: str) -> PatchProblem:
    line = getattr(error, "lineno", None)
    column = getattr(error, "offset", None)
    lines = source.splitlines()
    said = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
    return PatchProblem(
        check="syntax",
        message=f"Python cannot read this: {said}" + (f" (column {column})." if column else "."),
        line=line,
        expected="Python",
        received=lines[line - 1].strip() if line and line <= len(lines) else None,
        fix="look there and just before: often a bracket, a quote or a colon is missing",
    )


# -- names ---------------------------------------------------------------------------------------------------------


def _unknown_names(tree: ast.Module, before: ast.Module | None, known: set[str]) -> Iterator[PatchProblem]:
    # The text as it was is right: what it names and nobody knows, as a type for checkers only, is no fault of the edit.
    excused = {name for _, name, _ in _undefined(before, known)} if before else set()
    told: set[str] = set()
    for line, name, column in _undefined(tree, known):
        if name in excused or name in told:
            continue
        told.add(name)
        near = difflib.get_close_matches(name, sorted(known), 1)
        yield PatchProblem(
            check="names",
            message=f"The name {name!r} is not defined (column {column + 1}).",
            line=line,
            expected="a built-in name, one of the module the class stands in, or one defined in this text",
            received=name,
            cause=f"did you mean {near[0]!r}?" if near else None,
            fix=f"import or define {name!r} in the cell, above the class",
        )


def _undefined(tree: ast.Module, known: set[str]) -> list[tuple[int, str, int]]:
    seen = checker.Checker(tree, builtins=known).messages
    return sorted((each.lineno, str(each.message_args[0]), each.col) for each in seen if isinstance(each, _NO_NAME))


# -- class and signature -------------------------------------------------------------------------------------------


def _no_class(tree: ast.Module, name: str) -> PatchProblem:
    classes = classes_in(tree)
    if not classes:
        return PatchProblem(
            check="class",
            message="There is no class in this text.",
            line=tree.body[0].lineno if tree.body else 1,
            expected=f"class {name}(…), or a class that derives from {name}",
            received=f"{len(tree.body)} statements without a class" if tree.body else "an empty text",
            fix=f"keep the line `class {name}(…):`, or write `class My{name}({name}):`",
        )
    last = classes[-1]
    bases = ", ".join(ast.unparse(base) for base in last.bases) or "nothing"
    return PatchProblem(
        check="class",
        message=f"No class here takes the place of {name}.",
        line=last.lineno,
        expected=f"class {name}(…), or a class that derives from {name}",
        received=f"class {last.name}, which derives from {bases}",
        cause="the class was renamed, or derives from another one",
        fix=f"name it {name}, or derive it: `class {last.name}({name}):`",
    )


def _signature(new: ast.ClassDef, old: ast.ClassDef) -> Iterator[PatchProblem]:
    """Whether each call that the old forward takes is one the new forward takes."""
    mine, was = methods_of(new).get("forward"), methods_of(old).get("forward")
    if mine is None or was is None:
        return
    faults = [*_lost_arguments(mine, was), *_demanded_arguments(mine, was)]
    if faults:
        yield PatchProblem(
            check="signature",
            message=f"The model calls forward with arguments this one does not take: {'; '.join(faults)}.",
            line=mine.lineno,
            expected=f"forward({ast.unparse(was.args)})",
            received=f"forward({ast.unparse(mine.args)})",
            cause="the rest of the model still calls it the way it did",
            fix="keep the arguments and their order; give new ones a default and put them last",
        )


def _lost_arguments(mine: Method, was: Method) -> Iterator[str]:
    places = [each.arg for each in (*was.args.posonlyargs, *was.args.args)][1:]
    now = [each.arg for each in (*mine.args.posonlyargs, *mine.args.args)][1:]
    by_name = {each.arg for each in (*mine.args.args, *mine.args.kwonlyargs)}
    for place, name in enumerate(places):
        if name not in by_name and mine.args.kwarg is None:
            yield f"{name!r} is gone" if name not in now else f"{name!r} cannot be given by name"
        elif place >= len(now) and mine.args.vararg is None:
            yield f"{name!r} cannot be given by position"
        elif place < len(now) and now[place] != name:
            yield f"{name!r} was argument {place + 1}, now that is {now[place]!r}"
    for each in was.args.kwonlyargs:
        if each.arg not in by_name and mine.args.kwarg is None:
            yield f"{each.arg!r} is gone"
    for kind, sign in (("vararg", "*"), ("kwarg", "**")):
        taken = getattr(was.args, kind)
        if taken is not None and getattr(mine.args, kind) is None:
            yield f"{sign + taken.arg!r} is gone"


def _demanded_arguments(mine: Method, was: Method) -> Iterator[str]:
    given = {each.arg for each in _without_default(was)}
    for each in _without_default(mine)[1:]:
        if each.arg not in given:
            yield f"{each.arg!r} has no default"


def _without_default(method: Method) -> list[ast.arg]:
    positional = [*method.args.posonlyargs, *method.args.args]
    named = zip(method.args.kwonlyargs, method.args.kw_defaults, strict=True)
    return positional[: len(positional) - len(method.args.defaults)] + [each for each, value in named if value is None]


# -- parameters and attributes -------------------------------------------------------------------------------------


def _renamed(new: ast.ClassDef, old: ast.ClassDef, parameters: tuple[str, ...]) -> Iterator[PatchProblem]:
    made, was = attributes_in(new).made, attributes_in(old).made
    if _keeps_init(new, old):
        return
    trained = {name.split(".")[0] for name in parameters}
    gone = {name: text for name, text in was.items() if name in trained and name not in made}
    for name in made:
        twin = next((each for each, text in gone.items() if text == made[name] and name not in was), None)
        if twin is not None:
            del gone[twin]
            yield PatchProblem(
                check="parameters",
                message=f"{twin!r} is now called {name!r}, so its trained weights would be lost.",
                line=attributes_in(new).written[name],
                expected=f"self.{twin} = {made[name]}",
                received=f"self.{name} = {made[name]}",
                cause="weights are kept by their names: a new name starts from random values",
                fix=f"keep the name {twin!r}",
            )


def _missing_attributes(new: ast.ClassDef, old: ast.ClassDef, attributes: set[str]) -> Iterator[PatchProblem]:
    use, was = attributes_in(new), attributes_in(old)
    if not attributes or _OPEN & set(methods_of(new)):
        return
    there = attributes | set(was.written) | names_of(new)
    if not _keeps_init(new, old):
        there -= set(was.made) - set(use.written)
    told: set[str] = set()
    for each in use.read:
        if each.attr in there | set(use.written) | told:
            continue
        told.add(each.attr)
        near = difflib.get_close_matches(each.attr, sorted(there), 1)
        yield PatchProblem(
            check="attributes",
            message=f"This module has no {each.attr!r} (column {each.col_offset + 1}).",
            line=each.lineno,
            expected="an attribute of the module, or one that this text sets",
            received=f"self.{each.attr}",
            cause=f"did you mean self.{near[0]}?" if near else None,
            fix=f"set self.{each.attr} in __init__, or use a name that is there",
        )


def _keeps_init(new: ast.ClassDef, old: ast.ClassDef) -> bool:
    """Whether what the old constructor makes is made all the same: the new class derives from it and calls it."""
    init = methods_of(new).get("__init__")
    derives = old.name in {simple_name(base) for base in new.bases}
    return init is None or (derives and calls_super(init))
