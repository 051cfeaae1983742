"""Answers that contradict the vocabulary produce warnings, and settings without a choice are reported."""

from __future__ import annotations

import pytest

from app.importing.questions import Answers
from app.importing.vocabulary import tokenizer_from

PLAIN = ["<pad>", "<unk>", "good", "bad"]
MARKED = [*PLAIN, "!", ","]


def remarks(words: list[str], **answers: str) -> list[str]:
    settings = Answers(answers)
    tokenizer_from(words, "words", len(words), settings)
    settings.settle()
    return settings.assumed


@pytest.mark.parametrize(
    ("words", "answers", "warning"),
    [
        (MARKED, {"split": "words", "lowercase": "yes"}, "unreachable=2: the vocabulary contains marks as tokens, but "
         "splitting a text never produces 2 words of the vocabulary, such as '!' and ','"),
        (MARKED, {"split": "words_and_marks", "lowercase": "no"}, "lowercase=no: the vocabulary contains no capital "),
        (PLAIN, {"split": "words_and_marks", "lowercase": "yes"}, "split=words_and_marks: the vocabulary contains no "),
        (PLAIN, {"split": "words_and_punctuation", "lowercase": "yes"}, "split=words_and_punctuation: the vocabulary"),
        (PLAIN, {"split": "basic_english"}, "split=basic_english: the vocabulary contains no marks as tokens"),
        (["<unk>", "a", "b"], {"split": "characters", "lowercase": "no"}, "lowercase=no: the vocabulary contains no "),
    ],
)  # fmt: skip
def test_an_answer_that_contradicts_the_vocabulary_is_reported(
    words: list[str], answers: dict[str, str], warning: str
) -> None:
    assert any(line.startswith(warning) for line in remarks(words, **answers))


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (MARKED, {"split": "words_and_marks", "lowercase": "yes"}),
        (PLAIN, {"split": "words", "lowercase": "yes"}),
        ([*MARKED, "Good"], {"split": "words_and_marks", "lowercase": "no"}),
        (PLAIN, {"split": "words_and_marks", "lowercase": "yes", "unknown": "skip"}),
        (["<unk>", "日", "本"], {"split": "characters", "lowercase": "no"}),
    ],
)
def test_an_answer_that_fits_the_vocabulary_is_not_reported(words: list[str], answers: dict[str, str]) -> None:
    fields = {line.partition("=")[0] for line in remarks(words, **answers)}
    assert fields <= {"unknown", "first_id", "around"}


def test_settings_that_the_vocabulary_determines_are_reported() -> None:
    lines = remarks(MARKED, split="words_and_marks", lowercase="yes")
    assert "first_id=0: the file determines the ids of all words" in lines
    assert "around=none: the vocabulary has no tokens such as <s>" in lines
    given = remarks(MARKED, split="words_and_marks", lowercase="yes", first_id="0", around="none")
    assert not any(line.startswith(("first_id", "around")) for line in given)
