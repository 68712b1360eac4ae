"""Reading and writing configurations: YAML files, `key=value` overrides, JSON schema and command lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from darkit_nb.config import yaml_text
from darkit_nb.config.keys import key_table
from darkit_nb.config.run_config import SCHEMA_VERSION, RunConfig, apply_changes
from darkit_nb.errors import ConfigError

_LARGEST_FILE_BYTES = 4 * 2**20


def load_config(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    preset: str | None = None,
    *,
    base: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Build a configuration from defaults, a YAML file, a preset and overrides, each winning over the one before.

    Args:
        path: YAML file; None starts from the defaults.
        overrides: `key=value` with dotted keys; the value is read as YAML (`train.steps=200`, `spike=null`).
        preset: Name of a model preset; it also replaces a `model.path` of the file.
        base: Settings to start from where there is no file, as those of a fork.

    Raises:
        ConfigError: the file cannot be read, is from a newer version, or holds unknown keys or unusable values.
    """
    data = dict(base or {}) if path is None else _read(Path(path))
    changes: dict[str, Any] = {} if preset is None else {"model.preset": preset, "model.path": None}
    changes |= parse_overrides(overrides)
    return from_dict(apply_changes(data, changes))


def from_dict(data: Mapping[str, Any]) -> RunConfig:
    """A configuration from nested plain data, as YAML or a form gives it.

    Raises:
        ConfigError: a newer schema, unknown keys or unusable values.
    """
    schema = data.get("schema", data.get("schema_version"))
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise ConfigError(
            f"This configuration has schema {schema}, and this version of darkit-nb knows up to {SCHEMA_VERSION}.",
            expected=f"schema: {SCHEMA_VERSION}",
            received=f"schema: {schema}",
            cause="it was written by a newer darkit-nb",
            fix="pip install --upgrade darkit-nb",
        )
    return RunConfig.model_validate(dict(data))


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`key=value` strings as dotted key → value; the last one of a key wins.

    Raises:
        ConfigError: no `=`, or a value that is not YAML.
    """
    changes: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"{override!r} is not a setting.",
                expected="key=value, such as train.steps=200",
                received=repr(override),
                cause="a space around '=', or a file name that does not end in .yaml",
                fix="write key=value without spaces, and quote values that hold spaces",
            )
        changes[key.strip()] = yaml_text.parse(value, f"The value of {key.strip()}")
    return changes


def dump_yaml(config: RunConfig) -> str:
    """The whole configuration as YAML; `load_config` of it gives an equal configuration."""
    return yaml_text.block(config.to_dict())


def json_schema() -> dict[str, Any]:
    """JSON schema of the YAML form, for editors and forms."""
    schema = RunConfig.model_json_schema(by_alias=True)
    for definition in (schema, *schema.get("$defs", {}).values()):
        definition["description"] = definition.get("description", "").split("\n\n")[0]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def changed_keys(config: RunConfig) -> dict[str, Any]:
    """Dotted keys whose value differs from the default, as plain data, in the order of declaration."""
    current, default = config.to_dict(), RunConfig().to_dict()
    return dict(_differences("", current, default))


def _differences(prefix: str, current: Mapping[str, Any], default: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in current.items():
        key, usual = f"{prefix}{name}", default.get(name)
        if name in default and value == usual and type(value) is type(usual):
            continue
        if isinstance(value, Mapping) and isinstance(usual, Mapping):
            dotted = all("." not in inner and "=" not in inner for inner in value)
            found += _differences(f"{key}.", value, usual) if dotted else [(key, value)]
        else:
            found.append((key, value))
    return found


def command_line(config: RunConfig) -> list[str]:
    """The shortest `darkit-nb train key=value …` that reproduces this configuration, one argument per entry."""
    return ["darkit-nb", "train", *(f"{key}={yaml_text.inline(value)}" for key, value in changed_keys(config).items())]


def describe_keys() -> str:
    """Every key with its default and meaning, as text for `--help` and terminals."""
    lines: list[str] = []
    for key, setting in key_table(RunConfig).items():
        if setting.kind == "section":
            continue
        lines.append(f"{key} = {yaml_text.inline(setting.default)}")
        lines.append(f"    {setting.expected}. {setting.description}")
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise ConfigError(
                f"{path} is too large to be a configuration.",
                expected=f"at most {_LARGEST_FILE_BYTES} bytes of YAML",
                received=f"{path.stat().st_size} bytes",
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The configuration {path} cannot be read.",
            expected="a YAML file in UTF-8",
            received=f"{type(error).__name__}: {error}",
            fix="check the path; `darkit-nb train --print-config > run.yaml` writes a file to start from",
        ) from None
    data = yaml_text.parse(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} holds no settings.",
            expected="a mapping such as `train: {steps: 200}`",
            received=f"a {type(data).__name__}",
        )
    return {str(key): value for key, value in data.items()}
