"""Features and values that lose precision are reported by the check before the upload."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from app.training.data.checking import check_files
from app.training.data.precision import rounded_values
from tests.training.data.tables import write


@pytest.mark.parametrize(
    ("offset", "step", "lost"),
    [
        ("123456789012345678", "1", True),
        ("9007199254740993", "100", False),  # steps of 2 beside a range of 200,000
        ("1700000000", "0.0000001", True),
        ("1700000000", "0.01", False),
        ("0", "0.000001", False),
        ("1e20", "1e18", False),
    ],
)
def test_values_whose_differences_are_lost_are_warned_about(offset: str, step: str, lost: bool, tmp_path: Path) -> None:
    values = [Decimal(offset) + n * n % 2003 * Decimal(step) for n in range(400)]
    path = write(tmp_path, "a.csv", "text,value\n" + "\n".join(f"row {n},{value:f}" for n, value in enumerate(values)))
    result = check_files(path)
    assert (result.task, result.error) == ("regression", None)
    assert ("rounded_values" in dict(result.warnings)) == lost
    if lost:
        assert "subtract a constant from them" in dict(result.warnings)["rounded_values"]
    assert rounded_values(np.zeros(3)) == ""


@pytest.mark.parametrize("shape", ["series", "features"])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("large", "has values up to 1.23e+17, which are rounded to multiples of 16"),
        ("outlier", "of its changes between steps, which are very small relative to its range"),
        ("offset", ""),
        ("plain", ""),
    ],
)
def test_features_that_lose_precision_are_warned_about_before_the_upload(
    kind: str, reason: str, shape: str, tmp_path: Path
) -> None:
    noise = np.random.default_rng(1).normal(0, 1, 8000)
    numbers = {
        "large": [str(123456789012345678 + n) for n in range(8000)],
        "outlier": [f"{value * 1e-9 if n else 1e6}" for n, value in enumerate(noise)],
        "offset": [f"{value + 123_456_700}" for value in noise],
        "plain": [f"{value}" for value in noise],
    }[kind]
    if shape == "series":
        lines = ["series,label,x"] + [f"{n // 10},{'ab'[n // 10 % 2]},{number}" for n, number in enumerate(numbers)]
        path = write(tmp_path, "a.csv", "\n".join(lines))
    else:
        rows = [numbers[n : n + 10] for n in range(0, 8000, 10)]
        lines = [
            json.dumps({"features": [[0]] * 10, "label": "ab"[n % 2]}).replace(
                json.dumps([[0]] * 10), "[" + ",".join(f"[{number}]" for number in row) + "]"
            )
            for n, row in enumerate(rows)
        ]
        path = write(tmp_path, "a.jsonl", "\n".join(lines))
    result = check_files(path)
    assert result.error is None
    assert reason in dict(result.warnings).get("lost_precision", "") and bool(reason) == (
        "lost_precision" in dict(result.warnings)
    )
