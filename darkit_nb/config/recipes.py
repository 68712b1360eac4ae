"""What to type to get a run: the shell's line for training and for using it, and the same in Python."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from darkit_nb.config.files import changed_keys, command_line
from darkit_nb.config.run_config import RunConfig

PROMPT = "def "


def training_command(config: RunConfig) -> str:
    """The line that trains exactly this configuration, quoted for a POSIX shell."""
    return shlex.join(command_line(config))


def distributed_command(config: RunConfig, num_processes: int = 2) -> str:
    """The same with several processes on this machine, each with its own share of every batch."""
    # accelerate starts several processes only under --multi_gpu; train.device=cpu makes them processes of the CPU.
    launcher = ["accelerate", "launch", "--multi_gpu", "--num_processes", str(num_processes), "-m", "darkit_nb"]
    return shlex.join([*launcher, *command_line(config)[1:]])


def inference_command(config: RunConfig, run: str | Path | None = None) -> str:
    """The lines that use the trained run: continue a text, and score the validation text.

    Args:
        config: The run's configuration.
        run: Folder of the run; None means the newest one in `config.runs_dir`.
    """
    named = [_as_path(run)] if run is not None else ["latest", *_folder_option(config)]
    lines = (["generate", *named, "--prompt", PROMPT], ["evaluate", *named])
    return "\n".join(shlex.join(["darkit-nb", *line]) for line in lines)


def _as_path(run: str | Path) -> str:
    """A path that cannot be taken for an id: those hold no slash."""
    text = str(run)
    return text if "/" in text or "\\" in text else f"./{text}"


def _folder_option(config: RunConfig) -> list[str]:
    # One word, so that a folder whose name begins with a dash is not taken for an option.
    return [] if config.runs_dir == "runs" else [f"--runs-dir={config.runs_dir}"]


def python_code(config: RunConfig) -> str:
    """Python that starts the same run from a notebook or a script."""
    changes = changed_keys(config)
    if changes:
        inner = "".join(f"        {_literal(key)}: {_literal(value)},\n" for key, value in changes.items())
        made = f"config = dk.RunConfig().replace(\n    {{\n{inner}    }}\n)"
    else:
        made = "config = dk.RunConfig()"
    return (
        f"import darkit_nb as dk\n\n{made}\n"
        f"run = dk.train(config)  # returns at once; the run outlives the notebook\n"
        f"run.wait()\n"
        f'print("".join(dk.generate(run, {_literal(PROMPT)})))\n'
    )


def _literal(value: Any) -> str:
    """Plain data as Python source, with the quotes the field writes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_literal(key)}: {_literal(inner)}' for key, inner in value.items())}}}"
    return repr(value)
