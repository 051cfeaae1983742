"""A feature that is equal to the value or the label to predict gives the answer away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.data.scans import scan
from tests.training.data.tables import write


def table(other: int | None = None) -> str:
    """A table in which `copy` is equal to `price`, except in the row `other`."""
    rows = (f"{50 + n},{9 * n + (n == other)}.5,{9 * n}.50,{n % 3},{n % 3}" for n in range(40))
    return "\n".join(["area,copy,price,kind,class", *rows])


def test_a_copy_of_the_value_or_the_label_is_warned_about(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table())
    remark = scan(path, value="price", features="area,copy")[1]["target_copies"]
    assert remark.level == "warn" and "'copy' has the same number as the column 'price'" in remark.message
    remark = scan(path, label="class", features="area,kind")[1]["target_copies"]
    assert "'kind' has the same number as the column 'class'" in remark.message


@pytest.mark.parametrize(("other", "features"), [(39, "area,copy"), (None, "area,kind")])
def test_features_that_differ_in_one_row_are_not_copies(other: int | None, features: str, tmp_path: Path) -> None:
    _, remarks = scan(write(tmp_path, "a.csv", table(other)), value="price", features=features)
    assert "target_copies" not in remarks


def test_a_copy_in_json_is_named_by_its_number(tmp_path: Path) -> None:
    rows = "\n".join(f'{{"features": [[{n * 3 % 7}, {n}]], "value": {n}}}' for n in range(40))
    assert "in every row, feature 2 has" in scan(write(tmp_path, "a.jsonl", rows))[1]["target_copies"].message
