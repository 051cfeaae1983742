"""Collects the faults of a data file, so that a single error can report all of them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.training.data.row_ranges import RowRanges
from app.training.failures import BadData

LISTED = 100  # the maximum number of faults that a report lists one by one
# the number of kinds of faults that are counted separately, and the number of places that are named per kind
_KINDS, _PLACES = 20, 5
_OTHER = "other faults"  # the kind under which all other faults are counted
_SHOWN = 5  # the number of faults of each kind that a listing shows in full
_MOST_ADVISED = 0.1  # the largest share of faulty rows that messages propose to leave out
_LONGEST_KIND = 240  # characters; without the row's values, every reason in this package is shorter
_VARYING = re.compile(
    r"(?<![\w>])(?<!Expecting )(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|\b0x[0-9a-f]{2}\b|(?<![A-Za-z]-)\b\d[\d.,]*(?:e[+-]?\d+)?\b"
)  # quoted values and numbers, which differ between rows, but not the quotes in json's errors, such as "Expecting ':'"

OnFault = Callable[[BadData], None]


def raise_first(error: BadData) -> None:
    """Raise the first fault, to stop reading."""
    raise error


def ignore(error: BadData) -> None:
    """Do nothing, so that the faulty row is left out. Used in later passes: the first pass has counted the faults."""


class BadRows(BadData):
    """Several rows cannot be used.

    `faults` lists the first faults, and `counts` the number of rows for each kind of fault. `fraction` is the smallest
    value of `skip_bad_rows` that leaves the faulty rows out. `skippable` is false if no value does: the file cannot be
    read after the last fault, or nearly all rows are faulty. `unread` is the place after which nothing can be read, or
    "" if there is none. `basis` is a note in parentheses on what `fraction` counts, or "" if it counts rows.
    """

    def __init__(
        self, faults: Faults, message: str, skippable: bool, fraction: float, unread: str = "", basis: str = ""
    ) -> None:
        first = faults.first[0]
        super().__init__(message, first.param, first.file, where=first.where, reason=first.reason)
        self.faults, self.counts = list(faults.first), dict(faults.counts.most_common())
        self.ranges = {kind: str(ranges) for kind, ranges in faults.ranges.items()}
        self.examples, self.rows, self.skippable, self.fraction = (
            dict(faults.examples),
            faults.rows,
            skippable,
            fraction,
        )
        self.unread, self.basis = unread, basis

    def listing(self) -> str:
        """Return the first faults of each kind, one per line, and the number and the places of the others."""
        groups: dict[str, list[BadData]] = {}
        for fault in self.faults:
            kind = _kind(fault)
            groups.setdefault(kind if kind in self.counts else _OTHER, []).append(fault)
        lines = []
        for kind, count in self.counts.items():
            faults = groups.get(kind) or [self.examples[kind]]
            lines += [fault.message for fault in faults[:_SHOWN]]
            if more := count - len(faults[:_SHOWN]):
                every = str(self.ranges.get(kind, ""))
                lines.append(f"… and {more:,} more: {kind}" + (f" (all: {every})" if every else ""))
        return "\n".join(lines)

    def kinds(self) -> str:
        """List every kind of fault with its number of rows and one example."""
        return "; ".join(_show_count(kind, count, self.examples[kind]) for kind, count in self.counts.items())

    @property
    def remedy(self) -> str:
        """Advice to fix the faulty rows or, if all listed faults are in one named column, this column."""
        return _remedy(self.faults)

    @property
    def may_be_left_out(self) -> bool:
        """Whether so few rows are faulty that leaving them out is a reasonable proposal."""
        return self.skippable and self.fraction <= _MOST_ADVISED

    def to_dict(self) -> dict[str, Any]:
        """Return the faults as a dict."""
        faults = [describe(fault) for fault in self.faults]
        return {"rows": self.rows, "counts": self.counts, "places": self.ranges, "faults": faults}


def describe(fault: BadData) -> dict[str, Any]:
    """Return one fault as a dict: the request field that names the file (`file`), the place, and the message."""
    return {"file": fault.file, "where": list(fault.where), "message": fault.message}


@dataclass(slots=True)
class Faults:
    """The faults of one pass over the data: the first faults, and the number of rows for each kind of fault."""

    of_series: bool = False  # whether the usable examples are series of several rows
    rows: int = 0
    last: str = ""  # the place of the last fault
    first: list[BadData] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, BadData] = field(default_factory=dict)  # maps kinds of faults to their first faults
    places: dict[str, list[str]] = field(default_factory=dict)  # maps kinds of faults to their first places
    ranges: dict[str, RowRanges] = field(default_factory=dict)  # maps kinds of faults to all their places

    def add(self, error: BadData) -> None:
        """Record a row's fault. Call this at most once per row."""
        self.rows += 1
        self.last = error.where[0] if error.where else ""
        if len(self.first) < LISTED:
            self.first.append(error)
        kind = _kind(error)
        if kind not in self.counts and len(self.counts) >= _KINDS:
            kind = _OTHER
        self.counts[kind] += 1
        self.examples.setdefault(kind, error)
        places = self.places.setdefault(kind, [])
        of_file = " of the validation file" * (error.file == "validation_file")
        if error.where and len(places) < _PLACES:
            places.append(error.where[0] + of_file)
        if error.where:
            self.ranges.setdefault(kind, RowRanges()).add(error.where[0], of_file)

    def summary(self) -> str:
        """List every kind of fault with its number of rows and the first places where it occurs."""
        parts = []
        for kind, count in self.counts.most_common():
            places = ", ".join(self.places.get(kind, [])) + (", …" if count > _PLACES else "")
            shown = _show_count(kind, count, self.examples[kind])
            parts.append(f"{shown} ({places})" if places else shown)
        return "; ".join(parts)

    def check(self, total: int, skip_bad_rows: float) -> None:
        """Raise one error for all faults if more than the share `skip_bad_rows` of the `total` rows is faulty."""
        if self.rows > skip_bad_rows * total:
            raise self.failure(total, limit=skip_bad_rows)

    def failure(self, total: int, skippable: bool = True, limit: float = 0.0) -> BadData:
        """Return one error that reports all faults among `total` rows. If only one row is faulty, returns the error of
        that row. `limit` is the share of rows that may be left out.
        """
        first = self.first[0]
        if self.rows == 1:
            return self._single(first, total, skippable)
        fraction = smallest_fraction(self.rows, total)
        basis = self._basis(total)
        share = f"{self.rows:,}" if basis else f"{self.rows:,} of {total:,}"
        message = f"{first.message}. In total, {share} rows cannot be used: {self.summary()}"
        if skippable and fraction <= _MOST_ADVISED:
            message += f". Fix these rows, or set training.skip_bad_rows to {fraction} or more to leave them out{basis}"
        elif skippable:
            message += f". {_remedy(self.first)}"
            if fraction < 1:
                message += f". They are {100 * fraction:.0f} % of the rows{basis}, and training.skip_bad_rows allows "
                message += f"{100 * limit:g} %; to leave them out nevertheless, set it to {fraction} or more"
        else:
            message += f". The file cannot be read after the last of these rows, {self.last}"
        return BadRows(self, message, skippable and fraction < 1, fraction, "" if skippable else self.last, basis)

    def _basis(self, total: int) -> str:
        """Return a note in parentheses on what the share of faulty rows counts, or "" if it counts rows."""
        whole = f"the total of these rows and the {total - self.rows:,} usable series"
        return f" (a share of {whole})" if self.of_series else ""

    def _single(self, first: BadData, total: int, skippable: bool) -> BadData:
        """Return the error of the only faulty row, with advice on leaving it out, or with a note on unchecked rows."""
        fraction = smallest_fraction(1, total)
        if not skippable:
            advice = "The rest of the file cannot be read, so later rows are not checked"
        elif fraction > _MOST_ADVISED:
            return first
        else:
            advice = f"Fix this row, or set training.skip_bad_rows to {fraction} or more to leave it out"
            advice += self._basis(total).replace("these rows", "this row")
        return BadData(f"{first.message}. {advice}", first.param, first.file, where=first.where, reason=first.reason)


def smallest_fraction(rows: int, total: int) -> float:
    """Return the smallest share with two significant digits that is at least `rows / total`."""
    digits = max(2, 1 - math.floor(math.log10(rows / total)))
    scale: int = 10**digits
    number = -(-rows * scale // total)
    while rows > number / scale * total:  # the product may be rounded down
        number += 1
    return number / scale


def _remedy(faults: Sequence[BadData]) -> str:
    columns = {fault.where[1] if len(fault.where) > 1 else "" for fault in faults}
    column = columns.pop() if len(columns) == 1 else ""
    return "Fix these rows" + (f" or the {column}" if column.startswith("column '") else "")


def _kind(error: BadData) -> str:
    """Return the kind of a fault: its column and its reason, with the row's values replaced by an ellipsis."""
    return _with_column(error, _VARYING.sub("…", error.reason))


def _show_count(kind: str, count: int, example: BadData) -> str:
    """Return a kind of fault with its number of rows. The only fault of its kind is shown with the row's values."""
    return f"{count:,} × {_with_column(example, example.reason) if count == 1 and kind != _OTHER else kind}"


def _with_column(error: BadData, reason: str) -> str:
    column = error.where[1] if len(error.where) > 1 else ""
    reason = reason if len(reason) <= _LONGEST_KIND else f"{reason[: _LONGEST_KIND - 1]}…"
    return f"{column}: {reason}" if column and not column[7:].isdigit() else reason
