"""Reads numbers with a decimal comma or with thousands separators, such as 1.422,54 and 1,422.54."""

from __future__ import annotations

import re

_BLANK = "[ \u00a0\u2009\u202f'’]"  # blanks and apostrophes, which can only separate thousands
_NOT_OF_THE_NUMBER = re.compile(_BLANK)
_MINUS = str.maketrans("−", "-")


def _pattern(decimal: str, group: str) -> re.Pattern[str]:
    blanks = rf"[1-9]\d{{0,2}}(?P<blank>{_BLANK})\d{{3}}(?:(?P=blank)\d{{3}})*"
    indian = rf"[1-9]\d?(?:{group}\d\d)+{group}\d{{3}}"
    whole = rf"\d+|[1-9]\d{{0,2}}(?:{group}\d{{3}})+|{blanks}|{indian}"
    return re.compile(rf"[+-]?(?:(?:{whole})(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?")


_PATTERNS = {".": _pattern(r"\.", ","), ",": _pattern(",", r"\.")}
_CERTAIN = re.compile(r"[+-]?(?![1-9]\d{0,2}\.\d{3}(?:[eE]|\Z))(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d+)?")


def is_certain(text: str) -> bool:
    """Whether Python reads the text as a number that has the same value in every notation, unlike 1.422."""
    return _CERTAIN.fullmatch(text.strip()) is not None


class UnclearNumber(str):
    """A cell with a number that may have two values. `reason` explains what to write instead."""

    reason: str = ""


def reading(text: str, decimal: str) -> str | None:
    """Return a number in Python's notation, or None if the text is not a number with the decimal mark `decimal`.

    The text may have thousands separators: blanks, apostrophes, or the mark (point or comma) that is not `decimal`.
    """
    text = text.strip().translate(_MINUS)
    if _PATTERNS[decimal].fullmatch(text) is None:
        return None
    return _NOT_OF_THE_NUMBER.sub("", text).replace("," if decimal == "." else ".", "").replace(decimal, ".")
