"""How many rows a table has and what its columns are called, noted while it is uploaded. It judges nothing.

CSV, TSV and JSONL, packed by gzip or not; parquet says so at its end, in a form that is left to the trainer. Where a
file is not what it should be, or too large to be counted in passing, there is no figure: the job that reads it tells.
"""

from __future__ import annotations

import csv
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator

MOST_BYTES = 64 * 2**20  # unpacked: as much as is counted within a second or two
MOST_RECORD, MOST_HEADER_LINES, MOST_COLUMNS, MOST_TEXT = 2**20, 100, 1000, 2**16
SLICE = 2**20
GZIP = 31  # what zlib calls it
BOM, QUOTE, LINE = b"\xef\xbb\xbf", b'"', b"\n"
UNREADABLE = (ValueError, RecursionError, csv.Error, zlib.error)


class Outline:
    """`rows` and `columns` are there once `seen` has passed the last piece; None: not known."""

    def __init__(self, format: str | None) -> None:
        kind = (format or "").removesuffix(".gz")
        self.rows: int | None = None
        self.columns: list[str] | None = None
        self._table = KINDS.get(kind, Nothing)()
        self._unpack = zlib.decompressobj(GZIP) if (format or "").endswith(".gz") else None
        self._left, self._rest = MOST_BYTES, b""

    def seen(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, looked at on their way."""
        counting = True
        for piece in stream:
            counting = counting and self._take(piece)
            yield piece
        if counting and self._end():
            self.rows, self.columns = self._table.rows, self._table.columns

    def _take(self, piece: bytes) -> bool:
        """Whether it is worth while to go on."""
        try:
            return all(map(self._lines, self._plain(piece)))
        except UNREADABLE:
            return False

    def _end(self) -> bool:
        """The last line, which need not be ended; whether the file ends where it should."""
        packed = self._unpack
        try:
            return (packed is None or packed.eof) and self._table.line(self._rest) and not self._table.open
        except UNREADABLE:
            return False

    def _plain(self, piece: bytes) -> Iterator[bytes]:
        """Unpacked in small slices: a few bytes can stand for very many."""
        if self._unpack is None:
            yield piece
            return
        while piece:
            yield self._unpack.decompress(piece, SLICE)
            if self._unpack.unused_data:
                raise ValueError("something follows the packed file")
            piece = self._unpack.unconsumed_tail

    def _lines(self, plain: bytes) -> bool:
        self._left -= len(plain)
        *lines, self._rest = (self._rest + plain).split(LINE)
        return self._left >= 0 and len(self._rest) <= MOST_RECORD and all(map(self._table.line, lines))


class Nothing:
    """A file without rows or of an unknown kind."""

    rows: int | None = None
    columns: list[str] | None = None
    open = False  # in the middle of a record

    def line(self, line: bytes) -> bool:
        """Take the next line; False: do not go on."""
        return False


class Objects(Nothing):
    """JSONL: a record a line; the columns are what the first one has."""

    def line(self, line: bytes) -> bool:
        if not line.removeprefix(BOM).strip():
            return True
        if self.rows is None:
            first = json.loads(line.removeprefix(BOM))
            if not isinstance(first, dict):
                return False
            self.rows, self.columns = 0, _names(first)
        self.rows += 1
        return True


class Cells(Nothing):
    """CSV and TSV: a record is a line, or several where a quoted cell goes on."""

    def __init__(self, delimiters: tuple[bytes, ...] = (b",", b";", b"\t")) -> None:
        self._delimiters = delimiters
        self._header: list[bytes] = []

    def line(self, line: bytes) -> bool:
        if not self._header:
            line = line.removeprefix(BOM)
            self._delimiter = max(self._delimiters, key=line.count)
        if QUOTE in line:
            self.open = _open_after(line, self.open, self._delimiter)
        if self.rows is None:
            self._header.append(line)
            return len(self._header) <= MOST_HEADER_LINES and (self.open or self._begin())
        if not self.open and line.strip(b"\r"):
            self.rows += 1
        return True

    def _begin(self) -> bool:
        """The header is whole: its names."""
        text = b"\n".join(self._header).decode()
        [names] = csv.reader([text], delimiter=self._delimiter.decode(), strict=True)
        self.rows, self.columns = 0, _names(name.strip() for name in names)
        return any(names)


class Tabbed(Cells):
    def __init__(self) -> None:
        super().__init__((b"\t",))


KINDS: dict[str, type[Nothing]] = {"csv": Cells, "tsv": Tabbed, "jsonl": Objects}


def _names(found: Iterable[str]) -> list[str] | None:
    """Names that can be kept and shown; None where there are too many, or some that are no text."""
    names = list(itertools.islice(found, MOST_COLUMNS + 1))
    text = "".join(names)
    whole = "\x00" not in text and text.encode("utf-8", "replace").decode() == text
    return names if whole and len(names) <= MOST_COLUMNS and len(text) <= MOST_TEXT else None


def _open_after(line: bytes, quoted: bool, delimiter: bytes) -> bool:
    """Whether a quoted cell is still open at the end of a line. A quote counts at the beginning of a cell alone."""
    at = 0
    while True:
        if quoted:
            at = line.find(QUOTE, at)
            if at < 0:
                return True
            doubled = line.startswith(QUOTE, at + 1)
            at, quoted = at + 1 + doubled, doubled
        elif line.startswith(QUOTE, at) and (at == 0 or line.startswith(delimiter, at - 1)):
            at, quoted = at + 1, True
        else:
            at = line.find(delimiter, at) + 1
            if not at:
                return False
