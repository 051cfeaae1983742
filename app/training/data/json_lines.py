"""JSON lines as records. Knows JSON; knows no column's meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice

from app.training.data.files import Record, Source, lines

_LOOKED_AT = 100
_DEEP = 100  # no record nests deeper than this with sense
_LONG_NUMBER = re.compile(r"\d{4301,}")
_STRINGS_AND_BRACKETS = re.compile(r'"(?:\\.|[^"\\])*"|[\[{]|[\]}]')


def header(source: Source) -> list[str]:
    """The keys of the first records, in the order of their appearance: lines may differ in their keys."""
    names: dict[str, None] = {}
    for record in islice(records(source), _LOOKED_AT):
        names.update(dict.fromkeys(record.values))
    if not names:
        raise source.fault("has no records; each line must be a JSON object")
    return list(names)


def records(source: Source) -> Iterator[Record]:
    for number, line in lines(source):
        if line.strip():
            yield Record(f"line {number}", _parse(source, number, line))


def _parse(source: Source, number: int, line: str) -> dict[str, object]:
    where = f"line {number}"
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        column, why = explain(line, error)
        raise source.fault(why, where, f"column {column}") from None
    if not isinstance(values, dict):
        kind = {"list": "an array", "str": "a string"}.get(type(values).__name__, "a plain value")
        raise source.fault(f"{kind} where a JSON object must stand", where, "column 1")
    return values


def explain(text: str, error: ValueError | RecursionError) -> tuple[int, str]:
    """Why `json.loads` would not read a text of one line: the column, and what is wrong there."""
    if isinstance(error, json.JSONDecodeError):
        return error.colno, f"not JSON: {error.msg}; each line must be one JSON object"
    if isinstance(error, RecursionError):
        return _deep(text), "nested too deeply"
    number = _LONG_NUMBER.search(text)
    digits = 0 if number is None else len(number[0])
    return (number.start() if number else 0) + 1, f"a number of {digits:,} digits, more than can be read"


def _deep(text: str) -> int:
    """The column where it gets too deep for anybody."""
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > _DEEP:
            return match.start() + 1
    return 1
