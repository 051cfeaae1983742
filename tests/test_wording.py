"""Texts for counts, lists, types and float32 numbers."""

from __future__ import annotations

import pytest

from app.wording import fault_in_words, listed, quantity, shortest, type_in_words


def test_one_is_singular() -> None:
    assert [quantity(n, "row") for n in (0, 1, 2, 12_000)] == ["0 rows", "1 row", "2 rows", "12,000 rows"]


def test_the_last_word_of_a_list_is_joined() -> None:
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a or b", "a, b or c"]
    assert listed(["a", "b"], "and") == "a and b"


@pytest.mark.parametrize(
    ("notation", "phrase"),
    [
        ("`int`", "an integer"), ("`bool`", "true or false"), ("`int` <= 65535", "an integer of at most 65535"),
        ("`float` > 0.0", "a number above 0"), ("`float` < 1e-3", "a number below 0.001"), ("`array`", "`array`"),
        ("`str` of length >= 1", "`str` of length >= 1"),
    ],
)  # fmt: skip
def test_types_are_told_in_words(notation: str, phrase: str) -> None:
    assert type_in_words(notation) == phrase


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("Expected `int`, got `str`", " must be an integer, not a string"),
        ("Expected `int | null`, got `float`", " must be an integer, not a decimal number"),
        ("Expected `str | array | null`, got `object`", " must be a string or a list, not an object"),
        ("Expected `null`, got `object`", " must be null, not an object"),
        ("Expected `int`, got `str` as a key", " must have integers as keys, not strings"),
        ("Expected `float` < 1.0", " must be a number below 1"),
        ("Expected `array` of length >= 1", " must have at least 1 item"),
        ("Expected `str` of length <= 64", " must have at most 64 characters"),
        ("Expected `array` of length 2, got 3", " must have 2 items, not 3"),
        ("Invalid enum value 'x'", ": invalid enum value 'x'"),
    ],
)
def test_faults_of_values_are_told_in_words(fault: str, words: str) -> None:
    assert fault_in_words(fault) == words


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (9.59999942779541, 9.599999), (9.59000015258789, 9.59), (0.10000000149011612, 0.1), (-1.5, -1.5), (0.0, 0.0),
        (1e-30, 1e-30), (1_745_383_065.25, 1_745_383_065.25), (1e300, 1e300), (float("inf"), float("inf")),
    ],
)  # fmt: skip
def test_numbers_of_float32_are_shown_without_noise(value: float, shown: float) -> None:
    assert shortest(value) == shown
