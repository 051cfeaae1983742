"""Opens data files: detects format and compression, decodes lines, and reports faults with their place.

Files are streamed: at most one record (or one batch of Parquet rows) is in memory, and a record has a maximum size.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from app.training.data.remarks import Remark, Remarks
from app.training.failures import BadData

FORMATS = ("csv", "tsv", "jsonl", "parquet", "text")
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}
_GZIP, _PARQUET, _BOM = b"\x1f\x8b", b"PAR1", b"\xef\xbb\xbf"
_BLOCK = 1 << 16
RECORD_BYTES = 1 << 26  # the largest record; more than this is taken for an error, such as an unclosed quote


@dataclass(frozen=True, slots=True)
class Record:
    """One row with its raw values. `where` is its place for error messages: 'line 7', or 'row 7' of Parquet.

    With a `fault` the row cannot be read, and `values` are empty; the rows after it can be read all the same.
    """

    where: str
    values: dict[str, Any]
    fault: BadData | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A data file. `filename` is its name in messages, `param` the field of the request that names the file.

    `remarks` collects what is decided or noticed while the file is read.
    """

    path: Path
    filename: str
    format: str
    gzip: bool
    param: str = "training_file"
    remarks: Remarks = field(default_factory=Remarks, compare=False, repr=False)

    def open(self) -> IO[bytes]:
        """The content, decompressed."""
        if self.gzip:
            return io.BufferedReader(gzip.GzipFile(self.path), _BLOCK)
        return self.path.open("rb", _BLOCK)

    def fault(self, message: str, *where: str, param: str | None = None) -> BadData:
        """The error for this file: '<file> <message>', or with places '<file>, <where>, …: <message>'."""
        return BadData(self._in_place(message, *where), param, self.param, where=where, reason=message)

    def remark(self, kind: str, message: str, where: str = "", count: int = 1, level: str = "info") -> None:
        """Remember a remark on this file; its text is formed like that of a fault."""
        text = self._in_place(message, *[where] * bool(where))
        self.remarks.put(Remark(kind, text, where, count, level))

    def _in_place(self, message: str, *where: str) -> str:
        place = f"{', '.join((self.filename, *where))}: " if where else f"{self.filename} "
        return place + message


def detect(path: Path, filename: str, declared: str | None = None, param: str = "training_file") -> Source:
    """The file with its format: the declared one, else by the file's name, else by its first bytes.

    Raises BadData for an empty file, an unknown format, and content that does not match the format.
    """
    with path.open("rb") as file:
        is_gzip = file.read(4).startswith(_GZIP)
    source = Source(path, filename, declared or "", is_gzip, param)
    with unpacking(source), source.open() as file:
        start = file.read(4096)
    if not start:
        raise source.fault("is empty")
    if declared and declared not in FORMATS:
        raise BadData(f"the format {declared!r} is unknown; it can be {', '.join(FORMATS)}", "format", param)
    format_ = declared or _by_name(filename) or _by_content(start)
    if (format_ == "parquet") != start.startswith(_PARQUET):
        verb = "does not begin" if format_ == "parquet" else "begins"
        raise source.fault(f"{verb} like a parquet file, but its format is {format_}")
    return Source(path, filename, format_, is_gzip, param)


def _by_name(filename: str) -> str | None:
    name = filename.lower().removesuffix(".gz")
    return next((format_ for suffix, format_ in _SUFFIXES.items() if name.endswith(suffix)), None)


def _by_content(start: bytes) -> str:
    if start.startswith(_PARQUET):
        return "parquet"
    line = start.removeprefix(_BOM).split(b"\n", 1)[0]
    if line.lstrip().startswith(b"{"):
        return "jsonl"
    names = {cell.strip(b' "\r').lower() for cell in line.replace(b"\t", b",").split(b",")}
    if names & {b"text", b"label", b"value", b"prompt", b"features", b"series"}:
        return "tsv" if b"\t" in line else "csv"
    return "text"


def lines(source: Source) -> Iterator[tuple[int, str]]:
    """(number from 1, line with its end) for each line, decoded from UTF-8 without the byte order mark."""
    offset = 0
    for number, raw in enumerate(_raw_lines(source), 1):
        line = raw.removeprefix(_BOM) if number == 1 else raw
        offset += len(raw)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(source, number, line, error.start, offset - len(line)) from None
        yield number, text


def _raw_lines(source: Source) -> Iterator[bytes]:
    number = 0
    with unpacking(source), source.open() as file:
        while line := file.readline(RECORD_BYTES + 1):
            number += 1
            if len(line) > RECORD_BYTES:
                raise source.fault(too_long(), f"line {number}")
            yield line


def characters(source: Source) -> Iterator[str]:
    """The whole text in blocks of arbitrary length, decoded from UTF-8 without the byte order mark."""
    # `rest` is a character that the last block cut in two. `line`, `column` and `offset` (in bytes) locate the first
    # byte of `data`, for the message about a byte that is not UTF-8.
    rest, line, column, offset = b"", 1, 0, 0
    with unpacking(source), source.open() as file:
        while True:
            block = file.read(_BLOCK)
            data = (rest + block).removeprefix(_BOM if offset == 0 else b"")
            offset += len(rest) + len(block) - len(data)
            try:
                text, used = codecs.utf_8_decode(data, "strict", not block)
            except UnicodeDecodeError as error:
                before = data[: error.start]
                if b"\n" in before:
                    line, column, before = line + before.count(b"\n"), 0, before[before.rindex(b"\n") + 1 :]
                at = len(data[: error.start]) - len(before)
                raise _not_utf8(source, line, data[at:], error.start - at, offset + at, column) from None
            if text:
                yield text
            if not block:
                return
            line, last = line + text.count("\n"), text.rfind("\n")
            column = column + len(text) if last < 0 else len(text) - last - 1
            rest, offset = data[used:], offset + used


def _not_utf8(source: Source, line: int, raw: bytes, start: int, offset: int, column: int = 0) -> BadData:
    """The error for the byte `raw[start]`.

    `raw` is a part of the line; it begins at byte `offset` of the file and at character `column` (from 0) of the line.
    """
    column += 1 + len(raw[:start].decode("utf-8"))
    return source.fault(
        f"the byte 0x{raw[start]:02x} at offset {offset + start} is not UTF-8; save the file as UTF-8",
        f"line {line}",
        f"column {column}",
    )


def too_long() -> str:
    """The message about a record that exceeds `RECORD_BYTES`."""
    return f"longer than {RECORD_BYTES >> 20} MiB, the maximum size of a record"


@contextmanager
def unpacking(source: Source) -> Iterator[None]:
    """Raise BadData where the gzip stream is damaged. Any other OSError is the machine's fault and passes through."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise source.fault(f"cannot be unpacked completely: {error}") from None
