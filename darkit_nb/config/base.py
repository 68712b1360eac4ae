"""The common manners of every configuration section: frozen, strict, and never a raw pydantic error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from darkit_nb.config.problems import config_error
from darkit_nb.errors import ConfigError


def _path_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


PathText = Annotated[str, BeforeValidator(_path_text)]
"""A path kept as text, so that YAML, the command line and Python hold the same value."""


_inside_another: ContextVar[bool] = ContextVar("_inside_another", default=False)


@contextmanager
def _own_errors(model: type[BaseModel]) -> Iterator[None]:
    """Turn pydantic's error into ours, once, at the outermost model: only there is the whole dotted key known."""
    nested = _inside_another.get()
    token = _inside_another.set(True)
    try:
        yield
    except ValidationError as error:
        if nested:
            raise
        raise config_error(model, error) from None
    finally:
        _inside_another.reset(token)


class Section(BaseModel):
    """Base of all configuration models.

    Values are frozen: a changed configuration is a new one, made by `RunConfig.replace`.

    Raises:
        ConfigError: on construction, listing every key that is wrong with what was expected and received.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=False,
    )

    def __init__(self, **data: Any) -> None:
        with _own_errors(type(self)):
            super().__init__(**data)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Pydantic's constructor from a mapping, with this package's errors."""
        with _own_errors(cls):
            return super().model_validate(obj, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Pydantic's constructor from JSON, with this package's errors."""
        with _own_errors(cls):
            return super().model_validate_json(json_data, **options)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
            return
        raise ConfigError(
            f"{type(self).__name__}.{name} cannot be assigned: a configuration is a value.",
            expected="a new configuration made from the old one",
            received=f"{name} = {value!r}",
            fix="config = config.replace({'train.steps': 200})",
        )
