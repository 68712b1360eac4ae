"""Which code decides the numbers of a conversion: blocks that other code of the same version made are not mixed in."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import darkit_nb

PARTS = ("convert", "functional", "ops", "nn", "spikify")
"""Parts of the package that compute what is saved."""

_KERNELS = {".cu", ".cuh", ".cpp", ".h"}


@cache
def code_digest() -> str:
    """Digest of the sources of `PARTS` and of the kernels, 16 hexadecimal digits.

    Of names and contents, so another installation of the same code has the same. A changed comment changes it: which
    changes matter no digest can tell.
    """
    return digest_of(Path(darkit_nb.__file__).parent)


def digest_of(package: Path) -> str:
    """As `code_digest`, of the package in that folder; its kernels lie in it, or beside it in a checkout."""
    kernels = next((folder for folder in (package / "kernels", package.parent / "kernels") if folder.is_dir()), None)
    found = {file.relative_to(package).as_posix(): file for part in PARTS for file in (package / part).rglob("*.py")}
    if kernels is not None:
        sources = (file for file in kernels.rglob("*") if file.suffix in _KERNELS)
        found |= {f"kernels/{file.relative_to(kernels).as_posix()}": file for file in sources}
    digest = hashlib.sha256()
    for name in sorted(found):
        content = found[name].read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]
