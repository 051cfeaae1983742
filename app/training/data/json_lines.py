"""Reads JSON Lines files as records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

from app.training.data.files import Record, Source, lines
from app.training.data.json_text import explain
from app.training.failures import BadData

_HEADER_RECORDS = 100


def header(source: Source) -> list[str]:
    """The keys of the first records, in order of appearance: lines may differ in their keys."""
    names: dict[str, None] = {}
    fault: BadData | None = None
    for record in islice(records(source), _HEADER_RECORDS):
        names.update(dict.fromkeys(record.values))
        fault = fault or record.fault
    if not names and fault:
        raise fault
    if not names:
        raise source.fault("has no records; each line must be a JSON object")
    return list(names)


def records(source: Source) -> Iterator[Record]:
    """Every record, without blank lines. A malformed line is a record with a fault, which has its line and column."""
    for number, line in lines(source):
        if line.strip():
            yield _record(source, number, line)


def _record(source: Source, number: int, line: str) -> Record:
    try:
        return Record(f"line {number}", _parse(source, number, line))
    except BadData as error:
        return Record(f"line {number}", {}, error)


def _parse(source: Source, number: int, line: str) -> dict[str, object]:
    where = f"line {number}"
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        column, reason = explain(line, error)
        hint = "; each line must be one JSON object" if isinstance(error, json.JSONDecodeError) else ""
        raise source.fault(reason + hint, where, f"column {column}") from None
    if not isinstance(values, dict):
        kind = {"list": "an array", "str": "a string"}.get(type(values).__name__, "a plain value")
        raise source.fault(f"{kind} where a JSON object is expected", where, "column 1")
    return values
