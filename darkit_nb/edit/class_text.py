"""What the text of a class says without running it: which class is meant, its forward, what it sets and reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

Method = ast.FunctionDef | ast.AsyncFunctionDef


def classes_in(tree: ast.Module) -> list[ast.ClassDef]:
    """Classes at the top of a text, also those inside an `if` or `try` there."""
    found = []
    for node in tree.body:
        found += [node] if isinstance(node, ast.ClassDef) else []
        if isinstance(node, ast.If | ast.Try):
            found += [each for each in ast.walk(node) if isinstance(each, ast.ClassDef)]
    return found


def edited_class(tree: ast.Module, name: str) -> ast.ClassDef | None:
    """The class that takes the place of `name`: the last one of that name or that descends from it.

    A cell may hold helper classes beside it. None where no class does either.
    """
    family, chosen = {name}, None
    for node in classes_in(tree):
        if node.name == name or family & {simple_name(base) for base in node.bases}:
            family.add(node.name)
            chosen = node
    return chosen


def simple_name(node: ast.expr) -> str:
    """`Linear` of `Linear`, `nn.Linear` and `Linear[int]`; empty for anything else."""
    if isinstance(node, ast.Subscript):
        return simple_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def methods_of(node: ast.ClassDef) -> dict[str, Method]:
    """Methods by name, the last of each."""
    return {each.name: each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def names_of(node: ast.ClassDef) -> set[str]:
    """What the body of a class binds: methods, properties, constants."""
    bound = [each.id for part in node.body for each in ast.walk(part) if isinstance(each, ast.Name)]
    return {*bound, *methods_of(node)}


def calls_super(method: Method) -> bool:
    """Whether a method calls `super().<its own name>(…)`, or that of a named class."""
    return any(
        isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr == method.name
        for each in ast.walk(method)
    )


@dataclass
class Use:
    """Attributes of `self` in a class.

    Attributes:
        written: line of the first assignment, by name.
        made: text of what `__init__` assigns, by name.
        read: places where one is read, in order.
    """

    written: dict[str, int] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    read: list[ast.Attribute] = field(default_factory=list)


def attributes_in(node: ast.ClassDef) -> Use:
    """What the methods of a class do with the attributes of their instance."""
    use = Use()
    for method in methods_of(node).values():
        own = _instance(method)
        for each in ast.walk(method):
            if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == own:
                if isinstance(each.ctx, ast.Load):
                    use.read.append(each)
                elif isinstance(each.ctx, ast.Store):
                    use.written.setdefault(each.attr, each.lineno)
            elif isinstance(each, ast.Call):
                for name in _registered(each, own):
                    use.written.setdefault(name, each.lineno)
        if method.name == "__init__":
            use.made |= {target: ast.unparse(value) for target, value in _made(method, own)}
    use.read.sort(key=lambda each: (each.lineno, each.col_offset))
    return use


def _instance(method: Method) -> str:
    """Name of the first argument, empty for a class or static method."""
    if {"staticmethod", "classmethod"} & {simple_name(each) for each in method.decorator_list}:
        return ""
    arguments = [*method.args.posonlyargs, *method.args.args]
    return arguments[0].arg if arguments else ""


def _made(method: Method, own: str) -> Iterator[tuple[str, ast.expr]]:
    for each in ast.walk(method):
        if isinstance(each, ast.Assign | ast.AnnAssign) and each.value is not None:
            for target in each.targets if isinstance(each, ast.Assign) else [each.target]:
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == own:
                    yield target.attr, each.value


def _registered(call: ast.Call, own: str) -> list[str]:
    """Names given to `self.register_buffer("name", …)` and its kin, and to `setattr(self, "name", …)`."""
    if isinstance(call.func, ast.Name) and call.func.id == "setattr" and len(call.args) > 1:
        named = call.args[1] if isinstance(call.args[0], ast.Name) and call.args[0].id == own else None
    elif isinstance(call.func, ast.Attribute) and call.func.attr.startswith(("register_", "add_module")) and call.args:
        named = call.args[0]
    else:
        return []
    return [named.value] if isinstance(named, ast.Constant) and isinstance(named.value, str) else []
