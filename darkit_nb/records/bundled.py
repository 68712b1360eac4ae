"""The models that come with the package, by name, so that a conversion can be tried without a network."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "bundled"
STDLIB_LLAMA = "stdlib-llama"


def bundled_models() -> dict[str, Path]:
    """Folder of every bundled model, by its name."""
    return {found.parent.name: found.parent for found in sorted(FOLDER.glob("*/config.json"))}


def located(source: str | Path) -> str | Path:
    """The folder of a bundled model; what is no name of one, or names a folder that is here, stays as it is.

    Args:
        source: name of a bundled model, a folder or a hub id.
    """
    if isinstance(source, str) and not Path(source).exists():
        return bundled_models().get(source, source)
    return source


def called(folder: Path) -> str:
    """What a model's folder is called in reports: the name of a bundled model, else the path."""
    return folder.name if folder.parent == FOLDER else str(folder)
