"""From what stands after a command to a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darkit_nb.errors import ConfigError

if TYPE_CHECKING:
    from darkit_nb.config import RunConfig


def config_of(
    settings: Sequence[str], preset: str | None = None, fork: str | None = None, *, trust: bool = False
) -> RunConfig:
    """The configuration of `[CONFIG.yaml] [key=value …] [--preset NAME] [--fork NAME]`.

    Without a file, a fork's own settings are those to start from.

    Raises:
        ConfigError: two files, a word that is neither file nor setting, or a setting that does not fit.
        PatchError: there is no such fork.
        TrustError: the fork holds code from elsewhere.
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
    file = files[0] if files else None
    overrides += [] if fork is None else [f"model.fork={fork}"]
    plain = load_config(file, overrides, preset)
    if fork is None:
        return plain
    from darkit_nb.edit.fork import Fork, forks_beside

    found = Fork.load(fork, forks_dir=forks_beside(plain.runs_dir), trust=trust)
    own = {key: value for key, value in (found.config or {}).items() if key not in ("name", "runs_dir")}
    return load_config(file, overrides, preset, base=own)
