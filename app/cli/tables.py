"""Reads tables of texts with the trainer's readers, and writes them with added predictions."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from app.cli.data import as_regular_files
from app.cli.export import save
from app.cli.output import warn
from app.cli.streams import BYTE_ORDER_MARK, read_text
from app.cli.wording import in_own_words
from app.errors import InvalidRequest
from app.wire.file_formats import TABLES, format_of
from app.wire.training_options import Columns

if TYPE_CHECKING:
    from app.training.data.files import Source
    from app.training.data.remarks import Remark

_SEPARATORS = {".tsv": "\t", ".tab": "\t"}
_JSON = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class InputRow:
    """A text or pair of texts, and the columns of its row. `input` is None if the row has no text."""

    input: Any
    columns: dict[str, Any]


def is_table(path: Path) -> bool:
    """Whether a file name denotes a table rather than a text file with one text per line."""
    return format_of(path.name) in TABLES


def read_lines(path: Path | None, encoding: str | None = None) -> list[str]:
    """Return the lines of standard input or of a file, which is decoded like training data.

    Blank lines are returned too, except at the end. Raises InvalidRequest if there are no other lines.
    """
    text = read_text() if path is None else _decoded(path, encoding)
    if not text.strip():
        raise InvalidRequest("there is no text to classify")
    return text.rstrip().split("\n")


def _decoded(path: Path, encoding: str | None) -> str:
    from app.training.data.encoding import settle_encoding
    from app.training.data.files import Source

    with _errors_of(path), as_regular_files({"file": path}) as paths:  # the file is read twice
        zipped = path.suffix.lower() == ".gz"
        source = settle_encoding(Source(paths["file"], path.name, "text", zipped, "file"), encoding)
        _warn(source)
        with source.open() as file:
            text = file.read().decode(source.encoding)
    return text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n")


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Convert errors in reading a data file to InvalidRequest."""
    from app.training.failures import BadData

    try:
        yield
    except BadData as error:
        raise InvalidRequest(error.message, param=error.param) from None
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _warn(source: Source, printed: Collection[Remark] = ()) -> list[Remark]:
    """Print warnings about a file, for example that its encoding is a guess, except for those in `printed`.

    Returns all warnings about the file so far.
    """
    warnings = [remark for remark in source.remarks if remark.level == "warn"]
    for remark in warnings:
        if remark not in printed:
            warn(f"warning: {in_own_words(remark.message)}")
    return warnings


def read_rows(path: Path, columns: Columns, encoding: str | None = None) -> Iterator[InputRow]:
    """Read the rows of a table, with texts in the named columns (default: `text` and `text_pair`, or the only column).

    Raises InvalidRequest if the table cannot be read; for an invalid row, the message names the line and column.
    """
    from app.training.data.columns import read_text as read_cell
    from app.training.data.detection import detect
    from app.training.data.files import EVERYTHING
    from app.training.data.formats import READERS
    from app.training.data.layouts import find_layout

    with _errors_of(path):
        source = detect(path, path.name, encoding=encoding)
        printed = _warn(source)
        if source.format == "text":
            raise InvalidRequest(f"{path.name} is plain text without columns; rename it to .txt to classify its lines")
        reader = READERS[source.format]
        header = reader.header(source)
        if columns.text is None and len(header) == 1:
            columns = msgspec.structs.replace(columns, text=header[0])
        if columns.text is None and "text" not in header and {"features", "series"} & set(header):
            raise InvalidRequest(
                f"{path.name} contains numbers, and this command reads texts; send the numbers to POST /v1/classify"
            )
        layout = find_layout(source, columns, "generation")
        keys = [key for key in ("text", "text_pair") if key in layout.names]
        if layout.shape != "text":
            raise InvalidRequest(
                f"{path.name} has no column 'text'; set columns.text to the name of the column that contains the texts"
            )
        # warnings about the header and the quoting, which precede those about the rows
        printed = _warn(source, printed)
        for record in reader.records(source, EVERYTHING):
            if record.fault is not None:
                raise record.fault
            cells = {key: read_cell(layout, record, key) for key in keys}
            content: Any = cells["text"] if len(cells) == 1 else cells
            yield InputRow(content if any(cell.strip() for cell in cells.values()) else None, record.values)
        _warn(source, printed)


def write_rows(rows: Iterable[tuple[dict[str, Any], dict[str, Any]]], target: Path) -> int:
    """Write rows as a table, adding the columns of their predictions. The suffix of `target` determines the format.

    If a row already has a column with the same name, the prediction's column is renamed to `predicted_…`. A row without
    a prediction is written unchanged. Returns the number of rows written.
    """
    if target.suffix.lower() not in (".csv", *_SEPARATORS, *_JSON):
        raise InvalidRequest(f"--output {target}: must end in .csv, .tsv or .jsonl")
    counter = itertools.count()
    save(_encoded(rows, target.suffix.lower(), counter), target)
    return next(counter)


def _encoded(
    rows: Iterable[tuple[dict[str, Any], dict[str, Any]]], suffix: str, counter: itertools.count[int]
) -> Iterator[bytes]:
    waiting: list[dict[str, Any]] = []  # rows before the first prediction, which determines the columns
    buffer = io.StringIO()
    writer: Any = None
    for columns, prediction in rows:
        row = columns | {
            (f"predicted_{name}" if name in columns else name): value for name, value in prediction.items()
        }
        next(counter)
        if suffix in _JSON:
            yield (json.dumps(row, ensure_ascii=False, default=str) + "\n").encode("utf-8", "backslashreplace")
            continue
        waiting.append(row)
        if writer is None and prediction:
            writer = csv.DictWriter(
                buffer, list(row), delimiter=_SEPARATORS.get(suffix, ","), lineterminator="\n", extrasaction="ignore"
            )
            writer.writeheader()
        if writer is not None:
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in waiting)
            waiting.clear()
            yield buffer.getvalue().encode("utf-8", "backslashreplace")
            buffer.seek(0)
            buffer.truncate()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list | bool) else value
