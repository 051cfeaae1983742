"""Compressed Parquet files are unpacked on disk."""

from __future__ import annotations

import gzip
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.failures import BadData
from tests.training.data.tables import ROWS, assert_fault, parquet, read, write


def test_unpacking_leaves_no_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.parquet.gz", gzip.compress(parquet()))
    assert len(read(path)[1]) == len(ROWS)
    assert list(tmp_path.iterdir()) == [path]


def table(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


NOON = datetime(2026, 1, 1, 12)


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([{"text": "x", "value": 1.5}, {"text": "y", "value": None}], ["row 2", "'value'", "None is not a number"]),
        ([{"text": "x", "value": NOON}], ["row 1", "'value'", "is not a number"]),
        ([{"text": "x", "value": b"1"}], ["row 1", "'value'", "is not a number"]),
        ([{"series": "a", "x": NOON, "label": "up"}], ["row 1", "'x'", "is not a number"]),
        ([{"series": None, "x": 1.0, "label": "up"}], ["row 1", "'series'", "empty"]),
        ([{"features": [[NOON]], "label": "up"}], ["row 1", "'features'", "step 1, feature 1"]),
        (
            [{"features": [[1.0], None], "label": "up"}],
            ["row 1", "'features'", "some steps are lists and others are not"],
        ),
        ([{"text": "x", "label": {"x": 1}}], ["row 1", "'label'", "expected a label, found an object"]),
    ],
)
def test_faults_are_reported_with_their_row(rows: list[dict[str, Any]], parts: list[str], tmp_path: Path) -> None:
    assert_fault(write(tmp_path, "a.parquet", table(rows)), *parts)


def test_a_value_without_an_equivalent_in_python_is_located(tmp_path: Path) -> None:
    times = pa.array([0, 1], pa.timestamp("ns"))
    pq.write_table(pa.table({"text": ["x", "y"], "label": times}), tmp_path / "a.parquet")
    with pytest.raises(BadData, match=r"row 2, column 'label': the value cannot be read"):
        read(tmp_path / "a.parquet")


UNREADABLE = {
    "nanoseconds": pa.array([0, 1], pa.timestamp("ns")),
    "far future": pa.array([0, 2**60], pa.timestamp("us")),
    "durations": pa.array([0, 1], pa.duration("ns")),
    "times": pa.array([0, 1], pa.time64("ns")),
    "in lists": pa.array([[0], [1]], pa.list_(pa.timestamp("ns"))),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_column_that_nobody_needs_is_not_read(kind: str, tmp_path: Path) -> None:
    columns = {"text": ["x", "y"], "other.column": UNREADABLE[kind], "label": ["a", "b"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    layout, examples = read(tmp_path / "a.parquet")
    assert [(example.text, example.labels) for example in examples] == [("x", ("a",)), ("y", ("b",))]
    assert layout.ignored == ("other.column",)


def test_a_damaged_column_that_nobody_needs_is_not_read(tmp_path: Path) -> None:
    noise = [f"{n * 7919 % 1009:08d}" * 40 for n in range(50)]
    table_ = pa.table({"text": [f"x{n}" for n in range(50)], "noise": noise, "label": ["a", "b"] * 25})
    pq.write_table(table_, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    content = (tmp_path / "a.parquet").read_bytes()
    start = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(1).data_page_offset
    write(tmp_path, "a.parquet", content[:start] + b"\xff" * 40 + content[start + 40 :])
    assert len(read(tmp_path / "a.parquet")[1]) == 50
    with pytest.raises(BadData, match="the parquet data cannot be read"):
        read(tmp_path / "a.parquet", label="noise")


def test_a_repeated_column_is_refused_only_where_it_is_needed(tmp_path: Path) -> None:
    columns = [pa.array(["x", "y"]), pa.array(["a", "b"]), pa.array([1, 2]), pa.array([3, 4])]
    pq.write_table(pa.table(columns, names=["text", "label", "id", "id"]), tmp_path / "a.parquet")
    assert len(read(tmp_path / "a.parquet")[1]) == 2
    with pytest.raises(BadData, match="the column 'id' appears 2 times"):
        read(tmp_path / "a.parquet", label="id")


def test_a_compressed_file_is_unpacked_only_if_it_fits_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.data.seekable._MAX_UNPACKED_BYTES", 1 << 20)
    large = io.BytesIO()
    pq.write_table(
        pa.table({"text": ["x" * (2 << 20)], "label": ["y"]}), large, compression="none", use_dictionary=False
    )
    with pytest.raises(BadData, match=r"a.parquet.gz has more than 1,048,576 bytes when decompressed, which"):
        read(write(tmp_path, "a.parquet.gz", gzip.compress(large.getvalue())))
