"""Suggestions are made for misspelt names, and not for other words."""

from __future__ import annotations

import pytest

from app.similarity import distance, most_similar


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("lable", ["text", "label"], "label"),
        ("tekst", ["label", "text"], "text"),
        ("PROT", ["port", "host"], "port"),
        ("txt", ["text", "label"], "text"),
        ("max_token", ["max_tokens", "min_tokens"], "max_tokens"),
        ("max_tokens", ["max_output_tokens", "model"], "max_output_tokens"),
        ("--column-text", ["--text-pair-column", "--text-column"], "--text-column"),
        ("--label", ["--label-column", "--label-smoothing-rate", "--name"], "--label-column"),
        ("comment_text", ["text", "label"], "text"),
        ("columns[texts]", ["columns[text]", "columns[label]"], "columns[text]"),
        ("tempature", ["temperature", "top_p"], "temperature"),
        ("bidirectionnel", ["bidirectional", "batch_size"], "bidirectional"),
        ("reviewz:1", ["reviews:1", "mood"], "reviews:1"),
        ("--lr", ["--lora-r", "--learning-rate"], "--learning-rate"),
        ("hidden_size", ["head_size", "width"], "width"),
    ],
)
def test_a_misspelt_name_is_recognised(name: str, names: list[str], expected: str) -> None:
    assert most_similar(name, names) == expected


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("name", "date"), ("file", "title"), ("time", "text"), ("mood", "food"), ("class", "clean"), ("lr", "lstm"),
        ("gpt", "gru"), ("happy", "angry"), ("table", "label"), ("a", "b"), ("", "text"), ("--", "--model"),
        ("--wide", "--width"), ("--output", "--wait"), ("x" * 300, "x" * 299),
    ],
)  # fmt: skip
def test_another_word_is_not_suggested(name: str, other: str) -> None:
    assert most_similar(name, [other]) is None and most_similar(other, [name]) is None


def test_no_name_is_suggested_if_several_have_as_many_additional_words() -> None:
    assert most_similar("--column", ["--text-column", "--label-column"]) is None


@pytest.mark.parametrize(
    ("a", "b", "edits"), [("", "ab", 2), ("ab", "ba", 1), ("abc", "axc", 1), ("kitten", "sitting", 3)]
)
def test_the_distance_counts_edits(a: str, b: str, edits: int) -> None:
    assert distance(a, b) == distance(b, a) == edits
