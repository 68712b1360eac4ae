"""Whether an edit changes how a module is built, seen from its text."""

from __future__ import annotations

import ast

from darkit_nb.edit.class_text import classes_in, edited_class, methods_of, simple_name


def changes_init(base: str, source: str, class_name: str) -> bool:
    """Whether `__init__`, or what it reads of the class and of the helpers beside it, differs between two texts.

    Args:
        base: the class as it was.
        source: the edited text.
        class_name: simple name of the original class.
    """
    before, after = ast.parse(base), ast.parse(source)
    old, new = edited_class(before, class_name), edited_class(after, class_name)
    if old is None or new is None:
        return True
    old_derives, new_derives = _derives(before, old, class_name), _derives(after, new, class_name)
    if new_derives and not old_derives:
        overridden = {name for name in _members(new) if name in _read(old, methods_of(old).get("__init__"))}
        return "__init__" in methods_of(new) or bool(overridden)
    if old_derives != new_derives:
        return True
    bases = [ast.dump(each) for each in old.bases] != [ast.dump(each) for each in new.bases]
    return bases or _building(before, old) != _building(after, new)


def derives(source: str, class_name: str) -> bool:
    """Whether an edited text derives from the class it edits, rather than writing it whole."""
    tree = ast.parse(source)
    node = edited_class(tree, class_name)
    return node is not None and _derives(tree, node, class_name)


def _derives(tree: ast.Module, node: ast.ClassDef, name: str) -> bool:
    """Whether a class inherits from the original, directly or through classes beside it."""
    beside = {each.name: each for each in classes_in(tree) if each is not node}
    bases = [simple_name(base) for base in node.bases]
    return any(base == name or (base in beside and _derives_once(beside[base], name)) for base in bases)


def _derives_once(node: ast.ClassDef, name: str) -> bool:
    return name in {simple_name(base) for base in node.bases}


def _building(tree: ast.Module, node: ast.ClassDef) -> dict[str, str]:
    """Everything in a text that takes part in building an instance, by name, without comments and docstrings."""
    methods, members = methods_of(node), _members(node)
    read = _read(node, methods.get("__init__"))
    helpers = {name: each for each in tree.body if each is not node for name in _bound(each)}
    named = {each.id for name in read | {"__init__"} for part in [members.get(name)] if part for each in _names(part)}
    parts = {name: members[name] for name in read | {"__init__"} if name in members}
    parts |= {f"{name} beside": helpers[name] for name in named if name in helpers}
    return {name: _dump(part) for name, part in parts.items()}


def _members(node: ast.ClassDef) -> dict[str, ast.stmt]:
    """Statements of the class body by the name they bind."""
    return {name: each for each in node.body for name in _bound(each)}


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(each.asname or each.name).partition(".")[0] for each in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [each.id for target in targets for each in _names(target)]


def _names(node: ast.AST) -> list[ast.Name]:
    return [each for each in ast.walk(node) if isinstance(each, ast.Name)]


def _read(node: ast.ClassDef, method: ast.AST | None) -> set[str]:
    """Members of the class that a method uses, those its helpers use among them."""
    members, found, open_ = _members(node), set[str](), [method]
    while open_:
        part = open_.pop()
        for each in ast.walk(part) if part is not None else ():
            name = each.attr if isinstance(each, ast.Attribute) else ""
            if name in members and name not in found:
                found.add(name)
                open_.append(members[name])
    return found


def _dump(node: ast.stmt) -> str:
    """The meaning of a statement as text."""
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node = ast.parse(ast.unparse(node)).body[0]
        node.__dict__["body"] = node.__dict__["body"][1:]
    return ast.dump(node)
