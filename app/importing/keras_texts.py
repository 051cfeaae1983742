"""Creates tokenizers that split texts as Keras does, from the JSON that `Tokenizer.to_json()` of Keras writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from app import strict_json
from app.errors import InvalidRequest
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.vocabulary import SKIPPED

# A checkpoint's tokenizer may have at most 32 normalizers. Texts are split at the separators after these.
MOST_REPLACED = 31
FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'  # the usual filters of a Keras Tokenizer, which keeps apostrophes
EXPECTED = {"num_words", "filters", "lower", "split", "char_level", "oov_token", "word_index"}


@dataclass(frozen=True, slots=True)
class TextRules:
    """How texts become words: lowercased or not, with the characters in `separators` replaced by spaces, and split at
    spaces or into single characters.
    """

    lowercase: bool
    separators: str
    by_character: bool = False


def is_keras_tokenizer(value: Any) -> bool:
    """Whether parsed JSON is a Keras Tokenizer, possibly as a string that contains the JSON."""
    return isinstance(_unquoted(value), dict)


def keras_tokenizer(value: Any, source: str) -> tuple[Tokenizer, str]:
    """Return the tokenizer that a Keras Tokenizer describes, and a description of how it splits texts.

    Raises InvalidRequest for settings that cannot be reproduced. `source` is the name of the file.
    """
    config = _unquoted(value)
    assert config is not None
    if missing := sorted(EXPECTED - config.keys()):
        raise _invalid(f"{source}: the Keras Tokenizer has no {missing[0]!r}")
    words, unknown = _words(config, source), config["oov_token"]
    if unknown is not None and unknown not in words:
        raise _invalid(f"{source}: the oov_token of the Keras Tokenizer is not one of its words; fit it again")
    by_character = config["char_level"] is True
    if not by_character and config["split"] != " ":
        raise _invalid(f"{source}: the Keras Tokenizer has split={config['split']!r}; it must be a space")
    separators = "" if by_character else str(config["filters"] or "")
    rules = TextRules(config["lower"] is True, separators, by_character)
    others = "skipped" if unknown is None else f"replaced by {unknown!r}"
    text = f"texts are split as by the Keras Tokenizer in {source}; other words are {others}"
    return make_tokenizer(words, SKIPPED if unknown is None else unknown, rules), text


def make_tokenizer(words: dict[str, int], unknown: str, rules: TextRules) -> Tokenizer:
    """Return a tokenizer of whole words or characters. `unknown` is the word that replaces all others, or SKIPPED."""
    native = tokenizers.Tokenizer(models.WordLevel(words, unk_token=unknown))
    add_rules(native, rules)
    return Tokenizer(native.to_str())


def add_rules(native: tokenizers.Tokenizer, rules: TextRules) -> None:
    """Make `native` split texts as the rules say."""
    steps: list[Any] = [normalizers.Lowercase()] if rules.lowercase else []
    steps += [normalizers.Replace(separator, " ") for separator in rules.separators[:MOST_REPLACED]]
    if steps:
        native.normalizer = normalizers.Sequence(steps)
    if rules.by_character:
        native.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        native.decoder = decoders.Fuse()
    else:
        marks = " " + rules.separators[MOST_REPLACED:]
        native.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(mark, "removed") for mark in marks])


def _unquoted(value: Any) -> dict[str, Any] | None:
    """Return the config of a Keras Tokenizer, or None. Tutorials often encode the JSON twice, so it may be a string."""
    if isinstance(value, str):
        try:
            value = strict_json.parse(value.encode("utf-8", "replace"), values=strict_json.VOCABULARY_VALUES)
        except strict_json.JsonInvalid:
            return None
    if not isinstance(value, dict) or value.get("class_name") != "Tokenizer":
        return None
    config = value.get("config")
    return config if isinstance(config, dict) and "word_index" in config else None


def _words(config: Mapping[str, Any], source: str) -> dict[str, int]:
    """Return the words that the Keras Tokenizer uses, with their ids: those with ids below num_words."""
    index = config["word_index"]
    try:
        index = strict_json.parse(str(index).encode("utf-8", "replace"), values=strict_json.VOCABULARY_VALUES)
    except strict_json.JsonInvalid as error:
        raise _invalid(f"{source}: word_index is not valid JSON: {error}") from None
    valid = isinstance(index, dict) and all(type(number) is int and number > 0 for number in index.values())
    if not valid or len(set(index.values())) < len(index):
        raise _invalid(f"{source}: word_index must map each word to a different id of 1 or more")
    most = config["num_words"]
    words = {word: number for word, number in index.items() if not most or number < most}
    if not words:
        raise _invalid(f"{source}: the Keras Tokenizer has no words; fit it on texts before saving it")
    return words


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_vocabulary", param="vocabulary")
