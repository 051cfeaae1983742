"""Long tables: one step of a numeric sequence a row, gathered by series id, in the order of time.

Knows cells and numbers. A table need not be sorted; it is held as numbers, 4 bytes a cell and 8 a time.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from app.training.data.columns import Example, Layout
from app.training.data.files import Record

# Times of one kind can be put in order; a date without an offset may be any of a day's moments.
_NUMBER, _DATE, _MOMENT = "a number", "a date without an offset", "a date with an offset from UTC"
_MONTH = re.compile(r"\d{4}-\d\d")
_TICK = timedelta(microseconds=1)


@dataclass(slots=True)
class _Series:
    where: str
    labels: tuple[str, ...]
    value: float
    split: int
    cells: array[float] = field(default_factory=lambda: array("f"))
    times: array[Any] = field(default_factory=lambda: array("d"))
    kind: str = ""  # of its times


def examples(layout: Layout, records: Iterator[Record]) -> Iterator[Example]:
    gathered: dict[str, _Series] = {}
    for record in records:
        with layout.reading(record):
            _take(layout, record, gathered)
    while gathered:  # let go of each when it is done with
        series = gathered.pop(next(iter(gathered)))
        steps_TF = np.frombuffer(series.cells, dtype=np.float32).reshape(-1, len(layout.steps))
        if "time" in layout.names:
            times_T = np.frombuffer(series.times, dtype=series.times.typecode)
            steps_TF = steps_TF[np.argsort(times_T, kind="stable")]  # equal times stay as they stand in the file
        yield Example(series.where, features_TF=steps_TF, labels=series.labels, value=series.value, split=series.split)


def _take(layout: Layout, record: Record, gathered: dict[str, _Series]) -> None:
    name = _name(layout, record)
    (labels, value), split = layout.target(record), layout.split(record)
    series = gathered.setdefault(name, _Series(record.where, labels, value, split))
    for key, ours, first in (
        ("label", labels, series.labels),
        ("value", value, series.value),
        ("split", split, series.split),
    ):
        if ours != first:
            raise layout.fail(record.where, key, f"differs from {series.where} of the same series {name!r}")
    for column in layout.steps:
        series.cells.append(layout.number(record, column, record.values.get(column)))
    if "time" in layout.names:
        _take_time(layout, record, series)


def _name(layout: Layout, record: Record) -> str:
    value = record.values.get(layout.names["series"])
    name = "" if value is None else str(value).strip()
    if not name:
        raise layout.fail(record.where, "series", "is empty; each row must say which series it belongs to")
    return name


def _take_time(layout: Layout, record: Record, series: _Series) -> None:
    value = record.values.get(layout.names["time"])
    text = "" if value is None else str(value).strip()
    if not text:
        raise layout.fail(record.where, "time", "is empty; each row must say when it was")
    found = _instant(text)
    if found is None:
        said = f"{text!r} is no time; it can be a number, or a date in ISO form like 2026-01-31 or 2026-01-31T09:05:00"
        raise layout.fail(record.where, "time", said)
    kind, time = found
    if not series.times:
        series.kind, series.times = kind, array("d" if kind == _NUMBER else "q")
    if kind != series.kind:
        said = f"{text!r} is {kind}, but the time of {series.where} is {series.kind}"
        raise layout.fail(record.where, "time", f"{said}; the times of a series must be of one kind")
    series.times.append(time)


def _instant(text: str) -> tuple[str, float] | None:
    """What kind of time it is, and when: a number, or microseconds; None for what is no time."""
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        return (_NUMBER, number) if math.isfinite(number) else None
    try:
        date = datetime.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else text)
    except ValueError:
        return None
    if date.tzinfo is None:
        return _DATE, (date - datetime.min) // _TICK
    return _MOMENT, (date - datetime.min.replace(tzinfo=UTC)) // _TICK
