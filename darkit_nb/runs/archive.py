"""Taking files from a folder or archive one does not trust: no path escapes, no links, no pickles, no bombs."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from darkit_nb.errors import RunError
from darkit_nb.runs.files import writing

MAX_BYTES = 200 * 2**30
MAX_MEMBERS = 20_000
MAX_RATIO = 100
_FREE_BYTES = 256 * 2**20
_WANTED = {".safetensors", ".json", ".jsonl", ".yaml", ".yml", ".txt", ".md", ".model", ".jinja", ".log"}
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill"}


@dataclass(frozen=True)
class _Member:
    """One regular file offered by a source."""

    path: PurePosixPath
    size: int
    handle: Any


def unpack(source: Path, target: Path, *, max_bytes: int = MAX_BYTES, drop_pickles: bool = False) -> list[str]:
    """Copy the wanted files of a folder, `.zip` or `.tar*` into an empty folder.

    Args:
        source: Folder or archive.
        target: Existing empty folder.
        max_bytes: Largest total size after unpacking.
        drop_pickles: Leave pickles out instead of refusing the whole.

    Returns: Names that were left out because nothing here reads such files.

    Raises:
        RunError: a member that is absolute, climbs out, is a link or a device or a pickle; too many members or bytes;
            or a source that is no archive.
    """
    with _opened(source) as (members, read):
        kept, left_out = _select(members, source, max_bytes, drop_pickles)
        budget = min(max_bytes, _budget(source))
        for member in kept:
            destination = target.joinpath(*member.path.parts)
            with writing(destination):
                destination.parent.mkdir(parents=True, exist_ok=True)
                budget -= _copy(read, member, destination, budget, source)
    return left_out


def _select(
    members: list[_Member], source: Path, max_bytes: int, drop_pickles: bool
) -> tuple[list[_Member], list[str]]:
    if len(members) > MAX_MEMBERS:
        raise _refused(source, f"at most {MAX_MEMBERS} files", f"{len(members)} files")
    hidden = [member for member in members if any(part.startswith(".") for part in member.path.parts)]
    visible = [member for member in members if member not in hidden] if hidden else members
    pickles = [member.path.as_posix() for member in visible if member.path.suffix.lower() in _PICKLES]
    if pickles and not drop_pickles:
        raise RunError(
            f"{source} holds pickles, and loading a pickle runs whatever code its author put in.",
            expected="weights in .safetensors",
            received=", ".join(pickles[:5]) + (" …" if len(pickles) > 5 else ""),
            cause="an old checkpoint format, or the optimizer state of a trainer",
            fix="import again with --drop-pickles to leave them out; weights saved only as a pickle must be converted "
            "with safetensors by somebody who trusts them",
        )
    kept = [member for member in visible if member.path.suffix.lower() in _WANTED]
    total = sum(member.size for member in kept)
    if total > max_bytes:
        raise _refused(source, f"at most {max_bytes / 2**30:.3g} GiB", f"{total / 2**30:.3g} GiB once unpacked")
    names = [member.path.as_posix().casefold() for member in kept]
    if len(set(names)) < len(names):
        raise _refused(source, "every file once", "two members of one name")
    chosen = set(map(id, kept))
    return kept, [member.path.as_posix() for member in members if id(member) not in chosen]


def _copy(read: Any, member: _Member, destination: Path, budget: int, source: Path) -> int:
    """Copy one member, counting the bytes that really come: an archive may lie about sizes."""
    copied = 0
    with read(member) as incoming, destination.open("xb") as outgoing:
        while block := incoming.read(2**20):
            copied += len(block)
            if copied > budget:
                raise _bomb(source)
            outgoing.write(block)
    return copied


@contextmanager
def _opened(source: Path) -> Iterator[tuple[list[_Member], Any]]:
    """Members and reader of a folder or archive, with the errors of broken archives translated."""
    try:
        if source.is_dir():
            yield list(_folder_members(source)), lambda member: member.handle.open("rb")
        elif zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                yield list(_zip_members(archive, source)), lambda member: archive.open(member.handle)
        elif source.is_file() and tarfile.is_tarfile(source):
            with tarfile.open(source) as archive:
                yield list(_tar_members(archive, source)), lambda member: _tar_stream(archive, member)
        else:
            raise RunError(
                f"{source} cannot be imported.",
                expected="a folder, a .zip or a .tar, .tar.gz, .tar.bz2 or .tar.xz archive",
                received="nothing at that path" if not source.exists() else "a file of another kind",
                fix="give the folder that holds config.json or config.yaml, or an archive of it",
            )
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError) as error:
        raise RunError(
            f"{source.name} is damaged.",
            expected="a readable archive",
            received=f"{type(error).__name__}: {error}",
            cause="the download was cut off, or the archive is encrypted",
            fix="fetch it again",
        ) from error


def _tar_stream(archive: tarfile.TarFile, member: _Member) -> IO[bytes]:
    stream = archive.extractfile(member.handle)
    if stream is None:
        raise tarfile.TarError(f"{member.path} has no content")
    return stream


def _folder_members(folder: Path) -> Iterator[_Member]:
    count = 0
    for base, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(base, name)
            relative = path.relative_to(folder)
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                raise _link(folder, relative.as_posix(), f"cp -rL {folder} {folder.name}-copy")
            if stat.S_ISREG(info.st_mode):
                yield _Member(PurePosixPath(*relative.parts), info.st_size, path)
            elif not stat.S_ISDIR(info.st_mode):
                raise _refused(folder, "files and folders", f"{relative.as_posix()}, a device or pipe")
        count += len(files)
        if count > MAX_MEMBERS:
            raise _refused(folder, f"at most {MAX_MEMBERS} files", "more files")


def _zip_members(archive: zipfile.ZipFile, source: Path) -> Iterator[_Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        if stat.S_ISLNK(mode):
            raise _link(source, info.filename)
        path = _inside(info.orig_filename, source)
        if not info.is_dir():
            yield _Member(path, info.file_size, info)


def _tar_members(archive: tarfile.TarFile, source: Path) -> Iterator[_Member]:
    budget = _budget(source)
    for count, info in enumerate(archive):
        if count > MAX_MEMBERS:
            raise _refused(source, f"at most {MAX_MEMBERS} files", "more files")
        budget -= info.size
        if budget < 0:  # here already: reaching the next member means unpacking this one
            raise _bomb(source)
        path = _inside(info.name, source)
        if info.issym() or info.islnk():
            raise _link(source, info.name)
        if info.isreg():
            yield _Member(path, info.size, info)
        elif not info.isdir():
            raise _refused(source, "files and folders", f"{info.name!r}, a device or pipe")


def _inside(name: str, source: Path) -> PurePosixPath:
    """The path of a member, which must stay below the folder it is unpacked into on every system."""
    text = name.replace("\\", "/")
    parts = text.split("/")
    if text.startswith("/") or ".." in parts or ":" in parts[0] or "\0" in text:
        raise RunError(
            f"{source.name} wants to write outside its folder.",
            expected="members with relative paths without '..'",
            received=repr(name),
            cause="the archive is broken, or made to do harm",
            fix="do not use it; ask its author for a clean one",
        )
    return PurePosixPath(*(part for part in parts if part not in ("", ".")))


def _link(
    source: Path, name: str, fix: str = "pack it again with the files instead of links (tar -h, zip without -y)"
) -> RunError:
    return RunError(
        f"{source.name} holds a link.",
        expected="plain files, since a link may point anywhere on this machine",
        received=repr(name),
        fix=fix,
    )


def _budget(source: Path) -> int:
    """Bytes a source may become: weights hardly shrink, so an archive that grows a hundredfold is a bomb."""
    return max(_FREE_BYTES, MAX_RATIO * source.stat().st_size) if source.is_file() else MAX_BYTES


def _bomb(source: Path) -> RunError:
    return _refused(source, f"an archive that grows at most {MAX_RATIO}-fold, as weights do", "far more data than that")


def _refused(source: Path, expected: str, received: str) -> RunError:
    return RunError(f"{source.name} cannot be imported.", expected=expected, received=received)


def free_space(folder: Path, needed: int) -> None:
    """Refuse before copying what cannot fit.

    Raises:
        RunError: less than `needed` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            "There is not enough disk space for this import.",
            expected=f"{needed / 2**20:.0f} MiB free in {folder}",
            received=f"{free / 2**20:.0f} MiB",
            fix="free some space, or choose another disk with --runs-dir",
        )
