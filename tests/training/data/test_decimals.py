"""Decimal commas in tables separated by semicolons."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.failures import BadData
from tests.training.data.tables import read, remarks_of, write


@pytest.mark.parametrize(
    ("cell", "value"),
    [("3,5", 3.5), ("-0,25", -0.25), (",5", 0.5), ("1.234,5", 1234.5), ("1 234,5", 1234.5), ("2,5e3", 2500), ("7", 7)],
)
def test_a_decimal_comma_is_read_as_one(cell: str, value: float, tmp_path: Path) -> None:
    layout, examples = read(write(tmp_path, "a.csv", f"text;value\nx, 1,5;{cell}\ny;2,5\n"))
    assert [(example.text, example.value) for example in examples] == [("x, 1,5", value), ("y", 2.5)]
    remark = remarks_of(layout.source)["decimal_commas"]
    assert ("'2,5' is 2.5" if cell == "7" else f"{cell!r} is") in remark
    assert ("1 number is read" if cell == "7" else "2 numbers are read") in remark


def test_numbers_of_series_may_have_decimal_commas(tmp_path: Path) -> None:
    _, [example] = read(write(tmp_path, "a.csv", "series;a;b;label\ns;1,5;2;up\ns;2,5;3;up\n"))
    assert example.features_TF is not None and example.features_TF.tolist() == [[1.5, 2], [2.5, 3]]


def test_labels_and_texts_keep_their_commas(tmp_path: Path) -> None:
    layout, examples = read(write(tmp_path, "a.csv", "text;label\n1,5;2,5\n3;4\n"))
    assert (examples[0].text, examples[0].labels) == ("1,5", ("2,5",))
    assert "decimal_commas" not in remarks_of(layout.source)


def test_points_beside_decimal_commas_are_warned_about(tmp_path: Path) -> None:
    layout, _ = read(write(tmp_path, "a.csv", "text;value\nx;1.234\ny;2,5\n"))
    assert remarks_of(layout.source)["decimal_points"].startswith("a.csv, line 2: 1 number like 1.234 is read")
    layout, _ = read(write(tmp_path, "b.csv", "text;value\nx;1.234\ny;2.5\n"))
    assert "decimal_points" not in remarks_of(layout.source)


def test_points_that_may_separate_thousands_are_warned_about(tmp_path: Path) -> None:
    layout, examples = read(write(tmp_path, "a.csv", "text;value\nx;12.500\ny;950\nz;0.123\n"))
    assert "decimal_points" not in remarks_of(layout.source)
    layout, examples = read(write(tmp_path, "b.csv", "text;value\nx;12.500\ny;950\nz;1.200\n"))
    assert remarks_of(layout.source)["decimal_points"].startswith("b.csv, line 2: 2 numbers like 1.234 are read")
    assert [example.value for example in examples] == [12.5, 950, 1.2]


def test_a_comma_that_separates_cells_is_no_decimal_comma(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"line 2, column 'value': '3,5' is not a number"):
        read(write(tmp_path, "a.csv", 'text,value\nx,"3,5"\n'))
