"""What is said of a place that holds no model to convert: GGUF files, a dataset, a file in place of a folder."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from darkit_nb.errors import ModelError

_DATA = {".jsonl", ".parquet", ".arrow", ".csv", ".tsv", ".txt", ".xz", ".gz", ".zst"}


def no_model(place: Path, said: str) -> ModelError:
    """The error for a file, or a folder without a readable config.json.

    Args:
        place: file or folder.
        said: by whoever tried to read it.
    """
    files = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
    quantised = [file for file in files if file.suffix == ".gguf"]
    if quantised:
        return _of_gguf(quantised[0])
    names = ", ".join(file.name for file in files[:6]) + (" …" if len(files) > 6 else "")
    if place.is_file():
        return ModelError(
            f"{place.name!r} is a file, and a model is a folder.",
            expected="a folder with config.json and model.safetensors",
            received=str(place),
            fix=f"name the folder it lies in: {place.absolute().parent}",
        )
    data = bool(files) and all(file.suffix in _DATA for file in files)
    return ModelError(
        f"No model can be read from {str(place)!r}.",
        expected="a folder with config.json and model.safetensors",
        received=said if (place / "config.json").is_file() else names or "a folder without files",
        cause="this is a folder of texts" if data else "the name is of another folder, or the download is not complete",
        fix=f"name a model first; text to calibrate on is given as dataset: text:{place}" if data else None,
    )


def _of_gguf(file: Path) -> ModelError:
    named = {"pretrained_model_name_or_path": str(file.absolute().parent), "gguf_file": file.name}
    code = (
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
        f"F = {json.dumps(named)}; "
        '[kind.from_pretrained(**F).save_pretrained("float-model") for kind in (M, T)]'
    )
    return ModelError(
        f"{file.name!r} is a GGUF file, whose weights are quantised.",
        expected="a folder with config.json and model.safetensors of a float model",
        received=str(file),
        cause="a conversion rounds float weights; codes of another format would be rounded twice",
        fix="take the float model it was made from, or dequantise this one: pip install gguf, then python -c "
        + shlex.quote(code)
        + ", and convert float-model",
    )
