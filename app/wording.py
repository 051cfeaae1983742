"""Helpers for the wording of messages: plurals, lists and numbers."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence

_TYPES = {"`int`": "an integer", "`float`": "a number", "`bool`": "true or false"}
_BOUNDS = {"<=": "of at most", ">=": "of at least", "<": "below", ">": "above"}
_NAMES = {  # types in msgspec's messages -> words
    "int": "an integer", "float": "a number", "bool": "true or false", "str": "a string", "array": "a list",
    "object": "an object", "null": "null",
}  # fmt: skip
_PARTS = {"str": "character", "array": "item", "object": "field"}  # what the length of a type counts
_LENGTHS = {"<=": "at most ", ">=": "at least ", "": ""}
_KIND = re.compile(r"Expected `([a-z |]+)`, got `([a-z]+)`(?P<key> as a key)?")
_BOUND = re.compile(r"Expected (`(?:int|float)` (?:<=|>=|<|>) -?[\d.e+-]+)")
_LENGTH = re.compile(r"Expected `(str|array|object)` of length (<=|>=|) ?(\d+)(?:, got (\d+))?")
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


def fault_in_words(fault: str) -> str:
    """Replace msgspec's notation in a message about a value: "must be a number below 1" for "Expected `float` < 1.0".

    The result continues the name of the field, or begins with a colon if the message is not about a type or a bound.
    """
    if match := _KIND.fullmatch(fault):
        kinds = [_NAMES[kind] for kind in match[1].split(" | ") if kind in _NAMES]
        wanted = listed([kind for kind in kinds if kind != "null"]) or "null"
        sent = {"float": "a decimal number", "bool": "a truth value"}.get(match[2]) or _NAMES.get(match[2], match[2])
        if match["key"]:
            return f" must have {wanted.partition(' ')[2]}s as keys, not {sent.partition(' ')[2]}s"
        return f" must be {wanted}, not {sent}"
    if match := _BOUND.fullmatch(fault):
        return f" must be {type_in_words(match[1])}"
    if match := _LENGTH.fullmatch(fault):
        sent = f", not {match[4]}" if match[4] else ""
        return f" must have {_LENGTHS[match[2]]}{quantity(int(match[3]), _PARTS[match[1]])}{sent}"
    return f": {fault[:1].lower()}{fault[1:]}"


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
