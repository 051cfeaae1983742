"""The cache of words: the same tokens as without it, limited memory, and the supported tokenizers and texts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from app.errors import InvalidRequest
from app.tokenization import words
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.training import train
from app.tokenization.words import COVERED, LEARNED, LONGEST_WORD, WordTokens, splits_into_words

CORPUS = ["The quick brown fox's tail wasn't 1,234 metres long; naïve Größe, Ελλάδα и кириллица."] * 3
TOKENIZER = train(CORPUS, "bpe", 400)
COVERED_CHARACTERS = [chr(code) for first, last in COVERED for code in range(first, last + 1)]
PIECES = ["'s", "'S", "'ll", " 'tis", "  ", " \n", "\t", "\x1c", "\x85", "\xa0", "\u2028", "Ⅷ", "²", "¼", "е́", "don't"]
covered = st.lists(st.sampled_from(COVERED_CHARACTERS) | st.sampled_from(PIECES), max_size=40).map("".join)


def library(text: str) -> list[int]:
    """The tokens of a text, computed without a cache."""
    [ids] = TOKENIZER._encode_native([text], special=False)
    return ids


@given(covered | st.text(st.characters(exclude_categories=["Cs"])))
@example("a  b   c \n\n d\t")
@example("'s's're 'll'VE''m")
@example("<eos> <pad>")
def test_remembered_words_have_the_tokens_of_the_library(text: str) -> None:
    assert TOKENIZER._words is not None
    for _ in range(2):  # new words, then remembered ones
        assert TOKENIZER.encode_batch([text, f"{text} {text}"]) == [library(text), library(f"{text} {text}")]


def test_every_covered_character_is_split_as_by_the_library() -> None:
    for start in range(0, len(COVERED_CHARACTERS), LEARNED):
        for c in COVERED_CHARACTERS[start : start + LEARNED]:
            for text in (c, f"a{c}b", f" {c}", f"1{c}2", f"{c}{c}", f"  {c} ", f"é{c}!"):
                assert TOKENIZER.encode(text) == library(text), ascii(text)


def test_a_text_of_known_words_needs_no_library() -> None:
    asked: list[str] = []

    def encode(texts: Any) -> list[list[int]]:
        asked.extend(texts)
        return [[len(text)] for text in texts]

    tokens = WordTokens(encode)
    assert tokens.encode_batch(["one two", "two 三"]) == [[3, 4], [5]]  # "two 三" is outside the covered alphabets
    assert tokens.encode("one two two") == [3, 4, 4]
    assert asked == ["one", " two", "two 三"]


def test_a_text_of_many_new_words_is_left_to_the_library_and_teaches_a_few() -> None:
    tokens = WordTokens(lambda texts: [[len(text)] for text in texts])
    text = " ".join(f"w{'x' * i}" for i in range(3 * LEARNED))
    assert tokens.encode(text) is None and len(tokens) == LEARNED
    assert tokens.encode(text) is None
    assert tokens.encode(text) is not None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "REMEMBERED", 20)
    tokens = WordTokens(lambda texts: [[len(text)] for text in texts])
    for i in range(200):
        assert tokens.encode(f"word{'y' * (i % 20)} {'z' * (i % 15)}") is not None
        assert len(tokens) <= 20
    assert tokens.encode("a" * (LONGEST_WORD + 1)) == [LONGEST_WORD + 1]
    assert "a" * (LONGEST_WORD + 1) not in tokens._tokens


def test_invalid_text_is_refused_as_by_the_library() -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        TOKENIZER.encode_batch(["fine", "\ud800"])


def definition(**changes: Any) -> dict[str, Any]:
    plain = Library(models.BPE({"a": 0}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for name, value in changes.items():
        setattr(plain, name, value)
    parsed: dict[str, Any] = json.loads(plain.to_str())
    return parsed


def test_only_tokenizers_that_encode_words_independently_qualify() -> None:
    assert splits_into_words(definition())
    assert not splits_into_words(definition(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)))
    unsplit = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    assert not splits_into_words(definition(pre_tokenizer=unsplit))
    assert not splits_into_words(definition(pre_tokenizer=pre_tokenizers.Whitespace()))
    assert not splits_into_words(definition(normalizer=normalizers.Lowercase()))
    assert not splits_into_words(definition(model=models.BPE({"a": 0}, [], dropout=0.1)))
    named = Library.from_str(json.dumps(definition()))
    named.add_tokens([AddedToken("new york")])
    assert not splits_into_words(json.loads(named.to_str()))
    assert train(CORPUS, "byte", 400)._words is None
    assert isinstance(TOKENIZER, Tokenizer)
