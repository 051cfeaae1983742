"""Values to predict that are far from the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.remarks import Remark
from tests.training.data.scans import scan
from tests.training.data.tables import write


def remarks_on(folder: Path, values: list[str]) -> dict[str, Remark]:
    rows = "".join(f"row {n},{value}\n" for n, value in enumerate(values))
    return scan(write(folder, "a.csv", f"text,price\n{rows}"), value="price")[1]


@pytest.mark.parametrize("far", ["1e30", "-1e30", "3e38"])
def test_a_value_far_outside_of_the_others_is_told_with_its_place(far: str, tmp_path: Path) -> None:
    values = [str(n) for n in range(60)]
    values[40] = far
    remark = remarks_on(tmp_path, values)["outliers"]
    assert remark.message.startswith(f"a.csv, line 42, column 'price': the value {float(far):g} is far outside of the")
    assert (remark.level, remark.count) == ("warn", 1) and "in total" not in remark.message


def test_several_such_values_are_counted_and_the_farthest_is_shown(tmp_path: Path) -> None:
    remark = remarks_on(tmp_path, [*(str(n) for n in range(60)), "1e9", "-1e12"])["outliers"]
    assert "line 63" in remark.message and "in total, 2 values are so far away" in remark.message


@pytest.mark.parametrize(
    "values",
    [
        [str(n) for n in range(60)],
        [str(2**n) for n in range(20)],  # skewed, as prices and incomes are
        ["0"] * 50 + ["1e9"] * 5,  # the quartiles are equal, so there is no scale
        ["1", "2", "1e9"],
    ],
)
def test_other_values_are_not_told(values: list[str], tmp_path: Path) -> None:
    assert "outliers" not in remarks_on(tmp_path, values)
