"""One typed configuration: Python objects, YAML, command line, JSON schema and forms are views of it."""

from darkit_nb.config.files import (
    changed_keys,
    command_line,
    describe_keys,
    dump_yaml,
    from_dict,
    json_schema,
    load_config,
    parse_overrides,
)
from darkit_nb.config.keys import Setting, key_table
from darkit_nb.config.problems import Problem, SettingsError
from darkit_nb.config.run_config import RunConfig
from darkit_nb.config.sections import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    MonitorConfig,
    TrainConfig,
)
from darkit_nb.records.spike_spec import SpikeSpec

__all__ = [
    "CheckpointConfig",
    "DataConfig",
    "EvaluationConfig",
    "ModelConfig",
    "MonitorConfig",
    "Problem",
    "RunConfig",
    "Setting",
    "SettingsError",
    "SpikeSpec",
    "TrainConfig",
    "changed_keys",
    "command_line",
    "describe_keys",
    "dump_yaml",
    "from_dict",
    "json_schema",
    "key_table",
    "load_config",
    "parse_overrides",
]
