"""Reads plain text as one long stream of pieces.

Where the stream is cut depends on its characters alone: before white space at which a tokenizer splits as well, where
there is any. So the tokens depend neither on how the file is read nor on the pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.training.data.files import Source, characters

PIECE = 1 << 15  # the most characters of a piece
_CUT = re.compile(r"(?s:.*)\S(?=[ \n]\S)")


def pieces(source: Source) -> Iterator[str]:
    """The whole text in pieces of at most `PIECE` + 1 characters."""
    buffer = ""
    for block in characters(source):
        buffer += block
        while len(buffer) >= PIECE + 2:  # a cut depends on the two characters after it
            match = _CUT.match(buffer, 0, PIECE + 2)
            cut = match.end() if match else PIECE
            yield buffer[:cut]
            buffer = buffer[cut:]
    if buffer:
        yield buffer


def span(source: Source, start: int, end: int) -> Iterator[str]:
    """The pieces of the characters from `start` up to, but without, `end`."""
    position = 0
    for piece in pieces(source):
        part = piece[max(0, start - position) : max(0, end - position)]
        if part:
            yield part
        position += len(piece)
        if position >= end:
            return


def length(source: Source) -> int:
    """The number of characters of the text."""
    return sum(map(len, characters(source)))
