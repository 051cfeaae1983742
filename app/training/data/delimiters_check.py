"""Reads a whole table according to given rules (`Delimiters`), and counts the rows that do not conform to them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

from app.training.data import files
from app.training.data.column_values import ColumnValues
from app.training.data.delimiters import Delimiters, is_stray_line_end, split_record, table_lines
from app.training.data.files import Source

TRUSTED = "\t|"  # these delimiters are rare in text, so a line with the right number of them is a row
_SUSPECTS = 1000  # the maximum number of suspects that are kept
_SAMPLE_LINES = 200  # the maximum number of lines of a suspect that are compared with the columns
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_BLANKS_AND_QUOTE = re.compile(' +"')


class _Suspect(NamedTuple):
    """A record that spans several lines, at least half of which may be separate rows.

    `line` is the number of its first line. `cells` contains the cells of its first lines, or is None if all lines are
    certainly rows. It is never None if the delimiter is a comma or a semicolon, because lines of text with commas often
    have as many cells as a row.
    """

    line: int
    lines: int
    cells: list[list[str]] | None


@dataclass(slots=True)
class DelimitersCheck:
    """Statistics from reading a table according to given rules."""

    failed: bool = False  # whether a quote is malformed or a record is too long
    rows: int = 0
    wrong: int = 0  # the number of records with more or fewer cells than the header
    joined: int = 0  # the number of lines in records that span several lines
    alone: int = 0  # the number of joined lines that would be rows by themselves
    suspects: list[_Suspect] = field(default_factory=list)
    values: ColumnValues = field(default_factory=lambda: ColumnValues(0))  # the values of records of one line
    full: bool = False  # whether new suspects are no longer kept
    blanks: int = 0  # the number of cells that begin with spaces and a quote
    first_joined: int = 0  # the first line of the first record that spans several lines
    first_blanks: int = 0  # the last line of the first record with a cell counted in `blanks`
    empty_columns: set[int] = field(default_factory=set)  # columns that are empty in at least one row without quotes

    @property
    def is_clean(self) -> bool:
        return not self.failed and not self.wrong

    def sure_suspects(self) -> list[tuple[int, int]]:
        """Return the first line and the number of lines of each suspect whose lines are certainly or probably rows."""
        return [(line, lines) for line, lines, cells in self.suspects if cells is None or self.values.are_rows(cells)]

    def add_suspect(self, suspect: _Suspect) -> None:
        """Keep the suspect. If there are too many suspects, first drops those that do not fit the columns so far.

        If more than half are left, no new suspects are kept.
        """
        if len(self.suspects) >= _SUSPECTS and not self.full:
            self.suspects = [kept for kept in self.suspects if kept.cells is None or self.values.are_rows(kept.cells)]
            self.full = len(self.suspects) > _SUSPECTS // 2
        if not self.full:
            self.suspects.append(suspect)


def check_delimiters(source: Source, delimiters: Delimiters) -> DelimitersCheck:
    """Read the table according to `delimiters`, and return the statistics. Reading ends if the check fails."""
    check = DelimitersCheck()
    record: list[str] = []
    size, last = 0, delimiters.first_line - 1

    def feed() -> Iterator[str]:
        nonlocal size, last
        for number, line in table_lines(source, delimiters):
            size, last = (size if record else 0) + len(line), number
            record.append(line)
            if size > files.RECORD_BYTES:
                raise csv.Error("the record is too long")
            yield line

    width = 0
    for cells in _rows(delimiters, feed(), record, check):
        if not width:
            width = len(cells)
            check.values = ColumnValues(width)
        _judge(check, delimiters.delimiter, cells, record, width, last)
        record.clear()
    return check


def _rows(
    delimiters: Delimiters, lines: Iterator[str], record: list[str], check: DelimitersCheck
) -> Iterator[list[str]]:
    """Yield the cells of each row. At malformed quotes or a record that is too long, sets `check.failed` and ends.

    `record` contains the lines of the current record. A record with line ends of several kinds says nothing about the
    delimiters, so it is skipped, except that its first row is yielded if it is the header.
    """
    reader = delimiters.reader(lines)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            rows = _split(record, delimiters) if is_stray_line_end(error) else []
            check.failed = not rows
            if check.failed:
                return
            if check.rows:
                record.clear()
                continue
            cells = rows[0]
        if cells is None:
            return
        yield cells


def _split(record: list[str], delimiters: Delimiters) -> list[list[str]]:
    """Return the rows of a record with line ends of several kinds, or an empty list if its quotes are malformed."""
    try:
        return split_record("".join(record), delimiters)
    except csv.Error:
        return []


def _judge(check: DelimitersCheck, delimiter: str, cells: list[str], record: list[str], width: int, last: int) -> None:
    """Update the check with one record, which ends at line `last`."""
    check.rows += 1
    if check.rows > 1 and len(record) == 1:  # the first record is the header
        check.values.add(cells)
    if len(cells) != width and any(map(str.strip, chain(cells[width:], cells if len(cells) < width else ()))):
        check.wrong += 1
    if len(record) == 1:
        if '"' not in record[0]:
            if "" in cells:
                check.empty_columns.update(index for index, cell in enumerate(cells) if not cell)
            return
    else:
        _judge_joined(check, delimiter, record, width, last - len(record) + 1)
    if any(cell[:1] == " " and cell.lstrip(" ")[:1] == '"' for cell in cells):
        blanks = _blanks_before_quotes("".join(record), delimiter)
        check.blanks += blanks
        check.first_blanks = check.first_blanks or last * bool(blanks)


def _judge_joined(check: DelimitersCheck, delimiter: str, record: list[str], width: int, first: int) -> None:
    """Update the check with a record of several lines, which begins at line `first`."""
    rows = sum(_is_row(line, delimiter, width, check.empty_columns) for line in record)
    check.joined, check.alone = check.joined + len(record), check.alone + rows
    check.first_joined = check.first_joined or first
    if rows == len(record) and delimiter in TRUSTED:
        check.add_suspect(_Suspect(first, len(record), None))
    elif width > 1 and (suspected := _cells(record, delimiter, width)):
        check.add_suspect(_Suspect(first, len(record), suspected))


def _blanks_before_quotes(record: str, delimiter: str) -> int:
    """Return the number of unquoted cells that begin with spaces followed by a quote."""
    count = at = 0
    while at < len(record):
        if quoted := _QUOTED.match(record, at):
            at = quoted.end()
        elif _BLANKS_AND_QUOTE.match(record, at):
            count += 1
        at = record.find(delimiter, at) + 1 or len(record)
    return count


def _cells(record: list[str], delimiter: str, width: int) -> list[list[str]]:
    """Return the cells of the first lines of a record, or an empty list if too few of the lines can be rows.

    Quotes are read as ordinary characters, and blank lines are left out.
    """
    lines = [line.strip("\r\n") for line in islice(record, _SAMPLE_LINES) if line.strip()]
    return [line.split(delimiter) for line in lines] if _may_be_rows(lines, delimiter, width) else []


def _may_be_rows(lines: list[str], delimiter: str, width: int) -> bool:
    """Whether there are several lines, and at least half of them have enough delimiters for a row."""
    return len(lines) > 1 and 2 * sum(line.count(delimiter) >= width - 1 for line in lines) >= len(lines)


def _is_row(line: str, delimiter: str, width: int, empty_columns: set[int]) -> bool:
    """Whether a line would be a valid row on its own. Only the cells in `empty_columns` may be empty."""
    cells = line.split(delimiter)
    return len(cells) == width > 1 and all(cell.strip() or index in empty_columns for index, cell in enumerate(cells))
