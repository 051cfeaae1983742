"""Data files for tests, and functions that read them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data.detection import detect
from app.training.data.example import Example
from app.training.data.files import Source
from app.training.data.layouts import Layout, find_layout
from app.training.data.rows import read_examples
from app.training.failures import BadData
from app.wire.training_options import Columns

ROWS: list[dict[str, Any]] = [
    {"text": 'She said "yes", twice', "label": "good", "split": "train"},
    {"text": "two\nlines", "label": "bad", "split": "val"},
    {"text": "naïve 😀", "label": "good", "split": "test"},
]


def delimited(delimiter: str) -> bytes:
    """ROWS as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


def parquet() -> bytes:
    """ROWS as Parquet."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out)
    return out.getvalue()


def xlsx(rows: Sequence[Sequence[Any]] | None = None) -> bytes:
    """A workbook with `rows` on its first sheet, by default ROWS and their header."""
    book = openpyxl.Workbook()
    for row in rows or [list(ROWS[0]), *(list(row.values()) for row in ROWS)]:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def read(path: Path, task: str | None = None, **named: str) -> tuple[Layout, list[Example]]:
    """The layout and all examples of a file. `named` are the columns that the request names."""
    layout = find_layout(detect(path, path.name), Columns(**named), task)
    return layout, list(read_examples(layout))


def detected(path: Path) -> Source:
    return detect(path, path.name)


def remarks_of(source: Source) -> dict[str, str]:
    """The messages of the remarks by kind."""
    return {remark.kind: remark.message for remark in source.remarks}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def assert_fault(path: Path, *parts: str) -> None:
    """Assert that reading the file raises BadData with a message that contains all of `parts`."""
    with pytest.raises(BadData) as caught:
        read(path)
    assert [part for part in parts if part not in caught.value.message] == [], caught.value.message
