"""The computed growth of a text is never less than the actual growth."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers

from app.checkpoint.growth import growth

TEXT = st.text("ab", max_size=3)
PATTERNS = st.text("ab", min_size=1, max_size=3)


def replacement(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


@given(replacements=st.lists(st.tuples(PATTERNS, TEXT), max_size=5), text=st.text("abc", min_size=1, max_size=12))
def test_no_text_grows_more_than_computed(replacements: list[tuple[str, str]], text: str) -> None:
    native = normalizers.Sequence([normalizers.Replace(*pair) for pair in replacements])
    computed = growth([replacement(*pair) for pair in replacements])
    assert len(native.normalize_str(text)) <= computed * len(text) + 1e-6


@pytest.mark.parametrize(
    ("components", "expected"),
    [
        ([], 1),
        ([replacement("a", "aa")] * 10, 1024),
        ([replacement("a", " a "), replacement("b", " b ")], 3),
        ([replacement("aa", "b")], 1),
        ([replacement("", "b")], float("inf")),
        ([{"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": "xyz"}], 3),
        ([{"type": "Prepend", "prepend": "▁"}, replacement("▁", "__")], 4),
        ([replacement("a", "A" * 4), {"type": "Lowercase"}, replacement("a", "bbb")], 12),
    ],
)
def test_the_growth_of_components(components: list[dict[str, Any]], expected: float) -> None:
    assert growth(components) == expected
