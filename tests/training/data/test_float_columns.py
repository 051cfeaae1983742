"""Warnings about numbers that have lost digits because of their type in a Parquet file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data.checking import check_files
from app.wire.training_options import Columns

DRAW = random.Random(0)
METERS = [[round(DRAW.uniform(0, 3) + step * (0.2 + series % 2), 2) for step in range(24)] for series in range(24)]
LABELS = ["idle", "busy"] * 12


def warnings_of(path: Path, **columns: str) -> list[str]:
    result = check_files(path, columns=Columns(**columns))
    return [remark["message"] for remark in result.report["remarks"] if remark["kind"] == "lost_digits"]


def long_table(path: Path, move: Callable[[float], float], type_: pa.DataType) -> Path:
    """A table with one step per row."""
    rows = [(n, t, move(x)) for n, series in enumerate(METERS) for t, x in enumerate(series)]
    columns: dict[str, Any] = {
        "series": [f"s{n}" for n, _, _ in rows],
        "time": [t for _, t, _ in rows],
        "reading": pa.array([x for _, _, x in rows], type_),
        "label": [LABELS[n] for n, _, _ in rows],
    }
    pq.write_table(pa.table(columns), path)
    return path


def wide_table(path: Path, move: Callable[[float], float], type_: pa.DataType, width: int) -> Path:
    """A table with one sequence per row. If `width` is 0, each sequence is a plain list of numbers."""
    rows = [[[move(x), *[0.5] * (width - 1)] if width else move(x) for x in series] for series in METERS]
    steps = pa.list_(pa.list_(type_)) if width else pa.list_(type_)
    pq.write_table(pa.table({"features": pa.array(rows, steps), "label": LABELS}), path)
    return path


MOVES: list[tuple[Callable[[float], float], str]] = [
    (
        lambda x: 123_456_700 + x,
        "up to 123,456,728, have the type float32, which can only represent them in steps of 8",
    ),
    (lambda x: 1e12 + x, "in steps of 65536"),
    (lambda x: -9e8 - x * 60, "in steps of 64"),
    (lambda x: 0.0 if x < 0.5 else 1_795_000_000 + x * 60, "in steps of 128"),
]


@pytest.mark.parametrize(("move", "part"), MOVES)
@pytest.mark.parametrize("width", [None, 0, 1, 2])
def test_lost_digits_are_warned_about(
    move: Callable[[float], float], part: str, width: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    for type_, count in ((pa.float32(), 1), (pa.float64(), 0)):
        messages = warnings_of(long_table(path, move, type_) if width is None else wide_table(path, move, type_, width))
        assert len(messages) == count, messages
        if messages:
            assert part in messages[0] and "write the original numbers as a float64 column" in messages[0]
            assert messages[0].startswith(f"a.parquet, column '{'reading' if width is None else 'features'}': ")


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x,
        lambda x: 300 + x,
        lambda x: 16_000_000 + round(x),
        lambda x: 1e-6 * x,
        lambda x: float(x > 1),
        lambda x: 7.0,
        lambda x: float("nan"),
    ],
)
@pytest.mark.parametrize("width", [0, 1, 2])
def test_numbers_that_fit_their_type_bring_no_warning(
    move: Callable[[float], float], width: int, tmp_path: Path
) -> None:
    path = wide_table(tmp_path / "a.parquet", move, pa.float32(), width)
    remarks = check_files(path).report["remarks"]
    assert "lost_digits" not in {remark["kind"] for remark in remarks}


def test_columns_of_other_types_are_not_checked(tmp_path: Path) -> None:
    others = pa.array([[("a", 1e9)]] * 24, pa.map_(pa.string(), pa.float32()))
    columns = {"text": [f"row {n}" for n in range(24)], "label": LABELS, "other": others}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert warnings_of(tmp_path / "a.parquet") == []


def test_values_to_predict_are_checked_and_unused_columns_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = [123_456_700.0 + 8 * n for n in range(24)]
    texts = [f"row {n}" for n in range(24)]
    pq.write_table(
        pa.table({"text": texts, "value": pa.array(values, pa.float32()), "id": pa.array(values, pa.float32())}), path
    )
    result = check_files(path)
    assert (result.task, result.error, result.report["ignored_columns"]) == ("regression", None, ["id"])
    places = [remark["where"] for remark in result.report["remarks"] if remark["kind"] == "lost_digits"]
    assert places == ["column 'value'"]


@pytest.mark.parametrize("name", ["float16", "float32"])
def test_the_largest_number_of_a_type_has_a_spacing(name: str, tmp_path: Path) -> None:
    largest = float(np.finfo(name).max)
    path = wide_table(tmp_path / "a.parquet", lambda x: largest if x > 1 else 0.1, pa.type_for_alias(name), 1)
    result = check_files(path)
    assert result.error is None and "in steps of inf" not in str(result.report["remarks"])
