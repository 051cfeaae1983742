"""Numbers in features that are far from the others."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from app.training.data.collector import Place
from app.training.data.feature_outliers import FeatureExtremes
from tests.training.data.scans import scan
from tests.training.data.tables import read, remarks_of, write

NUMBERS = np.random.default_rng(0).normal(size=(300, 4, 2)).round(3)


def remarks_on(folder: Path, name: str, far: float | None) -> dict[str, str]:
    """The remarks about outliers in a file. If `far` is not None, it is a number of the second feature in row 200."""
    numbers = NUMBERS.copy()
    if far is not None:
        numbers[200, 2, 1] = far
    if name == "a.jsonl":
        lines = [json.dumps({"features": row.tolist(), "label": "xy"[n % 2]}) for n, row in enumerate(numbers)]
    else:
        rows = [(n, a, b) for n, row in enumerate(numbers) for a, b in row]
        lines = ["series,a,b,label", *(f"{n},{a},{b},{'xy'[n % 2]}" for n, a, b in rows)]
    remarks = scan(write(folder, name, "\n".join(lines)))[1]
    return {kind: remark.message for kind, remark in remarks.items() if "outliers" in kind}


@pytest.mark.parametrize("far", [1e9, -999999.0, 1e30])
@pytest.mark.parametrize(("name", "feature", "line"), [("a.jsonl", "2", 201), ("a.csv", "'b'", 802)])
def test_a_number_far_outside_of_the_others_is_told_with_its_row(
    name: str, feature: str, line: int, far: float, tmp_path: Path
) -> None:
    [message] = remarks_on(tmp_path, name, far).values()
    assert f"line {line}: feature {feature} has the number {far:g}, far outside of the others" in message


@pytest.mark.parametrize("far", [None, 50.0, 900.0])
def test_other_numbers_are_not_told(far: float | None, tmp_path: Path) -> None:
    assert not remarks_on(tmp_path, "a.jsonl", far)


def test_the_sample_of_many_features_is_bounded(tmp_path: Path) -> None:
    extremes, place = FeatureExtremes(), Place(read(write(tmp_path, "a.jsonl", '{"text": "a b"}'))[0], "line 1")
    steps_TF = np.zeros((64, 20_000))
    tracemalloc.start()
    for row in range(20):
        steps_TF[:, 0], steps_TF[0, 1] = row, 1e9 if row == 10 else row
        extremes.add(steps_TF, place)
    extremes.remark()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 26
    assert set(remarks_of(place.layout.source)) >= {"feature_outliers 2"}
