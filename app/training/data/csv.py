"""CSV and TSV as records. Knows quoting and the header; knows no column's meaning."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence

from app.training.data import files as data
from app.training.data.files import Record, Source, lines
from app.training.failures import BadData


def header(source: Source) -> list[str]:
    return _Table(source).names


def records(source: Source) -> Iterator[Record]:
    table = _Table(source)
    names = table.names
    while (cells := table.next()) is not None:
        if not cells:
            continue
        if len(cells) != len(names):
            raise _wrong_width(source, table.start, cells, names)
        yield Record(f"line {table.start}", dict(zip(names, cells, strict=True)))


class _Table:
    """The rows of a file, with the lines of the one that is being read: a record may span several."""

    def __init__(self, source: Source) -> None:
        csv.field_size_limit(sys.maxsize)  # a record as a whole is bounded
        self._source = source
        self._lines = lines(source)
        self._record: list[str] = []
        self._size = 0
        self.start = 1
        self._number, first = next(self._lines, (1, ""))
        self._delimiter = "\t" if source.format == "tsv" else max(",;\t", key=first.count)
        self._reader = csv.reader(self._feed(first), delimiter=self._delimiter, strict=True)
        self.names: list[str] = []
        self.names = self._header()

    def next(self) -> list[str] | None:
        """The cells of the next record, which begins at line `start`; None at the end."""
        self.start, self._size = self._number + bool(self.names), 0
        self._record.clear()
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise self._malformed(error) from None

    def _feed(self, first: str) -> Iterator[str]:
        self._record.append(first)
        yield first
        for number, line in self._lines:
            self._number = number
            self._record.append(line)
            self._size += len(line)
            if self._size > data.RECORD_BYTES:
                place = self._place()[0]
                raise self._source.fault(f"{data.too_long()}; is a quote that is opened here never closed?", *place)
            yield line

    def _header(self) -> list[str]:
        names = [name.strip() for name in self.next() or []]
        if not any(names):
            raise self._source.fault("no column names; the first line must name the columns", "line 1")
        for name in names:
            if names.count(name) > 1:
                raise self._source.fault(f"the column {name!r} is there {names.count(name)} times", "line 1")
        return names

    def _malformed(self, error: csv.Error) -> BadData:
        place, closed = self._place()
        why = str(error)
        if not closed:
            why = "a quote that is opened here is never closed"
        elif "expected after" in why:
            why += "; a quote inside a quoted cell is written twice"
        return self._source.fault(f"malformed CSV: {why}", *place)

    def _place(self) -> tuple[tuple[str, str], bool]:
        """(line, column) of the cell where quoting goes wrong in the record that is being read; is it closed?"""
        text = "".join(self._record)
        cell, at, closed = _wrong_quote(text, self._delimiter)
        column = f"column {self.names[cell]!r}" if cell < len(self.names) else f"column {cell + 1}"
        return (f"line {self.start + text.count(chr(10), 0, at)}", column), closed


def _wrong_quote(text: str, delimiter: str) -> tuple[int, int, bool]:
    """(number of the cell, its place in the text, whether its quote is closed) of the first one wrongly quoted."""
    cell = at = 0
    while at < len(text):
        opened = at
        if text[at] == '"':
            at = _after_quote(text, at + 1)
            if at < 0:
                return cell, opened, False
            if text[at : at + 1] not in ("", delimiter, "\r", "\n"):
                return cell, opened, True
        following = text.find(delimiter, at)
        if following < 0:
            break
        cell, at = cell + 1, following + 1
    return cell, len(text), True


def _after_quote(text: str, at: int) -> int:
    """Where a quoted cell has ended; -1 where it does not. A quote in it is written twice."""
    while (at := text.find('"', at) + 1) > 0:
        if text[at : at + 1] != '"':
            return at
        at += 1
    return -1


def _wrong_width(source: Source, line: int, cells: Sequence[str], names: Sequence[str]) -> BadData:
    if len(cells) > len(names):
        column, hint = f"column {len(names) + 1}", "put cells that hold the delimiter in double quotes"
    else:
        column, hint = f"column {names[len(cells)]!r}", "a cell is missing"
    message = f"{len(cells)} cells where the header has {len(names)} ({', '.join(names)}); {hint}"
    return source.fault(message, f"line {line}", column)
