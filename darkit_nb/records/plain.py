"""Records read back from plain data: what is known of it, and what to say of the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from darkit_nb.errors import ConfigError


def own_fields(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """What `data` holds of the fields of a dataclass; keys of newer versions, and derived ones, are passed over."""
    return {info.name: data[info.name] for info in dataclasses.fields(kind) if info.name in data}


def only_fields(kind: type, data: Mapping[str, Any], what: str) -> dict[str, Any]:
    """`data`, all of it fields of a dataclass: of settings nothing is passed over.

    Args:
        kind: the dataclass.
        data: plain data.
        what: the settings in words, for the error.

    Raises:
        ConfigError: a key this version does not know.
    """
    known = {info.name for info in dataclasses.fields(kind)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise ConfigError(
            f"The {what} settings hold keys this version does not know.",
            expected=f"only {', '.join(sorted(known))}",
            received=", ".join(unknown),
            cause="a misspelt name, or they were written by a newer version",
            fix="correct the name, or pip install --upgrade darkit-nb",
        )
    return dict(data)
