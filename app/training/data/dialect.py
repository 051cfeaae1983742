"""Determines the dialect of a delimited table: its delimiter, the line of its header, and the meaning of its quotes.

The dialect is inferred from the data. By default, a table is read according to the usual CSV rules. Another dialect is
used in two cases. In the first case, the usual rules fail and the other dialect reads all or nearly all rows. In the
second case, cells are delimited by tabs or vertical bars, and quotes would join lines that are complete rows.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Literal

from app.training.data import files
from app.training.data.files import Source, lines
from app.training.data.usual_names import TITLE_ROWS, header_after_title, quoted

_ORDER = {"csv": ",;\t|", "tsv": "\t,;|"}  # the possible delimiters of each format; the first is its default
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
_SEPARATOR_LINE = re.compile(r'"?sep=(.|\\t)"?\s*', re.IGNORECASE)
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_BLANKS_AND_QUOTE = re.compile(' +"')
_SAMPLE_ROWS = 200
_FEW = 0.05  # without quoting, up to this share of the rows may have more or fewer cells than the header
_TRUSTED = "\t|"  # these delimiters are rare in text, so a line with the right number of them is a row
_ALONE = 0.9  # if at least this share of the joined lines are rows, quotes are plain characters


@dataclass(frozen=True, slots=True)
class TableDialect:
    """The rules by which a table is split into rows and cells.

    `first_line` is the line number of the header. If `quoting` is false, quotes are plain characters. If `blanks` is
    true, quoted cells may have spaces around them. If `backslash` is true, a quote inside a quoted cell is written as
    \\".
    """

    delimiter: str
    first_line: int = 1
    quoting: bool = True
    blanks: bool = False
    backslash: bool = False

    def reader(self, lines_: Iterator[str]) -> Iterator[list[str]]:
        """The cells of each record in these lines. Raises csv.Error for malformed quotes."""
        csv.field_size_limit(sys.maxsize)  # RECORD_BYTES limits the size of a record instead
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE
        return csv.reader(
            self._plain(lines_), delimiter=self.delimiter, quoting=quoting, skipinitialspace=self.blanks, strict=True
        )

    def _plain(self, lines_: Iterator[str]) -> Iterator[str]:
        """The lines, rewritten so that csv.reader can read them according to the usual rules."""
        if self.blanks:
            cell = re.compile(
                rf'(^|{re.escape(self.delimiter)}) *("(?:[^"]|"")*") *(?={re.escape(self.delimiter)}|\s*$)'
            )
            return (cell.sub(r"\1\2", line) if '"' in line else line for line in lines_)
        if self.backslash:
            return (_ESCAPED_QUOTE.sub(r'\1""', line) if "\\" in line else line for line in lines_)
        return lines_


_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')


def dialect_of(source: Source) -> TableDialect:
    """The dialect of a table. The first call determines it in a few passes over the file; later calls reuse it."""
    if "dialect" not in source.settled:
        source.settled["dialect"] = _settle(source)
    dialect: TableDialect = source.settled["dialect"]
    return dialect


def table_lines(source: Source, dialect: TableDialect) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line, starting with the header."""
    return islice(lines(source), dialect.first_line - 1, None)


def _settle(source: Source) -> TableDialect:
    dialect = _delimited(source)
    if not any('"' in line for _, line in lines(source)):
        return dialect
    usual = _try(source, dialect)
    if usual.is_clean and not usual.joined and not usual.blanks:
        return dialect
    if dialect.delimiter in _TRUSTED and (plain := _without_quoting(source, dialect, usual)):
        return plain
    return _mended(source, dialect, usual)


def _without_quoting(source: Source, dialect: TableDialect, usual: _Trial) -> TableDialect | None:
    """Return the dialect in which quotes are plain characters, or None if the table does not appear to use it."""
    plain = replace(dialect, quoting=False)
    joins_rows = bool(usual.joined) and usual.alone >= _ALONE * usual.joined
    if not joins_rows and (usual.is_clean or not _fits(usual, _try(source, plain))):
        return None
    name = _NAMES[dialect.delimiter].split()[-1]
    reading = f"the file is read as {name}-separated without quoting"
    if joins_rows:
        message = f"quotes would join {usual.joined} lines that are complete rows; {reading}"
        source.remark("quoting", message, f"line {usual.first_joined}", usual.joined, "warn")
    else:
        source.remark("quoting", f"has quotes that do not enclose whole cells; {reading}")
    return plain


def _fits(usual: _Trial, plain: _Trial) -> bool:
    """Whether all rows have as many cells as the header.

    If the usual rules find malformed quotes, a few rows may have a different number of cells.
    """
    return plain.is_clean or (usual.failed and plain.wrong <= _FEW * plain.rows)


def _mended(source: Source, dialect: TableDialect, usual: _Trial) -> TableDialect:
    """Return a dialect that also allows spaces around quoted cells or escaped quotes, if needed; otherwise
    `dialect`.
    """
    if usual.blanks or not usual.is_clean:
        loose = replace(dialect, blanks=True)
        if _try(source, loose).is_clean:
            source.remark("quoting", "has spaces around quoted cells; the spaces and the quotes are removed")
            return loose
    if not usual.is_clean:
        escaped = replace(dialect, backslash=True)
        if _try(source, escaped).is_clean:
            source.remark("quoting", 'has quotes written as \\" inside quoted cells; these are read as quotes')
            return escaped
    if usual.blanks:
        message = "a quote after a space is read as part of the cell; to enclose the cell in quotes, remove the space"
        source.remark("quoting", message, f"line {usual.first_blanks}", usual.blanks, "warn")
    if usual.suspects:
        message = (
            "a quoted cell spans several lines, each of which would be a complete row; if these lines are rows, "
            "double each quote inside a text, and enclose the text in quotes"
        )
        source.remark("joined_lines", message, f"line {usual.first_suspect}", usual.suspects, "warn")
    return dialect


def _delimited(source: Source) -> TableDialect:
    """Determine the delimiter and the header line. Skips blank lines; a line such as `sep=;` declares the delimiter."""
    for number, line in lines(source):
        if match := _SEPARATOR_LINE.fullmatch(line):
            source.remark("delimiter", f"begins with sep={match[1]}, so {match[1]} is read as the delimiter")
            return TableDialect(match[1].replace("\\t", "\t"), number + 1)
        if line.strip():
            number, line = _header_line(source, number, line)
            delimiter = _delimiter(source, number, line)
            if delimiter != _ORDER[source.format][0]:
                source.remark("delimiter", f"is read with {_NAMES[delimiter]} as the delimiter")
            return TableDialect(delimiter, number)
    return TableDialect(_ORDER[source.format][0])


def _header_line(source: Source, first: int, line: str) -> tuple[int, str]:
    """Return the number and the text of the header line.

    This is the first non-blank line (number `first`, text `line`), unless a title or comments begin there.
    """
    filled = (pair for pair in lines(source) if pair[0] >= first and pair[1].strip())
    sample = list(islice(filled, TITLE_ROWS))
    for delimiter in _ORDER[source.format]:
        index = header_after_title([text.rstrip("\r\n").split(delimiter) for _, text in sample])
        if index:
            number, header = sample[index]
            names = quoted(name.strip(' "') for name in header.rstrip("\r\n").split(delimiter))
            message = f"the header is line {number}, which names the columns {names}; the lines before it are not read"
            source.remark("title", message, f"line {first}", index, "warn")
            return number, header
    return first, line


def _delimiter(source: Source, number: int, header: str) -> str:
    order = _ORDER[source.format]
    text = _QUOTED.sub("", header)
    candidates = [delimiter for delimiter in order if delimiter in text]
    if not candidates or (source.format == "tsv" and candidates[0] == "\t"):
        return order[0]
    if len(candidates) == 1:
        return candidates[0]
    sample = [line for _, line in islice(lines(source), number - 1, number + _SAMPLE_ROWS)]
    # Prefer the delimiter with which the most rows are as wide as the header, then the most frequent one in the header.
    return max(candidates, key=lambda delimiter: (_consistency(sample, delimiter), text.count(delimiter)))


def _consistency(sample: list[str], delimiter: str) -> float:
    """The share of records that have the same number of cells as the header."""
    try:
        widths = [len(cells) for cells in csv.reader(sample, delimiter=delimiter) if cells]
    except csv.Error:
        return 0.0
    return sum(width == widths[0] for width in widths[1:]) / max(1, len(widths) - 1)


@dataclass(slots=True)
class _Trial:
    """Statistics from reading a table in one dialect."""

    failed: bool = False  # the quoting is malformed
    rows: int = 0
    wrong: int = 0  # the number of records with more or fewer cells than the header
    joined: int = 0  # the number of lines in records that span several lines
    alone: int = 0  # the number of joined lines that would be rows on their own
    suspects: int = 0  # the number of records of several lines, each of which would be a row on its own
    blanks: int = 0  # the number of cells that begin with spaces and a quote
    first_joined: int = 0  # the line of the first joined record
    first_suspect: int = 0
    first_blanks: int = 0
    empty_columns: set[int] = field(default_factory=set)  # columns that are empty in at least one row without quotes

    @property
    def is_clean(self) -> bool:
        return not self.failed and not self.wrong


def _try(source: Source, dialect: TableDialect) -> _Trial:
    trial = _Trial()
    record: list[str] = []
    size, last = 0, dialect.first_line - 1

    def feed() -> Iterator[str]:
        nonlocal size, last
        for number, line in table_lines(source, dialect):
            record.append(line)
            size, last = size + len(line), number
            if size > files.RECORD_BYTES:
                raise csv.Error("the record is too long")
            yield line

    width = 0
    try:
        for cells in dialect.reader(feed()):
            width = width or len(cells)
            _judge(trial, dialect.delimiter, cells, record, width, last)
            record.clear()
            size = 0
    except csv.Error:
        trial.failed = True
    return trial


def _judge(trial: _Trial, delimiter: str, cells: list[str], record: list[str], width: int, last: int) -> None:
    """Update the trial with one record, whose last line has the number `last`."""
    trial.rows += 1
    if len(cells) != width and any(map(str.strip, chain(cells[width:], cells if len(cells) < width else ()))):
        trial.wrong += 1
    if len(record) == 1:
        if '"' not in record[0]:
            if "" in cells:
                trial.empty_columns.update(index for index, cell in enumerate(cells) if not cell)
            return
    else:
        first = last - len(record) + 1
        rows = sum(_is_row(line, delimiter, width, trial.empty_columns) for line in record)
        trial.joined, trial.alone = trial.joined + len(record), trial.alone + rows
        trial.first_joined = trial.first_joined or first
        # In a comma-separated table, a text of two lines with commas often looks like two rows.
        if rows == len(record) >= (2 if delimiter in _TRUSTED else 3):
            trial.suspects += 1
            trial.first_suspect = trial.first_suspect or first
    if any(cell[:1] == " " and cell.lstrip(" ")[:1] == '"' for cell in cells):
        blanks = _blanks_before_quotes("".join(record), delimiter)
        trial.blanks += blanks
        trial.first_blanks = trial.first_blanks or last * bool(blanks)


def _blanks_before_quotes(record: str, delimiter: str) -> int:
    """The number of unquoted cells that begin with spaces followed by a quote."""
    count = at = 0
    while at < len(record):
        if quoted := _QUOTED.match(record, at):
            at = quoted.end()
        elif _BLANKS_AND_QUOTE.match(record, at):
            count += 1
        at = record.find(delimiter, at) + 1 or len(record)
    return count


def _is_row(line: str, delimiter: str, width: int, empty_columns: set[int]) -> bool:
    """Whether a line would be a row on its own, with text in every column except those of `empty_columns`."""
    cells = line.split(delimiter)
    return len(cells) == width > 1 and all(cell.strip() or index in empty_columns for index, cell in enumerate(cells))
