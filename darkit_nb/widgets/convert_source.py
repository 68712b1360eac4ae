"""The model a conversion begins with, as far as its files tell without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from darkit_nb.convert.no_model import no_model
from darkit_nb.convert.relations import family_of
from darkit_nb.errors import DarkitError, ModelError
from darkit_nb.records.bundled import bundled_models, located
from darkit_nb.runs import RunDirectory, list_runs
from darkit_nb.runs.files import from_json
from darkit_nb.runs.safetensors_header import read_header
from darkit_nb.views.numbers import short

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_MOST_RUNS = 40


@dataclass(frozen=True)
class ConvertSource:
    """A model somebody named.

    Attributes:
        name: as it was written.
        path: its folder, or the hub id; what the conversion is given.
        facts: what is known of it, in a line.
        longest: tokens it reads at once, where its files tell.
        dataset: what it was trained on, where that is known; the text to calibrate with.
    """

    name: str
    path: str
    facts: str
    longest: int | None = None
    dataset: str | None = None


def look_at(name: str, runs_dir: str | Path) -> ConvertSource:
    """What `name` means: a bundled model, a folder, a run, or an id of the hub.

    Raises:
        ModelError: none of these, a model that is spiking already or of an architecture that cannot be converted, or a
            folder without a model.
        RunError: the run has no checkpoint.
    """
    name = name.strip()
    if not name:
        raise ModelError(
            "No model is chosen.", expected="a bundled model, a run, a folder or a hub id", received="nothing"
        )
    if name in bundled_models() and not Path(name).exists():
        return _of_folder(name, Path(located(name)), dataset="stdlib")
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return _of_folder(name, folder)
    run = _run(name, runs_dir)
    if run is not None:
        return _of_folder(name, run.require_checkpoint().path, dataset=run.read_config().data.dataset)
    if folder.exists():
        raise no_model(folder, "a folder without config.json")
    if not _HUB_ID.fullmatch(name):
        raise ModelError(
            f"There is no model in {name!r}.",
            expected="a folder with config.json and safetensors, a run, a bundled model, or an id such as org/name",
            received="nothing of that name",
            cause=f"the name is misspelt, or meant from another folder than {Path.cwd()}",
            fix=f"{', '.join(bundled_models()) or 'a run of your own'} is there without a network",
        )
    return ConvertSource(name, name, "from the hub, or its cache on this machine; fetched when planned")


def choices(runs_dir: str | Path) -> list[dict[str, str]]:
    """Bundled models and finished float runs, to be chosen from."""
    bundled = [
        {"value": name, "label": name, "about": f"bundled · {_of_folder(name, path).facts}"}
        for name, path in bundled_models().items()
    ]
    return [*bundled, *_float_runs(runs_dir)]


def _float_runs(runs_dir: str | Path) -> list[dict[str, str]]:
    found = []
    for run in reversed(list_runs(runs_dir)[-_MOST_RUNS:]):
        try:
            config, checkpoint = run.read_config(), run.latest_checkpoint()
        except DarkitError:
            continue  # a run of a newer version, or one that is being written: nothing to convert
        if config.spike is None and checkpoint is not None:
            about = f"run · {config.model.path or config.model.preset}, step {checkpoint.step}"
            found.append({"value": run.id, "label": run.name, "about": about})
    return found


def _run(name: str, runs_dir: str | Path) -> RunDirectory | None:
    try:
        return RunDirectory.open(name, runs_dir)
    except DarkitError:
        return None


def _of_folder(name: str, folder: Path, dataset: str | None = None) -> ConvertSource:
    try:
        config = from_json((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The config.json of {name!r} cannot be read.", expected="JSON", received=f"{type(error).__name__}: {error}"
        ) from error
    quantised = config.get("quantization_config")
    if quantised:
        raise ModelError(
            f"{name!r} is converted already.",
            expected="a float model",
            received=f"quantization_config of {_kind(quantised)}",
            fix="convert the float model it came from",
        )
    family_of(SimpleNamespace(**config))  # says which architectures there are
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"There are no weights in {name!r}.",
            expected="model.safetensors, or several with their index, beside config.json",
            received=", ".join(sorted(path.name for path in folder.iterdir())[:6]),
            cause="the download is not complete, or its weights are pickles, which are not read",
            fix="fetch the safetensors too, or load the model and save_pretrained() it once",
        )
    return ConvertSource(name, str(folder), _facts(config, folder), _longest(config), dataset)


def _kind(quantised: Any) -> str:
    return (
        str(quantised.get("quant_method", "an unknown kind")) if isinstance(quantised, Mapping) else "an unknown kind"
    )


def _longest(config: Mapping[str, Any]) -> int | None:
    found = next((config[key] for key in ("max_position_embeddings", "n_positions") if key in config), None)
    return found if isinstance(found, int) else None


def _facts(config: Mapping[str, Any], folder: Path) -> str:
    architecture = (config.get("architectures") or [config.get("model_type", "model")])[0]
    blocks = next((config[key] for key in ("num_hidden_layers", "n_layer") if key in config), None)
    width = next((config[key] for key in ("hidden_size", "n_embd") if key in config), None)
    count, size = _weights(folder)
    parts = [
        str(architecture).removesuffix("ForCausalLM").removesuffix("LMHeadModel"),
        f"{blocks} blocks of width {width}" if blocks and width else "",
        f"{short(count)} parameters" if count else "",
        f"{short(float(size))}B" if size else "",
    ]
    return " · ".join(part for part in parts if part)


def _weights(folder: Path) -> tuple[int, int]:
    """Parameters and bytes of the safetensors of a folder; none of a damaged file, which the plan reports."""
    count = size = 0
    for path in folder.glob("*.safetensors"):
        size += path.stat().st_size
        try:
            count += sum(prod(entry["shape"]) for entry in read_header(path).values())
        except DarkitError:
            return 0, size
    return count, size
