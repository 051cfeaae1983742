"""Counts the rows and reads the column names of a table while it is being uploaded.

Reads CSV, TSV and JSONL, with or without gzip. The footer of a Parquet file, which contains its row count and columns,
is read only by the trainer. The row counts and column names must agree with those that the trainer reads later.
Therefore, row counts and column names are omitted for a file that is malformed, ambiguous, or too large to count during
the upload. Errors in a file are reported by the job that uses it.

To prevent a malicious file from blocking this process, the time for each file is limited, only one file is counted at a
time, and every regular expression takes linear time.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import re
import threading
import time
import zlib
from collections.abc import Iterable, Iterator

MAX_BYTES = 64 * 2**20  # maximum size of uncompressed data; counting it takes about a second
MAX_SECONDS = 2.0  # maximum processor time; a gzip file of 60 KB can contain 60 million empty lines
MAX_RECORD, MAX_HEADER_LINES, MAX_COLUMNS, MAX_TEXT = 2**20, 100, 1000, 2**16
SLICE = 2**20
GZIP = 31  # zlib's `wbits` for the gzip format
BOM, QUOTE, NEWLINE, RETURN, END_MARK = b"\xef\xbb\xbf", b'"', b"\n", b"\r", b"\x1a"
WIDE = (  # byte order marks of UTF-32 and UTF-16; UTF-32 comes first, because its mark begins with a mark of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
SEPARATOR_LINE = re.compile(rb'"?sep=(.|\\t)"?\s*', re.IGNORECASE)
OTHER = (b"{", b"[", b"#", b"__label__")  # a file that starts like this may not be CSV, or may contain comments
HEADER = re.compile(rb'(^|[,;\t|" ])(text|prompt|features|series|messages)($|[,;\t|" ])', re.IGNORECASE)
EMPTY_RECORD = re.compile(rb'\s*+\{(?:\s*+"(?:[^"\\]|\\.)*+"\s*+:\s*+(?:null|"(?:\s|\\[tnrf])*+")\s*+,?+)*+\s*+\}\s*+')
QUOTED = re.compile(rb'"(?:[^"]|"")*+"')
BLANKS_AND_QUOTE = re.compile(rb' ++"')
UNREADABLE = (ValueError, RecursionError, csv.Error, zlib.error)


class Outline:
    """The `rows` and `columns` of a table, available once `pass_through` is exhausted. None means unknown."""

    def __init__(self, format: str | None) -> None:
        kind = (format or "").removesuffix(".gz")
        self.rows: int | None = None
        self.columns: list[str] | None = None
        self._table = _TABLES.get(kind, Table)()
        self._decompressor = zlib.decompressobj(GZIP) if (format or "").endswith(".gz") else None
        self._left, self._rest = MAX_BYTES, b""
        self._transcoder = Transcoder()
        self._has_lines = False
        self._seconds = 0.0  # the processor time spent so far

    def pass_through(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks of the stream unchanged, and count the rows in them."""
        counting = True
        for chunk in stream:
            counting = counting and self._take(chunk)
            yield chunk
        if counting and self._end():
            self.rows, self.columns = self._table.rows, self._table.columns

    def _take(self, chunk: bytes) -> bool:
        """Count the rows in a chunk. Returns False to stop counting."""
        try:
            return all(map(self._take_slice, self._decompress(chunk)))
        except UNREADABLE:
            return False

    def _take_slice(self, plain: bytes) -> bool:
        with _TURN:
            began = time.thread_time()
            goes_on = self._take_lines(self._transcoder.take(plain))
            self._seconds += time.thread_time() - began
        return goes_on and self._seconds <= MAX_SECONDS

    def _end(self) -> bool:
        """Count the last line, which may lack a newline. Return whether the file is complete."""
        packed = self._decompressor
        try:
            self._take_lines(self._transcoder.end())
            return (packed is None or packed.eof) and all(map(self._table.take, self._last())) and not self._table.open
        except UNREADABLE:
            return False

    def _last(self) -> list[bytes]:
        """Return the last line, or all lines if they end with CR (classic Mac OS). Removes a trailing Ctrl-Z (DOS)."""
        rest = self._rest
        if END_MARK in rest and not rest[rest.index(END_MARK) :].strip(b"\x1a\x00 \t\r\n"):
            rest = rest[: rest.index(END_MARK)]
        return [rest] if self._has_lines else rest.split(RETURN)

    def _decompress(self, chunk: bytes) -> Iterator[bytes]:
        """Decompress in slices, so that the caller can stop before a few bytes expand to gigabytes."""
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
        self._has_lines = self._has_lines or bool(lines)
        return self._left >= 0 and len(self._rest) <= MAX_RECORD and all(map(self._table.take, lines))


_TURN = threading.Lock()  # acquired to count a slice, so that at most one thread competes with the event loop


class Transcoder:
    """Converts UTF-16 and UTF-32, recognised by their byte order marks, to UTF-8. Other bytes are not changed."""

    def __init__(self) -> None:
        self._start: bytes | None = b""
        self._decoder: codecs.IncrementalDecoder | None = None

    def take(self, chunk: bytes, final: bool = False) -> bytes:
        """Convert the next bytes to UTF-8. Buffers the first bytes until a byte order mark can be recognised."""
        if self._start is not None:
            self._start += chunk
            if len(self._start) < 4 and not final:
                return b""
            chunk, self._start = self._start, None
            for mark, encoding in WIDE:
                if chunk.startswith(mark):
                    self._decoder, chunk = codecs.getincrementaldecoder(encoding)(), chunk[len(mark) :]
                    break
        return chunk if self._decoder is None else self._decoder.decode(chunk, final).encode()

    def end(self) -> bytes:
        """Return the remaining bytes. Raises ValueError if a character is incomplete."""
        return self.take(b"", final=True)


class Table:
    """The base class, and the fallback for formats whose rows are not counted.

    Subclasses count the rows of CSV, TSV and JSONL files.
    """

    rows: int | None = None
    columns: list[str] | None = None
    open = False  # whether the last line ended in the middle of a record

    def take(self, line: bytes) -> bool:
        """Count the next line. Return whether to continue."""
        return False


class JsonLinesTable(Table):
    """JSONL: one record per line; the column names are the keys of the first record."""

    def take(self, line: bytes) -> bool:
        """Count the next line. Return whether to continue."""
        if not line.removeprefix(BOM).strip():
            return True
        if self.rows is None:
            first = json.loads(line.removeprefix(BOM))
            if not isinstance(first, dict):
                return False
            self.rows, self.columns = 0, _bounded(first)
            # A single object may contain the whole table, as lists of values or of rows. The first object is a record
            # only if other lines follow.
            self.open = any(isinstance(value, list | dict) for value in first.values())
        else:
            self.open = False
        self.rows += not EMPTY_RECORD.fullmatch(line)
        return True


class CsvTable(Table):
    """CSV: a record is one line, or several lines if a quoted cell contains newlines."""

    delimiters: tuple[bytes, ...] = (b",", b";", b"\t", b"|")

    def __init__(self) -> None:
        self._header: list[bytes] = []
        self._delimiter = b""
        self._continues = False  # whether the record began on an earlier line
        self._alone = False  # whether the header has a single cell, which may be a title

    def take(self, line: bytes) -> bool:
        """Count the next line. Return whether to continue."""
        if not self._header:
            line = line.removeprefix(BOM)
            if not line.strip() or b"\x00" in line:
                return b"\x00" not in line
            if not self._delimiter and (match := SEPARATOR_LINE.fullmatch(line)):
                self._delimiter = match[1].replace(b"\\t", b"\t")
                return True
            if line.lstrip().startswith(OTHER) or not self._settle_delimiter(line):
                return False
        if END_MARK in line:
            return False
        if QUOTE in line:
            self.open = _open_after(line, self.open, self._delimiter)
        if self.rows is None:
            self._header.append(line)
            return len(self._header) <= MAX_HEADER_LINES and (self.open or self._read_header())
        return self._count(line)

    def _count(self, line: bytes) -> bool:
        if self.open and self._delimiter in b"\t|":
            return False  # quotes may be ordinary characters, in which case each line is a row
        if self._alone and HEADER.search(line):
            return False  # the first line may be a title, and this line the header
        is_blank = not line.strip(b' \t\r"' + self._delimiter)
        if self.open or self._continues:
            if is_blank:
                return False  # the whole record may be blank
            self._continues = self.open
            self.rows = (self.rows or 0) + (not self.open)
        elif not is_blank or (QUOTE in line and self._has_text(line)):
            self.rows = (self.rows or 0) + 1
        return True

    def _has_text(self, line: bytes) -> bool:
        """Whether a line that consists only of spaces, quotes and delimiters contains a non-blank cell."""
        return any(cell.strip() for cells in self._parse(line) for cell in cells)

    def _parse(self, record: bytes) -> Iterator[list[str]]:
        return csv.reader([record.decode()], delimiter=self._delimiter.decode(), strict=True)

    def _settle_delimiter(self, line: bytes) -> bool:
        """Choose the delimiter from the header. Returns False if the header alone does not determine the delimiter."""
        if self._delimiter:
            return True
        plain = QUOTED.sub(b"", line)
        candidates = [delimiter for delimiter in self.delimiters if delimiter in plain]
        self._delimiter = (candidates or self.delimiters)[0]
        return len(candidates) < 2 or self._delimiter == b"\t"

    def _read_header(self) -> bool:
        [names] = self._parse(b"\n".join(self._header))
        columns = dict.fromkeys(name.strip() for name in names if name.strip())
        self.rows, self.columns = 0, _bounded(columns)
        self._alone = len(names) == 1
        return bool(columns)


class TsvTable(CsvTable):
    """TSV: CSV with tabs as delimiters."""

    delimiters = (b"\t", b",", b";", b"|")


_TABLES: dict[str, type[Table]] = {"csv": CsvTable, "tsv": TsvTable, "jsonl": JsonLinesTable}


def _bounded(columns: Iterable[str]) -> list[str] | None:
    """Return the column names as a list, or None if there are too many, or if they are too long or not valid text."""
    names = list(itertools.islice(columns, MAX_COLUMNS + 1))
    text = "".join(names)
    valid = "\x00" not in text and text.encode("utf-8", "replace").decode() == text
    return names if valid and len(names) <= MAX_COLUMNS and len(text) <= MAX_TEXT else None


def _open_after(line: bytes, quoted: bool, delimiter: bytes) -> bool:
    """Whether a quoted cell is still open at the end of a line. Only a cell that begins with a quote counts as quoted.

    `quoted` indicates whether a quoted cell was open at the start of the line. Raises ValueError if quotes enclose only
    part of a cell or if spaces precede a quote, because the trainer may read such cells differently.
    """
    at = 0
    while True:
        if quoted:
            at = line.find(QUOTE, at)
            if at < 0:
                return True
            doubled = line.startswith(QUOTE, at + 1)  # two quotes within a quoted cell mean one quote
            at, quoted = at + 1 + doubled, doubled
            if not quoted and line[at : at + 1] not in (b"", b"\r", delimiter):
                raise ValueError("a quote inside a cell")
        elif line.startswith(QUOTE, at) and (at == 0 or line.startswith(delimiter, at - 1)):
            at, quoted = at + 1, True
        elif BLANKS_AND_QUOTE.match(line, at):
            raise ValueError("a space before a quote")
        else:
            at = line.find(delimiter, at) + 1
            if not at:
                return False
