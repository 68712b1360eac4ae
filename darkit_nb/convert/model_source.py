"""What a conversion reads of a float model, wherever it lies: its config, and weights by name, one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darkit_nb.errors import ModelError

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""What a weight to be converted may be stored in."""


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
        stored = self._stored(name)
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

    def _stored(self, name: str) -> str:
        stored = self.stored_name(name)
        if stored is None:
            raise ModelError(
                "The checkpoint is not complete.",
                expected=f"a tensor {name}",
                received=f"{len(self.names())} tensors in {self.name}, not this one",
                cause="the download was interrupted, or the config belongs to another model",
            )
        return stored

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a checkpoint that is not what its config describes, from its headers alone.

        Args:
            shapes: of every parameter of the model, by its full name.

        Raises:
            ModelError: a parameter that is not stored, or has another shape.
        """
        for name, shape in shapes.items():
            found = self.names()[self._stored(name)][0]
            if found != shape:
                raise ModelError(
                    "A tensor of the checkpoint has another shape than its model.",
                    expected=f"{name} {list(shape)}",
                    received=str(list(found)),
                    cause="config and weights belong to different models",
                )

    def head_is_embedding(self, head: str, embedding: str) -> bool:
        """Whether one table serves as both: the config says so, and no other head is stored.

        transformers does not tie what is stored with different values either, whatever the config says.

        Args:
            head: full name of the head's weight.
            embedding: that of the embedding.
        """
        if not getattr(self.config, "tie_word_embeddings", False):
            return False
        return self.stored_name(head) is None or torch.equal(self.tensor(head), self.tensor(embedding))

    def check_finite(self) -> None:
        """Read every weight once, one at a time, and refuse what no block could be made of.

        Raises:
            ModelError: a weight that holds NaN or infinity, by its name.
        """
        for name in self.names():
            if not name.endswith((".weight", ".bias")):
                continue
            value = self._read(name)
            # Smallest and largest carry every NaN and infinity, and need no second tensor.
            plain = value.dtype in FLOATS and value.numel()
            if plain and not torch.isfinite(torch.stack(torch.aminmax(value))).all():
                raise _not_finite(name, value, self.name)

    @property
    def parameters(self) -> int:
        """All stored numbers."""
        return sum(torch.Size(shape).numel() for shape, _ in self.names().values())

    @property
    def dtype(self) -> torch.dtype:
        """Floating dtype the model is kept in."""
        dtype = getattr(self.config, "dtype", None)
        return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _not_finite(name: str, value: Tensor, source: str) -> ModelError:
    faulty = int((~torch.isfinite(value)).sum())
    return ModelError(
        f"The weights in {name} are not finite.",
        expected="numbers in every weight of the float model",
        received=f"NaN or infinity in {faulty:,} of its {value.numel():,} numbers, in {source}",
        cause="the training diverged, the file is damaged, or a cast to 16-bit floats overflowed",
        fix="convert an earlier checkpoint, or fetch the model again; finished blocks stay",
    )


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
