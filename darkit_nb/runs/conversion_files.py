"""The folder of a conversion: what lies in it, and reading it while somebody writes."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from darkit_nb.errors import DarkitError, RunError
from darkit_nb.records.conversion import BlockReport, ConversionPlan
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.records.conversion_result import ConversionRow
from darkit_nb.runs import identity, lock
from darkit_nb.runs.directory import RunDirectory
from darkit_nb.runs.files import SCHEMA, from_json, sweep_removed, to_json, write_atomic, writing
from darkit_nb.runs.launcher import START_LOCK, refuse_active
from darkit_nb.runs.metrics import last_attempts
from darkit_nb.runs.workers import CONVERSION_FILE, CONVERSION_SUFFIX, conversion_folders

ROWS = "rows.json"
REPORT = "conversion.json"
"""In the folder of a converted model: what came of the conversion."""
CLAIM_LOCK = ".claim.lock"
BLOCKS_LOCK = ".lock"
"""In the folder of finished blocks."""
WRITING = ".darkit-nb"
"""In the folder of a model while it is written: by it that folder is told from one of somebody else."""

_BLOCKS = re.compile(r"(\.lock|state\.json|rotation\.safetensors|block-\d+\.(json|safetensors))(\.partial)?")
_CLAIMED = {"command.txt", "env.json", "status.json"}
"""What a claim that was killed may have left."""


def work_folder(out: str | Path) -> Path:
    """The folder of the conversion that makes the model in `out`.

    Raises:
        RunError: `out` is the root of the file system, which has nothing beside it.
    """
    return _beside(Path(out).expanduser(), CONVERSION_SUFFIX)


def model_folder(root: Path) -> Path:
    """The folder of the model that the conversion in `root` makes."""
    return root.with_name(root.name.removesuffix(CONVERSION_SUFFIX))


def blocks_folder(out: Path) -> Path:
    """The folder of finished blocks, until the model in `out` is saved."""
    return _beside(out, ".conversion")


def partial_folder(out: Path) -> Path:
    """The folder of the model in `out` while it is written."""
    return _beside(out, ".partial")


def _beside(out: Path, suffix: str) -> Path:
    if out.name in ("", ".."):  # as in "." and "/"
        out = out.resolve()
    if not out.name:
        raise RunError(
            f"{str(out)!r} cannot be the folder of a converted model.",
            expected="a folder that can have others beside it",
            received="the root of the file system",
        )
    return out.with_name(out.name + suffix)


def own_folders(out: Path) -> list[Path]:
    """Those of `blocks_folder` and `partial_folder` that are there and were made by a conversion."""
    blocks, partial = blocks_folder(out), partial_folder(out)
    own = []
    if blocks.is_dir():
        names = [path.name for path in blocks.iterdir()]
        if "state.json" in names or all(map(_BLOCKS.fullmatch, names)):
            own.append(blocks)
    if partial.is_dir() and ((partial / WRITING).is_file() or not any(partial.iterdir())):
        own.append(partial)
    return own


def begun(root: Path) -> float:
    """Unix time at which the folder was made."""
    try:
        return float(from_json((root / CONVERSION_FILE).read_bytes())["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def claim(request: ConversionRequest, command: str) -> Path:
    """Make the folder of a conversion, or find the one of the very same request.

    What another request began, and left without a finished block, gives way to this one.

    Raises:
        RunError: `out` holds something else, or another conversion; or it cannot be written.
    """
    root = work_folder(Path(request.out).expanduser().absolute())
    out = model_folder(root)
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    sweep_removed(root.parent)
    with lock.exclusive(root / CLAIM_LOCK, f"The conversion to {out}", wait_seconds=10.0):
        if (root / CONVERSION_FILE).is_file():
            other = _differing(root, request)
            if not other:
                return root
            if not _holds_nothing(root):
                raise _another(root, other)
            _clear(root)
        _refuse_taken(root, out)
        write_atomic(root / "command.txt", command.rstrip("\n") + "\n")
        write_atomic(root / "env.json", to_json({"schema": SCHEMA, **identity.environment()}) + "\n")
        RunDirectory(root).write_status(state="created")
        text = to_json({"schema": SCHEMA, "created": time.time(), **request.to_dict()})
        write_atomic(root / CONVERSION_FILE, text + "\n")  # last: with it the folder counts as a conversion
    return root


def _refuse_taken(root: Path, out: Path) -> None:
    """Refuse a place where something else is.

    Raises:
        RunError: files in `out`, or in the folder beside it.
    """
    foreign = sorted(path.name for path in root.iterdir() if path.name[0] != "." and path.name not in _CLAIMED)
    taken = root if foreign else out
    if not foreign and (not out.exists() or (out.is_dir() and not any(out.iterdir()))):
        return
    with suppress(OSError):
        (root / CLAIM_LOCK).unlink()
        root.rmdir()
    raise RunError(
        f"{taken} is there already.",
        expected="a folder that does not exist yet, or an empty one",
        received="a folder that holds files" if taken.is_dir() else "a file",
        cause="something else of yours: a conversion keeps there what it measures"
        if foreign
        else "an earlier conversion, or something else of yours",
        fix="choose another folder; nothing was touched",
    )


def _differing(root: Path, request: ConversionRequest) -> list[str]:
    """Settings in which a request differs from that of the folder."""
    before, now = read_request(root).to_dict(), request.to_dict()
    return [name for name in now if name != "out" and now[name] != before[name]]


def _another(root: Path, other: Sequence[str]) -> RunError:
    return RunError(
        f"{root} holds another conversion.",
        expected="the same source and settings, to go on with it",
        received=f"other {', '.join(other)}",
        fix=f"choose another folder, or: darkit-nb conversions delete {shlex.quote(str(model_folder(root)))}",
    )


def _holds_nothing(root: Path) -> bool:
    """Whether it was started and has ended, and no block of it was ever finished."""
    run, out = RunDirectory(root), model_folder(root)
    status = run.read_status()
    idle = status.state in ("failed", "stopped", "lost") and status.orphan_pid is None
    blocks = any(blocks_folder(out).glob("block-*.json"))
    return idle and not blocks and not read_blocks(run)


def _clear(root: Path) -> None:
    """Empty the folder of a conversion that holds nothing, and what lies beside it; locks stay.

    Raises:
        RunError: somebody took it on at this moment, or a file cannot be removed.
    """
    run, out = RunDirectory(root), model_folder(root)
    start = lock.exclusive(root / START_LOCK, f"The start of the conversion to {out}", wait_seconds=10.0)
    with start, run.lock(), writing(root):
        refuse_active(run)
        for path in own_folders(out):
            shutil.rmtree(path, ignore_errors=True)
        # The settings go first: killed from here on, the folder is one that was never claimed.
        for path in (root / CONVERSION_FILE, *root.iterdir()):
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.name.endswith("lock"):
                path.unlink(missing_ok=True)


def read_request(root: Path) -> ConversionRequest:
    """What a conversion was asked for.

    Raises:
        RunError: the file is missing, damaged, or from a newer version.
    """
    path = root / CONVERSION_FILE
    try:
        data = from_json(path.read_bytes())
        if data.get("schema", SCHEMA) > SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        return ConversionRequest.from_dict(data)
    except (OSError, ValueError, KeyError, TypeError, DarkitError) as error:
        raise RunError(
            f"{path} cannot be read.",
            expected=f"settings of a conversion, schema {SCHEMA}",
            received=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix="pip install --upgrade darkit-nb, if a newer version wrote it",
        ) from error


def read_plan(run: RunDirectory) -> ConversionPlan | None:
    """The newest plan; None before there is one."""
    for event in reversed(run.read_events()):
        if event.get("kind") == "plan" and isinstance(event.get("plan"), dict):
            with suppress(KeyError, TypeError):
                return ConversionPlan.from_dict(event["plan"])
    return None


def read_blocks(run: RunDirectory) -> tuple[BlockReport, ...]:
    """Reports of the blocks that are done, in order, each as its last attempt wrote it."""
    found = []
    for record in last_attempts(run.read_metrics()):
        if record.get("kind") == "block":
            with suppress(KeyError, TypeError):
                found.append(BlockReport.from_dict(record["report"]))
    return tuple(found)


def read_rows(root: Path) -> tuple[ConversionRow, ...]:
    """Scores of the float and the converted model, as far as there are any."""
    try:
        return tuple(ConversionRow.from_dict(row) for row in from_json((root / ROWS).read_bytes())["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def scored_float(folder: Path, key: str) -> ConversionRow | None:
    """The float model's row of any conversion in `folder` that scored the same model on the same windows.

    Args:
        folder: where converted models lie.
        key: of the row.
    """
    for root in conversion_folders(folder):
        for row in read_rows(root):
            if row.name == "float" and row.key == key and row.losses.nats and all(map(math.isfinite, row.losses.nats)):
                return row
    return None


def write_rows(root: Path, rows: Sequence[ConversionRow]) -> None:
    """Replace the scores.

    Raises:
        RunError: the disk is full or the folder not writable; the old scores are untouched.
    """
    write_atomic(root / ROWS, to_json({"schema": SCHEMA, "rows": [row.to_dict() for row in rows]}) + "\n")
