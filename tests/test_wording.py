"""Numbers with nouns."""

from __future__ import annotations

from app.wording import counted, listed


def test_one_is_singular() -> None:
    assert [counted(n, "row") for n in (0, 1, 2, 12_000)] == ["0 rows", "1 row", "2 rows", "12,000 rows"]


def test_the_last_word_of_a_list_is_joined() -> None:
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a or b", "a, b or c"]
    assert listed(["a", "b"], "and") == "a and b"
