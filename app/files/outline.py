"""Counts the rows and reads the column names of a table while it is uploaded.

Reads CSV, TSV and JSONL, compressed by gzip or not. A parquet file has both in a footer, which only the trainer reads.
Nothing is reported for a file that is malformed or too large to count on the way; the job that uses it reports errors.
"""

from __future__ import annotations

import csv
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator

MAX_BYTES = 64 * 2**20  # uncompressed: as much as is counted within a second or two
MAX_RECORD, MAX_HEADER_LINES, MAX_COLUMNS, MAX_TEXT = 2**20, 100, 1000, 2**16
SLICE = 2**20
GZIP = 31  # zlib's `wbits` for the gzip format
BOM, QUOTE, NEWLINE = b"\xef\xbb\xbf", b'"', b"\n"
UNREADABLE = (ValueError, RecursionError, csv.Error, zlib.error)


class Outline:
    """The `rows` and `columns` of a table, available once `pass_through` is exhausted; None: unknown."""

    def __init__(self, format: str | None) -> None:
        kind = (format or "").removesuffix(".gz")
        self.rows: int | None = None
        self.columns: list[str] | None = None
        self._table = TABLES.get(kind, Table)()
        self._decompressor = zlib.decompressobj(GZIP) if (format or "").endswith(".gz") else None
        self._left, self._rest = MAX_BYTES, b""

    def pass_through(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks of the stream unchanged, and count what is in them."""
        counting = True
        for chunk in stream:
            counting = counting and self._take(chunk)
            yield chunk
        if counting and self._end():
            self.rows, self.columns = self._table.rows, self._table.columns

    def _take(self, chunk: bytes) -> bool:
        """Count a chunk; return whether to go on."""
        try:
            return all(map(self._take_lines, self._decompress(chunk)))
        except UNREADABLE:
            return False

    def _end(self) -> bool:
        """Count the last line, which may lack its newline; return whether the file is complete."""
        packed = self._decompressor
        try:
            return (packed is None or packed.eof) and self._table.take(self._rest) and not self._table.open
        except UNREADABLE:
            return False

    def _decompress(self, chunk: bytes) -> Iterator[bytes]:
        """Decompress in slices: a few bytes can expand to gigabytes, and `_take_lines` stops the loop before that."""
        if self._decompressor is None:
            yield chunk
            return
        while chunk:
            yield self._decompressor.decompress(chunk, SLICE)
            if self._decompressor.unused_data:
                raise ValueError("there is data after the end of the gzip stream")
            chunk = self._decompressor.unconsumed_tail

    def _take_lines(self, plain: bytes) -> bool:
        self._left -= len(plain)
        *lines, self._rest = (self._rest + plain).split(NEWLINE)
        return self._left >= 0 and len(self._rest) <= MAX_RECORD and all(map(self._table.take, lines))


class Table:
    """A file of an unknown format, or one without rows: nothing is counted. The formats are subclasses."""

    rows: int | None = None
    columns: list[str] | None = None
    open = False  # in the middle of a record

    def take(self, line: bytes) -> bool:
        """Count the next line; return whether to go on."""
        return False


class JsonLinesTable(Table):
    """JSONL: one record per line; the columns are the names in the first record."""

    def take(self, line: bytes) -> bool:
        """Count the next line; return whether to go on."""
        if not line.removeprefix(BOM).strip():
            return True
        if self.rows is None:
            first = json.loads(line.removeprefix(BOM))
            if not isinstance(first, dict):
                return False
            self.rows, self.columns = 0, _bounded(first)
        self.rows += 1
        return True


class CsvTable(Table):
    """CSV: a record is one line, or several if a quoted cell contains newlines."""

    delimiters: tuple[bytes, ...] = (b",", b";", b"\t")

    def __init__(self) -> None:
        self._header: list[bytes] = []

    def take(self, line: bytes) -> bool:
        """Count the next line; return whether to go on."""
        if not self._header:
            line = line.removeprefix(BOM)
            self._delimiter = max(self.delimiters, key=line.count)
        if QUOTE in line:
            self.open = _open_after(line, self.open, self._delimiter)
        if self.rows is None:
            self._header.append(line)
            return len(self._header) <= MAX_HEADER_LINES and (self.open or self._read_header())
        if not self.open and line.strip(b"\r"):
            self.rows += 1
        return True

    def _read_header(self) -> bool:
        text = b"\n".join(self._header).decode()
        [names] = csv.reader([text], delimiter=self._delimiter.decode(), strict=True)
        self.rows, self.columns = 0, _bounded(name.strip() for name in names)
        return any(names)


class TsvTable(CsvTable):
    """TSV: CSV with tabs."""

    delimiters = (b"\t",)


TABLES: dict[str, type[Table]] = {"csv": CsvTable, "tsv": TsvTable, "jsonl": JsonLinesTable}


def _bounded(columns: Iterable[str]) -> list[str] | None:
    """Column names that can be stored and shown; None if they are too many or too long, or not valid text."""
    names = list(itertools.islice(columns, MAX_COLUMNS + 1))
    text = "".join(names)
    valid = "\x00" not in text and text.encode("utf-8", "replace").decode() == text
    return names if valid and len(names) <= MAX_COLUMNS and len(text) <= MAX_TEXT else None


def _open_after(line: bytes, quoted: bool, delimiter: bytes) -> bool:
    """Whether a quoted cell is still open at the end of a line. A cell is quoted only if it begins with a quote.

    `quoted` says whether one was open at the start of the line.
    """
    at = 0
    while True:
        if quoted:
            at = line.find(QUOTE, at)
            if at < 0:
                return True
            doubled = line.startswith(QUOTE, at + 1)  # two quotes within a quoted cell stand for one
            at, quoted = at + 1 + doubled, doubled
        elif line.startswith(QUOTE, at) and (at == 0 or line.startswith(delimiter, at - 1)):
            at, quoted = at + 1, True
        else:
            at = line.find(delimiter, at) + 1
            if not at:
                return False
