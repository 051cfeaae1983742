"""Writes tables with added predictions."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.export import save
from app.cli.tables import InputRow, TableStyle
from app.errors import InvalidRequest

_SEPARATORS = {".tsv": "\t", ".tab": "\t"}
_JSON = (".jsonl", ".ndjson", ".json")

_WHOLE, _FRACTION = re.compile(r"-?\d+"), re.compile(r"(-?\d+)\.0+")


@dataclass(frozen=True)
class SavedTable:
    """The number of rows that were written, and a description of the encoding if the input was not plain UTF-8."""

    rows: int
    encoding: str = ""


def check_output(target: Path, source: Path | None) -> None:
    """Raise InvalidRequest if writing the predictions would overwrite the input file."""
    if source is not None and target.exists() and source.exists() and target.samefile(source):
        raise InvalidRequest(f"--output {target}: is the input file; choose another name")


def write_rows(rows: Iterable[tuple[InputRow, dict[str, Any]]], target: Path) -> SavedTable:
    """Write rows as a table in UTF-8, adding the columns of their predictions.

    The suffix of `target` determines the format. A .csv file has the delimiter of the input, unless this is a tab; .csv
    and .tsv files begin with a byte order mark if the input does. If a row already has a column with the same name, the
    prediction's column is renamed to `predicted_…`. A row without a prediction is written unchanged.
    """
    if target.suffix.lower() not in (".csv", *_SEPARATORS, *_JSON):
        raise InvalidRequest(f"--output {target}: must end in .csv, .tsv or .jsonl")
    counter, suffix = itertools.count(), target.suffix.lower()
    rows = iter(rows)
    first = list(itertools.islice(rows, 1))
    style = first[0][0].style if first else TableStyle()
    marked = style.marked and suffix not in _JSON
    delimiter = style.delimiter if suffix == ".csv" and style.delimiter != "\t" else _SEPARATORS.get(suffix, ",")
    content = _encoded(itertools.chain(first, rows), suffix in _JSON, delimiter, counter)
    save(itertools.chain([codecs.BOM_UTF8] * marked, content), target)
    differs = marked or style.encoding.lower() not in ("utf-8", "utf8", "ascii")
    return SavedTable(next(counter), ("UTF-8" + " with a byte order mark" * marked) * differs)


def _encoded(
    rows: Iterable[tuple[InputRow, dict[str, Any]]], as_json: bool, delimiter: str, counter: itertools.count[int]
) -> Iterator[bytes]:
    waiting: list[dict[str, Any]] = []  # rows before the first prediction, which determines the columns
    buffer = io.StringIO()
    writer: Any = None
    for source_row, prediction in rows:
        columns = _comparable(source_row.columns, prediction)
        row = columns | {
            (f"predicted_{name}" if name in columns else name): value for name, value in prediction.items()
        }
        next(counter)
        if as_json:
            yield (json.dumps(row, ensure_ascii=False, default=str) + "\n").encode("utf-8", "backslashreplace")
            continue
        waiting.append(row)
        if writer is None and prediction:
            writer = csv.DictWriter(buffer, list(row), delimiter=delimiter, lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
        if writer is not None:
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in waiting)
            waiting.clear()
            yield buffer.getvalue().encode("utf-8", "backslashreplace")
            buffer.seek(0)
            buffer.truncate()


def _comparable(columns: dict[str, Any], prediction: dict[str, Any]) -> dict[str, Any]:
    """Return the input's columns. If the version's labels are whole numbers, a label such as -1.0 becomes -1."""
    own, predicted = columns.get("label"), prediction.get("label")
    if isinstance(predicted, str) and _WHOLE.fullmatch(predicted) and (match := _FRACTION.fullmatch(str(own))):
        return columns | {"label": int(match[1]) if isinstance(own, float) else match[1]}
    return columns


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list | bool) else value
