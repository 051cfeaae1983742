"""Reads JSON as records: JSON Lines, an array, objects that span several lines, or one object that contains all
rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from app.training.data.files import EVERYTHING, Record, Selection, Source, characters, checked, lines
from app.training.data.json_names import RepeatedNames
from app.training.data.json_stream import objects
from app.training.data.json_table import rows_key, rows_of
from app.training.data.json_text import explain
from app.training.data.last_comments import Row, without_comments
from app.training.data.usual_names import quoted
from app.training.failures import BadData
from app.wording import quantity

_HEADER_RECORDS = 100
_DESCRIPTIONS = ("schema", "columns", "index")  # keys that pandas writes in addition to the rows
_NOTES = {
    "array": "is read as one JSON array with one record per element",
    "objects": "is read as JSON objects that span several lines, with one record per object",
    "table": "is read as one JSON object that contains all rows",
    "arrays": "is read as JSON arrays; the first array names the columns",
}


def header(source: Source) -> list[str]:
    """Return the keys of the first 100 records, in order of appearance. Records may have different keys."""
    names: dict[str, None] = {}
    fault: BadData | None = None
    try:
        for record in islice(records(source, EVERYTHING), _HEADER_RECORDS):
            names.update(dict.fromkeys(record.values))
            fault = fault or record.fault
    except BadData as error:  # no later record can be read; a pass over all records reports this error with the others
        fault = fault or error
    if not names and fault:
        raise fault
    if not names:
        raise source.fault("has no records; each line must be a JSON object")
    return list(names)


def records(source: Source, selection: Selection) -> Iterator[Record]:
    """Yield every record. Skips blank lines. A malformed line becomes a record whose fault states the line and column.

    In a file that is not JSON Lines, the records after malformed JSON can be read only if each record begins a line, in
    the same column as the malformed one. Otherwise, raises BadData.
    """
    kind = source.settled.get("json")
    if kind is None:
        kind = source.settled["json"] = _kind(source)
        if kind in _NOTES:
            source.remark("json", _NOTES[kind] + (_other_keys(source) if kind == "table" else ""))
    names = RepeatedNames(source)
    for where, value in _READERS[kind](source, names):
        names.count(where)
        yield _record(source, where, value)
    names.remark()


def _record(source: Source, where: str, value: Any) -> Record:
    if isinstance(value, BadData):
        return Record(where, {}, value)
    if isinstance(value, dict):
        return checked(source, Record(where, value))
    kind = {"list": "an array", "str": "a string", "NoneType": "null"}.get(type(value).__name__, "a scalar value")
    places = (where, "column 1") if where.startswith("line") else (where,)
    hint = "; for rows as arrays, the first array must name the columns" if isinstance(value, list) else ""
    return Record(where, {}, source.fault(f"expected a JSON object, found {kind}{hint}", *places))


def _kind(source: Source) -> str:
    """Determine the structure of the file: "lines", "array", "objects", "table" or "arrays"."""
    start = next((text for block in characters(source) if (text := block.lstrip())), "")
    if start.startswith("["):  # not read line by line, because the whole array may be one line
        return _kind_of_arrays(source)
    if not start.startswith("{"):
        return "lines"
    beginning = [line for _, line in islice((pair for pair in lines(source) if pair[1].strip()), 2)]
    first = beginning[0]
    try:
        value, is_whole = json.loads(first), True
    except (ValueError, RecursionError):
        value, is_whole = _first(source), False
    if value is None and first.strip() == "{" and not _row(beginning[-1], dict):  # the first object is malformed
        return "objects"
    if not isinstance(value, dict) or (is_whole and len(beginning) > 1):
        return "lines"
    others = islice(objects(source), 1, 2)
    if not any(True for _ in others) and rows_of(value) is not None:
        return "table"
    return "lines" if is_whole else "objects"


def _kind_of_arrays(source: Source) -> str:
    first = _first(source)
    if first is None or isinstance(first, dict):
        return "array"
    names = first if isinstance(first, list) else _row(next(text for _, text in lines(source) if text.strip()))
    return "arrays" if names and all(isinstance(name, str) and name.strip() for name in names) else "lines"


def _row(line: str, kind: type[list[Any] | dict[str, Any]] = list) -> Any:
    """Return the array (with `kind=dict`, the object) that a line contains, or [] if it contains something else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return value if isinstance(value, kind) else []


def _first(source: Source) -> Any:
    """Return the file's first JSON value (of an array, its first element), or None if it is absent or malformed."""
    try:
        value = next(objects(source), (1, None))[1]
    except BadData:
        return None
    return None if isinstance(value, BadData) else value


def _lines(source: Source, names: RepeatedNames) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each line that is not blank. For a malformed line, the value is the fault.

    Comments and footers after the last value are left out.
    """
    return without_comments(source, _decoded_lines(source, names))


def _decoded_lines(source: Source, names: RepeatedNames) -> Iterator[Row[tuple[str, Any]]]:
    for number, line in lines(source):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            yield (where, names.decoder.decode(line)), where, (), False
        except (ValueError, RecursionError) as error:
            column, reason = explain(line, error)
            hint = "; each line must be one JSON object" if isinstance(error, json.JSONDecodeError) else ""
            yield (where, source.fault(reason + hint, where, f"column {column}")), where, [line], True


def _array(source: Source, names: RepeatedNames) -> Iterator[tuple[str, Any]]:
    return ((f"row {number}", value) for number, (_, value) in enumerate(objects(source, names.decoder), 1))


def _objects(source: Source, names: RepeatedNames) -> Iterator[tuple[str, Any]]:
    return ((f"line {line}", value) for line, value in objects(source, names.decoder))


def _table(source: Source, names: RepeatedNames) -> Iterator[tuple[str, Any]]:
    [(_, table)] = objects(source, names.decoder)
    return ((f"row {number}", value) for number, value in enumerate(rows_of(table) or (), 1))


def _other_keys(source: Source) -> str:
    """Return the end of the remark about a table under one key: a list of the other keys, or "" if there are none.

    Raises BadData if the table is in the "split" form of pandas and lists a column twice.
    """
    [(_, table)] = objects(source)
    is_split = isinstance(table.get("columns"), list) and isinstance(table.get("data"), list)
    if is_split:
        _refuse_repeated(source, [str(name) for name in table["columns"]])
    key = "data" if is_split else rows_key(table)
    others = [name for name in table if name not in (key, *_DESCRIPTIONS)]
    return f", under the key {key!r}; its other keys are not read: {quoted(others)}" if key and others else ""


def _refuse_repeated(source: Source, names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise source.fault(f"the column {name!r} appears {count} times; rename all but one")


def _arrays(source: Source, names: RepeatedNames) -> Iterator[tuple[str, Any]]:
    """Yield the rows of an array of arrays, or of a file with one array per line, as objects."""
    is_nested = isinstance(_first(source), list)
    rows = _array(source, names) if is_nested else _lines(source, names)
    _, header = next(rows)
    _refuse_repeated(source, header)
    for where, row in rows:
        if not isinstance(row, list) or len(row) == len(header):
            yield where, dict(zip(header, row, strict=True)) if isinstance(row, list) else row
            continue
        have = f"the array has {quantity(len(row), 'value')}, but the first one has {len(header)} ({quoted(header)})"
        yield where, source.fault(f"{have}; every array must have the same number", where)


_READERS = {"arrays": _arrays, "lines": _lines, "array": _array, "objects": _objects, "table": _table}
