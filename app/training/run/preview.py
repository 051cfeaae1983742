"""The preview program: `python -m app.training.run.preview FILE NAME [FORMAT]` prints the first rows of a data file.

Uses the readers that the trainer uses, in a process of its own with limits, because users can upload any file. NAME is
the name under which the file was uploaded. Imports no torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from app.training.data.detection import BINARY_FORMATS, detect
from app.training.data.files import EVERYTHING, Source, lines
from app.training.data.formats import READERS
from app.training.data.recognition import as_table
from app.training.failures import BadData, is_data_error
from app.training.run import limits
from app.wire import preview
from app.wire.preview import Preview

MEMORY = 2**30  # bytes
PROCESSOR_SECONDS = 10
HIDDEN = "…"  # the end of a text that is cut


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m app.training.run.preview", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("name")
    parser.add_argument("format", nargs="?")
    options = parser.parse_args(arguments)
    limits.confine(MEMORY, PROCESSOR_SECONDS)
    limits.limit_memory(MEMORY)
    sys.stdout.buffer.write(msgspec.json.encode(read(options.file, options.name, options.format or None)))


def read(path: Path, name: str, declared: str | None = None) -> Preview:
    """Return the first rows of a file. `declared` is the format that the upload has named, if any."""
    try:
        source = detect(path, name, declared)
    except BadData as error:
        return Preview(declared or "", None, [], [], error.message)
    with suppress(BadData):  # in doubt, the file is shown as text; the dry run asks the question
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
    return Preview(source.format, [_cut(name, preview.CELL) for name in columns], rows, [], problem)


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


if __name__ == "__main__":
    main()
