"""Which characters belong to scripts without spaces between words."""

from __future__ import annotations

import pytest

from app.tokenization.scripts import count_unspaced


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("plain text, 123", 0),
        ("天气很好。", 4),  # punctuation belongs to no script
        ("天気がいいです", 7),
        ("ｶﾀｶﾅ", 4),
        ("อากาศดีมาก", 10),
        ("ອາກາດດີ", 7),
        ("အေးသည်", 6),
        ("អាកាស", 5),
        ("བོད་ཡིག", 7),
        ("\U00020000", 1),
        ("날씨가 좋다", 0),
        ("Погода хорошая", 0),
        ("मौसम अच्छा है", 0),
        ("الطقس جميل", 0),
        ("mixed 天气 text", 2),
        ("", 0),
    ],
)
def test_characters_without_spaces_are_counted(text: str, count: int) -> None:
    assert count_unspaced(text) == count
