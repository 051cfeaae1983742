"""Detects the format, compression, encoding and line endings of a data file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from app.training.data.contents import format_by_content, other_format
from app.training.data.encoding import settle_encoding
from app.training.data.files import Source, unpacking
from app.training.data.signatures import recognise
from app.training.data.xlsx import is_workbook
from app.training.failures import BadData
from app.wire.file_formats import FORMATS, format_of

_GZIP = b"\x1f\x8b"
_SAMPLE = 1 << 16


@dataclass(frozen=True, slots=True)
class BinaryFormat:
    """A binary format, recognised by the file's first bytes and, if these are ambiguous, by `matches`."""

    noun: str  # the format's name in messages
    start: bytes
    matches: Callable[[Source], bool] | None = None


BINARY_FORMATS = {
    "parquet": BinaryFormat("a parquet file", b"PAR1"),
    "xlsx": BinaryFormat("an Excel workbook", b"PK\x03\x04", is_workbook),
}


_NOUNS = {"csv": "CSV", "tsv": "TSV", "jsonl": "JSON", "fasttext": "lines in fastText format", "text": "plain text"}


def detect(
    path: Path,
    filename: str,
    declared: str | None = None,
    param: str = "training_file",
    encoding: str | None = None,
) -> Source:
    """Detect the format of a file and, for a text file, its encoding and line endings.

    The format is `declared` if given; otherwise it is inferred from the file name and, if that is not enough, from the
    content. If the content is clearly in another format, that format is used, and a remark reports this change.
    `encoding` is the declared encoding of a text file. Raises BadData for an empty file, an unknown format, content
    that does not match the format, and text in an unknown encoding. If only some bytes cannot be decoded, the records
    that contain them are faulty instead.
    """
    source, start = _opened(path, filename, declared or "", param)
    if not start:
        raise source.fault("is empty")
    if declared and declared not in FORMATS:
        raise BadData(f"the format {declared!r} is unknown; the formats are {', '.join(FORMATS)}", "format", param)
    binary = _binary(source, start)
    if binary is None:
        _refuse_other_kinds(source, start)
    format_ = declared or format_of(filename)
    if binary is None:
        return _text(replace(source, format=format_ or ""), encoding)
    if encoding is not None:
        raise source.fault(
            f"is a binary file ({binary}), which has no text encoding; leave out training.encoding",
            param="training.encoding",
        )
    if format_ not in (None, binary):
        named = BINARY_FORMATS[format_].noun if format_ in BINARY_FORMATS else _NOUNS[format_ or "text"]
        source.remark("other_format", f"is read as {BINARY_FORMATS[binary].noun}, not as {named}")
    return replace(source, format=binary)


def open_as_text(path: Path, filename: str, param: str) -> Source:
    """Return a file as plain text in an encoding that is not determined yet.

    Raises BadData if the first bytes are those of another kind of file, such as a picture.
    """
    source, start = _opened(path, filename, "text", param)
    _refuse_other_kinds(source, start)
    return source


def _opened(path: Path, filename: str, format_: str, param: str) -> tuple[Source, bytes]:
    """Return a file, which may be gzipped, and its first bytes."""
    with path.open("rb") as file:
        is_gzip = file.read(4).startswith(_GZIP)
    source = Source(path, filename, format_, is_gzip, param)
    with unpacking(source), source.open() as file:
        return source, file.read(_SAMPLE)


def _refuse_other_kinds(source: Source, start: bytes) -> None:
    if kind := recognise(start, None if source.gzip else source.path):
        raise source.fault(f"is {kind}")


def _binary(source: Source, start: bytes) -> str | None:
    """Return the format of a supported binary file, or None for any other file."""
    for name, binary in BINARY_FORMATS.items():
        if start.startswith(binary.start) and (binary.matches is None or binary.matches(source)):
            return name
    return None


def _text(source: Source, encoding: str | None) -> Source:
    """Determine the encoding and the line endings of a text file and, if unknown, its format."""
    named = source.format
    try:
        source = settle_encoding(source, encoding, is_tolerant=True)
    except BadData:
        if named in BINARY_FORMATS and _has_control_characters(source):  # a damaged binary file, not a text file
            raise _misnamed(source) from None
        raise
    with unpacking(source), source.open_text() as file:
        start = file.read(_SAMPLE).lstrip("\ufeff")
    feeds, both = start.count("\n"), start.count("\r\n")
    if start.count("\r") - both > feeds:  # by majority, since stray line feeds and CRs may occur
        source = replace(source, line_end="\r")
        source.remark("line_ends", "has lines that end with CR only, as on classic Mac OS; CR is read as a line ending")
    if named in BINARY_FORMATS:
        source = replace(source, format=format_by_content(start))
        if source.format == "text":
            raise _misnamed(replace(source, format=named))
        source.remark("other_format", f"is read as {_NOUNS[source.format]}: it is not {BINARY_FORMATS[named].noun}")
        return source
    whole = start if len(start) < _SAMPLE - 1 else start.rpartition("\n")[0] or start
    other, evidence = other_format(whole, named) if named else ("", "")
    if other:
        source.remark("other_format", f"is read as {_NOUNS[other]}, not as {_NOUNS[named]}: {evidence}")
    return replace(source, format=other or named or format_by_content(start))


def _misnamed(source: Source) -> BadData:
    """Return the error for a file that does not have the binary format that was declared or that its name suggests."""
    return source.fault(f"is declared or named as {source.format}, but is not {BINARY_FORMATS[source.format].noun}")


def _has_control_characters(source: Source) -> bool:
    with unpacking(source), source.open() as file:
        return any(byte < 9 for byte in file.read(_SAMPLE))  # 9 is the tab
