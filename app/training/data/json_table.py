"""Reads a JSON file that consists of a single object with all rows, in the forms that data frame libraries write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def rows_of(table: dict[str, Any]) -> Iterator[dict[str, Any]] | None:
    """Return the rows of the table that an object represents, or None if the object is a single record.

    The following forms are recognised: columns as lists of equal length; columns as objects that map row keys to
    values; row objects under their row keys (the "index" form of pandas' `to_json`); the keys "columns" and "data" (the
    "split" form of `to_json`); and a list of row objects under a single key, such as "data".
    """
    values = list(table.values())
    if isinstance(table.get("columns"), list) and isinstance(table.get("data"), list):
        return _split(table["columns"], table["data"])
    if _are_columns(table, list):
        return (dict(zip(table, row, strict=True)) for row in zip(*values, strict=True))
    if _are_columns(table, dict) and all(column.keys() == values[0].keys() for column in values):
        if _are_rows(table, values[0]):
            return iter(values)
        return ({name: column[key] for name, column in table.items()} for key in values[0])
    key = rows_key(table)
    return None if key is None else iter(table[key])


def rows_key(table: dict[str, Any]) -> str | None:
    """Return the only key whose value is a list if this list consists of row objects; otherwise, return None.

    The key "messages" does not count, because its list is a conversation.
    """
    lists = [key for key, value in table.items() if isinstance(value, list) and key != "messages"]
    if len(lists) == 1 and (rows := table[lists[0]]) and all(isinstance(row, dict) for row in rows):
        return lists[0]
    return None


def _are_columns(table: dict[str, Any], kind: type[list[Any]] | type[dict[str, Any]]) -> bool:
    columns: list[Any] = list(table.values())
    # A single list may contain the messages of a conversation or the steps of a sequence. Such a list is part of a
    # record, not a column.
    enough = len(columns) > 1 or (len(columns) == 1 and "text" in table)
    return enough and all(isinstance(column, kind) and len(column) == len(columns[0]) > 0 for column in columns)


def _are_rows(table: dict[str, Any], first: dict[str, Any]) -> bool:
    """Whether the table's keys are row keys, and each value maps column names to cells. `first` is the first value.

    Inner keys that are all numbers are not column names. Otherwise, the outer keys are row keys if all of them are
    numbers, or if "text" is an inner key, but not an outer key.
    """
    if all(map(str.isdecimal, first)):
        return False
    return all(map(str.isdecimal, table)) or ("text" in first and "text" not in table)


def _split(names: list[Any], rows: list[Any]) -> Iterator[dict[str, Any]] | None:
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        return None
    return (dict(zip(map(str, names), row, strict=True)) for row in rows)
