"""A checkpoint on disk, safetensors in one file or several: opened lazily, one tensor read at a time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig

from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.no_model import no_model
from darkit_nb.errors import ModelError
from darkit_nb.records.bundled import called
from darkit_nb.runs.safetensors_header import read_header

PIECE = 1 << 16
PIECES = 64
"""Bytes of a piece of a file by which it is told from others, and how many are read of each."""


class FolderSource(ModelSource):
    """A checkpoint on disk. Files are opened when a tensor is asked for, and only that tensor is read.

    Args:
        folder: written by `save_pretrained`, or a downloaded checkpoint; safetensors, sharded or not.
        name: for reports; the folder if not given.

    Raises:
        ModelError: no config or a damaged one, no safetensors, files missing, a damaged index.
        RunError: a file that is cut off.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder, self.name = folder, name or called(folder)
        try:
            self.config = AutoConfig.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise no_model(
                folder, str(error).strip().splitlines()[0] if str(error) else type(error).__name__
            ) from error
        except (StrictDataclassError, TypeError, AttributeError) as error:
            raise no_model(folder, f"config.json: {' '.join(str(error).split())}") from error
        self._files = self._index(folder)
        self._names: dict[str, tuple[tuple[int, ...], int]] | None = None

    def _index(self, folder: Path) -> dict[str, Path]:
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            names = {name: folder / file for name, file in _weight_map(index).items()}
            missing = sorted({file.name for file in names.values() if not file.is_file()})
            if missing:
                raise ModelError(
                    "Some of the model's files are missing.",
                    expected=f"all {len(set(names.values()))} files named in {index.name}",
                    received=f"no {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}",
                    cause="the download is not complete",
                )
            return names
        single = folder / "model.safetensors"
        if not single.is_file():
            raise ModelError(
                "There are no weights to convert.",
                expected="model.safetensors, or shards with model.safetensors.index.json",
                received=f"neither in {folder}",
                cause="the checkpoint holds pickles (*.bin), which are never read, or the download is not complete",
                fix="load it with transformers and save it again: model.save_pretrained(folder)",
            )
        return dict.fromkeys(read_header(single), single)

    def names(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Read from the headers of the files, once."""
        if self._names is None:
            self._names = {}
            for file in sorted(set(self._files.values())):
                for name, entry in read_header(file).items():
                    if name in self._files:
                        begin, end = entry["data_offsets"]
                        self._names[name] = (tuple(entry["shape"]), end - begin)
        return self._names

    def _read(self, name: str) -> Tensor:
        try:
            with safe_open(self._files[name], framework="pt") as opened:
                return opened.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{name} cannot be read from {self._files[name].name}.",
                expected="a whole safetensors file",
                received=str(error),
            ) from error

    def fingerprint(self) -> str:
        """SHA-256 over the config and, of every file, its size and 64 pieces spread from its first byte to its last."""
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True, default=str).encode())
        for file in sorted(set(self._files.values())):
            size = file.stat().st_size
            digest.update(f"{file.name} {size}".encode())
            with file.open("rb") as opened:
                for piece in range(PIECES):
                    opened.seek(max(0, (size - PIECE) * piece // (PIECES - 1)))
                    digest.update(opened.read(PIECE))
        return digest.hexdigest()


def _weight_map(index: Path) -> dict[str, str]:
    """File by name of tensor, as the index of a sharded checkpoint has it."""
    try:
        places = json.loads(index.read_text())["weight_map"]
        if not places or not all(isinstance(file, str) for file in places.values()):
            raise ValueError("weight_map names no files")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{index.name} cannot be read.",
            expected="JSON with weight_map: the file of every tensor",
            received=f"{type(error).__name__}: {error}",
            cause="the download was cut off, or the file was changed",
            fix="fetch it again",
        ) from error
    return places
