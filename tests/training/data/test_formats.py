"""Every file format yields the same rows, with or without compression."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.training.data.example import TEST, TRAIN, VALIDATION
from tests.training.data.tables import ROWS, delimited, parquet, read, write, xlsx

CONTENTS: dict[str, Callable[[], bytes]] = {
    "rows.csv": lambda: delimited(","),
    "semicolons.csv": lambda: delimited(";"),
    "marked.csv": lambda: b"\xef\xbb\xbf" + delimited(","),
    "rows.tsv": lambda: delimited("\t"),
    "rows.jsonl": lambda: "\n".join(map(json.dumps, ROWS)).encode(),
    "rows.parquet": parquet,
    "rows.xlsx": xlsx,
    "rows.xlsm": xlsx,
    "nameless-csv": lambda: delimited(","),
    "nameless-tsv": lambda: delimited("\t"),
    "nameless-json": lambda: "\n".join(map(json.dumps, ROWS)).encode(),
    "nameless-parquet": parquet,
    "nameless-xlsx": xlsx,
}


@pytest.mark.parametrize("is_gzip", [False, True])
@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_yields_the_same_rows(name: str, is_gzip: bool, tmp_path: Path) -> None:
    content = CONTENTS[name]()
    path = write(tmp_path, f"{name}.gz" if is_gzip else name, gzip.compress(content) if is_gzip else content)
    layout, examples = read(path)
    assert layout.task == "classification"
    assert [(e.text, e.labels, e.split) for e in examples] == [
        (row["text"], (row["label"],), split) for row, split in zip(ROWS, (TRAIN, VALIDATION, TEST), strict=True)
    ]
