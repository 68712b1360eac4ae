"""A fork on disk: `fork.json`, the edited texts as readable files, and a README that shows every diff. No torch."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkit_nb.config.names import check_name
from darkit_nb.errors import PatchError
from darkit_nb.records.patch import Patch
from darkit_nb.runs.files import sync_folder, write_atomic, writing
from darkit_nb.runs.patch_history import ScheduledAction

if TYPE_CHECKING:
    from darkit_nb.edit.fork import Fork

FILE, PATCHES, README = "fork.json", "patches", "README.md"
SCHEMA = 1
_LARGEST_BYTES = 16 * 2**20
_SOURCE = re.compile(r"\d{2,}-[A-Za-z0-9_]+-[0-9a-f]{12}\.py")


def find(where: str | Path, forks_dir: Path) -> Path:
    """The folder of the fork that a name, or a folder, means. A name never leads out of `forks_dir`.

    Raises:
        ConfigError: a name that cannot be a folder's.
        PatchError: there is no fork.
    """
    named = isinstance(where, str) and "/" not in where and "\\" not in where
    folder = forks_dir / check_name(where, "fork") if isinstance(where, str) and named else Path(where).expanduser()
    if named and folder.is_symlink():
        raise PatchError(
            f"The fork {where!r} is a link to another place.",
            expected=f"a folder in {forks_dir}",
            received=f"a link to {folder.readlink()}",
            fix="name that folder itself, if you mean it",
        )
    _recover(folder)
    if not (folder / FILE).is_file():
        there = ", ".join(each.name for each in list_folders(folder.parent)) or "none"
        raise PatchError(
            f"There is no fork {str(where)!r}.",
            expected=f"a folder with a {FILE}",
            received=f"in {folder.parent}: {there}",
            fix="`darkit-nb fork list` shows them",
        )
    return folder.absolute()


def list_folders(forks_dir: Path) -> list[Path]:
    """Folders that are forks, by name."""
    with suppress(OSError):
        return sorted(each for each in forks_dir.iterdir() if not each.is_symlink() and (each / FILE).is_file())
    return []


def read(folder: Path) -> dict[str, Any]:
    """The parts of a fork, with the sha256 over every byte they were read from.

    Raises:
        PatchError: damaged, from a newer version, or with files that lie elsewhere.
    """
    raw = _bytes_of(folder / FILE)
    digest = hashlib.sha256(raw)
    try:
        facts = json.loads(raw)
        schema, entries, steps = facts["schema"], list(facts["patches"]), list(facts["schedule"])
        if not isinstance(schema, int) or schema > SCHEMA:
            raise ValueError(f"schema {schema}")
        patches = []
        for entry in entries:
            record = dict(entry)
            file = record.pop("file", None)
            if file is not None:
                source = _bytes_of(folder / PATCHES / _source_name(file))
                digest.update(hashlib.sha256(source).digest())
                record["source"] = source.decode()
            patches.append(Patch.from_dict(record))
        schedule = tuple(_action(step) for step in steps)
        texts = {name: str(facts.get(name, "")) for name in ("base", "origin", "note")}
        config, versions, created = facts.get("config"), dict(facts.get("versions", {})), float(facts.get("created", 0))
        if config is not None and not isinstance(config, dict):
            raise ValueError("config is no mapping")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PatchError(
            f"The fork in {folder} cannot be read.",
            expected=f"a {FILE} of schema {SCHEMA}",
            received=f"{type(error).__name__}: {error}",
            cause="it is damaged, or was written by a newer version",
        ) from error
    return {
        **texts,
        "patches": tuple(patches),
        "schedule": schedule,
        "config": config,
        "versions": versions,
        "created": created,
        "folder": folder,
        "digest": digest.hexdigest(),
    }


def write(folder: Path, fork: Fork, *, overwrite: bool) -> None:
    """Write a fork; the folder is there whole or not at all.

    Raises:
        PatchError: there is something of that name already.
        RunError: it cannot be written.
    """
    ours = (folder / FILE).is_file() and not folder.is_symlink()
    if (folder.exists() or folder.is_symlink()) and not (overwrite and ours):
        raise PatchError(
            f"There is already a {folder.name!r} in {folder.parent}.",
            expected="a name of its own",
            received=str(folder),
            fix="choose another name, or overwrite=True (--overwrite)",
        )
    draft = folder.with_name(f".draft-{folder.name}-{secrets.token_hex(4)}")
    with writing(folder):
        (draft / PATCHES).mkdir(parents=True)
    try:
        _fill(draft, fork)
        _put(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def copy(source: Path, target: Path) -> None:
    """Copy a fork byte by byte, those files that belong to it; a copy that is there already stays."""
    if (target / FILE).is_file():
        return
    draft = target.with_name(f".draft-{target.name}-{secrets.token_hex(4)}")
    with writing(target):
        (draft / PATCHES).mkdir(parents=True)
        try:
            entries = json.loads((source / FILE).read_bytes())["patches"]
            files = [f"{PATCHES}/{_source_name(entry['file'])}" for entry in entries if entry.get("file") is not None]
            for name in (FILE, *files):
                (draft / name).write_bytes(_bytes_of(source / name))
            _put(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _put(draft: Path, folder: Path) -> None:
    aside = _aside(folder)
    with writing(folder):
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
        if folder.exists():
            folder.replace(aside)
        draft.replace(folder)
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(folder.parent)


def _recover(folder: Path) -> None:
    """Undo the first of the two renames of a writer that was killed between them."""
    aside = _aside(folder)
    if not folder.exists() and (aside / FILE).is_file() and not aside.is_symlink():
        with suppress(OSError):
            aside.replace(folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".old-{folder.name}")


def _fill(draft: Path, fork: Fork) -> None:
    entries = []
    for number, patch in enumerate(fork.patches, 1):
        entry = patch.to_dict()
        if patch.kind == "code":
            name = re.sub(r"[^A-Za-z0-9_]", "_", patch.class_name)[:60]
            entry["file"] = f"{number:02d}-{name}-{patch.id}.py"
            write_atomic(draft / PATCHES / entry["file"], entry.pop("source"))
        entries.append(entry)
    facts = {
        "schema": SCHEMA,
        "name": fork.name,
        **{name: getattr(fork, name) for name in ("note", "base", "origin", "created")},
        "versions": dict(fork.versions),
        "patches": entries,
        "schedule": [{"step": each.step, "action": each.action, "patch": each.number} for each in fork.schedule],
        "config": None if fork.config is None else dict(fork.config),
    }
    write_atomic(draft / FILE, json.dumps(facts, indent=1) + "\n")
    write_atomic(draft / README, readme(fork))


def readme(fork: Fork) -> str:
    """What a person who finds the folder reads."""
    lines = [
        f"# {fork.name}",
        "",
        *([fork.note, ""] if fork.note else []),
        f"A fork made with DarKit-NB: {len(fork.patches)} edits of {fork.base or 'a model'}. "
        f"Put this folder into `{folder_hint(fork)}` beside your `runs` folder, read it, then:",
        "",
        "```",
        f"darkit-nb fork trust {fork.name}",
        f"darkit-nb train --fork {fork.name}",
        "```",
        "",
        f'In Python: `dk.Fork.load("{fork.name}", trust=True).apply(model)`.',
        "",
    ]
    for number, patch in enumerate(fork.patches, 1):
        state = "" if patch in fork.in_effect else " (taken out again)"
        lines += [f"## {number}. {_inline(patch.label)}{state}", ""]
        lines += [*([_inline(patch.note), ""] if patch.note else []), *_fenced(patch.diff), ""]
    steps = [f"- after step {each.step}: {each.action} {each.number}" for each in fork.schedule if each.step]
    lines += ["## When", "", *steps, "", "`model.fork_replay=true` repeats these steps.", ""] if steps else []
    return "\n".join(lines)


def folder_hint(fork: Fork) -> str:
    """Where a fork is looked for."""
    return f"forks/{fork.name}"


def _inline(text: str) -> str:
    return " ".join(text.split())


def _fenced(diff: str) -> Iterable[str]:
    longest = max((len(found) for found in re.findall(r"`+", diff)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}diff", diff.rstrip("\n"), fence]


def _action(step: Any) -> ScheduledAction:
    after, action, number = step["step"], step["action"], step["patch"]
    if action not in ("patch", "revert") or type(after) is not int or type(number) is not int or after < 0:
        raise ValueError(f"{step!r} is no step of a schedule")
    return ScheduledAction(after, action, number)


def _source_name(file: Any) -> str:
    if not isinstance(file, str) or not _SOURCE.fullmatch(file):
        raise ValueError(f"{file!r} is no name of an edited text")
    return file


def _bytes_of(path: Path) -> bytes:
    """The content of a plain file that lies where it says, of reasonable size."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or path.parent.is_symlink() or found.st_size > _LARGEST_BYTES:
            raise PatchError(
                f"{path} does not belong to a fork.",
                expected=f"a plain file of at most {_LARGEST_BYTES} bytes",
                received="a link or something else" if found.st_size <= _LARGEST_BYTES else f"{found.st_size} bytes",
            )
        return path.read_bytes()
    except OSError as error:
        raise PatchError(
            f"{path} cannot be read.", expected="the file that fork.json names", received=str(error)
        ) from error
