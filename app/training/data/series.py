"""Reads tables in long format, in which each row is one step of a numeric sequence.

The steps are grouped by series and sorted by time.

A table need not be sorted, so all steps are kept in memory: 8 bytes per number and 8 bytes per time.
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

from app.training.data.columns import errors_as_faults, is_empty, read_split, read_step, read_target
from app.training.data.example import UNASSIGNED, Example, Target
from app.training.data.faults import OnFault, raise_first
from app.training.data.files import Record
from app.training.data.layouts import Layout
from app.training.data.notes import EMPTY_ROWS, EQUAL_TIMES, NO_SPLIT, NotedRows, sentence
from app.training.data.usual_names import quoted
from app.training.failures import BadData
from app.wording import quantity

# Only times of one kind can be sorted: a date without an offset cannot be compared with moments in UTC.
_NUMBER, _DATE, _MOMENT = "a number", "a date without an offset", "a date with an offset from UTC"
_MONTH = re.compile(r"\d{4}-\d\d")
_TICK = timedelta(microseconds=1)


@dataclass(slots=True)
class _Series:
    name: str
    where: str  # the place of the first row of the series
    target: Target
    split: int
    numbers: array[float] = field(default_factory=lambda: array("d"))  # the features of all steps, step by step
    times: array[Any] = field(default_factory=lambda: array("d"))
    time_kind: str = ""


def read_examples(layout: Layout, records: Iterator[Record], on_fault: OnFault = raise_first) -> Iterator[Example]:
    """Yield one example per series. Series are ordered by their first rows.

    If a row is faulty and `on_fault` returns, the row's whole series is left out, because a series without this step
    would be a different series.
    """
    by_name: dict[str, _Series] = {}
    faulty: dict[str, str] = {}  # maps each series with a faulty row to the place of the row
    empty, trimmed = NotedRows(), NotedRows()  # rows that are empty, or have blanks around the name of their series
    for record in records:
        try:
            with errors_as_faults(layout, record):
                if is_empty(layout, record):
                    empty.add(record.where)
                else:
                    _add(layout, record, by_name)
                    if (name := str(record.values[layout.names["series"]])) != name.strip():
                        trimmed.add(record.where)
        except BadData as error:
            on_fault(error)
            value = record.values.get(layout.names["series"])
            faulty.setdefault("" if value is None else str(value).strip(), record.where)
    faulty.pop("", None)
    for name in faulty:
        by_name.pop(name, None)
    _remark(layout, faulty, len(faulty) + len(by_name), empty, trimmed)
    # Each series is released when it is yielded, so memory use decreases while the caller stores the steps elsewhere.
    # The series are taken from the end of a reversed list. Deleting keys from the front of a dictionary would take
    # quadratic time, because finding the first key skips all deleted entries before it.
    remaining = list(by_name.values())
    by_name.clear()
    remaining.reverse()
    while remaining:
        yield _to_example(layout, remaining.pop())


def _remark(layout: Layout, faulty: dict[str, str], series: int, empty: NotedRows, trimmed: NotedRows) -> None:
    """Add remarks about series and empty rows that are not used, and about blanks around the names of series.

    `faulty` maps the series that are not used to their first faulty rows. `series` is the number of all series.
    """
    if trimmed.count:
        message = f"blanks around the names of series are removed in {quantity(trimmed.count, 'row')}"
        layout.source.remark("series_trimmed", message, trimmed.places[0], trimmed.count)
    if faulty:
        verb = "is not used, because some of its" if len(faulty) == 1 else "are not used, because some of their"
        message = f"{len(faulty):,} of {series:,} series {verb} rows cannot be used: {quoted(faulty)}"
        layout.source.remark("series_left_out", message, next(iter(faulty.values())), len(faulty), "warn")
    if empty.count:
        message = sentence(EMPTY_ROWS, empty.count, empty.places)
        layout.source.remark(EMPTY_ROWS, message, empty.places[0], empty.count, "warn")


def _to_example(layout: Layout, series: _Series) -> Example:
    steps_TF = np.frombuffer(series.numbers, dtype=np.float64).reshape(-1, len(layout.steps))
    notes = [NO_SPLIT] * ("split" in layout.names and series.split == UNASSIGNED)
    if "time" in layout.names:
        times_T = np.frombuffer(series.times, dtype=series.times.typecode)
        order_T = np.argsort(times_T, kind="stable")  # steps with equal times keep their order in the file
        steps_TF = steps_TF[order_T]
        notes += [EQUAL_TIMES] * bool((np.diff(times_T[order_T]) == 0).any())
    return Example(
        series.where, features_TF=steps_TF, target=series.target, split=series.split, notes=tuple(notes),
        series=series.name,
    )  # fmt: skip


def _add(layout: Layout, record: Record, by_name: dict[str, _Series]) -> None:
    name = _name(layout, record)
    target, split = read_target(layout, record), read_split(layout, record)
    series = by_name.get(name)
    if series is None:
        series = by_name[name] = _Series(name, record.where, target, split)
    for key, own, first in (
        ("label", _bare(target.labels), _bare(series.target.labels)),
        ("value", target.value, series.target.value),
        ("split", split, series.split),
    ):
        if own != first:
            message = f"the value differs from that in {series.where}, although both rows belong to the series {name!r}"
            raise layout.fault(record.where, key, message)
    series.numbers.extend(read_step(layout, record))
    if "time" in layout.names:
        _add_time(layout, record, series)


def _bare(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(str.strip, labels))


def _name(layout: Layout, record: Record) -> str:
    value = record.values.get(layout.names["series"])
    name = "" if value is None else str(value).strip()
    if not name:
        raise layout.fault(record.where, "series", "the cell is empty; each row must name its series")
    return name


def _add_time(layout: Layout, record: Record, series: _Series) -> None:
    value = record.values.get(layout.names["time"])
    text = "" if value is None else str(value).strip()
    if not text:
        raise layout.fault(record.where, "time", "the cell is empty; each row must have a time")
    parsed = _parse_time(text)
    if parsed is None:
        reason = (
            f"{text!r} is not a time; use a number, or a date in ISO format such as 2026-01-31 or 2026-01-31T09:05:00"
        )
        raise layout.fault(record.where, "time", reason)
    kind, time = parsed
    if not series.times:
        series.time_kind, series.times = kind, array("d" if kind == _NUMBER else "q")
    if kind != series.time_kind:
        reason = f"{text!r} is {kind}, but the time of {series.where} is {series.time_kind}"
        raise layout.fault(record.where, "time", f"{reason}; all times of a series must be of the same kind")
    series.times.append(time)


def _parse_time(text: str) -> tuple[str, float] | None:
    """Return the kind of a time and its numeric value, or None if `text` is not a time. Dates are converted to
    microseconds since year 1.
    """
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
