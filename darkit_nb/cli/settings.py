"""From what stands after a command to a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darkit_nb.errors import ConfigError

if TYPE_CHECKING:
    from darkit_nb.config import RunConfig


def config_of(settings: Sequence[str], preset: str | None = None) -> RunConfig:
    """The configuration of `[CONFIG.yaml] [key=value …] [--preset NAME]`.

    Raises:
        ConfigError: two files, a word that is neither file nor setting, or a setting that does not fit.
    """
    from darkit_nb.config import load_config

    files = [word for word in settings if "=" not in word or Path(word).is_file()]
    if len(files) > 1:
        raise ConfigError(
            "More than one configuration file was given.",
            expected="at most one YAML file; everything else as key=value",
            received=", ".join(files),
            fix="write settings as key=value without spaces around '='",
        )
    for file in files:
        if not Path(file).suffix and not Path(file).exists():
            raise ConfigError(
                f"{file!r} is neither a configuration file nor a setting.",
                expected="CONFIG.yaml, or key=value such as train.steps=200",
                received=repr(file),
                fix=f"--preset {file}, if you mean a model" if not file[:1].isdigit() else None,
            )
    overrides = [word for word in settings if word not in files]
    return load_config(files[0] if files else None, overrides, preset)
