"""Parses and checks the items in a request's input before they are tokenized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.errors import InvalidRequest
from app.inference.conversations import Conversation


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pair of texts as one input, or a single text if `text_pair` is missing."""

    text: str
    text_pair: str | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """One numeric sequence, with one row of numbers per step."""

    rows: list[list[float]]


Item = str | Pair | list[int] | Steps | Conversation
SHAPES = (
    "a text, a list of texts, {text, text_pair} objects, token ids, a list of lists of token ids, "
    "or numbers as [[[number]]] (batch, time, feature)"
)


def entries_of(value: Any, most: int) -> int:
    """Estimate the work of parsing a value by counting its list entries and those nested in its first `most` items."""
    if not isinstance(value, list):
        return 1
    return len(value) + sum(len(item) for item in value[:most] if isinstance(item, list))


def parse(value: Any, field: str, most: int, *, blank: bool = False) -> list[Item]:
    """Parse a request's input, which may have any of the `SHAPES`, into items.

    `blank` allows texts that are empty or consist only of white space. Raises InvalidRequest with the position of the
    invalid item.
    """
    if isinstance(value, str | Pair):
        return [_item(value, field, blank)]
    if not isinstance(value, list):
        raise InvalidRequest(f"{field} must be {SHAPES}", param=field)
    if not value:
        raise InvalidRequest(f"{field} is empty", param=field)
    if _all(int, value):
        return [value]
    if len(value) > most:
        raise InvalidRequest(
            f"{field} contains {len(value)} items; one request may contain at most {most}", param=field
        )
    items = [_item(entry, f"{field}[{i}]", blank) for i, entry in enumerate(value)]
    if len({str if isinstance(item, Pair) else type(item) for item in items}) > 1:
        raise InvalidRequest(f"{field} mixes texts, token ids and numbers; send only one kind", param=field)
    return items


def _item(value: Any, field: str, blank: bool) -> Item:
    if isinstance(value, str):
        return _text(value, field, blank)
    if isinstance(value, Pair):
        return _pair(value.text, value.text_pair, field)
    if isinstance(value, list) and value:
        if _all(int, value):
            return value
        if _all(str, value) and len(value) == 2:
            return _pair(value[0], value[1], field)
        if all(isinstance(row, list) and row and not _all(str, row) for row in value):
            return Steps(value)
    raise InvalidRequest(f"{field} is {'empty' if value == [] else 'malformed'}; it must be {SHAPES}", param=field)


def _all(kind: type, value: list[Any]) -> bool:
    return type(value[0]) is kind and all(type(entry) is kind for entry in value)


def _text(value: str, field: str, blank: bool = False) -> str:
    if not blank and not value.strip():
        raise InvalidRequest(f"{field} is empty", param=field)
    return value


def _pair(text: str, text_pair: str | None, field: str) -> Item:
    _text(text, field)
    return text if text_pair is None else Pair(text, _text(text_pair, f"{field}.text_pair"))


def size_of(items: Sequence[Item]) -> int:
    """Estimate the work of preparing the items by counting their characters, ids or numbers."""
    size = 0
    for item in items:
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, Pair):
            size += len(item.text) + len(item.text_pair or "")
        elif isinstance(item, Steps):
            size += len(item.rows) * len(item.rows[0])
        else:
            size += len(item)
    return size
