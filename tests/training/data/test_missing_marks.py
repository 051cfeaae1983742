"""Numbers that stand for missing values, such as -999, are told from measured numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.training.data.missing_marks import missing_marks
from tests.training.data.scans import scan
from tests.training.data.tables import write

AREAS = 50.0 + np.arange(60)


@pytest.mark.parametrize("mark", [-999.0, 9999.0, -99.0])
def test_a_repeated_mark_far_from_the_others_is_recognised(mark: float) -> None:
    steps_SF = np.stack([AREAS, np.where(np.arange(60) % 10 == 3, mark, AREAS)], 1)
    assert missing_marks(steps_SF) == {1: (mark, 0.1, 50.0, 109.0)}


@pytest.mark.parametrize(
    "numbers",
    [
        AREAS,
        np.where(np.arange(60) == 3, -999.0, AREAS),  # a single number; another warning reports it
        np.where(np.arange(60) % 10 == 3, -998.0, AREAS),
        np.where(np.arange(60) % 10 == 3, 99.0, AREAS),  # between the others
        np.where(np.arange(60) % 3 != 0, -999.0, AREAS),  # most of the numbers
        np.arange(60) % 3 - 1.0,  # categories
        np.full(60, -1.0),
    ],
)
def test_other_numbers_are_not_marks(numbers: NDArray[Any]) -> None:
    assert missing_marks(numbers[:, None]) == {}


@pytest.mark.parametrize("mark", [-999, -999999])
def test_a_mark_is_reported_once_with_its_first_row(mark: int, tmp_path: Path) -> None:
    rows = (f"{mark if n % 10 == 3 else 50 + n},{n % 5},{9 * n}.5" for n in range(60))
    _, remarks = scan(write(tmp_path, "a.csv", "\n".join(["area,rooms,price", *rows])), value="price")
    [remark] = [remark for remark in remarks.values() if remark.level == "warn"]
    assert remark.kind == "missing_marks 'area'" and remark.where == "line 5"
    assert f"about 10 % of the numbers of feature 'area' are {mark:g}, and the others are between 50" in remark.message
