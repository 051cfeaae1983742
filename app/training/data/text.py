"""Reads plain text as one long stream of pieces.

The positions of the cuts depend only on the characters of the text, not on the blocks in which the file is read. If
possible, the text is cut before white space where tokenizers also split it, so that the cuts do not change the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.training.data.files import Source, characters

PIECE = 1 << 15  # the maximum number of characters in a piece; the last piece may have one more
_CUT = re.compile(r"(?s:.*)\S(?=[ \n]\S)")


def pieces(source: Source) -> Iterator[str]:
    """Yield the whole text in pieces of at most `PIECE` + 1 characters."""
    buffer = ""
    for block in _blocks(source):
        buffer += block
        while len(buffer) >= PIECE + 2:  # the two characters after a cut determine whether the cut is possible
            match = _CUT.match(buffer, 0, PIECE + 2)
            cut = match.end() if match else PIECE
            yield buffer[:cut]
            buffer = buffer[cut:]
    if buffer:
        yield buffer


def span(source: Source, start: int, end: int) -> Iterator[str]:
    """Yield the characters from `start` (inclusive) to `end` (exclusive), in pieces."""
    position = 0
    for piece in pieces(source):
        part = piece[max(0, start - position) : max(0, end - position)]
        if part:
            yield part
        position += len(piece)
        if position >= end:
            return


def length(source: Source) -> int:
    """Return the number of characters in the text."""
    return sum(map(len, _blocks(source)))


def _blocks(source: Source) -> Iterator[str]:
    """Yield the text in blocks, with line feeds as line ends, so that a model does not learn to write CR LF."""
    last, is_changed = "", False  # a CR at the end of a block may belong to an LF in the next one
    for block in characters(source):
        text = last + block
        last = "\r" if text.endswith("\r") else ""
        is_changed |= "\r\n" in text
        yield text.removesuffix(last).replace("\r\n", "\n")
    if last:
        yield last
    if is_changed:
        source.remark("line_ends", "has lines that end with CR LF, which are read as LF")
