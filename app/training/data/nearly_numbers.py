"""Recognises columns of numbers in which some cells are not numbers, such as n/a or the unit of the column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

_SHARE = 0.5  # more than this share of the values must be numbers, or numbers with the same unit
# The quantifiers are possessive, so that matching takes linear time.
_WITH_UNIT = re.compile(r"([$€£¥]?)\s*+([+\-−]?\d[\d.,'’]*+)\s*+((?:[^\W\d_]{1,5}+[23²³]?|[$€£¥%°]|)\.?)")
_LONGEST = 40  # characters of a number with a unit


def are_nearly_numbers(values: Sequence[Any], is_number: Callable[[Any], bool]) -> bool:
    """Whether most of the values are numbers, all without a unit or all with the same one, such as '120 m2'."""
    units = Counter("" if is_number(value) else _unit(value, is_number) for value in values)
    del units[None]
    return bool(units) and max(units.values()) > _SHARE * len(values)


def _unit(value: Any, is_number: Callable[[Any], bool]) -> str | None:
    """Return the unit before or after the number in a text, or None if the text is anything else."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    match = _WITH_UNIT.fullmatch(value.strip())
    return f"{match[1]}{match[3]}".rstrip(".") or None if match and is_number(match[2]) else None
