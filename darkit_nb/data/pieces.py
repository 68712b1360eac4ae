"""Cut long texts where a tokenizer would cut them anyway, so that memory stays bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator

PIECE_CHARS = 1 << 16

# A line break between two visible characters: every pre-tokenizer in use ends a piece there, so tokenizing the two
# sides apart gives the ids of the whole. Runs of white space are not cut: GPT-2 gives their last character away.
_SAFE_CUT = re.compile(r"(?<=\S\n)(?=\S)")


def split_text(text: str, size: int = PIECE_CHARS) -> Iterator[str]:
    """Pieces of about `size` characters whose concatenation is `text`.

    A piece ends at the first single line break after `size` characters; text without any within ten times that is
    cut at a blank, and text without blanks where it stands.
    """
    start = 0
    while len(text) - start > size:
        cut = _SAFE_CUT.search(text, start + size, min(len(text), start + 10 * size))
        if cut:
            stop = cut.start()
        else:
            blank = text.rfind(" ", start + size, start + 10 * size)
            stop = blank if blank > 0 else start + 10 * size
        yield text[start:stop]
        start = stop
    if start < len(text):
        yield text[start:]
