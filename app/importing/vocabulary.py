"""Other people's vocabularies as a tokenizer.json: a word list, a word-to-number dictionary, or one made already.

Knows text and numbers; knows no network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from app.errors import InvalidRequest
from app.importing.questions import Answers, Question
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.vocabulary import NAMES

MARKS = {name for names in NAMES.values() for name in names}


class VocabularyInvalid(InvalidRequest):
    code = "invalid_vocabulary"


def tokenizer_of(path: Path, rows: int, answers: Answers) -> Tokenizer:
    """The tokenizer of a vocabulary file, for an embedding of so many rows."""
    vocabulary = _read(path)
    size = vocabulary.vocab_size if isinstance(vocabulary, Tokenizer) else max(vocabulary.values()) + 1
    if size > rows:
        raise VocabularyInvalid(f"{path.name} numbers its words up to {size - 1}; the embedding has {rows} rows")
    return vocabulary if isinstance(vocabulary, Tokenizer) else _word_level(vocabulary, answers)


def _read(path: Path) -> Tokenizer | dict[str, int]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VocabularyInvalid(f"{path} cannot be read: {error}") from None
    if path.suffix != ".json":
        return _numbered(text.removesuffix("\n").split("\n"), path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VocabularyInvalid(f"{path.name} is not valid JSON: {error}") from None
    if isinstance(value, dict) and isinstance(value.get("model"), dict):
        return Tokenizer.load(path)
    return _numbered(value, path)


def _numbered(value: Any, path: Path) -> dict[str, int]:
    """Word to number, out of a list of words, {word: number} or {number: word}."""
    if isinstance(value, dict) and value and all(isinstance(word, str) for word in value.values()):
        value = {word: int(number) if number.isdecimal() else -1 for number, word in value.items()}
    elif isinstance(value, list):
        if len(set(map(str, value))) != len(value):
            raise VocabularyInvalid(f"{path.name} holds a word twice")
        value = {word: number for number, word in enumerate(value)}
    words = value if isinstance(value, dict) else {}
    plain = all(isinstance(w, str) and isinstance(n, int) and not isinstance(n, bool) for w, n in words.items())
    if not any(words) or not plain or min(words.values()) < 0 or len(set(words.values())) != len(words):
        raise VocabularyInvalid(
            f"{path.name} must be a JSON list of words, a JSON dictionary of words and their numbers, a text of one "
            "word a line, or a tokenizer.json"
        )
    return words


def _word_level(words: dict[str, int], answers: Answers) -> Tokenizer:
    unknown = next((name for name in NAMES["unk"] if name in words), None)
    if unknown is None:
        text = "which word of the vocabulary stands for all words that are not in it?"
        unknown = answers.ask(Question("unknown", text))
        if answers.given("unknown") is not None and unknown not in words:
            raise VocabularyInvalid(f"unknown={unknown}: this word is not in the vocabulary")
    native = tokenizers.Tokenizer(models.WordLevel(words, unk_token=unknown))
    plain = [word for word in words if word not in MARKS]
    if _splits_characters(plain, answers):
        native.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        native.decoder = decoders.Fuse()
    else:
        native.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if _lowers(plain, answers):
        native.normalizer = normalizers.Lowercase()
    return Tokenizer(native.to_str())


def _splits_characters(plain: list[str], answers: Answers) -> bool:
    options = ("whitespace", "characters")
    if any(len(word) > 1 for word in plain):
        return answers.assume("split", "whitespace", "the vocabulary has whole words", options) == "characters"
    question = Question("split", "is the text split at white space, or into characters?", options)
    return answers.ask(question) == "characters"


def _lowers(plain: list[str], answers: Answers) -> bool:
    """A vocabulary with capital letters is not one of lowered texts; one without may be either."""
    if any(word != word.lower() for word in plain):
        return answers.assume("lowercase", "no", "the vocabulary has capital letters", ("yes", "no")) == "yes"
    return answers.ask(Question("lowercase", "is the text lowered first?", ("yes", "no"))) == "yes"
