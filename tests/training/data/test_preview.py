"""Previews: the first rows of files in every format, and the problem of files that cannot be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from app.training.data import preview
from app.training.data.formats import READERS
from app.wire.preview import CELL, COLUMNS, Preview
from tests.training.data.tables import ROWS, delimited, parquet, write, xlsx

CELLS = [[str(value) for value in row.values()] for row in ROWS]
JSON = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
TABLES = {
    "a.csv": delimited(","), "a.tsv": delimited("\t"), "a.jsonl": JSON, "a.json": json.dumps(ROWS).encode(),
    "a.parquet": parquet(), "a.xlsx": xlsx(), "a.csv.gz": gzip.compress(delimited(";")),
    "a.parquet.gz": gzip.compress(parquet()), "wide.csv": delimited(",").decode().encode("utf-16"),
}  # fmt: skip


def show(folder: Path, name: str, content: bytes | str) -> Preview:
    return preview.read(write(folder, name, content), name)


@pytest.mark.parametrize("name", TABLES)
def test_every_format_has_the_same_first_rows(tmp_path: Path, name: str) -> None:
    shown = show(tmp_path, name, TABLES[name])
    assert (shown.columns, shown.rows, shown.lines, shown.problem) == (list(ROWS[0]), CELLS, [], None)
    assert shown.format in READERS


def test_a_text_has_its_first_lines_and_fasttext_its_columns(tmp_path: Path) -> None:
    shown = show(tmp_path, "a.txt", "once upon\r\n\r\na time" + "\nmore" * 20)
    assert (shown.format, shown.columns, shown.lines) == ("text", None, ["once upon", "a time", *["more"] * 4])
    fasttext = show(tmp_path, "b.txt", "".join(f"__label__{'ab'[n % 2]} row {n}\n" for n in range(30)))
    assert fasttext.format == "fasttext" and sorted(fasttext.rows[0]) == ["a", "row 0"]


def test_values_are_texts_of_a_limited_length(tmp_path: Path) -> None:
    row: dict[str, Any] = {"text": "x" * 9999, "features": [[1, 2.5]], "label": None}
    [cells] = show(tmp_path, "a.jsonl", json.dumps(row) + "\n" + json.dumps(row)).rows[:1]
    assert cells == ["x" * CELL + "…", "[[1, 2.5]]", ""]
    wide = show(tmp_path, "b.csv", ",".join(f"c{n}" for n in range(500)) + "\n" + ",".join("1" * 500) + "\n")
    assert len(wide.columns or []) == len(wide.rows[0]) == COLUMNS


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.parquet", b"PAR1" + b"x" * 90, "is not a readable parquet file"),
        ("a.csv", b"", "is empty"),
        ("a.json", b'{"a": [1, {"b":\n', ""),
        ("a.csv", "text,label\né,b\n".encode() + b"\xff\xfe\x81,b\n", None),
    ],
)
def test_a_file_that_cannot_be_read_has_a_problem(
    tmp_path: Path, name: str, content: bytes, problem: str | None
) -> None:
    shown = show(tmp_path, name, content)
    assert (shown.problem is None) == (problem is None) and (problem or "") in (shown.problem or "")
    json.dumps([shown.rows, shown.lines]).encode()  # no lone surrogates
