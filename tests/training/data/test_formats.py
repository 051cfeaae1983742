"""Every file format yields the same rows, with or without compression."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data.detection import BINARY_FORMATS
from app.training.data.example import TEST, TRAIN, VALIDATION
from app.training.data.formats import READERS
from app.wire.file_formats import SUFFIXES, TABLE_SUFFIXES, TABLES
from tests.training.data.scans import scan
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


LABELS: dict[str, tuple[list[Any], list[str]]] = {  # the values of a column of labels, and the labels in order
    "true or false": ([True, False, True, False], ["false", "true"]),
    "whole numbers": ([3, 1, 10, -2], ["-2", "1", "3", "10"]),
    "fractions": ([1.0, 1.5, 0.25, -3.0], ["-3", "0.25", "1", "1.5"]),
    "not a number": ([1.0, 2.5, math.nan, 2.5], ["1", "2.5", "NaN"]),
    "dates": ([datetime(2026, 1, 2), datetime(2025, 12, 31)], ["2025-12-31", "2026-01-02"]),
    "times": ([datetime(2026, 1, 2), datetime(2026, 1, 2, 9, 30)], ["2026-01-02", "2026-01-02 09:30:00"]),
    "words": (["True", "1.0", "no", "no"], ["1.0", "True", "no"]),
}


def _in_json(label: datetime) -> str:
    """Format a time as pandas' `to_json` does."""
    return label.isoformat(timespec="milliseconds")


def table_of(labels: list[Any], name: str) -> bytes:
    """A table with a text and a label in each row, in the format that the file name denotes."""
    rows = [{"text": f"row {number}", "label": label} for number, label in enumerate(labels)]
    if name.endswith(".parquet"):
        out = io.BytesIO()
        kind = pa.float32() if isinstance(labels[0], float) else None
        table = {"text": [row["text"] for row in rows], "label": pa.array(labels, kind)}
        pq.write_table(pa.table(table), out)
        return out.getvalue()
    if name.endswith(".xlsx"):
        # Excel has no NaN, so pandas writes the word.
        shown = ["NaN" if label != label else label for label in labels]
        return xlsx([("text", "label"), *((row["text"], label) for row, label in zip(rows, shown, strict=True))])
    if name.endswith(".json"):
        return json.dumps(rows, default=_in_json).encode()
    if name.endswith(".jsonl"):
        return "\n".join(json.dumps(row, default=_in_json) for row in rows).encode()
    lines = [f"{row['text']}{',' if name.endswith('.csv') else chr(9)}{row['label']}" for row in rows]
    return "\n".join(["text,label" if name.endswith(".csv") else "text\tlabel", *lines]).encode()


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.xlsx"])
@pytest.mark.parametrize("kind", LABELS)
def test_a_table_has_the_same_labels_in_every_format(name: str, kind: str, tmp_path: Path) -> None:
    values, labels = LABELS[kind]
    result, remarks = scan(write(tmp_path, name, table_of(values * 5, name)))
    assert result.labels == labels
    assert ("missing_labels" in remarks) == (kind == "not a number")
    multilabel, _ = scan(write(tmp_path, name, table_of(values * 5, name)), "multilabel")
    assert multilabel.labels == labels


def test_a_number_of_single_precision_is_written_as_it_is_in_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": list("abcd") * 5, "label": pa.array([0.1, 0.7] * 10, pa.float32())}),
                   tmp_path / "a.parquet")  # fmt: skip
    assert scan(tmp_path / "a.parquet")[0].labels == ["0.1", "0.7"]


def test_every_format_has_a_reader() -> None:
    """The format of fastText is recognised only by its content, so no suffix denotes it."""
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
