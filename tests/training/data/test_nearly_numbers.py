"""Columns in which most values are numbers are told from other columns."""

from __future__ import annotations

import pytest

from app.training.data.guesses import is_number
from app.training.data.nearly_numbers import are_nearly_numbers


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2", "n/a"], True),
        ([1, 2.5, "x"], True),
        (["120 m2", "80 m2", "n/a"], True),
        (["€5,00", "€6,50"], True),
        (["12kg", "13kg."], True),
        (["1", "2", "x", "y"], False),
        (["3 apples of mine", "4 pears of mine"], False),
        (["A12", "B13", "C14"], False),
        (["12 a", "13 b", "14 c"], False),
        (["1" * 9000 + " m2"], False),
        ([], False),
    ],
)
def test_most_values_are_numbers_or_numbers_with_the_same_unit(values: list[object], expected: bool) -> None:
    assert are_nearly_numbers(values, is_number) is expected
