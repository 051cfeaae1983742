"""Reads CSV and TSV files as records."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from app.training.data import files
from app.training.data.delimiters import LINE_END, is_stray_line_end, split_record, table_lines
from app.training.data.delimiters_choice import delimiters_of
from app.training.data.files import Record, Selection, Source
from app.training.data.inner_headers import InnerHeaders
from app.training.data.last_comments import Row, is_unusable, without_comments
from app.training.data.usual_names import quoted
from app.training.failures import BadData
from app.wording import quantity


def header(source: Source) -> list[str]:
    """Return the column names in the header. Unnamed columns are left out, and repeated names are listed once."""
    return list(dict.fromkeys(filter(None, _Table(source).names)))


def records(source: Source, selection: Selection) -> Iterator[Record]:
    """Yield every record. Skips empty lines, and headers between the rows.

    A record with a malformed quote or the wrong number of cells is faulty. A record with a different kind of line end
    than the rest of the file is split at these line ends if each part has as many cells as the header; otherwise, it is
    faulty.

    If a record with a malformed quote spans several lines, raises BadData with the line and column of the quote,
    because the following records cannot be trusted.
    """
    return without_comments(source, _rows(source, selection), selection.required is not None)


def _rows(source: Source, selection: Selection) -> Iterator[Row[Record]]:
    table = _Table(source)
    names = table.names
    files.check_repeated(source, names, selection, table.header_place)
    needed = [index for index, name in enumerate(names) if name and name not in selection.ignored]
    # A whole row includes a first column without a name: the index of a pandas table, which identifies the rows.
    kept = {
        name: index for name, index in files.first_columns(names).items() if name or (selection.whole and index == 0)
    }
    required = [index for index in needed if selection.is_required(names[index])]
    is_plain = len(kept) == len(names)
    unnamed = [index for index, name in enumerate(names) if not name and index not in kept.values()]
    headers = InnerHeaders(source, names)
    while (cells := table.next()) is not None:
        if not cells:
            continue
        where = f"line {table.start}"
        if isinstance(cells, BadData):
            yield Record(where, {}, cells), where, (), False
            continue
        if (instead := headers.instead_of(cells, where)) is not None:
            yield from ((record, where, (), False) for record in instead)
            continue
        row = cells if len(cells) == len(names) else _fitted(cells, len(names), max(needed, default=-1) + 1)
        if row is None:
            yield Record(where, {}, _wrong_width(source, table.start, cells, names)), where, cells, True
            continue
        values = dict(zip(names, row, strict=True)) if is_plain else {name: row[index] for name, index in kept.items()}
        table.count_unnamed(row, unnamed)
        is_short = len(cells) < len(names) or is_unusable(row, required)
        yield files.checked(source, Record(where, values)), where, row, is_short
    headers.remark()
    table.remark()


class _Table:
    """The rows of a file. Keeps the lines of the current record in memory, to locate an error in the record."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._delimiters = delimiters_of(source)
        self._delimiter = self._delimiters.delimiter
        self._record: list[str] = []
        self._size = 0  # the number of characters of the current record so far
        self._number = self._delimiters.first_line - 1
        self.start = self._delimiters.first_line  # the first line of the current record
        self._reader = self._delimiters.reader(self._feed())
        self._split: list[list[str]] = []  # the remaining rows of a record with line ends of several kinds
        self._stray, self._first_stray = 0, ""
        self._unnamed, self._first_unnamed = 0, ""
        self.names: list[str] = []
        self.names = self._header()

    def next(self) -> list[str] | BadData | None:
        """Return the cells of the next record, or None at the end of the file. Sets `start` to the record's first line.

        If the record is malformed, but the following records can be read, the error is returned; otherwise, it is
        raised.
        """
        if self._split:
            return self._split.pop(0)
        self.start, self._size = self._number + 1, 0
        self._record.clear()
        try:
            return next(self._reader, None)
        except csv.Error as error:
            if is_stray_line_end(error) and (cells := self._split_record()):
                return cells
            malformed = self._malformed(error)
            if is_stray_line_end(error) and self.names and self._is_closed():
                return malformed
            if len(self._record) == 1 and self.names and "expected after" in str(error):
                return malformed  # the reader restarts on the next line
            raise malformed from None

    def _split_record(self) -> list[str]:
        """Split the current record into rows at its line ends. Returns the first row; `next` returns the others.

        Returns an empty list, and splits nothing, unless each row has as many cells as the header.
        """
        try:
            rows = split_record("".join(self._record), self._delimiters)
        except csv.Error:
            return []
        width = len(self.names or rows[0])
        if any(len(cells) != width for cells in rows):
            return []
        self._stray += len(rows) - 1
        self._first_stray = self._first_stray or f"line {self.start}"
        self._split = rows[1:]
        return rows[0]

    def _is_closed(self) -> bool:
        """Whether all quotes in the current record are closed, so that the following records can be trusted."""
        parts = LINE_END.split("".join(self._record))
        return not self._delimiters.quoting or all(_wrong_quote(part, self._delimiter)[2] for part in parts)

    @property
    def header_place(self) -> str:
        """The place of the header, such as 'line 1'."""
        return f"line {self._delimiters.first_line}"

    def count_unnamed(self, cells: list[str], unnamed: list[int]) -> None:
        """Count the record if it has values in unnamed columns."""
        if unnamed and any(cells[index].strip() for index in unnamed):
            self._unnamed += 1
            self._first_unnamed = self._first_unnamed or f"line {self.start}"

    def remark(self) -> None:
        """Add remarks about records that were split at a different kind of line end, and about unnamed columns."""
        if self._stray:
            ends = ("LF", "CR") if self._source.line_end == "\r" else ("CR", "LF")
            verb = "ends" if self._stray == 1 else "end"
            message = f"{quantity(self._stray, 'row')} {verb} with {ends[0]} only, but others end with {ends[1]}; "
            message += f"{ends[0]} is also read as a line end, because each resulting row has as many cells as the "
            message += "header"
            self._source.remark("stray_line_ends", message, self._first_stray, self._stray, "warn")
        if self._unnamed:
            verb = "has" if self._unnamed == 1 else "have"
            message = (
                f"{quantity(self._unnamed, 'row')} {verb} values in columns without a name; these values are ignored"
            )
            self._source.remark("unnamed_columns", message, self._first_unnamed, self._unnamed, "warn")

    def _feed(self) -> Iterator[str]:
        """Yield the lines of the file to csv.reader. Each line is also added to the current record."""
        for number, line in table_lines(self._source, self._delimiters):
            self._number = number
            self._record.append(line)
            self._size += len(line)
            if self._size > files.RECORD_BYTES:
                place = self._place()[0]
                raise self._source.fault(
                    f"{files.too_long()}; is there an opening quote without a closing quote?", *place
                )
            yield line

    def _header(self) -> list[str]:
        cells = self.next()
        names = [name.strip() for name in cells] if isinstance(cells, list) else []
        if not any(names):
            raise self._source.fault("the header is empty; the first line must name the columns", self.header_place)
        if fault := files.undecodable_fault(self._source, "".join(names), self.header_place):
            raise fault
        return names

    def _malformed(self, error: csv.Error) -> BadData:
        place, closed = self._place()
        reason = str(error)
        if is_stray_line_end(error):
            ends = ("LF", "CR") if self._source.line_end == "\r" else ("CR", "LF")
            reason = f"a line ends with {ends[0]} only, but others end with {ends[1]}; use one kind of line end, or "
            return self._source.fault(f"malformed CSV: {reason}enclose the cell in double quotes", f"line {self.start}")
        if not closed:
            reason = "this opening quote has no closing quote"
        elif "expected after" in reason:
            reason += "; a quote inside a quoted cell must be written twice"
        return self._source.fault(f"malformed CSV: {reason}", *place)

    def _place(self) -> tuple[tuple[str, str], bool]:
        """Return the place (line, column) of the cell with the malformed quote, and whether its quote is closed."""
        text = "".join(self._record)
        cell, at, closed = _wrong_quote(text, self._delimiter)
        column = f"column {self.names[cell]!r}" if cell < len(self.names) else f"column {cell + 1}"
        return (f"line {self.start + text.count(self._source.line_end, 0, at)}", column), closed


def _wrong_quote(text: str, delimiter: str) -> tuple[int, int, bool]:
    """Find the first cell with a malformed quote. Returns its index, its offset, and whether its quote is closed.

    Cells are counted from 0, and the offset is a position in the string. If no quote is malformed, returns the index of
    the last cell and the length of the string. This function is needed because csv.Error does not state the position of
    the error.
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
    """Return the offset after the closing quote, or -1 if there is none.

    Two consecutive quotes do not close the cell.
    """
    while (at := text.find('"', at) + 1) > 0:
        if text[at : at + 1] != '"':
            return at
        at += 1
    return -1


def _fitted(cells: list[str], width: int, needed: int) -> list[str] | None:
    """Truncate or pad a row to the width of the header. Returns None if the row cannot be read.

    A row may have additional empty cells at its end, or be completely empty. A shorter row is accepted if it contains
    at least the first `needed` columns.
    """
    if not any(map(str.strip, cells)):
        return [""] * width
    if len(cells) > width and not any(map(str.strip, cells[width:])):
        return cells[:width]
    if needed <= len(cells) < width:
        return [*cells, *[""] * (width - len(cells))]
    return None


def _wrong_width(source: Source, line: int, cells: Sequence[str], names: Sequence[str]) -> BadData:
    if len(cells) > len(names):
        column, hint = f"column {len(names) + 1}", "enclose cells that contain the delimiter in double quotes"
    else:
        column, hint = f"column {names[len(cells)]!r}", "a cell is missing"
    message = f"the row has {quantity(len(cells), 'cell')}, but the header has {len(names)} ({quoted(names)}); {hint}"
    return source.fault(message, f"line {line}", column)
