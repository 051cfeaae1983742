"""Opens data files for the readers: decompresses and decodes them, and divides them into lines or blocks.

Files are streamed: at most one record, or one batch of Parquet rows, is in memory. Records have a maximum size.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from app.training.data.remarks import Remark, Remarks
from app.training.failures import BadData

_BLOCK = 1 << 16
BOM = "\ufeff"
# Ctrl-Z, the end mark of DOS text files, with the blanks before it. A match can begin only at the first of these
# blanks, so that a search takes linear time.
_END_MARK = re.compile(r"(?<![\s\x00\x1a])([\s\x00]*+)\x1a[\s\x00\x1a]*+\Z")
_ESCAPE = "escape-undecodable"  # the name of the error handler
_ESCAPED = re.compile("[\udc00-\udcff]")
RECORD_BYTES = 1 << 26  # the maximum size of a record; a larger record suggests an error, such as an unclosed quote


@dataclass(frozen=True, slots=True)
class Record:
    """One row with its raw values. `where` is its place, such as 'line 7' (in Parquet, 'row 7'), for error messages.

    If there is a `fault`, the row cannot be read and `values` is empty, but the following rows can still be read.
    """

    where: str
    values: dict[str, Any]
    fault: BadData | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The columns of a table to read, and how to read them.

    `ignored` columns are not needed: a reader may leave them out of the records, and they never cause a fault.
    `numbers` columns are read as numbers: class numbers are kept even if the schema contains the names of the classes.
    If `whole` is true, the records contain the ignored columns too, as far as these can be read. A row in which a
    `required` column is empty cannot be used; if None, the required columns are not known yet.
    """

    ignored: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    whole: bool = False
    required: frozenset[str] | None = None

    def is_required(self, name: str) -> bool:
        """Whether a column is required. If this is not known, all columns that are needed count as required."""
        return name not in self.ignored if self.required is None else name in self.required


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Source:
    """A data file.

    `filename` is the file's name in messages; `param` is the request field that names the file. `remarks` collects the
    decisions and anomalies to report. `settled` stores the names that the request gives to columns, and decisions that
    require a pass over the file, such as a table's delimiters, for use in later passes.
    """

    path: Path
    filename: str
    format: str
    gzip: bool
    param: str = "training_file"
    encoding: str = "utf-8"
    # Why some bytes cannot be decoded, if there are any; they are read as lone surrogates, and their records are faulty
    undecodable: str = ""
    line_end: str = "\n"  # "\r" in files from old Macintoshes; "\n" even if lines end with "\r\n"
    remarks: Remarks = field(default_factory=Remarks, compare=False, repr=False)
    settled: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def requested(self) -> tuple[str, ...]:
        """The columns that the request names, by which the readers recognise a header below a title."""
        return tuple(self.settled.get("requested", ()))

    def open(self) -> BinaryIO:
        """Open the decompressed content."""
        if self.gzip:
            return io.BufferedReader(gzip.GzipFile(self.path), _BLOCK)
        return self.path.open("rb", _BLOCK)

    def open_text(self) -> io.TextIOWrapper:
        """Open the decompressed and decoded content. Line ends are not translated."""
        if not self.undecodable:
            return io.TextIOWrapper(self.open(), self.encoding, newline=self.line_end)
        codecs.register_error(_ESCAPE, _escape)
        return io.TextIOWrapper(self.open(), self.encoding, _ESCAPE, self.line_end)

    def fault(self, message: str, *where: str, param: str | None = None) -> BadData:
        """Return an error about this file: '<file> <message>' or, with places, '<file>, <where>, …: <message>'."""
        return BadData(self._in_place(message, *where), param, self.param, where=where, reason=message)

    def remark(self, kind: str, message: str, where: str = "", count: int = 1, level: str = "info") -> None:
        """Add a remark about this file. The remark's text has the same form as a fault's message."""
        text = self._in_place(message, *[where] * bool(where))
        self.remarks.put(Remark(kind, text, where, count, level))

    def _in_place(self, message: str, *where: str) -> str:
        place = f"{', '.join((self.filename, *where))}: " if where else f"{self.filename} "
        return place + message


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Error handler that replaces each byte that cannot be decoded with a lone surrogate (U+DC00 plus the byte)."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


def undecodable_fault(source: Source, text: str, *where: str) -> BadData | None:
    """Return the error for the first byte of a text that could not be decoded, or None if there is none."""
    escaped = _ESCAPED.search(text) if source.undecodable else None
    return escaped and source.fault(f"the byte 0x{ord(escaped[0]) - 0xDC00:02x} is {source.undecodable}", *where)


def checked(source: Source, record: Record) -> Record:
    """Return the record, or a faulty record if some of its bytes, even in keys, cannot be decoded."""
    if source.undecodable:
        for name, value in record.values.items():
            for text in _texts((name, value)):
                if fault := undecodable_fault(source, text, record.where, f"column {name!r}"):
                    return Record(record.where, {}, fault)
    return record


def _texts(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value, at any depth, including object keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _texts(part)


def lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and the text of each line.

    Keeps line endings, and removes byte order marks and the end mark (Ctrl-Z). Raises BadData for a line that is too
    long.
    """
    return enumerate(_without_end_mark(source, _raw_lines(source)), 1)


def _raw_lines(source: Source) -> Iterator[str]:
    number = 0
    with unpacking(source), source.open_text() as file:
        while line := file.readline(RECORD_BYTES + 1):
            number += 1
            if len(line) > RECORD_BYTES:
                raise source.fault(too_long(), f"line {number}")
            yield line if number > 1 else line.lstrip(BOM)


def characters(source: Source) -> Iterator[str]:
    """Yield the text in blocks of arbitrary length, without byte order marks and the end mark (Ctrl-Z).

    If the lines of the file end with CR, each CR becomes "\\n".
    """
    for block in _without_end_mark(source, _raw_blocks(source)):
        yield block.replace("\r", "\n") if source.line_end == "\r" else block


def _raw_blocks(source: Source) -> Iterator[str]:
    with unpacking(source), source.open_text() as file:
        block = file.read(_BLOCK).lstrip(BOM)
        while block:
            yield block
            block = file.read(_BLOCK)


def _without_end_mark(source: Source, parts: Iterable[str]) -> Iterator[str]:
    """Yield the chunks of a text. Removes a Ctrl-Z at the end of the text, and any white space after it."""
    ending = ""
    for part in parts:
        if not ending and "\x1a" not in part:  # a fast path for nearly all chunks, because this runs for each line
            yield part
        elif ending and not part.strip("\x1a\x00 \t\r\n"):
            ending += part
        else:
            if ending:
                yield ending
            ending = part if _END_MARK.search(part) else ""
            if not ending:
                yield part
    if ending:
        source.remark("end_mark", "ends with Ctrl-Z (0x1a), which is ignored")
        if text := _END_MARK.sub(r"\1", ending):
            yield text


def first_columns(names: Iterable[str]) -> dict[str, int]:
    """Map each name to the index of the first column with this name."""
    columns: dict[str, int] = {}
    for index, name in enumerate(names):
        columns.setdefault(name, index)
    return columns


def check_repeated(source: Source, names: Iterable[str], selection: Selection, where: str = "") -> None:
    """Raise BadData if a column that is needed appears more than once.

    If the records are to contain the ignored columns too, a remark reports each repeated column, of which only the
    first is kept.
    """
    for name, count in Counter(filter(None, names)).items():
        message = f"the column {name!r} appears {count} times; "
        if count > 1 and name not in selection.ignored:
            raise source.fault(f"{message}rename all but one", *[where] * bool(where))
        if count > 1 and selection.whole:
            source.remark(f"repeated_column {name}", f"{message}only the first is kept", where, count, "warn")


def too_long() -> str:
    """Return the message for a record larger than `RECORD_BYTES`."""
    return f"the record is longer than the limit of {RECORD_BYTES >> 20} MiB"


@contextmanager
def unpacking(source: Source) -> Iterator[None]:
    """Raise BadData if the gzip stream is damaged. Any other OSError is caused by the machine and is not caught."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise source.fault(f"cannot be decompressed completely: {error}") from None
