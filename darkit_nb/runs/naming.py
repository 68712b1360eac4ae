"""Names of runs: ids that sort by time, and finding the run a person means."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from darkit_nb.errors import RunError

_ID = re.compile(r"(\d{8}-\d{6})-(.+)-([0-9a-f]{4})")


def new_id(name: str) -> str:
    """The id `YYYYMMDD-HHMMSS-<name>-<4 hex>` of this moment, in UTC: ids sort across time zones and clock changes.

    The four digits are the part of the second that has passed, in 65 536ths: runs of one second stay in order.
    """
    now = datetime.now(UTC)
    return f"{now:%Y%m%d-%H%M%S}-{name}-{(now.microsecond << 16) // 1_000_000:04x}"


def age(run_id: str) -> tuple[str, str, str]:
    """What ids are sorted by: the second, the part of it, and the name where both are the same."""
    match = _ID.fullmatch(run_id)
    return (match[1], match[3], match[2]) if match else (run_id, "", "")


def name_of(run_id: str) -> str:
    """The name inside an id, or the id itself where it has another form."""
    match = _ID.fullmatch(run_id)
    return match[2] if match else run_id


def slug(text: str) -> str:
    """Any text as the name part of an id."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    return re.sub(r"\.{2,}", ".", cleaned).strip("._-")[:48].strip("._-") or "run"


def run_folders(runs_dir: Path) -> list[Path]:
    """Folders that are runs, oldest first; anything else in the folder is passed over."""
    try:
        return sorted((path for path in runs_dir.iterdir() if is_run(path)), key=lambda path: age(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(
            f"The runs in {runs_dir} cannot be listed.",
            expected="a folder this user may read",
            received=f"{type(error).__name__}: {error}",
        ) from error


def is_run(folder: Path) -> bool:
    """Whether a folder is a run."""
    return not folder.name.startswith(".") and (folder / "config.yaml").is_file()


def find(wanted: str, runs_dir: Path) -> Path:
    """The folder of the run that a path, an id, a name, the beginning or end of an id, or `latest` means.

    Raises:
        RunError: none, or several.
    """
    if any(mark in wanted for mark in ("/", "\\")) or wanted in (".", ".."):
        folder = Path(wanted).expanduser()
        if is_run(folder.resolve()):
            return folder
        raise _not_found(wanted, f"{folder} holds no config.yaml", [])
    if wanted and is_run(runs_dir / wanted):
        return runs_dir / wanted
    if wanted and is_run(Path(wanted)):
        return Path(wanted)
    runs = run_folders(runs_dir)
    if wanted == "latest" and runs:
        return runs[-1]
    close = [run for run in runs if wanted and wanted in (name_of(run.name), run.name[-4:])]
    close = close or [run for run in runs if wanted and run.name.startswith(wanted)]
    if len(close) == 1:
        return close[0]
    if close:
        raise RunError(
            f"{wanted!r} may mean {len(close)} runs.",
            expected="an id, or a part of it that only one run has",
            received=", ".join(run.name for run in close[:5]),
            fix=f"name one, such as {close[-1].name}",
        )
    raise _not_found(wanted, f"{len(runs)} runs in {runs_dir}, none of that name", [run.name for run in runs])


def _not_found(wanted: str, received: str, ids: list[str]) -> RunError:
    near = get_close_matches(wanted, [*ids, *map(name_of, ids)], n=2, cutoff=0.5)
    return RunError(
        f"There is no run {wanted!r}.",
        expected="the id, name or folder of a run, or 'latest'",
        received=received,
        cause="the run lies in another folder" if not near else None,
        fix=f"did you mean {' or '.join(near)}?"
        if near
        else "`darkit-nb runs list` shows them; runs_dir names the folder",
    )
