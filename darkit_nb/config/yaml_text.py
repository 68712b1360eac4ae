"""YAML as people mean it: `3e-3` is a number, `no` is text, a repeated key is an error, and no tag runs code."""

from __future__ import annotations

import re
from typing import Any

import yaml

from darkit_nb.errors import ConfigError

_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"
)
_INT = re.compile(r"[-+]?[0-9][0-9_]*$")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"(?:~|null|Null|NULL|)$")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's scalars and an error on repeated keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper that quotes whatever either generation of YAML would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.yaml_implicit_resolvers = {
    first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
}
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


class _InlineDumper(_Dumper):
    """The same, on one line: text with line breaks is written with escapes."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    odd = any(character.isspace() and character != " " for character in text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if odd else None)


_InlineDumper.add_representer(str, _represent_text)


def _construct_int(loader: yaml.SafeLoader, node: Any) -> int:
    return int(str(loader.construct_scalar(node)).replace("_", ""))


def _construct_float(loader: yaml.SafeLoader, node: Any) -> float:
    return float(str(loader.construct_scalar(node)).replace("_", ""))


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def parse(text: str, where: str) -> Any:
    """Read one YAML document into plain data.

    Args:
        text: The document.
        where: What to call it in an error, such as the file's path.

    Raises:
        ConfigError: it is not YAML; line, column and the parser's reason are given.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigError(
            f"{where} is not readable YAML{place}.",
            expected="a YAML document, such as `train: {steps: 200}`",
            received=str(getattr(error, "problem", None) or error).splitlines()[0],
            cause="an indentation, a quote, a bracket, or a tab instead of spaces",
        ) from None


def block(data: Any) -> str:
    """Plain data as a YAML document, in the order of its keys."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)


def inline(value: Any) -> str:
    """One value on one line, as it stands after `key=` on a command line."""
    text = yaml.dump(
        value, Dumper=_InlineDumper, sort_keys=False, allow_unicode=True, default_flow_style=True, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")
