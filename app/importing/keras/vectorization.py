"""Reads the words of a TextVectorization layer, and how the layer splits texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.checkpoint.patterns import KERAS_PUNCTUATION
from app.errors import InvalidRequest
from app.importing.keras.layers import NAME_LIMIT, KerasLayer, unsupported
from app.importing.keras.sources import KerasFile
from app.importing.keras_texts import SPACES, TextRules, make_tokenizer
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.tokenization.tokenizer import Tokenizer

KIND = "TextVectorization"
MASK_WORD, UNKNOWN = "", "[UNK]"  # the words with the ids 0 and 1
LOWERED = ("lower", "lower_and_strip_punctuation")
STRIPPED = ("strip_punctuation", "lower_and_strip_punctuation")
ALLOWED: dict[str, tuple[Any, ...]] = {
    "output_mode": ("int",),
    "ngrams": (None,),
    "standardize": (None, "lower", "strip_punctuation", "lower_and_strip_punctuation"),
    "split": ("whitespace", "character"),
}


def read_tokenizer(layer: KerasLayer, file: KerasFile) -> Tokenizer:
    """Return a tokenizer that computes the same ids as the layer.

    Raises UnknownNetwork for settings that cannot be reproduced, and ForeignFileInvalid if the file has no vocabulary.
    """
    for name, allowed in ALLOWED.items():
        value = layer.settings.get(name)
        if value not in allowed:
            wording = repr(value)[:NAME_LIMIT] if isinstance(value, str | int) else "that is a function or an object"
            raise unsupported(f"{layer} has {name} {wording}; it must be one of {', '.join(map(repr, allowed))}")
    standardize = layer.settings.get("standardize")
    rules = TextRules(
        lowercase=False,
        separators="" if layer.settings["split"] == "character" else SPACES,
        by_character=layer.settings["split"] == "character",
        lowercase_ascii=standardize in LOWERED,
        removed=KERAS_PUNCTUATION if standardize in STRIPPED else "",
    )
    words = {word: number for number, word in enumerate(_words(layer, file)) if word != MASK_WORD}
    return make_tokenizer(words, UNKNOWN, rules)


def _words(layer: KerasLayer, file: KerasFile) -> list[str]:
    """Return all words in the order of their ids. They are in the configuration, or in a file of the archive."""
    words = layer.settings.get("vocabulary")
    if words is None:
        words = file.words(layer)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ForeignFileInvalid(f"the file does not contain the words of {layer}; save it with model.save('x.keras')")
    special = [MASK_WORD, UNKNOWN]
    words = words if words[:2] == special else special + words
    if len(set(words)) < len(words):
        raise ForeignFileInvalid(f"{layer} has a word twice")
    count = layer.settings.get("vocabulary_size")
    if count is not None and count != len(words):
        raise ForeignFileInvalid(
            f"{layer} has a vocabulary_size of {repr(count)[:NAME_LIMIT]}, but the file contains {len(words)} words; "
            "save the model again"
        )
    return words


def check_own(tokenizer: Tokenizer, rows: int, vocabulary: Path | None) -> None:
    """Check that a model's own tokenizer fits its embedding with `rows` rows, and is the only one."""
    if vocabulary is not None:
        raise InvalidRequest("the model has a TextVectorization layer with its vocabulary", param="vocabulary")
    if tokenizer.vocab_size > rows:
        raise ForeignFileInvalid(f"{KIND} has ids up to {tokenizer.vocab_size - 1}, but the embedding has {rows} rows")
