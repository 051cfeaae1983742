"""Settles how a delimited table is written: its delimiter, where its header is, and what its quotes mean.

The data decides everything. The default is to read by the usual rules. Another reading is used only if those rules fail
and the other works for every row, or, in tables delimited by tabs, if quotes would join lines that are rows by
themselves.
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

_ORDER = {"csv": ",;\t|", "tsv": "\t,;|"}  # of likely delimiters; the first is the format's own
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
_SEPARATOR_LINE = re.compile(r'"?sep=(.|\\t)"?\s*', re.IGNORECASE)
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_BLANKS_AND_QUOTE = re.compile(' +"')
_SAMPLE_ROWS = 200
_FEW = 0.05  # with this share of rows of another width, a table may still be one without quoting
_TRUSTED = "\t|"  # delimiters that texts do not hold: a line with the right number of them is a row
_ALONE = 0.9  # with this share of rows among the joined lines, quotes are plain characters


@dataclass(frozen=True, slots=True)
class TableDialect:
    """How a table is written.

    `first_line` is the line of the header. Without `quoting`, quotes are plain characters. `blanks`: there may be
    blanks around quoted cells. `backslash`: a quote inside a quoted cell is written as \\".
    """

    delimiter: str
    first_line: int = 1
    quoting: bool = True
    blanks: bool = False
    backslash: bool = False

    def reader(self, lines_: Iterator[str]) -> Iterator[list[str]]:
        """The cells of each record of these lines. Raises csv.Error."""
        csv.field_size_limit(sys.maxsize)  # RECORD_BYTES bounds the record instead
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE
        return csv.reader(
            self._plain(lines_), delimiter=self.delimiter, quoting=quoting, skipinitialspace=self.blanks, strict=True
        )

    def _plain(self, lines_: Iterator[str]) -> Iterator[str]:
        """The lines, rewritten by the usual rules."""
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
    """The dialect of a table, settled in at most a few passes and then kept."""
    if "dialect" not in source.settled:
        source.settled["dialect"] = _settle(source)
    dialect: TableDialect = source.settled["dialect"]
    return dialect


def table_lines(source: Source, dialect: TableDialect) -> Iterator[tuple[int, str]]:
    """(number, line) from the header on."""
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
    """The dialect in which quotes are plain characters, if the table is written like that."""
    plain = replace(dialect, quoting=False)
    joins_rows = bool(usual.joined) and usual.alone >= _ALONE * usual.joined
    if not joins_rows and (usual.is_clean or not _fits(usual, _try(source, plain))):
        return None
    name = _NAMES[dialect.delimiter].split()[-1]
    reading = f"the file is read as {name}-separated without quoting"
    if joins_rows:
        message = f"quotes would join {usual.joined} lines that are rows by themselves; {reading}"
        source.remark("quoting", message, f"line {usual.first_joined}", usual.joined, "warn")
    else:
        source.remark("quoting", f"has quotes that do not enclose whole cells; {reading}")
    return plain


def _fits(usual: _Trial, plain: _Trial) -> bool:
    """Whether the rows have the width of the header; if quotes are malformed anyway, a few may differ."""
    return plain.is_clean or (usual.failed and plain.wrong <= _FEW * plain.rows)


def _mended(source: Source, dialect: TableDialect, usual: _Trial) -> TableDialect:
    """The dialect that reads every row where the usual one does not; else the usual one."""
    if usual.blanks or not usual.is_clean:
        loose = replace(dialect, blanks=True)
        if _try(source, loose).is_clean:
            source.remark("quoting", "has blanks beside quoted cells; the blanks and the quotes are left out")
            return loose
    if not usual.is_clean:
        escaped = replace(dialect, backslash=True)
        if _try(source, escaped).is_clean:
            source.remark("quoting", 'has quotes written as \\" inside quoted cells; they are read as quotes')
            return escaped
    if usual.blanks:
        message = "a quote after a blank is a part of the cell; where it should enclose the cell, remove the blank"
        source.remark("quoting", message, f"line {usual.first_blanks}", usual.blanks, "warn")
    if usual.suspects:
        message = (
            "a quoted cell continues over several lines, each of which would be a row by itself; if these are rows, "
            "write quotes inside a text twice, and enclose the text in quotes"
        )
        source.remark("joined_lines", message, f"line {usual.first_suspect}", usual.suspects, "warn")
    return dialect


def _delimited(source: Source) -> TableDialect:
    """The delimiter and the line of the header: the first that is not blank, apart from a line like `sep=;`."""
    for number, line in lines(source):
        if match := _SEPARATOR_LINE.fullmatch(line):
            source.remark("delimiter", f"begins with sep={match[1]}; it is read with that between cells")
            return TableDialect(match[1].replace("\\t", "\t"), number + 1)
        if line.strip():
            delimiter = _delimiter(source, number, line)
            if delimiter != _ORDER[source.format][0]:
                source.remark("delimiter", f"is read with {_NAMES[delimiter]} between cells")
            return TableDialect(delimiter, number)
    return TableDialect(_ORDER[source.format][0])


def _delimiter(source: Source, number: int, header: str) -> str:
    order = _ORDER[source.format]
    text = _QUOTED.sub("", header)
    candidates = [delimiter for delimiter in order if delimiter in text]
    if not candidates or (source.format == "tsv" and candidates[0] == "\t"):
        return order[0]
    if len(candidates) == 1:
        return candidates[0]
    sample = [line for _, line in islice(lines(source), number - 1, number + _SAMPLE_ROWS)]
    # Most rows of the header's width; among equals, the delimiter that the header holds most often.
    return max(candidates, key=lambda delimiter: (_consistency(sample, delimiter), text.count(delimiter)))


def _consistency(sample: list[str], delimiter: str) -> float:
    """The share of records with as many cells as the header."""
    try:
        widths = [len(cells) for cells in csv.reader(sample, delimiter=delimiter) if cells]
    except csv.Error:
        return 0.0
    return sum(width == widths[0] for width in widths[1:]) / max(1, len(widths) - 1)


@dataclass(slots=True)
class _Trial:
    """Counts of what happens when a table is read in one dialect."""

    failed: bool = False  # the quoting is malformed
    rows: int = 0
    wrong: int = 0  # records with more or fewer cells than the header
    joined: int = 0  # lines of records of several lines
    alone: int = 0  # those of them that would be a row by themselves
    suspects: int = 0  # records of three or more lines, all of which would be rows by themselves
    blanks: int = 0  # cells that begin with blanks and a quote
    first_joined: int = 0  # the line where the first of these is
    first_suspect: int = 0
    first_blanks: int = 0
    empty_columns: set[int] = field(default_factory=set)  # columns that are empty in an ordinary row

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
    """Count one record, the last line of which is `last`."""
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
        if rows == len(record) >= 3:
            trial.suspects += 1
            trial.first_suspect = trial.first_suspect or first
    if any(cell[:1] == " " and cell.lstrip(" ")[:1] == '"' for cell in cells):
        blanks = _blanks_before_quotes("".join(record), delimiter)
        trial.blanks += blanks
        trial.first_blanks = trial.first_blanks or last * bool(blanks)


def _blanks_before_quotes(record: str, delimiter: str) -> int:
    """The number of cells that are not quoted, but begin with blanks and a quote."""
    count = at = 0
    while at < len(record):
        if quoted := _QUOTED.match(record, at):
            at = quoted.end()
        elif _BLANKS_AND_QUOTE.match(record, at):
            count += 1
        at = record.find(delimiter, at) + 1 or len(record)
    return count


def _is_row(line: str, delimiter: str, width: int, empty_columns: set[int]) -> bool:
    """Whether a line would be a row by itself, with text in every column that has text elsewhere."""
    cells = line.split(delimiter)
    return len(cells) == width > 1 and all(cell.strip() or index in empty_columns for index, cell in enumerate(cells))
