"""Taking in a checkpoint or a run from elsewhere: a model folder of transformers, or an archive of it or of a run."""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path

from darkit_nb.config import RunConfig, dump_yaml, load_config
from darkit_nb.config.names import check_name
from darkit_nb.errors import RunError
from darkit_nb.runs import archive, checkpoints, naming
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.files import from_json, write_atomic, writing
from darkit_nb.runs.safetensors_header import read_header

_RUN_FILES = ("metrics.jsonl", "events.jsonl", "stdout.log")


def import_run(
    source: str | Path,
    runs_dir: str | Path = "runs",
    name: str | None = None,
    *,
    max_bytes: int = archive.MAX_BYTES,
    drop_pickles: bool = False,
) -> RunDirectory:
    """Make a run of a model folder, a run folder, or a `.zip` or `.tar*` archive of one.

    Only safetensors weights and text files are taken; everything is checked before the run appears.

    Args:
        source: Folder or archive.
        runs_dir: Where the run is to lie.
        name: Its name; None derives one from the source.
        max_bytes: Largest total size after unpacking.
        drop_pickles: Leave pickles out instead of refusing the source.

    Returns: The run, with the weights as its newest checkpoint.

    Raises:
        RunError: nothing importable, an unsafe archive, pickles, damaged weights, a taken name, a full disk.
        ConfigError: a bad name, or a run whose config.yaml cannot be read.
    """
    source, folder = Path(source).expanduser(), Path(runs_dir).expanduser()
    title = check_name(name) if name is not None else naming.slug(_stem(source))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".import-{secrets.token_hex(4)}"
    with writing(staging):
        staging.mkdir()
    try:
        if source.exists():
            archive.free_space(folder, _size(source))
        left_out = archive.unpack(source, staging, max_bytes=max_bytes, drop_pickles=drop_pickles)
        top = _top(staging)
        run = _from_run(top, title, name, folder) if _is_run(top) else _from_model(top, title, name, folder, source)
        run.append_event("imported", source=str(source), left_out=left_out)
        return run
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _stem(source: Path) -> str:
    name = source.resolve().name
    for suffix in (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"):
        name = name.removesuffix(suffix)
    return naming.name_of(name)


def _size(source: Path) -> int:
    if source.is_dir():
        return sum(path.lstat().st_size for path in source.rglob("*") if path.suffix == ".safetensors")
    return source.stat().st_size


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file()


def _top(staging: Path) -> Path:
    """The folder that holds the content: archives often wrap it in folders of their own."""
    folder = staging
    while not (_is_run(folder) or (folder / "config.json").is_file()):
        inner = list(folder.iterdir())
        if len(inner) != 1 or not inner[0].is_dir():
            raise RunError(
                "There is neither a model nor a run in this source.",
                expected="config.json with *.safetensors (a transformers model), or config.yaml (a run)",
                received=", ".join(sorted(path.name for path in inner)[:6]) or "no usable file",
                fix="give the folder that holds them directly",
            )
        folder = inner[0]
    return folder


def check_model_folder(folder: Path) -> None:
    """Check that a folder is a complete transformers model in safetensors.

    Raises:
        RunError: config.json is unreadable or no model's, weights are missing, truncated or listed but absent.
    """
    try:
        description = from_json((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        description = {"unreadable": str(error)}
    if not isinstance(description.get("model_type"), str):
        raise RunError(
            f"{folder.name}/config.json does not describe a transformers model.",
            expected='a JSON object with "model_type"',
            received=f"keys {', '.join(list(description)[:6]) or 'none'}",
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise RunError(
            "The model has no safetensors weights.",
            expected="model.safetensors, or its numbered parts",
            received=", ".join(sorted(path.name for path in folder.iterdir())[:6]),
            cause="the weights are stored in another format, or were not part of the download",
            fix="save the model with save_pretrained, which writes safetensors",
        )
    for path in weights:
        read_header(path)
    _check_index(folder)


def _check_index(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        listed = {str(part) for part in json.loads(index.read_bytes())["weight_map"].values()}
    except (ValueError, KeyError, AttributeError, TypeError):
        listed = {"a readable index"}
    missing = sorted(part for part in listed if not (folder / part).is_file())
    if missing:
        raise RunError(
            "Parts of the model's weights are missing.",
            expected=f"all {len(listed)} parts named in {index.name}",
            received=f"no {', '.join(missing[:4])}",
            cause="the download was cut off",
            fix="fetch the missing parts",
        )


def _create(config: RunConfig, title: str, name: str | None, source: str) -> RunDirectory:
    """The new run; a derived title that is taken gets a number, a name that was asked for is refused if taken."""
    taken = {naming.name_of(run.name) for run in naming.run_folders(Path(config.runs_dir).expanduser())}
    chosen, number = title, 2
    while name is None and chosen in taken:
        chosen, number = f"{title[:44]}-{number}", number + 1
    return RunDirectory.create(config.replace({"name": chosen}), command=["darkit-nb", "import", source])


def _from_model(top: Path, title: str, name: str | None, runs_dir: Path, source: Path) -> RunDirectory:
    check_model_folder(top)
    run = _create(RunConfig(runs_dir=str(runs_dir), spike=None), title, name, str(source))
    try:
        _adopt(top, run, step=0)
        weights = run.require_checkpoint().path.resolve()
        changes = {"model.path": str(weights)}
        if (weights / "tokenizer.json").is_file():
            changes["data.tokenizer"] = str(weights)
        write_atomic(run.config_path, dump_yaml(run.read_config().replace(changes)))
        run.write_status(state="finished", step=0, message="imported")
    except BaseException:
        shutil.rmtree(run.root, ignore_errors=True)
        raise
    return run


def _adopt(folder: Path, run: RunDirectory, step: int) -> None:
    """Move a model's files into a checkpoint of the run."""
    with run.new_checkpoint(step) as draft, writing(draft):
        for path in folder.iterdir():
            if path.name != checkpoints.SEAL:
                shutil.move(path, draft / path.name)


def _from_run(top: Path, title: str, name: str | None, runs_dir: Path) -> RunDirectory:
    config = load_config(top / "config.yaml").replace({"runs_dir": str(runs_dir)})
    steps = {path: checkpoints.step_of(path.name) for path in sorted((top / "checkpoints").glob("step-*"))}
    found = {path: step for path, step in steps.items() if step is not None}
    for path in found:
        check_model_folder(path)
    run = _create(config, title if name else config.name or title, name, top.name)
    try:
        for file in _RUN_FILES:
            if (top / file).is_file():
                shutil.move(top / file, run.root / file)
        for path, step in found.items():
            _adopt(path, run, step)
        last = max((record["step"] for record in run.read_metrics()), default=None)
        run.write_status(state="finished", step=last, attempt=run.attempt, message="imported")
    except BaseException:
        shutil.rmtree(run.root, ignore_errors=True)
        raise
    return run
