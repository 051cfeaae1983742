"""Helpers for the grammar of messages: plurals and lists."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Format a number with its noun, in the singular or plural: "1 layer", "2 layers", "12,000 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(words: Sequence[str], last: str = "or") -> str:
    """Join words into a list for a sentence: "rnn, lstm or gru"."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
