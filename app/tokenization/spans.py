"""Finds the characters of a text that each token encodes."""

from __future__ import annotations

from collections.abc import Sequence

from app.tokenization.tokenizer import Tokenizer

Span = tuple[int, int]  # the positions of the first character, and of the one after the last


def character_spans(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> list[Span | None]:
    """Return the range of characters that each token encodes. Several tokens may share a character.

    The range is None for special tokens. If the tokenizer changes the text, all ranges are None.
    """
    if tokenizer.token_bytes is None or tokenizer.join(ids) != text.encode():
        return [None] * len(ids)
    # For each byte of the text, the position of its character.
    characters = [number for number, character in enumerate(text) for _ in character.encode()]
    spans: list[Span | None] = []
    end = 0
    for id_ in ids:
        start, end = end, end + len(tokenizer.join([id_]))
        spans.append((characters[start], characters[end - 1] + 1) if end > start else None)
    return spans
