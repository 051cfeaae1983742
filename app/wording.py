"""Small grammar for messages."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 layer", "2 layers", "12,000 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(words: Sequence[str], last: str = "or") -> str:
    """Words as a sentence lists them: "rnn, lstm or gru"."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
