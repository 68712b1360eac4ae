"""The work folder of a conversion, `<out>.conversion/`: one file a finished block, so that nothing done is done twice.

    state.json                 what is converted, how, on which text: `key` is a digest of these; and by which version,
                               code and number of processes
    rotation.safetensors       the rotation of the residual stream
    block-0000.safetensors     the tensors of a finished block, by full name
    block-0000.json            its report and the layout of its layers; a block counts as finished when this exists
    .lock                      held by whoever is at work

Every file is written beside its place, flushed to the disk, and moved there: after a crash it is whole or absent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from darkit_nb import __version__
from darkit_nb.convert.code_digest import code_digest
from darkit_nb.convert.writing import clear, disk_error, refuse_foreign, write_json, write_tensors
from darkit_nb.errors import ModelError
from darkit_nb.records.conversion import BlockReport, ConversionSpec
from darkit_nb.runs.conversion_files import BLOCKS_LOCK, blocks_folder, partial_folder
from darkit_nb.runs.lock import exclusive
from darkit_nb.runs.safetensors_header import read_header

SCHEMA = 1


class WorkFolder:
    """Finished blocks of one conversion.

    Args:
        out: folder the converted model will have.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.root = out, blocks_folder(out)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else works on this conversion meanwhile. A folder in which nothing was begun is gone afterwards.

        Raises:
            RunError: somebody is at work on it.
            ModelError: no conversion made the folder, or it cannot be made.
        """
        refuse_foreign(self.root, self.out)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(self.root, None, error) from error
        with exclusive(self.root / BLOCKS_LOCK, f"The conversion to {self.out}"):
            try:
                yield
            finally:
                if self.root.is_dir() and [path.name for path in self.root.iterdir()] == [BLOCKS_LOCK]:
                    self.remove()

    def begin(
        self, key: str, spec: ConversionSpec, source: str, *, resume: bool, code: str | None = None, processes: int = 1
    ) -> None:
        """Make the folder, or go on in the one there is.

        Args:
            key: digest of model, settings and text.
            spec: the settings, to say what differs.
            source: name of the model, likewise.
            resume: False begins anew.
            code: digest of the code that decides the numbers, `code_digest()` if not given.
            processes: that share the calibration samples.

        Raises:
            ModelError: it belongs to a conversion of another model, with other settings, or on other text; or another
                version, other code or another number of processes began it, whose blocks these might not make the
                same way; or no conversion made the folder.
        """
        state = self.root / "state.json"
        code = code_digest() if code is None else code
        if state.is_file():
            before = json.loads(state.read_text())
            if before.get("key") == key and resume:
                self._refuse_other_hands(before, code, processes)
                return
            if resume:
                raise ModelError(
                    "Another conversion was begun here and not finished.",
                    expected=f"the model, revision, settings and calibration text of {self.root.name}",
                    received=_difference(before, spec, source),
                    fix=f"choose another folder, or begin anew with resume=False, which deletes {self.root}",
                )
        clear(partial_folder(self.out), self.out)  # said now: it would be met when all is done
        refuse_foreign(self.root, self.out)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for path in self.root.iterdir():
                if path.name != BLOCKS_LOCK:
                    path.unlink()
        except OSError as error:
            raise disk_error(self.root, None, error) from error
        known = {"schema": SCHEMA, "key": key, "version": __version__, "code": code, "processes": processes}
        write_json(state, {**known, "source": source, "spec": spec.to_dict()})

    def _refuse_other_hands(self, before: Mapping[str, Any], code: str, processes: int) -> None:
        """Refuse to go on where something else made the first blocks, which the next ones might not fit."""
        begun = before.get("version")
        if begun != __version__:
            what = "Another version of this package"
            was, now = (
                f"darkit-nb {begun}" if begun else "the earlier version that began it",
                f"darkit-nb {__version__}",
            )
            fix = "go on with that version"
        elif before.get("code") != code:
            what, was, now = "Other code of the same version", f"code {before.get('code')}", f"code {code}"
            fix = "go on with the code as it was; comments count as code here"
        elif before.get("processes") != processes:
            what = "Another number of processes"
            was, now = (
                f"{count} process{'' if count == 1 else 'es'}" for count in (before.get("processes"), processes)
            )
            fix = f"start it with {was}"
        else:
            return
        raise ModelError(
            f"{what} began this conversion.",
            expected=was,
            received=now,
            cause="their blocks in one model may not fit each other to the last bit",
            fix=f"{fix}; or remove {self.root} and convert again: it begins anew",
        )

    def finished(self, blocks: int) -> int:
        """How many blocks from the first on are finished."""
        for index in range(blocks):
            if not (self._json(index).is_file() and self.tensors(index).is_file()):
                return index
        return blocks

    @property
    def _rotation(self) -> Path:
        return self.root / "rotation.safetensors"

    def _json(self, index: int) -> Path:
        return self.root / f"block-{index:04}.json"

    def tensors(self, index: int) -> Path:
        """File of the tensors of a block."""
        return self.root / f"block-{index:04}.safetensors"

    def write_block(self, report: BlockReport, layers: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Keep a finished block.

        Raises:
            ModelError: the disk is full; the blocks before it stay.
        """
        write_tensors(self.tensors(report.index), tensors)
        write_json(self._json(report.index), {"report": report.to_dict(), "layers": dict(layers)})

    def read_block(self, index: int) -> tuple[BlockReport, dict[str, Any], dict[str, Tensor]]:
        """Report, layouts by full layer name, and tensors of a finished block."""
        known = json.loads(self._json(index).read_text())
        return BlockReport.from_dict(known["report"]), known["layers"], load_file(self.tensors(index))

    def read_layers(self, index: int) -> dict[str, Any]:
        """Layouts of the layers of a finished block by full name."""
        return json.loads(self._json(index).read_text())["layers"]

    def tensor_names(self, index: int) -> list[str]:
        """Full names of the tensors of a finished block."""
        return list(read_header(self.tensors(index)))

    def write_rotation(self, rotation: Tensor) -> None:
        """Keep the rotation of the residual stream."""
        write_tensors(self._rotation, {"rotation": rotation})

    def has_rotation(self) -> bool:
        """Whether an earlier start kept one."""
        return self._rotation.is_file()

    def read_rotation(self) -> Tensor:
        """The rotation of an earlier start."""
        return load_file(self._rotation)["rotation"]

    def remove(self) -> None:
        """Everything in it is in the converted model now."""
        shutil.rmtree(self.root, ignore_errors=True)


def _difference(before: Mapping[str, Any], spec: ConversionSpec, source: str) -> str:
    """What differs between the conversion begun and the one asked for, as far as it is known."""
    if before.get("source") != source:
        return f"source {source}, where {before.get('source')} was begun"
    old, new = before.get("spec", {}), spec.to_dict()
    changed = [name for name in new if old.get(name) != new[name]]
    if changed:
        return "; ".join(f"{name}={new[name]!r}, where {old.get(name)!r} was begun" for name in changed[:3])
    return "the same settings, but other weights or another calibration text"
