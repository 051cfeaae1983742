"""Reads CSV and TSV files as records."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from app.training.data import files
from app.training.data.files import Record, Source, lines
from app.training.failures import BadData


def header(source: Source) -> list[str]:
    """The names of the columns, from the first line."""
    return _Table(source).names


def records(source: Source) -> Iterator[Record]:
    """Every record, without empty lines. A record of a wrong width has a fault.

    Raises BadData with the line and column of a malformed quote, after which no record can be trusted.
    """
    table = _Table(source)
    names = table.names
    while (cells := table.next()) is not None:
        if not cells:
            continue
        where = f"line {table.start}"
        if len(cells) != len(names):
            yield Record(where, {}, _wrong_width(source, table.start, cells, names))
        else:
            yield Record(where, dict(zip(names, cells, strict=True)))


class _Table:
    """The rows of a file. Keeps the lines of the current record, which may be several, to locate an error in it."""

    def __init__(self, source: Source) -> None:
        csv.field_size_limit(sys.maxsize)  # RECORD_BYTES bounds the record instead
        self._source = source
        self._lines = lines(source)
        self._record: list[str] = []
        self._size = 0  # characters of the current record so far
        self.start = 1  # the first line of the current record
        self._number, first = next(self._lines, (1, ""))
        self._delimiter = "\t" if source.format == "tsv" else max(",;\t", key=first.count)
        self._reader = csv.reader(self._feed(first), delimiter=self._delimiter, strict=True)
        self.names: list[str] = []
        self.names = self._header()

    def next(self) -> list[str] | None:
        """The cells of the next record, which begins at line `start`; None at the end of the file."""
        # A record begins on the line after the last one read; only the header begins on the line that is read already.
        self.start, self._size = self._number + bool(self.names), 0
        self._record.clear()
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise self._malformed(error) from None

    def _feed(self, first: str) -> Iterator[str]:
        """The lines of the file for csv.reader, each also kept as a part of the current record."""
        self._record.append(first)
        yield first
        for number, line in self._lines:
            self._number = number
            self._record.append(line)
            self._size += len(line)
            if self._size > files.RECORD_BYTES:
                place = self._place()[0]
                raise self._source.fault(f"{files.too_long()}; is a quote opened here and never closed?", *place)
            yield line

    def _header(self) -> list[str]:
        names = [name.strip() for name in self.next() or []]
        if not any(names):
            raise self._source.fault("the header is empty; the first line must name the columns", "line 1")
        for name, count in Counter(names).items():
            if count > 1:
                raise self._source.fault(f"the column {name!r} appears {count} times", "line 1")
        return names

    def _malformed(self, error: csv.Error) -> BadData:
        place, closed = self._place()
        reason = str(error)
        if not closed:
            reason = "a quote is opened here and never closed"
        elif "expected after" in reason:
            reason += "; a quote inside a quoted cell must be written twice"
        return self._source.fault(f"malformed CSV: {reason}", *place)

    def _place(self) -> tuple[tuple[str, str], bool]:
        """((line, column), closed): the cell of the current record whose quoting is wrong, and whether it is closed."""
        text = "".join(self._record)
        cell, at, closed = _wrong_quote(text, self._delimiter)
        column = f"column {self.names[cell]!r}" if cell < len(self.names) else f"column {cell + 1}"
        return (f"line {self.start + text.count(chr(10), 0, at)}", column), closed


def _wrong_quote(text: str, delimiter: str) -> tuple[int, int, bool]:
    """The first cell that is wrongly quoted: (its number from 0, its offset in the text, whether its quote is closed).

    Without one, the last cell with the end of the text. csv.Error does not say where it happened.
    """
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
    """The offset after the closing quote of a cell; -1 if it is not closed. A quote inside is written twice."""
    while (at := text.find('"', at) + 1) > 0:
        if text[at : at + 1] != '"':
            return at
        at += 1
    return -1


def _wrong_width(source: Source, line: int, cells: Sequence[str], names: Sequence[str]) -> BadData:
    if len(cells) > len(names):
        column, hint = f"column {len(names) + 1}", "enclose cells that contain the delimiter in double quotes"
    else:
        column, hint = f"column {names[len(cells)]!r}", "a cell is missing"
    message = f"{len(cells)} cells where the header has {len(names)} ({', '.join(names)}); {hint}"
    return source.fault(message, f"line {line}", column)
