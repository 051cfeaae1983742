"""Finds contradictions between a vocabulary and the answers about how the original program splits texts."""

from __future__ import annotations

from collections.abc import Mapping

from app.errors import InvalidRequest
from app.importing.questions import Answers
from app.tokenization.tokenizer import Tokenizer
from app.wording import listed, quantity

SHOWN = 3  # the maximum number of words or marks in a warning
MARK = "!"
MARKING = ("basic_english", "words_and_punctuation", "words_and_marks")  # answers that make marks tokens of their own


class VocabularyInvalid(InvalidRequest):
    """The vocabulary file cannot be read, or does not match the network or an answer."""

    code = "invalid_vocabulary"


def check_contradictions(tokenizer: Tokenizer, ordinary: list[str], words: Mapping[str, int], answers: Answers) -> None:
    """Warn about answers that the vocabulary makes unlikely. `ordinary` contains the words that are not special.

    Raises VocabularyInvalid if a text can never contain more than half of the words.
    """
    split = answers.get("split")
    if split in MARKING and not any(map(_is_mark, ordinary)) and _ids(tokenizer, MARK):
        answers.assumed.append(
            f"split={split}: the vocabulary contains no marks as tokens, so each mark in a text becomes an unknown "
            "word; check how the program treats marks"
        )
    if answers.get("lowercase") == "no" and _is_lowercase(ordinary):
        answers.assumed.append(
            "lowercase=no: the vocabulary contains no capital letters, so every word with a capital letter is an "
            "unknown word; if the program lowercases texts, the answer is yes"
        )
    _check_reach(tokenizer, ordinary, words, answers)


def _is_mark(word: str) -> bool:
    """Whether a token is a single character that is neither a letter, nor a digit, nor white space."""
    return len(word) == 1 and not word.isalnum() and not word.isspace()


def _is_lowercase(words: list[str]) -> bool:
    """Whether words have lower-case letters and no capital letters. Many languages have neither."""
    return any(word != word.upper() for word in words) and all(word == word.lower() for word in words)


def _check_reach(tokenizer: Tokenizer, ordinary: list[str], words: Mapping[str, int], answers: Answers) -> None:
    """Record how many words our splitting can never produce. The original program probably splits texts differently."""
    candidates = [word for word in ordinary if word]
    lost = [word for word in candidates if _ids(tokenizer, word) != [words[word]]]
    if not lost:
        return
    shown = listed([repr(word) for word in lost[:SHOWN]], "and")
    marks = "the vocabulary contains marks as tokens, but " if all(map(_is_mark, lost)) else ""
    text = f"{marks}splitting a text never produces {quantity(len(lost), 'word')} of the vocabulary, such as {shown}"
    if len(lost) > len(candidates) / 2:
        raise VocabularyInvalid(f"{text}; texts must be split or lowercased in another way", param="split")
    answers.assumed.append(f"unreachable={len(lost)}: {text}; check how texts are split and lowercased")


def _ids(tokenizer: Tokenizer, word: str) -> list[int]:
    """Return a word's ids without special tokens, or an empty list if the tokenizer rejects the word."""
    try:
        return tokenizer.encode_batch([word], special=False)[0]
    except InvalidRequest:
        return []
