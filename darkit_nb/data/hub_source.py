"""Datasets of the Hugging Face hub by id, through `datasets.load_dataset`, or from the mirror folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from darkit_nb.data.cache import cache_root
from darkit_nb.data.corpus import Corpus, DataSettings, Request
from darkit_nb.data.mirror import absent, check_id, find_mirrored
from darkit_nb.data.rows import check_column, documents_of
from darkit_nb.errors import DataError
from darkit_nb.plugins import registry

_BUILDERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".txt": "text"}
_VALIDATION = ("validation", "valid", "dev")


@dataclass(frozen=True)
class HubSpec:
    """What is known about a dataset of the hub before it is loaded.

    Attributes:
        name: The id the user wrote.
        hub_id: The id on the hub.
        subset: Its configuration, or None.
        text_column: Column with the text or the conversation; None: found by its name or as the only text.
        train: Name of the training split.
        validation: Name of the split to measure on; None: whatever is called validation, else a part of `train`.
        articles: Whether rows are lines of articles that headings such as ` = Title = ` begin.
    """

    name: str
    hub_id: str
    subset: str | None = None
    text_column: str | None = None
    train: str = "train"
    validation: str | None = None
    articles: bool = False


def open_hub(request: Request) -> Corpus:
    """Corpus of a hub dataset, from the mirror where it is there.

    Raises:
        DataError: a malformed id, a dataset that is neither here nor to be had, or one without usable text.
    """
    spec = _spec(request)
    check_id("dataset", spec.hub_id)
    if spec.subset:
        check_id("dataset", spec.subset)
    folder = _mirrored(spec)
    splits = _load(spec, request.settings) if folder is None else _load_mirrored(spec, folder, request.settings)
    train, validation = _choose(spec, splits)
    column = check_column(spec.name, train, spec.text_column)
    read = partial(documents_of, column=column, articles=spec.articles, name=spec.name)
    opened = [split for split in (train, validation) if split is not None]
    return Corpus(
        spec.name,
        f"hub-{spec.hub_id}-{spec.subset}-{column}-{_identity(opened, folder)}",
        lambda: read(train),
        None if validation is None else lambda: read(validation),
    )


def _spec(request: Request) -> HubSpec:
    """Options of the registry entry, or of the entry for the same hub id, under what the settings say."""
    options: dict[str, Any] = dict(request.options)
    if "hub_id" not in options:
        twins = [entry.options for entry in registry("dataset") if entry.options.get("hub_id") == request.argument]
        options = dict(twins[0]) if twins else {"hub_id": request.argument}
        options.pop("subset", None)
    if request.settings.subset is not None:
        options["subset"] = request.settings.subset
    if request.settings.text_column is not None:
        options["text_column"] = request.settings.text_column
    return HubSpec(name=request.name, **options)


def _mirrored(spec: HubSpec) -> Path | None:
    named = (spec.name, spec.hub_id)
    with_subset = [f"{name}/{spec.subset}" for name in named] if spec.subset else []
    return find_mirrored("dataset", *with_subset, *named)


def _load(spec: HubSpec, settings: DataSettings) -> dict[str, Any]:
    import datasets

    try:
        return _by_name(datasets.load_dataset(spec.hub_id, spec.subset, streaming=settings.streaming))
    except Exception as error:  # the loader raises many kinds, by what is missing
        where = f"datasets/{spec.hub_id}" + (f"/{spec.subset}" if spec.subset else "")
        arguments = repr(spec.hub_id) + (f", {spec.subset!r}" if spec.subset else "")
        call = f"from datasets import load_dataset as l; l({arguments}).save_to_disk('{where}')"
        raise absent("dataset", spec.name, where, f'python -c "{call}"', error) from error


def _load_mirrored(spec: HubSpec, folder: Path, settings: DataSettings) -> dict[str, Any]:
    """Splits of a folder: what `save_to_disk` wrote, or files by name of split."""
    import datasets

    try:
        if any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
            saved = _by_name(datasets.load_from_disk(str(folder)))
            return {name: split.to_iterable_dataset() if settings.streaming else split for name, split in saved.items()}
        builder, files = _mirrored_files(spec, folder)
        options: dict[str, Any] = {"sample_by": "line" if spec.articles else "document"} if builder == "text" else {}
        return _by_name(
            datasets.load_dataset(
                builder,
                data_files=files,
                streaming=settings.streaming,
                cache_dir=str(cache_root(settings.cache_dir) / "datasets"),
                **options,
            )
        )
    except DataError:
        raise
    except Exception as error:  # damaged files surface as many kinds of error
        raise DataError(
            f"The mirrored dataset {spec.name!r} cannot be read.",
            expected="undamaged files, each row with the same columns",
            received=f"{type(error).__name__}: {error}" + (f" ({error.__cause__})" if error.__cause__ else ""),
            fix=f"look into {folder}",
        ) from error


def _by_name(loaded: Any) -> dict[str, Any]:
    """Splits by name; a dataset saved without splits is one to train on."""
    return {str(name): split for name, split in loaded.items()} if hasattr(loaded, "items") else {"train": loaded}


def _mirrored_files(spec: HubSpec, folder: Path) -> tuple[str, dict[str, list[str]]]:
    present = sorted(path for path in folder.iterdir() if path.is_file())
    splits = {spec.train: (spec.train, "train"), "validation": (*filter(None, [spec.validation]), *_VALIDATION)}
    for suffix, builder in _BUILDERS.items():
        files = {split: _shards(present, names, suffix) for split, names in splits.items()}
        if files[spec.train]:
            return builder, {split: shards for split, shards in files.items() if shards}
    raise DataError(
        f"The mirror folder of {spec.name!r} holds no training split.",
        expected=f"{folder}/{spec.train}.jsonl, .parquet or .txt, or what save_to_disk writes",
        received=", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "an empty folder",
    )


def _shards(present: list[Path], names: Iterable[str], suffix: str) -> list[str]:
    """Files of the first name that has any: `train.jsonl`, `train-00000-of-00002.jsonl`, `train_1.jsonl.gz`, …"""
    for name in names:
        shard = re.compile(rf"{re.escape(name)}([-_.]\d+(-of-\d+)?)?{re.escape(suffix)}(\.(gz|xz|bz2|zst))?")
        if found := [str(path) for path in present if shard.fullmatch(path.name)]:
            return found
    return []


def _choose(spec: HubSpec, splits: dict[str, Any]) -> tuple[Any, Any]:
    if spec.train not in splits:
        raise DataError(
            f"The dataset {spec.name!r} has no split to train on.",
            expected=f"a split called {spec.train!r}",
            received=", ".join(splits) or "no split at all",
        )
    names = [name for name in (spec.validation, *_VALIDATION) if name in splits]
    return splits[spec.train], splits[names[0]] if names else None


def _identity(splits: Iterable[Any], folder: Path | None) -> str:
    """Hash of the fingerprints that `datasets` keeps, and of names, sizes and times of mirrored files."""
    marks = [getattr(split, "_fingerprint", None) or repr(split) for split in splits]
    for path in sorted(folder.rglob("*")) if folder else ():
        stat = path.stat()
        marks.append(f"{path} {stat.st_size} {stat.st_mtime_ns if path.is_file() else 0}")
    return blake2b(" ".join(marks).encode(), digest_size=16).hexdigest()
