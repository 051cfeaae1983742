"""Limits the size of the texts that an imported tokenizer reads at once, and thereby the time and memory it uses."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

from app.errors import InvalidRequest

CHARACTERS = 2**17  # maximum number of characters in one text or pair, and in all texts that are read at once
GROWTH, SLACK = 4, 1024  # how much normalization may lengthen a text: by a factor, plus extra characters
SLICE = 2**15  # characters read per step; other threads wait during a step

# A function that returns whether the caller has stopped waiting for the texts. It is called between groups of texts.
abandoned: ContextVar[Callable[[], bool]] = ContextVar("abandoned", default=lambda: False)


class Abandoned(Exception):
    """Tokenization has stopped because the caller is no longer waiting for the texts."""


def groups(inputs: Sequence[Any]) -> Iterator[list[Any]]:
    """Divide texts, or pairs of texts, into groups that are small enough to be read at once.

    Raises InvalidRequest (`text_too_long`) for a text that is too long or becomes too long when it is normalized.
    Raises Abandoned between two groups if the caller is no longer waiting for the texts.
    """
    group: list[Any] = []
    size = 0
    for item in inputs:
        length = _check(item)
        if group and size + length > CHARACTERS:
            yield group
            if abandoned.get()():
                raise Abandoned
            group, size = [], 0
        group.append(item)
        size += length
    if group:
        yield group


def _check(item: str | tuple[str, str]) -> int:
    """Return the number of characters in a text or pair. Raises InvalidRequest if there are too many characters."""
    texts = (item,) if isinstance(item, str) else item
    length = sum(map(len, texts))
    if length > CHARACTERS:
        message = f"a text has {length} characters; this version's tokenizer reads at most {CHARACTERS}"
        raise InvalidRequest(message, code="text_too_long")
    if any(not text.isascii() and _normalized_length(text) > GROWTH * len(text) + SLACK for text in texts):
        message = f"a text becomes more than {GROWTH} times as long when it is normalized"
        raise InvalidRequest(message, code="text_too_long")
    return length


def _normalized_length(text: str) -> int:
    pieces = (text[start : start + SLICE] for start in range(0, len(text), SLICE))
    return sum(len(unicodedata.normalize("NFKD", piece)) for piece in pieces)
