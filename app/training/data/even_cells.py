"""Counts the cells in the lines of a text, to find out whether the text is a table without a header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

_FEWEST_LINES = 10
_MOST = 0.9  # the share of the lines that must have the same number of cells
_TIME = re.compile(r"(?<=:\d\d),(?=\d{3}\b)")  # the comma in 10:00:01,123, as Python's logging writes it
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")  # the comma in 'about 1,500 people'
_WORD = re.compile(r"[^\W\d_]{2,}")
_PROSE_WORDS = 3  # a line with at least this many words may be prose
_MOST_JOINED = 50  # the maximum number of lines of a record


def count_cells(lines: Sequence[str], delimiter: str) -> int:
    """Return the number of cells in nearly all lines, or 0 if their numbers differ or the lines look like prose.

    Columns that are empty in all lines are not counted. Quotes may enclose cells with delimiters and line ends, or be
    plain characters.
    """
    quoted = _width([_quoted_cells(record, delimiter) for record in _records(lines)])
    return quoted or _width([_plain_cells(line, delimiter) for line in lines])


def _width(rows: Sequence[list[str]]) -> int:
    if len(rows) < _FEWEST_LINES:
        return 0
    [(width, count)] = Counter(map(len, rows)).most_common(1)
    if width < 2 or count < _MOST * len(rows):
        return 0
    columns = zip(*(cells for cells in rows if len(cells) == width), strict=True)
    filled = sum(any(map(str.strip, column)) for column in columns)
    return filled if filled > 1 else 0


def _plain_cells(line: str, delimiter: str) -> list[str]:
    """Split a line at all delimiters. Returns an empty list for prose, in which commas are next to a space."""
    line = _without_commas_in_numbers(line)
    is_prose = delimiter in ",;" and (f"{delimiter} " in line or f" {delimiter}" in line)
    return [] if is_prose else line.split(delimiter)


def _without_commas_in_numbers(line: str) -> str:
    line = _TIME.sub(".", line)
    return _THOUSANDS.sub("", line) if len(_WORD.findall(line)) >= _PROSE_WORDS else line


def _records(lines: Sequence[str]) -> Iterator[str]:
    """Join each line in which a quote is not closed with the next lines."""
    record: list[str] = []
    quotes = 0
    for line in lines:
        record.append(line)
        quotes += line.count('"')
        if quotes % 2 == 0 or len(record) >= _MOST_JOINED:
            yield "\n".join(record)
            record, quotes = [], 0


def _quoted_cells(record: str, delimiter: str) -> list[str]:
    """Split a record at the delimiters outside of quotes. Returns an empty list unless quotes enclose whole cells."""
    mark = re.escape(delimiter)
    cell = rf' *"(?:[^"]|"")*+" *|(?![ "])[^{mark}\n]*+(?<! )'
    record = _without_commas_in_numbers(record)
    if not re.fullmatch(rf"(?:{cell})(?:{mark}(?:{cell}))*+", record):
        return []
    return re.findall(rf"(?:^|{mark})({cell})", record)
