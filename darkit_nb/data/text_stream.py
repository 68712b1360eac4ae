"""Text of tokens that arrive one by one, when a token may hold only part of a character."""

from __future__ import annotations

from collections.abc import Callable

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER = 4  # bytes of UTF-8, and a token has one at least


class TextStream:
    """Turns ids into text as soon as it is certain.

        stream = TextStream(tokenizer.decode)
        text = "".join(stream.push(id) for id in ids) + stream.end()

    The pieces join to the text of all ids. A piece is "" while its bytes may still become a character, and bytes that
    never can are given out as U+FFFD.

    Args:
        decode: text of a list of ids, as a tokenizer's `decode`.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._given: list[int] = []  # the ids whose text went out last: some tokenizers write no blank at a beginning
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """The text that `token` makes certain."""
        self._held.append(token)
        text = self._text_of_held()
        if not text.endswith(REPLACEMENT):
            return self._give(len(self._held), text)
        if len(self._held) < _LONGEST_CHARACTER:
            return ""
        # A character that began in the first held token would be complete by now.
        return self._give(1, self._text_of_held(1))

    def end(self) -> str:
        """The text still held, now that nothing follows."""
        return self._give(len(self._held), self._text_of_held()) if self._held else ""

    def _text_of_held(self, count: int | None = None) -> str:
        before = self._decode(self._given) if self._given else ""
        return self._decode([*self._given, *self._held[:count]])[len(before) :]

    def _give(self, count: int, text: str) -> str:
        before = [] if text else self._given  # ids without text, as special tokens, are no beginning of their own
        self._given, self._held = before + self._held[:count], self._held[count:]
        return text
