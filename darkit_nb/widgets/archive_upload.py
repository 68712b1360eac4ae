"""A file that arrives from the browser piece by piece."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

from darkit_nb.errors import RunError
from darkit_nb.runs import archive, naming
from darkit_nb.runs.files import writing

PIECE_BYTES = 2**20
STALE_SECONDS = 86_400.0
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


class ArchiveUpload:
    """Collects the pieces of one archive in a hidden folder beside the runs, on the disk that will hold its content.

    Args:
        name: The file's name on the other side; only its plain letters are used.
        size: Its size in bytes.
        runs_dir: Folder of runs.

    Raises:
        RunError: another kind of file, one that is too large or empty, or a folder that cannot be written.
    """

    def __init__(self, name: str, size: int, runs_dir: str | Path, *, max_bytes: int = archive.MAX_BYTES) -> None:
        suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
        if suffix is None:
            raise RunError(
                f"{name[:80]!r} is no archive of a model or a run.",
                expected=f"a file ending in {', '.join(SUFFIXES)}",
                received=repr(name[-40:]),
                fix="pack the folder that holds config.json or config.yaml: zip -r model.zip model/",
            )
        if not 0 < size <= max_bytes:
            raise RunError(
                f"{name[:80]!r} cannot be uploaded.",
                expected=f"1 to {max_bytes:,} bytes",
                received=f"{size:,} bytes",
                fix="put the file on this machine by other means, then `darkit-nb import FILE`",
            )
        self.name, self.size, self.received = name, size, 0
        self.folder = Path(runs_dir).expanduser() / f".upload-{secrets.token_hex(4)}"
        with writing(self.folder):
            self.folder.mkdir(parents=True)
        _sweep(self.folder.parent)
        self.path = self.folder / (naming.slug(name[: -len(suffix)]) + suffix)
        try:
            archive.free_space(self.folder, 2 * size)
        except BaseException:
            self.close()
            raise

    @property
    def complete(self) -> bool:
        """Whether every byte is here."""
        return self.received == self.size

    def add(self, offset: int, piece: bytes | memoryview) -> None:
        """Append the next piece.

        Raises:
            RunError: pieces out of order, too large, or more of them than announced; a full disk.
        """
        if offset != self.received or not 0 < len(piece) <= PIECE_BYTES or offset + len(piece) > self.size:
            raise RunError(
                "The upload went wrong on its way.",
                expected=f"at most {PIECE_BYTES:,} bytes from byte {self.received:,} on, {self.size:,} in all",
                received=f"{len(piece):,} bytes from byte {offset:,} on",
                cause="two views sent at once, or the connection was interrupted",
                fix="drop the file again",
            )
        with writing(self.path), self.path.open("ab") as file:
            file.write(piece)
        self.received += len(piece)

    def close(self) -> None:
        """Remove what was received."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _sweep(runs_dir: Path) -> None:
    """Remove what a killed kernel left behind a day ago or earlier."""
    for folder in runs_dir.glob(".upload-*"):
        if folder.is_dir() and time.time() - folder.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
