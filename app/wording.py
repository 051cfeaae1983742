"""Helpers for the wording of messages: plurals, lists and numbers."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

_TYPES = {"`int`": "an integer", "`float`": "a number", "`bool`": "true or false"}
_BOUNDS = {"<=": "of at most", ">=": "of at least", "<": "below", ">": "above"}
_LARGE = 1e4  # from here on, float32 has too few decimal places for numbers such as times and coordinates


def quantity(number: int, noun: str) -> str:
    """Format a number with its noun, in the singular or plural: "1 layer", "2 layers", "12,000 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(words: Sequence[str], last: str = "or") -> str:
    """Join words into a list for a sentence: "rnn, lstm or gru"."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def type_in_words(notation: str) -> str:
    """Replace msgspec's notation for a type and its bound: "an integer of at most 9" for "`int` <= 9"."""
    kind, *bound = notation.split(" ")
    if kind not in _TYPES or len(bound) not in (0, 2):
        return notation
    return f"{_TYPES[kind]} {_BOUNDS[bound[0]]} {float(bound[1]):.12g}" if bound else _TYPES[kind]


def shortest(value: float) -> float:
    """Return the number with the fewest digits that is the same as `value` in float32, such as 9.59 for 9.5899944.

    A network computes in float32, so further digits are noise. Large numbers are rounded to twelve digits instead.
    """
    if not math.isfinite(value):
        return value
    digits = range(1, 10) if abs(value) < _LARGE else ()
    candidates = (float(f"{value:.{count}g}") for count in digits)
    return next((number for number in candidates if _float32(number) == _float32(value)), float(f"{value:.12g}"))


def _float32(value: float) -> bytes:
    return struct.pack("f", value)
