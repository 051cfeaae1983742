"""The span of characters that each token of a text encodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tokenization.spans import character_spans
from tests.serving import byte_tokenizer

TOKENIZER = byte_tokenizer()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_spans_cover_the_text_in_order(text: str) -> None:
    ids = TOKENIZER.encode(text)
    spans = [span for span in character_spans(TOKENIZER, ids, text) if span is not None]
    assert len(spans) == len(text.encode())
    assert sorted(spans) == spans
    assert {place for start, end in spans for place in range(start, end)} == set(range(len(text)))


@pytest.mark.parametrize("text", ["ab", "é"])
def test_tokens_of_another_text_have_no_spans(text: str) -> None:
    assert character_spans(TOKENIZER, TOKENIZER.encode("xyz"), text) == [None] * 3
