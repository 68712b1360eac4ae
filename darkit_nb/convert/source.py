"""The float model a conversion reads: a folder of safetensors opened lazily, a hub id, or a model in memory."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from darkit_nb.convert.no_model import no_model
from darkit_nb.errors import ModelError
from darkit_nb.records.bundled import called
from darkit_nb.runs.safetensors_header import read_header

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""What a weight to be converted may be stored in."""

PIECE = 1 << 16
PIECES = 64


class ModelSource(ABC):
    """Weights by name, one at a time.

    Attributes:
        name: folder, hub id, or class of the model in memory; for reports.
        config: its transformers config.
        folder: where tokenizer files lie; None for a model in memory.
    """

    name: str
    config: Any
    folder: Path | None = None

    @abstractmethod
    def names(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Shape and bytes of every stored tensor by name, without reading one."""

    @abstractmethod
    def _read(self, name: str) -> Tensor: ...

    @abstractmethod
    def fingerprint(self) -> str:
        """Differs between models whose weights differ, as far as can be told without reading all of a large one."""

    def stored_name(self, name: str) -> str | None:
        """How the checkpoint calls a tensor; some were saved without the head and lack the first part of the name."""
        stored = self.names()
        for candidate in (name, name.partition(".")[2]):
            if candidate in stored:
                return candidate
        return None

    def tensor(self, name: str) -> Tensor:
        """One tensor, as stored, on the CPU.

        Raises:
            ModelError: the checkpoint lacks it, is damaged, or holds codes in its place.
        """
        stored = self.stored_name(name)
        if stored is None:
            raise ModelError(
                "The checkpoint is not complete.",
                expected=f"a tensor {name}",
                received=f"{len(self.names())} tensors in {self.name}, not this one",
                cause="the download was interrupted, or the config belongs to another model",
            )
        value = self._read(stored)
        if value.dtype not in FLOATS:
            raise ModelError(
                "The weights are no plain floats.",
                expected=", ".join(_dtype_name(dtype) for dtype in FLOATS),
                received=f"{_dtype_name(value.dtype)} in {stored}",
                cause="the checkpoint is quantised, and its scales lie elsewhere",
                fix="convert the float model it came from",
            )
        return value

    @property
    def parameters(self) -> int:
        """All stored numbers."""
        return sum(torch.Size(shape).numel() for shape, _ in self.names().values())

    @property
    def dtype(self) -> torch.dtype:
        """Floating dtype the model is kept in."""
        dtype = getattr(self.config, "dtype", None)
        return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class FolderSource(ModelSource):
    """A checkpoint on disk. Files are opened when a tensor is asked for, and only that tensor is read.

    Args:
        folder: written by `save_pretrained`, or a downloaded checkpoint; safetensors, sharded or not.
        name: for reports; the folder if not given.

    Raises:
        ModelError: no config, no safetensors, files missing.
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
        self._files = self._index(folder)
        self._names: dict[str, tuple[tuple[int, ...], int]] | None = None

    def _index(self, folder: Path) -> dict[str, Path]:
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            names = {name: folder / file for name, file in json.loads(index.read_text())["weight_map"].items()}
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


class LoadedSource(ModelSource):
    """A model in memory. It is read, never changed."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.name = model.config.name_or_path or type(model).__name__
        self.config = model.config
        self._state = model.state_dict()

    def names(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Of the state dict."""
        return {name: (tuple(tensor.shape), tensor.nbytes) for name, tensor in self._state.items()}

    @property
    def parameters(self) -> int:
        """All numbers, a tied tensor once."""
        return sum({tensor.data_ptr(): tensor.numel() for tensor in self._state.values()}.values())

    def _read(self, name: str) -> Tensor:
        return self._state[name].detach().cpu()

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights as they are."""
        return next(tensor.dtype for tensor in self._state.values() if tensor.is_floating_point())

    def fingerprint(self) -> str:
        """SHA-256 over the config and every byte of the weights."""
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True, default=str).encode())
        for name, tensor in self._state.items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


class ConfigSource(ModelSource):
    """A model of which only the config is known: enough for a plan, without a weight."""

    def __init__(self, config: PreTrainedConfig) -> None:
        self.name = config.name_or_path or config.model_type
        self.config = config
        self._model = empty_model(config, self.dtype)

    def names(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Of the parameters the config leads to, a tied one once."""
        return {name: (tuple(value.shape), value.nbytes) for name, value in self._model.named_parameters()}

    def _read(self, name: str) -> Tensor:
        raise ModelError(
            "A config holds no weights.", expected="a folder, a hub id, or a model", received=f"the config {self.name}"
        )

    def fingerprint(self) -> str:
        """SHA-256 of the config."""
        return hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True, default=str).encode()).hexdigest()


def open_source(source: str | Path | PreTrainedModel | PreTrainedConfig, *, revision: str | None = None) -> ModelSource:
    """The model named by a folder or hub id, one in memory, or what a config describes.

    Args:
        source: where it is.
        revision: branch, tag or commit of a hub id.

    Raises:
        ModelError: nothing to read there, no such revision, or a model that is quantised or spiking already.
    """
    if isinstance(source, PreTrainedModel):
        opened: ModelSource = LoadedSource(source)
    elif isinstance(source, PreTrainedConfig):
        opened = ConfigSource(source)
    elif Path(source).is_dir():
        if revision is not None:
            raise ModelError(
                "A folder has no revisions.",
                expected="revision=None with a folder",
                received=f"revision={revision!r} with {str(source)!r}",
                fix="name the hub id to choose among its revisions",
            )
        opened = FolderSource(Path(source))
    elif Path(source).is_file():
        raise no_model(Path(source), "a file")
    else:
        opened = FolderSource(_downloaded(str(source), revision), str(source))
    quantised = getattr(opened.config, "quantization_config", None)
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised.quant_method
        ours = method == "darkit"
        raise ModelError(
            "This model is converted already." if ours else "This model is quantised already.",
            expected="a float model",
            received=f"quant_method={str(getattr(method, 'value', method))!r} in {opened.name}",
            fix="convert the float model it came from"
            + ("; unspikify(model) gives back one that was only spikified" if ours else ""),
        )
    return opened


def _downloaded(name: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(PATTERNS)))
    except (RevisionNotFoundError, LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        wanted = f"{name!r}" + ("" if revision is None else f" at revision {revision!r}")
        raise ModelError(
            f"There is no model {wanted} here.",
            expected="a folder, or a hub id (and revision) that is in the cache or can be reached",
            received=str(error).strip().splitlines()[0] if str(error) else type(error).__name__,
            cause="the name or the revision is wrong, or the machine is offline and they were never fetched",
            fix="fetch it where there is a network: hf download "
            + name
            + ("" if revision is None else f" --revision {revision}"),
        ) from error


def empty_model(config: Any, dtype: torch.dtype) -> PreTrainedModel:
    """The model a config describes, on the meta device: shapes and names, no weights.

    Raises:
        ModelError: transformers cannot build it.
    """
    own = copy.deepcopy(config)
    if getattr(own, "quantization_config", None) is not None:
        del own.quantization_config
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(own, dtype=dtype, attn_implementation="sdpa").eval()
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(
            "This model cannot be built.",
            expected="a decoder transformers knows",
            received=str(error).strip().splitlines()[0],
        ) from error
