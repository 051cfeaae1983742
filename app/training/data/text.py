"""Plain text as one long stream, in pieces. Knows characters; knows no tokens.

Where it is cut follows from the characters alone: before white space that a tokenizer would cut at as well, if there
is any. So tokens do not depend on how a file is read, nor on where its lines end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.training.data.files import Source, characters

PIECE = 1 << 15  # characters, at most
_CUT = re.compile(r"(?s:.*)\S(?=[ \n]\S)")


def pieces(source: Source) -> Iterator[str]:
    held = ""
    for block in characters(source):
        held += block
        while len(held) >= PIECE + 2:  # the cut looks two characters ahead
            found = _CUT.match(held, 0, PIECE + 2)
            cut = found.end() if found else PIECE
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def span(source: Source, start: int, end: int) -> Iterator[str]:
    """The pieces of the characters from `start` up to `end`."""
    at = 0
    for piece in pieces(source):
        part = piece[max(0, start - at) : max(0, end - at)]
        if part:
            yield part
        at += len(piece)
        if at >= end:
            return


def length(source: Source) -> int:
    return sum(map(len, characters(source)))
