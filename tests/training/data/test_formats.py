"""Every file format yields the same rows, with or without compression."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.training.data.detection import BINARY_FORMATS
from app.training.data.example import TEST, TRAIN, VALIDATION
from app.training.data.formats import READERS
from app.wire.file_formats import SUFFIXES, TABLE_SUFFIXES, TABLES
from tests.training.data.tables import ROWS, delimited, parquet, read, write, xlsx

CONTENTS: dict[str, Callable[[], bytes]] = {  # of a file of each format
    "csv": lambda: delimited(","),
    "tsv": lambda: delimited("\t"),
    "jsonl": lambda: "\n".join(map(json.dumps, ROWS)).encode(),
    "parquet": parquet,
    "xlsx": xlsx,
}
FILES = {
    **{f"rows{suffix}": CONTENTS[SUFFIXES[suffix]] for suffix in TABLE_SUFFIXES},
    **{f"nameless-{name}": content for name, content in CONTENTS.items()},
    "semicolons.csv": lambda: delimited(";"),
    "marked.csv": lambda: b"\xef\xbb\xbf" + delimited(","),
}


def test_every_format_has_a_reader() -> None:
    """The format of fastText is recognised by its content alone, so no suffix denotes it."""
    assert READERS.keys() - {"fasttext"} == set(TABLES)
    assert BINARY_FORMATS.keys() <= READERS.keys()


@pytest.mark.parametrize("is_gzip", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_every_format_yields_the_same_rows(name: str, is_gzip: bool, tmp_path: Path) -> None:
    content = FILES[name]()
    path = write(tmp_path, f"{name}.gz" if is_gzip else name, gzip.compress(content) if is_gzip else content)
    layout, examples = read(path)
    assert layout.task == "classification"
    assert [(e.text, e.labels, e.split) for e in examples] == [
        (row["text"], (row["label"],), split) for row, split in zip(ROWS, (TRAIN, VALIDATION, TEST), strict=True)
    ]
