"""Names that become folders: of runs and of forks."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from darkit_nb.errors import ConfigError

NAME_PATTERN = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,46}[A-Za-z0-9])?"


def check_name(name: str, what: Literal["run", "fork"] = "run") -> str:
    """Accept a name, which becomes part of a folder's name.

    Raises:
        ConfigError: path parts, leading or trailing punctuation, or more than 48 characters.
    """
    if not re.fullmatch(NAME_PATTERN, name) or ".." in name:
        example, folder = ("first-try", "runs_dir") if what == "run" else ("gated-mlp", "forks_dir")
        raise ConfigError(
            f"A {what} cannot be called {name!r}.",
            expected="1 to 48 letters, digits, '.', '_' or '-', no '..', a letter or digit at both ends",
            received=repr(name),
            cause="the name becomes part of a folder's name, so it cannot hold path parts",
            fix=f"give a plain name such as {example!r}, and choose the folder with {folder}",
        )
    return name


def _check_fork_name(name: str) -> str:
    return check_name(name, "fork")


RunName = Annotated[str, AfterValidator(check_name)]
ForkName = Annotated[str, AfterValidator(_check_fork_name)]
