"""The float model a conversion reads: a folder of safetensors opened lazily, a hub id, or a model in memory."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RevisionNotFoundError,
)
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from darkit_nb.convert.folder_source import FolderSource
from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.no_model import no_model
from darkit_nb.convert.relations import family_of
from darkit_nb.errors import ModelError

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""What is fetched of a hub id: everything but pickles."""


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
        family_of(config)  # said first: some architectures cannot even be built as all are built here
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
    except HFValidationError as error:
        raise ModelError(
            f"There is no model at {name!r}.",
            expected="a folder, or a hub id such as HuggingFaceTB/SmolLM2-135M",
            received="no such folder, and no name a hub id can have",
            cause="a relative path is taken from the folder the command is started in",
            fix="give the full path",
        ) from error
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
