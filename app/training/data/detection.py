"""Detects the format, compression, encoding and line ends of a data file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from app.training.data.encoding import settle_encoding
from app.training.data.files import Source, unpacking
from app.training.data.signatures import recognise
from app.training.data.xlsx import is_workbook
from app.training.failures import BadData
from app.wire.file_formats import FORMATS, format_of

_DELIMITER = re.compile(r"[,;\t|]")
_GZIP = b"\x1f\x8b"
_SAMPLE = 1 << 16
_KEYS = {"text", "label", "value", "prompt", "features", "series"}  # column names by which a table is recognised


@dataclass(frozen=True, slots=True)
class BinaryFormat:
    """How a binary format is recognised: by the first bytes of a file and, if these are shared, by `matches`."""

    noun: str  # for error messages
    start: bytes
    matches: Callable[[Source], bool] | None = None


BINARY_FORMATS = {
    "parquet": BinaryFormat("a parquet file", b"PAR1"),
    "xlsx": BinaryFormat("an Excel workbook", b"PK\x03\x04", is_workbook),
}


def detect(
    path: Path,
    filename: str,
    declared: str | None = None,
    param: str = "training_file",
    encoding: str | None = None,
) -> Source:
    """Detect the format of a file, and the encoding and line ends of a text file.

    The format is `declared` if given; otherwise it is inferred from the name of the file, or else from its content.
    `encoding` is the declared encoding of a text file. Raises BadData for an empty file, an unknown format, content
    that does not match the format, and text that cannot be decoded.
    """
    with path.open("rb") as file:
        is_gzip = file.read(4).startswith(_GZIP)
    source = Source(path, filename, declared or "", is_gzip, param)
    with unpacking(source), source.open() as file:
        start = file.read(_SAMPLE)
    if not start:
        raise source.fault("is empty")
    if declared and declared not in FORMATS:
        raise BadData(f"the format {declared!r} is unknown; the formats are {', '.join(FORMATS)}", "format", param)
    binary = _binary(source, start)
    if binary is None and (kind := recognise(start, None if is_gzip else path)):
        raise source.fault(f"is {kind}")
    format_ = declared or format_of(filename)
    if format_ is not None and (format_ in BINARY_FORMATS or binary) and format_ != binary:
        expected = binary or format_
        verb = "begins" if binary else "does not begin"
        raise source.fault(f"{verb} like {BINARY_FORMATS[expected].noun}, but its format is {format_}")
    if binary is None:
        return _text(replace(source, format=format_ or ""), encoding)
    if encoding is not None:
        raise source.fault(
            f"is a binary file ({binary}), which has no text encoding; leave this option out", param="training.encoding"
        )
    return replace(source, format=binary)


def _binary(source: Source, start: bytes) -> str | None:
    """The format of a binary file that can be read; None for any other file."""
    for name, binary in BINARY_FORMATS.items():
        if start.startswith(binary.start) and (binary.matches is None or binary.matches(source)):
            return name
    return None


def _text(source: Source, encoding: str | None) -> Source:
    """The text file with its encoding and line ends and, if its format was unknown, with its format."""
    source = settle_encoding(source, encoding)
    with unpacking(source), source.open_text() as file:
        start = file.read(_SAMPLE).lstrip("\ufeff")
    feeds, both = start.count("\n"), start.count("\r\n")
    if start.count("\r") - both > feeds:  # by majority, since stray line feeds and CRs may occur
        source = replace(source, line_end="\r")
        source.remark("line_ends", "has lines that end with CR alone, as on classic Mac OS; CR is read as a line end")
    return replace(source, format=source.format or _by_content(start))


def _by_content(start: str) -> str:
    text = start.lstrip()
    line = text.replace("\r", "\n").split("\n", 1)[0]
    if text.startswith("{") or (text[:1] == "[" and text[1:].lstrip().startswith("{")):
        return "jsonl"
    if line.lower().startswith("sep="):
        return "csv"
    names = {cell.strip(' "').lower() for cell in _DELIMITER.split(line)}
    if names & _KEYS:
        return "tsv" if "\t" in line else "csv"
    return "text"
