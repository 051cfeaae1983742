"""Texts are split into the same tokens as in Python programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.checkpoint import patterns
from app.errors import InvalidRequest
from app.importing.questions import Answers
from app.importing.splitting import SPLITS
from app.importing.vocabulary import tokenizer_from
from app.tokenization.tokenizer import Tokenizer


def basic_english(text: str) -> list[str]:
    """torchtext.data.utils.get_tokenizer("basic_english")."""
    text = text.lower()
    replacements = [
        (r"\'", " '  "), (r"\"", ""), (r"\.", " . "), (r"<br \/>", " "), (r",", " , "), (r"\(", " ( "), (r"\)", " ) "),
        (r"\!", " ! "), (r"\?", " ? "), (r"\;", " "), (r"\:", " "), (r"\s+", " "),
    ]  # fmt: skip
    for pattern, replacement in replacements:
        text = re.sub(pattern, replacement, text)
    return text.split()


PROGRAMS: dict[str, Callable[[str], list[str]]] = {
    "whitespace": str.split,
    "characters": list,
    "basic_english": basic_english,
    "words": lambda text: re.findall(r"\w+", text),
    "words_and_punctuation": lambda text: re.findall(r"\w+|[^\w\s]+", text),
    "words_and_marks": lambda text: re.findall(r"\w+|[^\w\s]", text),
}
TEXTS = [
    "You can now install TorchText using pip!",
    "He said: \"It's (almost) fine\"; <br />isn't it?...",
    "snake_case, 3.14 and C++ - naïve café ½ ² …",
    "日本語のテキスト。 Привет, мир! ",
    "e\u0301 \U0001f600\U0001f600 €5 a\u00a0b\tc\r\nd",
]


def make(split: str, words: list[str], lowercase: str = "no") -> Tokenizer:
    answers = Answers({"split": split} | ({} if split == "basic_english" else {"lowercase": lowercase}))
    tokenizer = tokenizer_from(["<unk>", *words], "words", len(words) + 1, answers)
    answers.settle()
    return tokenizer


def test_every_split_is_tested() -> None:
    assert set(PROGRAMS) == set(SPLITS)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_splits_are_those_of_programs(split: str, lowercase: bool, text: str) -> None:
    if split == "basic_english" and not lowercase:
        return
    expected = PROGRAMS[split](text.lower() if lowercase else text)
    words = list(dict.fromkeys(expected))
    tokenizer = make(split, words, "yes" if lowercase else "no")
    assert [tokenizer.token_text(i) for i in tokenizer.encode(text)] == expected
    patterns.check(json.loads(tokenizer._definition))


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cn", "Co")), max_size=30))
def test_words_are_those_of_python(text: str) -> None:
    # Python treats four control characters as white space, but Unicode does not.
    text = re.sub("[\x1c-\x1f]", "", text)
    for split in ("words", "words_and_punctuation", "words_and_marks"):
        expected = PROGRAMS[split](text)
        if expected:
            tokenizer = make(split, list(dict.fromkeys([*expected, "ab"])))
            assert [tokenizer.token_text(i) for i in tokenizer.encode(text)] == expected


def test_basic_english_always_lowercases() -> None:
    for lowercase, allowed in (("yes", True), ("no", False)):
        answers = Answers({"split": "basic_english", "lowercase": lowercase})
        if allowed:
            tokenizer_from(["<unk>", "a", "."], "words", 3, answers)
            answers.settle()
        else:
            with pytest.raises(InvalidRequest, match="basic_english lowercases"):
                tokenizer_from(["<unk>", "a", "."], "words", 3, answers)


def test_a_vocabulary_with_punctuation_leaves_the_split_open(tmp_path: Path) -> None:
    answers = Answers({"lowercase": "no"})
    tokenizer_from(["<unk>", "good", ",", "."], "words", 4, answers)
    assert [question.field for question in answers.open] == ["split"]


@pytest.mark.parametrize("words", [["good", "bad"], ["good", "42"], ["good", "<num>"]])
def test_words_without_punctuation_leave_the_split_open(words: list[str]) -> None:
    answers = Answers({"lowercase": "no"})
    tokenizer_from(["<unk>", *words], "words", 3, answers)
    [question] = answers.open
    assert question.field == "split" and "no punctuation marks as tokens" in question.text
    assert not any(line.startswith("split") for line in answers.assumed)


@pytest.mark.parametrize("word", ["don't", "bad.", "#1"])
def test_a_token_that_joins_letters_and_punctuation_decides_the_split(word: str) -> None:
    answers = Answers({"lowercase": "no"})
    tokenizer_from(["<unk>", "good", word], "words", 3, answers)
    assert not answers.open
    assert any(line.startswith("split=whitespace: no other way") and repr(word) in line for line in answers.assumed)
