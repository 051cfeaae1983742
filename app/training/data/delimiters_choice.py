"""Determines the rules of a delimited table: its delimiter, the line of its header, and the meaning of its quotes.

A table is read according to the usual CSV rules, except in these cases:

- The usual rules do not fit all rows, but other rules fit all or nearly all of them.
- There are spaces before quotes, and rules that allow spaces around quoted cells fit all rows.
- Cells are delimited by tabs or vertical bars, and quotes would join lines that are complete rows.
- Each line is enclosed in quotes as a whole.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from app.training.data.delimiters import Delimiters, unwrapped
from app.training.data.delimiters_check import TRUSTED, DelimitersCheck, check_delimiters
from app.training.data.files import Source, lines
from app.training.data.usual_names import TITLE_ROWS, header_after_title, quoted
from app.wording import quantity

_ORDER = {"csv": ",;\t|", "tsv": "\t,;|"}  # the possible delimiters of each format; the first is its default
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
_SEPARATOR_LINE = re.compile(r'"?sep=(.|\\t)"?\s*', re.IGNORECASE)
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_SAMPLE_ROWS = 200
_NEARLY_ALL = 0.9
_FEW = 0.05  # without quoting, up to this share of the rows may have more or fewer cells than the header
_ALONE = 0.9  # if at least this share of the joined lines are rows, quotes are plain characters


def delimiters_of(source: Source) -> Delimiters:
    """Return the rules for splitting a table.

    The first call determines the rules in a few passes over the file; later calls reuse them.
    """
    if "delimiters" not in source.settled:
        source.settled["delimiters"] = _settle(source)
    delimiters: Delimiters = source.settled["delimiters"]
    return delimiters


def _settle(source: Source) -> Delimiters:
    delimiters = _delimited(source)
    if not any('"' in line for _, line in lines(source)):
        return delimiters
    usual = check_delimiters(source, delimiters)
    if usual.is_clean and not usual.joined and not usual.blanks:
        return delimiters
    if delimiters.delimiter in TRUSTED and (plain := _without_quoting(source, delimiters, usual)):
        return plain
    return _mended(source, delimiters, usual)


def _without_quoting(source: Source, delimiters: Delimiters, usual: DelimitersCheck) -> Delimiters | None:
    """Return the rules that treat quotes as plain characters, or None if the table does not appear to follow them."""
    plain = replace(delimiters, quoting=False)
    joins_rows = bool(usual.joined) and usual.alone >= _ALONE * usual.joined
    if not joins_rows and (usual.is_clean or not _fits(usual, check_delimiters(source, plain))):
        return None
    name = _NAMES[delimiters.delimiter].split()[-1]
    reading = f"the file is read as {name}-separated without quoting"
    if joins_rows:
        message = f"with quoting, {usual.joined} lines that are complete rows would be joined; {reading}"
        source.remark("quoting", message, f"line {usual.first_joined}", usual.joined, "warn")
    else:
        source.remark("quoting", f"has quotes that do not enclose whole cells; {reading}")
    return plain


def _fits(usual: DelimitersCheck, plain: DelimitersCheck) -> bool:
    """Whether all rows have as many cells as the header if quotes are plain characters.

    If the usual rules find malformed quotes, a few rows may have a different number of cells.
    """
    return plain.is_clean or (usual.failed and plain.wrong <= _FEW * plain.rows)


def _mended(source: Source, delimiters: Delimiters, usual: DelimitersCheck) -> Delimiters:
    """Return rules that also allow spaces around quoted cells, or quotes escaped with a backslash, if the table needs
    them; otherwise `delimiters`. Adds a remark about the choice.
    """
    if usual.blanks or not usual.is_clean:
        loose = replace(delimiters, blanks=True)
        if check_delimiters(source, loose).is_clean:
            message = (
                "has spaces around quoted cells; these spaces and the quotes are removed, and so are spaces before "
            )
            source.remark("quoting", f"{message}other cells")
            return loose
    if not usual.is_clean:
        escaped = replace(delimiters, backslash=True)
        if check_delimiters(source, escaped).is_clean:
            source.remark("quoting", 'has quotes written as \\" inside quoted cells; these are read as quotes')
            return escaped
    if usual.blanks:
        message = "a quote after a space is read as part of the cell; to enclose the cell in quotes, remove the space"
        source.remark("quoting", message, f"line {usual.first_blanks}", usual.blanks, "warn")
    _remark_joined_lines(source, usual)
    return delimiters


def _remark_joined_lines(source: Source, usual: DelimitersCheck) -> None:
    """Warn about quoted cells that span several lines and may be several rows."""
    suspects = usual.sure_suspects()
    if suspects:
        first, lines_ = suspects[0]
        more = f" ({quantity(len(suspects), 'such cell')} in total)" if len(suspects) > 1 else ""
        message = (
            f"a quoted cell spans several lines ({lines_}), nearly all of which look like complete rows{more}; if these"
            " lines are rows, they are missing from the data: double each quote inside a text, and enclose the text in "
            "quotes"
        )
        source.remark("joined_lines", message, f"line {first}", len(suspects), "warn")


def _delimited(source: Source) -> Delimiters:
    """Determine the delimiter and the header line. Skips blank lines; a line such as `sep=;` declares the delimiter."""
    for number, line in lines(source):
        if match := _SEPARATOR_LINE.fullmatch(line):
            source.remark("delimiter", f"begins with sep={match[1]}, so {match[1]} is read as the delimiter")
            return Delimiters(match[1].replace("\\t", "\t"), number + 1)
        if line.strip():
            if _is_wrapped(source, number):
                source.settled["wrapped"] = True
                message = "each whole line is enclosed in quotes; these quotes are removed"
                source.remark("wrapped_lines", message, f"line {number}")
            number, line = _header_line(source, number, unwrapped(line) if "wrapped" in source.settled else line)
            delimiter = _delimiter(source, number, line)
            if delimiter != _ORDER[source.format][0]:
                source.remark("delimiter", f"is read with {_NAMES[delimiter]} as the delimiter")
            return Delimiters(delimiter, number, wrapped="wrapped" in source.settled)
    return Delimiters(_ORDER[source.format][0])


def _lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line, without quotes that enclose each line as a whole."""
    is_wrapped = "wrapped" in source.settled
    return ((number, unwrapped(line) if is_wrapped else line) for number, line in lines(source))


def _is_wrapped(source: Source, first: int) -> bool:
    """Whether nearly all lines after the first are enclosed in quotes as a whole, with as many cells as the first."""
    header, *sample = [line for _, line in islice(lines(source), first - 1, first + _SAMPLE_ROWS) if line.strip()]
    if unwrapped(header) == header:  # a line such as "a,b", may have two cells, so it does not count
        sample = [line if line.rstrip().endswith('"') else "" for line in sample]
    rows = [unwrapped(line) for line in sample]
    if not rows or sum(row != line for row, line in zip(rows, sample, strict=True)) < _NEARLY_ALL * len(rows):
        return False
    consistent = (_consistency([unwrapped(header), *rows], d) for d in _ORDER[source.format] if d in unwrapped(header))
    return max(consistent, default=0.0) >= _NEARLY_ALL


def _header_line(source: Source, first: int, line: str) -> tuple[int, str]:
    """Return the number and the text of the header line.

    The header is the first non-blank line (number `first`, text `line`), unless a title or comments begin there.
    """
    filled = (pair for pair in _lines(source) if pair[0] >= first and pair[1].strip())
    sample = list(islice(filled, TITLE_ROWS))
    for delimiter in _ORDER[source.format]:
        rows = [text.rstrip("\r\n").split(delimiter) for _, text in sample]
        index = header_after_title(rows, source.requested)
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
    sample = [line for _, line in islice(_lines(source), number - 1, number + _SAMPLE_ROWS)]
    # Prefer the delimiter that makes the most rows as wide as the header, then the most frequent delimiter in the
    # header.
    return max(candidates, key=lambda delimiter: (_consistency(sample, delimiter), text.count(delimiter)))


def _consistency(sample: list[str], delimiter: str) -> float:
    """Return the share of records that have the same number of cells as the header."""
    try:
        widths = [len(cells) for cells in csv.reader(sample, delimiter=delimiter) if cells]
    except csv.Error:
        return 0.0
    return sum(width == widths[0] for width in widths[1:]) / max(1, len(widths) - 1)
