"""The rules for splitting a delimited table into rows and cells."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from app.training.data.files import Source, lines

LINE_END = re.compile(r"\r\n|\r|\n")
_WRAPPED = re.compile(r'"((?:[^"\r\n]|"")+)"[,;\t ]*([\r\n]*)')  # spreadsheets add delimiters after the only cell
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The rules for splitting a table into rows and cells.

    `first_line` is the line number of the header. If `quoting` is false, quotes are plain characters. If `blanks` is
    true, quoted cells may have spaces around them. If `backslash` is true, a quote inside a quoted cell is written as
    \\". If `wrapped` is true, each line is enclosed in quotes as a whole.
    """

    delimiter: str
    first_line: int = 1
    quoting: bool = True
    blanks: bool = False
    backslash: bool = False
    wrapped: bool = False

    def reader(self, lines_: Iterator[str]) -> Iterator[list[str]]:
        """Yield the cells of each record in `lines_`. Raises csv.Error for malformed quotes."""
        csv.field_size_limit(sys.maxsize)  # no limit here, because RECORD_BYTES already limits the size of a record
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE
        return csv.reader(
            self._plain(lines_), delimiter=self.delimiter, quoting=quoting, skipinitialspace=self.blanks, strict=True
        )

    def _plain(self, lines_: Iterator[str]) -> Iterator[str]:
        """Yield the lines, rewritten so that csv.reader can read them according to the usual rules."""
        lines_ = map(unwrapped, lines_) if self.wrapped else lines_
        if self.blanks:
            cell = re.compile(
                rf'(^|{re.escape(self.delimiter)}) *("(?:[^"]|"")*") *(?={re.escape(self.delimiter)}|\s*$)'
            )
            return (cell.sub(r"\1\2", line) if '"' in line else line for line in lines_)
        if self.backslash:
            return (_ESCAPED_QUOTE.sub(r'\1""', line) if "\\" in line else line for line in lines_)
        return lines_


def unwrapped(line: str) -> str:
    """Return a line without the quotes that enclose it as a whole, or the line itself."""
    match = _WRAPPED.fullmatch(line)
    return line if match is None else match[1].replace('""', '"') + match[2]


def is_stray_line_end(error: csv.Error) -> bool:
    """Whether a record cannot be read because it contains a different kind of line end than the rest of the file."""
    return "new-line character" in str(error)


def split_record(record: str, delimiters: Delimiters) -> list[list[str]]:
    """Return the cells of the rows in a record that contains line ends of several kinds, outside of quotes.

    Raises csv.Error for malformed quotes.
    """
    rows = (list(delimiters.reader(iter([part]))) for part in LINE_END.split(record) if part)
    return [cells for part in rows for cells in part]


def table_lines(source: Source, delimiters: Delimiters) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line, starting with the header."""
    return islice(lines(source), delimiters.first_line - 1, None)
