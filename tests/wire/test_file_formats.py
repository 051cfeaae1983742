"""The file formats for the suffixes of file names."""

from __future__ import annotations

import pytest

from app.files import records
from app.wire.file_formats import FORMATS, SUFFIXES, TABLE_SUFFIXES, TABLES, format_of


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.csv", "csv"),
        ("A.PQ", "parquet"),
        ("notes.v2.md", "text"),
        ("rows.json", "jsonl"),
        ("csv", None),
        ("a.csv.zip", None),
        ("a", None),
    ],
)
def test_a_suffix_denotes_a_format(name: str, format_: str | None) -> None:
    assert format_of(name) == format_ == format_of(f"{name}.gz")
    assert records.format_of(name) == format_
    assert records.format_of(f"{name}.GZ") == (f"{format_}.gz" if format_ else None)


def test_plain_text_is_no_table() -> None:
    assert set(SUFFIXES) - set(TABLE_SUFFIXES) == {".txt", ".text", ".md"}
    assert set(FORMATS) - set(TABLES) == {"text"}
