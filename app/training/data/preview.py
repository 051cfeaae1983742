"""Reads the first rows of a data file, as the trainer reads them, for a preview. Imports no torch."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from app.training.data.detected_roles import detect_roles
from app.training.data.detection import BINARY_FORMATS, detect
from app.training.data.files import EVERYTHING, Source, lines
from app.training.data.formats import READERS
from app.training.data.recognition import as_table
from app.training.failures import BadData, is_data_error
from app.wire import preview
from app.wire.preview import DetectedRoles, Preview

HIDDEN = "…"  # the end of a text that is cut
# Detecting the roles of the columns reads all rows, so it is left out for larger files. Sizes in bytes.
MOST_TEXT, MOST_BINARY = 4 * 2**20, 2**20


def read(path: Path, name: str, declared: str | None = None) -> Preview:
    """Return the first rows of a file. `declared` is the format that the upload has named, if any."""
    try:
        source = detect(path, name, declared)
    except BadData as error:
        return Preview(declared or "", None, [], [], error.message)
    with suppress(BadData):  # if it is unclear whether the file is a table, show it as text; the dry run asks the user
        source = as_table(source, None)
    if source.format == "text":
        return Preview("text", None, [], _lines(source))
    try:
        return _table(source)
    except Exception as error:
        if not (isinstance(error, BadData) or is_data_error(error)):
            raise
        shown = [] if source.format in BINARY_FORMATS else _lines(source)
        return Preview(source.format, None, [], shown, str(getattr(error, "message", error)))


def _table(source: Source) -> Preview:
    reader = READERS[source.format]
    columns = reader.header(source)[: preview.COLUMNS]
    rows: list[list[str]] = []
    problem = None
    try:
        for record in islice(reader.records(source, EVERYTHING), preview.ROWS):
            rows.append([_cut(_text(record.values.get(name)), preview.CELL) for name in columns])
    except BadData as error:
        problem = error.message
        if not rows:
            raise
    detected = None if problem else _detected(source)
    return Preview(source.format, [_cut(name, preview.CELL) for name in columns], rows, [], problem, detected)


def _detected(source: Source) -> DetectedRoles | None:
    if source.path.stat().st_size > (MOST_BINARY if source.format in BINARY_FORMATS else MOST_TEXT):
        return None
    try:
        return detect_roles(source)
    except Exception as error:
        if not (isinstance(error, BadData) or is_data_error(error)):
            raise
        return None


def _lines(source: Source) -> list[str]:
    with suppress(BadData):
        filled = (line.rstrip("\r\n") for _, line in lines(source) if line.strip())
        return [_cut(line, preview.LINE) for line in islice(filled, preview.ROWS)]
    return []


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _cut(text: str, most: int) -> str:
    """Return the beginning of a text, without the bytes that could not be decoded."""
    text = text[:most] + HIDDEN * (len(text) > most)
    return text.encode("utf-8", "replace").decode()
