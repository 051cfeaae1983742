"""Reads tables of texts without labels, in order to classify the texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from app.training.data.columns import errors_as_faults, read_text
from app.training.data.detection import detect
from app.training.data.faults import Faults, OnFault, raise_first
from app.training.data.files import Source, lines
from app.training.data.formats import READERS
from app.training.data.guesses import Sample
from app.training.data.layouts import Layout, find_layout
from app.training.data.recognition import as_table
from app.training.data.rows import read_records
from app.training.data.usual_names import quoted
from app.training.failures import BadData
from app.wire.training_options import Columns

_KEYS = ("text", "text_pair")
_TEXTS_ONLY = "this command reads only texts; send numbers to POST /v1/classify"


@dataclass(frozen=True, slots=True)
class TextRow:
    """The texts of a row by their keys, `text` and perhaps `text_pair`, and the values of all its columns."""

    texts: dict[str, str]
    values: dict[str, Any]


def open_texts(path: Path, encoding: str | None = None, columns: Columns | None = None) -> Source:
    """Detect the format of a table. Raises BadData if the file is plain text or cannot be read."""
    source = as_table(detect(path, path.name, param="file", encoding=encoding), "classification", columns)
    if source.format == "text":
        raise source.fault("is plain text without columns; rename it to .txt to classify its lines")
    return source


def holds_table(path: Path, encoding: str | None = None, columns: Columns | None = None) -> bool:
    """Whether training would read a file as a table. False if the file is empty or cannot be read."""
    try:
        source = detect(path, path.name, param="file", encoding=encoding)
        if source.format == "text" and not any(line.strip() for _, line in lines(source)):
            return False
        return as_table(source, "classification", columns).format != "text"
    except BadData:  # reading the lines reports the error
        return False


def text_layout(source: Source, columns: Columns) -> Layout:
    """Return the layout of a table in which only the columns with the texts have a role.

    The texts are in the named columns; by default, in `text` and `text_pair`, or in the only column. Raises BadData if
    there is no such column.
    """
    header = READERS[source.format].header(source)
    if columns.text is None and len(header) == 1:
        columns = msgspec.structs.replace(columns, text=header[0])
    if columns.text is None and "text" not in header and {"features", "series"} & set(header):
        raise source.fault("contains numbers, but this command reads only texts; send the numbers to POST /v1/classify")
    if columns.text is None and "text" not in map(str.lower, header):
        texts = Sample(source, header, header).texts()
        such = f", such as {texts[0]!r}" if texts else ""
        message = (
            f"has no column 'text' (its columns are {quoted(header)}); set columns.text to the name of the column "
        )
        raise source.fault(f"{message}that contains the texts{such} ({_TEXTS_ONLY})", param="columns.text")
    layout = find_layout(source, columns, "generation")
    names = {key: layout.names[key] for key in _KEYS if key in layout.names}
    ignored = tuple(name for name in header if name not in names.values())
    return replace(layout, names=names, ignored=ignored, absent=frozenset({"text_pair"} - names.keys()))


def check_texts(layout: Layout, skip_bad_rows: float, *, whole: bool = False) -> Faults:
    """Read all rows, and return the faults of those that cannot be used. `whole` is as in `read_texts`.

    If the share of these rows exceeds `skip_bad_rows`, raises a single error for all of them.
    """
    faults, rows = Faults(), 0
    try:
        for _ in read_texts(layout, faults.add, whole=whole):
            rows += 1
    except BadData as error:  # no later row can be read
        faults.add(error)
        raise faults.failure(rows + faults.rows, skippable=False) from None
    faults.check(rows + faults.rows, skip_bad_rows)
    return faults


def read_texts(layout: Layout, on_fault: OnFault = raise_first, *, whole: bool = False) -> Iterator[TextRow]:
    """Yield every row that can be read. With `whole`, rows also contain the values of the columns that are not needed.

    Calls `on_fault` with a BadData for each row that cannot be read, as `rows.read_examples` does.
    """
    for record in read_records(layout, on_fault, whole=whole):
        try:
            with errors_as_faults(layout, record):
                row = TextRow({key: read_text(layout, record, key) for key in layout.names}, record.values)
        except BadData as error:
            on_fault(error)
        else:
            yield row
