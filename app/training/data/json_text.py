"""Explains why a string cannot be parsed as JSON, and locates the error."""

from __future__ import annotations

import json
import re

_MAX_DEPTH = 100  # used only to locate the error: json.loads itself fails much deeper, at the recursion limit
_LONG_NUMBER = re.compile(r"\d{4301,}")  # Python converts at most 4300 digits to an integer
_STRINGS_AND_BRACKETS = re.compile(r'"(?:\\.|[^"\\])*"|[\[{]|[\]}]')


def explain(text: str, error: ValueError | RecursionError) -> tuple[int, str]:
    """Return the column (from 1) and the reason for the `error` that `json.loads` raised for the one-line `text`."""
    if isinstance(error, json.JSONDecodeError):
        return error.colno, f"not valid JSON: {error.msg}"
    if isinstance(error, RecursionError):
        return _too_deep_column(text), "nested too deeply"
    number = _LONG_NUMBER.search(text)
    digits = 0 if number is None else len(number[0])
    return (number.start() if number else 0) + 1, f"a number has {digits:,} digits, which is too many"


def _too_deep_column(text: str) -> int:
    """Return the column of the first bracket that is nested deeper than `_MAX_DEPTH`, or 1 if there is none."""
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > _MAX_DEPTH:
            return match.start() + 1
    return 1
