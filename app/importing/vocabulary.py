"""Tokenizers from vocabularies of other programs: lists of words, dictionaries of words and ids, tokenizer.json."""

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

SPECIAL = {name for names in NAMES.values() for name in names}  # special tokens, in all their usual spellings


class VocabularyInvalid(InvalidRequest):
    """A vocabulary file that cannot be read, or that does not fit the network."""

    code = "invalid_vocabulary"


def tokenizer_of(path: Path, rows: int, answers: Answers) -> Tokenizer:
    """The tokenizer of a vocabulary file, for an embedding with `rows` rows.

    Raises VocabularyInvalid if the file is not a vocabulary or has ids beyond the embedding.
    """
    vocabulary = _read(path)
    size = vocabulary.vocab_size if isinstance(vocabulary, Tokenizer) else max(vocabulary.values()) + 1
    if size > rows:
        raise VocabularyInvalid(
            f"{path.name} has ids up to {size - 1}, but the embedding has only {rows} rows (ids up to {rows - 1})"
        )
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
    """{word: id}, from a list of words, {word: id} or {id: word}."""
    if isinstance(value, dict) and value and all(isinstance(word, str) for word in value.values()):
        value = {word: int(number) if number.isdecimal() else -1 for number, word in value.items()}
    elif isinstance(value, list):
        if len(set(map(str, value))) != len(value):
            raise VocabularyInvalid(f"{path.name} contains a word twice")
        value = {word: number for number, word in enumerate(value)}
    words = value if isinstance(value, dict) else {}
    typed = all(isinstance(w, str) and isinstance(n, int) and not isinstance(n, bool) for w, n in words.items())
    if not any(words) or not typed or min(words.values()) < 0 or len(set(words.values())) != len(words):
        raise VocabularyInvalid(
            f"{path.name} must be a JSON list of words, a JSON dictionary of words and their ids, a text file with one "
            "word on each line, or a tokenizer.json"
        )
    return words


def _word_level(words: dict[str, int], answers: Answers) -> Tokenizer:
    """A tokenizer that maps whole words, or single characters, to their ids."""
    unknown = next((name for name in NAMES["unk"] if name in words), None)
    if unknown is None:
        text = "which word of the vocabulary replaces words that are not in it?"
        unknown = answers.ask(Question("unknown", text))
        if answers.get("unknown") is not None and unknown not in words:
            raise VocabularyInvalid(f"unknown={unknown}: this word is not in the vocabulary")
    native = tokenizers.Tokenizer(models.WordLevel(words, unk_token=unknown))
    ordinary = [word for word in words if word not in SPECIAL]
    if _splits_characters(ordinary, answers):
        native.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        native.decoder = decoders.Fuse()
    else:
        native.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if _lowercases(ordinary, answers):
        native.normalizer = normalizers.Lowercase()
    return Tokenizer(native.to_str())


def _splits_characters(words: list[str], answers: Answers) -> bool:
    options = ("whitespace", "characters")
    if any(len(word) > 1 for word in words):
        return answers.assume("split", "whitespace", "the vocabulary has whole words", options) == "characters"
    question = Question("split", "is the text split at whitespace, or into characters?", options)
    return answers.ask(question) == "characters"


def _lowercases(words: list[str], answers: Answers) -> bool:
    """Capital letters show that texts are not lowercased; a vocabulary without them leaves it open."""
    if any(word != word.lower() for word in words):
        return answers.assume("lowercase", "no", "the vocabulary has capital letters", ("yes", "no")) == "yes"
    return answers.ask(Question("lowercase", "is the text lowercased first?", ("yes", "no"))) == "yes"
